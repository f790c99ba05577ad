"""The catalogue of faults: what may go wrong in a campaign, and how a seed draws from it.

A drawn fault is plain data, so that a schedule can be printed, shortened and run again.
"""

from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Literal

ELEMENT: Literal["element"] = "element"
BUILDING: Literal["building"] = "building"
# How replies of a BMS are damaged: a corrupt BMS draws one of these (hil.devices.uart_line).
CORRUPTIONS = ("flip", "drop", "wrong_length", "other_address", "merge", "split", "echo", "noise")
FAULTS_COUNT_MAX = 6
# The chance that one more fault follows, so that most schedules have two or three.
ONE_MORE = 0.62
# An alarm comes at the worst moment: this share of them while another fault is on.
WORST_MOMENT = 0.8


@dataclass(frozen=True)
class FaultKind:
    """One way to fail. duration_ms and value: the ranges that are drawn from; value's meaning
    and unit are in `what`. stages: the kinds of element that can have it, empty for all.
    """

    name: str
    scope: Literal["element", "building"]
    what: str
    duration_ms: tuple[int, int]
    value: tuple[float, float] = (0.0, 0.0)
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """One fault of a schedule. at_ms counts from the start of the run."""

    kind: str
    at_ms: int
    duration_ms: int
    element: str | None = None
    value: float = 0.0

    @property
    def end_ms(self) -> int:
        """When it ends."""
        return self.at_ms + self.duration_ms

    def as_dict(self) -> dict[str, Any]:
        """Return it for a JSON document."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Fault":
        """Return the fault of a document. Raises ValueError for one that is none."""
        try:
            fault = cls(**fields)
        except TypeError as error:
            raise ValueError(f"not a fault: {fields}") from error
        if fault.kind not in KINDS or fault.at_ms < 0 or fault.duration_ms < 0:
            raise ValueError(f"not a fault of the catalogue: {fields}")
        if (fault.element is None) == (KINDS[fault.kind].scope == ELEMENT):
            raise ValueError(f"{fault.kind} is for one {KINDS[fault.kind].scope}: {fields}")
        return fault

    def text(self) -> str:
        """Return it in a line."""
        where = f" of {self.element}" if self.element else ""
        value = f" ({self.value:g})" if self.value else ""
        return (f"{self.at_ms / 1000:.3f} s: {self.kind}{where}{value} for "
                f"{self.duration_ms / 1000:.3f} s")


_LIST = (
    FaultKind("bms_silent", ELEMENT, "no answer to any request", (200, 20_000)),
    FaultKind("bms_late", ELEMENT, "every answer comes 0.3 to 1.5 s late", (1000, 20_000)),
    FaultKind("bms_corrupt", ELEMENT, "answers are damaged; value: 10 * index of the damage + "
              "share of the answers", (1000, 20_000), (0.0, 1.0)),
    FaultKind("bms_stuck", ELEMENT, "its values freeze, checksums stay right", (1000, 20_000)),
    FaultKind("bms_soc_lie", ELEMENT, "its SoC is wrong; value: error, fraction",
              (5000, 40_000), (-0.4, 0.4)),
    FaultKind("sensor_frozen", ELEMENT, "the current sensor repeats its reading", (500, 15_000)),
    FaultKind("sensor_offset", ELEMENT, "the current sensor is off; value: mA",
              (500, 15_000), (-15_000.0, 15_000.0)),
    FaultKind("fets_welded", ELEMENT, "the BMS's FETs stay as they are", (1000, 20_000)),
    FaultKind("fets_dead", ELEMENT, "the BMS's FETs open by themselves", (500, 15_000)),
    FaultKind("gain_error", ELEMENT, "the stage's own gain is wrong; value: factor",
              (1000, 30_000), (0.5, 1.6), ("converter", "sunspec")),
    FaultKind("stage_dead", ELEMENT, "no power although enabled", (500, 15_000)),
    FaultKind("contacts_welded", ELEMENT, "the relay's contacts stay closed", (1000, 20_000),
              stages=("relay",)),
    FaultKind("link_lost", ELEMENT, "the line to the panel is cut", (100, 20_000)),
    FaultKind("link_delay", ELEMENT, "frames come late; value: ms", (1000, 20_000),
              (20.0, 6000.0)),
    FaultKind("link_duplicates", ELEMENT, "frames come twice; value: share", (1000, 20_000),
              (0.1, 1.0)),
    FaultKind("link_reorders", ELEMENT, "frames overtake each other; value: share",
              (1000, 20_000), (0.1, 1.0)),
    FaultKind("link_corrupts", ELEMENT, "bits of frames flip; value: share of frames",
              (1000, 20_000), (0.05, 1.0)),
    FaultKind("board_reset", ELEMENT, "the board restarts", (0, 0)),
    FaultKind("brown_out", ELEMENT, "the board hangs until its watchdog", (0, 0)),
    FaultKind("power_cut_in_write", ELEMENT, "power is lost while the board writes to its flash; "
              "value: share of the write that is there", (0, 20_000), (0.0, 1.0)),
    FaultKind("input_open", ELEMENT, "the hardware interlock input opens", (50, 10_000)),
    FaultKind("forged", ELEMENT, "frames of a stranger, 10 a second", (1000, 15_000)),
    FaultKind("replayed", ELEMENT, "recorded frames come again, 10 a second", (1000, 15_000)),
    FaultKind("stale", ELEMENT, "frames are held back and come at the end", (300, 12_000)),
    FaultKind("clock_step", BUILDING, "the panel's clock jumps; value: ms, and back at the end",
              (1000, 30_000), (-30_000.0, 30_000.0)),
    FaultKind("panel_killed", BUILDING, "the panel is killed, and restarted at the end",
              (500, 15_000)),
    FaultKind("broker_gone", BUILDING, "no frame passes; what waited comes at the end",
              (300, 15_000)),
    FaultKind("disk_full", BUILDING, "the panel's disk is full", (500, 20_000)),
    FaultKind("fire_alarm", BUILDING, "fire alarm; value: zone, 0 for the whole building",
              (3000, 20_000), (0.0, 3.0)),
    FaultKind("release", BUILDING, "the life-safety key releases whatever has tripped", (0, 0)),
)
KINDS = {kind.name: kind for kind in _LIST}


def draw_faults(rng: Random, elements: dict[str, str], begin_ms: int, end_ms: int
                ) -> tuple[Fault, ...]:
    """Return a schedule within begin_ms and end_ms, in the order of time.

    elements: the kind of each by name. A release is drawn after two thirds of the schedules
    that can trip anything, so that life goes on after trips too.
    """
    faults: list[Fault] = []
    names = sorted(elements)
    while len(faults) < FAULTS_COUNT_MAX and (not faults or rng.random() < ONE_MORE):
        kind = rng.choice([one for one in _LIST if one.name != "release"])
        able = [name for name in names if not kind.stages or elements[name] in kind.stages]
        if kind.scope == ELEMENT and not able:
            continue
        at_ms = rng.randrange(begin_ms, end_ms)
        if kind.name == "fire_alarm" and faults and rng.random() < WORST_MOMENT:
            other = rng.choice(faults)
            at_ms = min(end_ms - 1, other.at_ms + rng.randint(0, max(1, other.duration_ms)))
        duration_ms = min(rng.randint(*kind.duration_ms), end_ms - at_ms)
        faults.append(Fault(kind.name, at_ms, duration_ms,
                            rng.choice(able) if kind.scope == ELEMENT else None,
                            _value(rng, kind)))
    last_ms = max(fault.end_ms for fault in faults)
    if last_ms + 2000 < end_ms and rng.random() < 2 / 3:
        faults.append(Fault("release", rng.randrange(last_ms + 1000, end_ms), 0))
    return tuple(sorted(faults, key=lambda fault: (fault.at_ms, fault.kind)))


def _value(rng: Random, kind: FaultKind) -> float:
    low, high = kind.value
    if low == high:
        return low
    if kind.name == "bms_corrupt":
        return 10.0 * rng.randrange(len(CORRUPTIONS)) + round(rng.uniform(0.2, 1.0), 3)
    if kind.name == "fire_alarm":
        return float(rng.randint(int(low), int(high)))
    return round(rng.uniform(low, high), 3)
