"""The contract of every power stage."""

from ..protocol.units import power_mw

# What `PowerStage.fault` says; the name is for logs. The number is the value of a TRIP_STAGE.
FAULT_NONE = 0
FAULT_PRECHARGE = 1
FAULT_LINK_COLLAPSED = 2
FAULT_LINK_AT_REST = 3
FAULT_NO_ANSWER = 4
FAULT_STALE = 5
FAULT_STATUS = 6
FAULT_DEVIATION = 7
FAULT_REVERSION = 8
FAULT_START = 9
FAULT_REFUSED = 10
FAULT_NAMES = (
    "none", "pre-charge failed: the DC link did not come up", "DC link collapsed while running",
    "DC link live at rest: a contactor or FET is welded", "inverter does not answer",
    "inverter's measurement is stale", "inverter reports a fault",
    "inverter's power is not what it was told", "inverter does not take the reversion timer",
    "inverter did not start", "inverter refuses what it is told",
)


class Output:
    """What a stage wants of the hardware in this tick; one object a stage, filled in place.

    enable: the enable line. precharge: the path that charges the DC link past the open FETs.
    duty_permille: signed, positive discharges. fets: FET_* bits. commanded_mw: what the stage
    has been told by these outputs, at the PCC, positive = discharge.
    """

    def __init__(self):
        self.enable = False
        self.precharge = False
        self.duty_permille = 0
        self.fets = 0
        self.commanded_mw = 0


class PowerStage:
    """Turn a target power at the PCC into outputs, once a tick. Pure but for its own state.

    settle_ms: how much longer than others this stage may take, at this moment, to do what it was
    told: a start-up transient is no failed proof. fault: 0, or the stage's own number of what is
    wrong with it (FAULT_*), which is a trip; it stays for as long as the cause can be seen.
    `idle`, `step`, `withheld` and `zero` allocate nothing.
    """

    settle_ms = 0
    fault = FAULT_NONE

    def start(self, rested_ms: int) -> None:
        """Begin from rest: the stage has been at zero for rested_ms and may conduct again."""
        raise NotImplementedError

    def step(self, target_mw: int, pack_mv: int, sense_ma: int, dt_ms: int,
             dc_link_mv: int) -> Output:
        """Return the outputs of this tick, never for more power than target_mw.

        target_mw: positive discharges to the PCC. pack_mv, sense_ma, dc_link_mv: the frozen
        inputs of this tick, positive discharge; dc_link_mv is -1 without a sensor. dt_ms: time
        since the last step.
        """
        raise NotImplementedError

    def withheld(self) -> None:
        """Take note that the outputs of the last step were not applied: nothing flows yet."""
        raise NotImplementedError

    def pack_mw_of(self, target_mw: int) -> int:
        """Return the power drawn from (positive) or put into (negative) the pack for target_mw."""
        raise NotImplementedError

    def zero(self) -> Output:
        """Return the outputs of rest, at once and whatever went before; called at every rest."""
        raise NotImplementedError

    def realized_mw(self, pack_mv: int, sense_ma: int) -> int:
        """Return the power at the PCC in mW that sense_ma at pack_mv means, losses allowed for."""
        raise NotImplementedError

    def idle(self, pack_mv: int, dc_link_mv: int, dt_ms: int) -> None:
        """Look at what a stage at rest shows, once a tick. pack_mv: 0 while it is not known."""

    def run(self, hal):
        """Return the coroutine of a stage that talks on a line, None for one that does not."""
        return None


class RegulatedStage(PowerStage):
    """A stage whose losses are a standing part and a part in proportion to power.

    loss_standing_mw; loss_bp: in basis points of the power at the PCC. Both nominal.
    """

    def __init__(self, loss_standing_mw: int, loss_bp: int):
        self._standing_mw = loss_standing_mw
        self._loss_bp = loss_bp

    def pack_mw_of(self, target_mw: int) -> int:
        return target_mw + abs(target_mw) // 100 * self._loss_bp // 100 + self._standing_mw

    def realized_mw(self, pack_mv: int, sense_ma: int) -> int:
        return pcc_mw(power_mw(pack_mv, sense_ma) - self._standing_mw, self._loss_bp)


def pcc_mw(converted_mw: int, loss_bp: int) -> int:
    """Return the power at the PCC for what the pack gives (positive) to or takes from the stage.

    loss_bp: the stage's loss in basis points of the power at the PCC. Resolution 100 mW, so that
    100 kW stays below 2**30 on the way.
    """
    if converted_mw >= 0:
        return converted_mw - converted_mw // 100 * loss_bp // ((10000 + loss_bp) // 100)
    gained_mw = -converted_mw // 100 * loss_bp // ((10000 - loss_bp) // 100)
    return converted_mw - gained_mw
