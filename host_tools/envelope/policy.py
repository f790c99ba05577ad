"""The building's policy and an instruction as values; docs/dispatch.md explains the rules."""

from dataclasses import dataclass

from element.protocol import codes

PROPORTIONAL = "proportional"
ROUND_ROBIN = "round_robin"
SOH_WEIGHTED = "soh_weighted"
SOC_BALANCING = "soc_balancing"
ECONOMIC = "economic"
RULES = (PROPORTIONAL, ROUND_ROBIN, SOH_WEIGHTED, SOC_BALANCING, ECONOMIC)

# A spread of phases below this is rounding and none.
PHASE_MW_MIN = 1000
# Of fast frequency response; faster makes an over-frequency trip out of a dip.
FREQUENCY_RAMP_BP_PER_S = 3000


@dataclass(frozen=True)
class Policy:
    """How an instruction is decomposed, declared for the whole building.

    rule: one of RULES. partial: admit what is possible of an instruction, or refuse it whole.
    headroom_bp: share of the power that no dispatch may use. reserve_mwh: energy that no
    discharge may use, for life-safety loads. deadband_mw: a change that small is none.
    ramp_bp_per_s: share of the nameplate by which the total may move a second, by service class;
    a class that is not named is not limited. phase_spread_bp: (most - least) / most loaded phase.
    unbalance_bp: voltage unbalance, largest deviation from the mean over the mean, at
    source_mohm of each phase and phase_mv to neutral; 0 mOhm is a source that does not matter.
    wear_rise_bp: how much dearer the last mWh is at full power than at none (economic).
    """

    rule: str = PROPORTIONAL
    partial: bool = True
    headroom_bp: int = 0
    reserve_mwh: int = 0
    deadband_mw: int = 0
    ramp_bp_per_s: tuple[tuple[int, int], ...] = (
        (codes.SERVICE_FREQUENCY, FREQUENCY_RAMP_BP_PER_S),)
    phase_spread_bp: int = 2000
    unbalance_bp: int = 300
    phase_mv: int = 230_000
    source_mohm: int = 0
    wear_rise_bp: int = 10000

    def ramp_mw(self, service: int, nameplate_mw: int, duration_ms: int) -> int | None:
        """Return how far the total may move in duration_ms, None for any distance."""
        limits = [bp for known, bp in self.ramp_bp_per_s if service & known]
        if not limits:
            return None
        return nameplate_mw * min(limits) * duration_ms // 10_000_000

    @property
    def unbalance_mw(self) -> int | None:
        """How far a phase may be from the mean of the three, None for any distance."""
        if not self.source_mohm:
            return None
        return self.phase_mv * self.phase_mv // self.source_mohm * self.unbalance_bp // 10000


@dataclass(frozen=True)
class Among:
    """Who may take part. places: numbers of places in the grid, None for any. soh_bp_min: the
    least state of health; who has not said his has none that is known to be too low."""

    places: frozenset[int] | None = None
    soh_bp_min: int = 0


EVERYBODY = Among()


@dataclass(frozen=True)
class Instruction:
    """What the building is to do now. power_mw: positive discharges.

    duration_ms: for how long it must be kept up; every envelope must have room for all of it.
    previous_mw: what was admitted before and dt_ms ago, for ramp and dead-band. lease_ms: of the
    setpoints that carry it. now_ms: on the clock of the minimum times. cursor: the element with
    which a round-robin turn begins. among: who may take part. rule: instead of the policy's, ""
    for that one.
    """

    power_mw: int
    service: int = codes.SERVICE_REGULATION
    duration_ms: int = 2000
    lease_ms: int = 1500
    previous_mw: int = 0
    dt_ms: int = 1000
    now_ms: int = 0
    partial: bool | None = None
    cursor: bytes = b""
    among: Among = EVERYBODY
    rule: str = ""
