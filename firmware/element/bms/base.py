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


class Reading:
    """What the BMS said last. One object a driver, filled in place.

    The pack group (voltage, current, SoC, temperatures, FETs, errors) is as old as `at_ms`, the
    cell group as `cells_at_ms`. Before the first good frame `valid` and `cells_valid` are False
    and no number means anything. Positive current is discharge.
    """

    def __init__(self):
        self.valid = False
        self.at_ms = 0
        self.pack_mv = 0
        self.current_ma = 0
        self.soc_bp = 0
        self.remaining_mah = 0
        self.full_mah = 0
        self.cycle_count = 0
        self.errors = 0
        self.protecting = False
        self.fets = 0
        self.cell_count = 0
        self.ntc_count = 0
        self.temperature_mdegc_min = 0
        self.temperature_mdegc_max = 0
        self.cells_valid = False
        self.cells_at_ms = 0
        self.cell_mv = array("H", bytes(2 * CELLS_MAX))
        self.cell_mv_min = 0
        self.cell_mv_max = 0
        self.cell_mv_sum = 0

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
    fets_wanted = 0
    # True while the pack group was asked for after the last wish had been sent: only then do
    # its FET bits say anything about the wish.
    fets_proven = False
    last_error = ""
    error_count = 0

    async def run(self) -> None:
        """Poll for ever and keep the FETs as wanted. A silent BMS is no error here: it ages."""
        raise NotImplementedError

    def want_fets(self, fets: int) -> None:
        """Ask for FET_CHARGE | FET_DISCHARGE bits. Never blocks: the task writes, reads back."""
        raise NotImplementedError

    def open_now(self) -> None:
        """Send the wish for open FETs without waiting for an answer: the tasks may be dead."""
        raise NotImplementedError
