"""The contract of every BMS driver: bytes in, a `Reading` out, every value with its age."""

from array import array

CELLS_MAX = 32
NTC_MAX = 8

# FET bits as the element counts them, in readings and in wishes: set = conducting.
FET_CHARGE = 1
FET_DISCHARGE = 2
FETS_BOTH = 3

# A group this old is forgotten. The counter wraps after days: a BMS that fell silent for that
# long would otherwise look fresh again half a turn later.
AGE_MS_MAX = 86_400_000

# `current_ma_*_bms` of a BMS that names no limit of its own.
CURRENT_MA_UNLIMITED = 1_000_000
SOH_UNKNOWN = -1

# What a request to the BMS fills; a group of requests has one or more of these bits.
PACK = 1
CELLS = 2
INFO = 4

# Codes of `BMSDriver.link_state`, and their names for logs.
LINK_NEVER = 0
LINK_UP = 1
LINK_LOST = 2
LINK_NAMES = ("never heard", "up", "lost")

# What a failed exchange was, the index of `BMSDriver.failure_counts`; the names are for logs.
FAILED_NO_ANSWER = 0
FAILED_ECHO = 1
FAILED_REFUSED = 2
FAILED_IMPLAUSIBLE = 3
FAILED_JUMP = 4
FAILURE_NAMES = ("no answer", "echo", "refused", "implausible", "jump")

_VALUES = (
    "pack_mv", "current_ma", "soc_bp", "soh_bp", "remaining_mah", "full_mah", "cycle_count",
    "errors", "protecting", "fets", "balancing", "current_ma_discharge_bms",
    "current_ma_charge_bms", "cell_count", "ntc_count", "temperature_mdegc_min",
    "temperature_mdegc_max", "ntc_index_min", "ntc_index_max", "cell_mv_min", "cell_mv_max",
    "cell_mv_sum", "cell_index_min", "cell_index_max", "model",
)


class Reading:
    """What the BMS said last. One object a driver, filled in place.

    The pack group (voltage, current, SoC, temperatures, FETs, errors) is as old as `at_ms`, the
    cell group as `cells_at_ms`. Before the first good frame `valid` and `cells_valid` are False
    and no number means anything. Positive current is discharge.

    errors: the family's own bits, named by `BMSDriver.error_names`. balancing: a bit set by cell
    index, 0 when none or unknown. soh_bp: SOH_UNKNOWN (-1) when the BMS does not say. The
    indices count from 0 and belong to the lowest and highest cell and thermometer.
    current_ma_*_bms: what the BMS itself permits now, non-negative. model: "" until known.
    """

    def __init__(self):
        self.valid = False
        self.at_ms = 0
        self.pack_mv = 0
        self.current_ma = 0
        self.soc_bp = 0
        self.soh_bp = SOH_UNKNOWN
        self.remaining_mah = 0
        self.full_mah = 0
        self.cycle_count = 0
        self.errors = 0
        self.protecting = False
        self.fets = 0
        self.balancing = 0
        self.current_ma_discharge_bms = CURRENT_MA_UNLIMITED
        self.current_ma_charge_bms = CURRENT_MA_UNLIMITED
        self.cell_count = 0
        self.ntc_count = 0
        self.temperature_mdegc_min = 0
        self.temperature_mdegc_max = 0
        self.ntc_index_min = 0
        self.ntc_index_max = 0
        self.cells_valid = False
        self.cells_at_ms = 0
        self.cell_mv = array("H", bytes(2 * CELLS_MAX))
        self.cell_mv_min = 0
        self.cell_mv_max = 0
        self.cell_mv_sum = 0
        self.cell_index_min = 0
        self.cell_index_max = 0
        self.model = ""

    def copy_values(self, other: "Reading") -> None:
        """Take over every value of other, but not what is valid and since when."""
        for name in _VALUES:
            setattr(self, name, getattr(other, name))
        mine = self.cell_mv
        theirs = other.cell_mv
        for index in range(CELLS_MAX):
            mine[index] = theirs[index]

    def age_ms(self, hal, now_ms: int) -> int:
        """Return the age of the pack group, or None before the first valid frame."""
        if not self.valid:
            return None
        age_ms = hal.ticks_diff(now_ms, self.at_ms)
        if not 0 <= age_ms <= AGE_MS_MAX:
            self.valid = False
            return None
        return age_ms

    def cells_age_ms(self, hal, now_ms: int) -> int:
        """Return the age of the cell group, or None before the first valid frame."""
        if not self.cells_valid:
            return None
        age_ms = hal.ticks_diff(now_ms, self.cells_at_ms)
        if not 0 <= age_ms <= AGE_MS_MAX:
            self.cells_valid = False
            return None
        return age_ms


class BMSDriver:
    """One BMS on one bus. The bus is handed in; the driver's task is the only one to touch it."""

    reading = None
    # False: the FETs are the BMS's own business. A wish is only stored, `fets_proven` is True
    # while the reading is valid, and what the BMS permits is in `reading.fets` and its limits.
    can_switch = True
    # Set by the agent. True: nothing is ever sent that changes the BMS, as another controller
    # works with it; wishes are stored as with can_switch = False.
    monitor_only = False
    fets_wanted = 0
    # True while the pack group was asked for after the last wish had been sent: only then do
    # its FET bits say anything about the wish.
    fets_proven = False
    last_error = ""
    error_count = 0
    # One counter a FAILED_* code.
    failure_counts = None
    link_state = LINK_NEVER
    lost_count = 0
    back_count = 0
    # on_event(text) is called once when the link is lost and once when it is back.
    on_event = None

    async def run(self) -> None:
        """Poll for ever and keep the FETs as wanted. A silent BMS is no error here: it ages."""
        raise NotImplementedError

    def want_fets(self, fets: int) -> None:
        """Ask for FET_CHARGE | FET_DISCHARGE bits. Never blocks: the task writes, reads back."""
        raise NotImplementedError

    def open_now(self) -> None:
        """Send the wish for open FETs without waiting for an answer: the tasks may be dead."""
        raise NotImplementedError

    def error_names(self) -> list:
        """Return the names of the bits that are set in the reading's errors."""
        raise NotImplementedError
