"""The contract of every power stage."""


class Output:
    """What a stage wants of the hardware in this tick; one object a stage, filled in place."""

    def __init__(self):
        self.enable = False
        self.duty_permille = 0
        self.fets = 0
        self.commanded_mw = 0


class PowerStage:
    """Turn a target power at the PCC into outputs, once a tick. Pure but for its own state."""

    def start(self, rested_ms: int) -> None:
        """Begin from rest: the stage has been at zero for rested_ms and may conduct again."""
        raise NotImplementedError

    def step(self, target_mw: int, pack_mv: int, sense_ma: int, dt_ms: int) -> Output:
        """Return the outputs of this tick.

        target_mw: positive discharges to the PCC. pack_mv, sense_ma: the frozen inputs of this
        tick, positive discharge. dt_ms: time since the last step.
        """
        raise NotImplementedError

    def withheld(self) -> None:
        """Take note that the outputs of the last step were not applied: nothing flows yet."""
        raise NotImplementedError

    def pack_mw_of(self, target_mw: int) -> int:
        """Return the power drawn from (positive) or put into (negative) the pack for target_mw."""
        raise NotImplementedError

    def zero(self) -> Output:
        """Return the outputs of rest, at once and whatever went before."""
        raise NotImplementedError

    def realized_mw(self, pack_mv: int, sense_ma: int) -> int:
        """Return the power at the PCC in mW that sense_ma at pack_mv means, losses allowed for."""
        raise NotImplementedError


def pcc_mw(converted_mw: int, loss_bp: int) -> int:
    """Return the power at the PCC for what the pack gives (positive) to or takes from the stage.

    loss_bp: the stage's loss in basis points of the power at the PCC. Resolution 100 mW, so that
    100 kW stays below 2**30 on the way.
    """
    if converted_mw >= 0:
        return converted_mw - converted_mw // 100 * loss_bp // ((10000 + loss_bp) // 100)
    gained_mw = -converted_mw // 100 * loss_bp // ((10000 - loss_bp) // 100)
    return converted_mw - gained_mw
