"""What a BMS can say at all: ranges, the sum of the cells, and how fast a value can move.

Pure; nothing here allocates unless it raises. Every check raises DecodeError with what was wrong
and the offending value. The limits hold for any pack the drivers are made for; the profile's are
narrower.
"""

from ..protocol.errors import DecodeError

PACK_MV_MIN = 2000
PACK_MV_MAX = 200_000
CELL_MV_MIN = 500
CELL_MV_MAX = 5000
TEMPERATURE_MDEGC_MIN = -45000
TEMPERATURE_MDEGC_MAX = 130_000
SOC_BP_MAX = 10_000
CURRENT_MA_MAX = 1_000_000

# A value that moves faster than this between two readings is a fault of the line or the BMS.
# The last reading judges the next one only while it is younger than this. When it has grown
# older, the new one is taken: a profile allows a reading of 2 s at most, so by then the control
# has gone to zero by staleness, and what the BMS says again and again is probably so.
RATE_AGE_MS_MAX = 2000
# Cells are asked for each second; a reading that jumps is refused unless the next one, asked for
# at once, says the same (the driver's part).
CELLS_RATE_AGE_MS_MAX = 1500
JUMP_PACK_MV = 2000  # and a fifth of the voltage
JUMP_SOC_BP = 1000
JUMP_MDEGC = 15_000
JUMP_CELL_MV = 600


def check(code: str, value: int, low: int, high: int) -> None:
    """Raise DecodeError(code, value) unless low <= value <= high."""
    if not low <= value <= high:
        raise DecodeError(code, value)


def check_pack_mv(pack_mv: int) -> None:
    """Raise DecodeError for a voltage no pack has."""
    check("pack_mv", pack_mv, PACK_MV_MIN, PACK_MV_MAX)


def check_cell_mv(cell_mv: int) -> None:
    """Raise DecodeError for a voltage no cell has."""
    check("cell_mv", cell_mv, CELL_MV_MIN, CELL_MV_MAX)


def check_temperature(mdegc: int) -> None:
    """Raise DecodeError for a temperature that means a broken or missing thermometer."""
    check("temperature_mdegc", mdegc, TEMPERATURE_MDEGC_MIN, TEMPERATURE_MDEGC_MAX)


def check_current(current_ma: int) -> None:
    """Raise DecodeError for a current no pack carries, in either direction."""
    check("current_ma", current_ma, -CURRENT_MA_MAX, CURRENT_MA_MAX)


def check_sum(total_mv: int, pack_mv: int) -> None:
    """Raise DecodeError when the cells do not add up to the pack.

    They are two measurements of one thing: 5 % and 200 mV may part them. The caller has made
    sure that the pack's voltage is valid and fresh.
    """
    if abs(total_mv - pack_mv) > pack_mv // 20 + 200:
        raise DecodeError("cells sum", total_mv)


def check_pack_jump(old, new) -> None:
    """Raise DecodeError when new's pack group cannot follow old's within RATE_AGE_MS_MAX."""
    if abs(new.pack_mv - old.pack_mv) > old.pack_mv // 5 + JUMP_PACK_MV:
        raise DecodeError("jump pack_mv", new.pack_mv)
    if abs(new.soc_bp - old.soc_bp) > JUMP_SOC_BP:
        raise DecodeError("jump soc_bp", new.soc_bp)
    if abs(new.temperature_mdegc_min - old.temperature_mdegc_min) > JUMP_MDEGC:
        raise DecodeError("jump temperature_mdegc", new.temperature_mdegc_min)
    if abs(new.temperature_mdegc_max - old.temperature_mdegc_max) > JUMP_MDEGC:
        raise DecodeError("jump temperature_mdegc", new.temperature_mdegc_max)


def check_cells_jump(old, new) -> None:
    """Raise DecodeError when new's extremes cannot follow old's in CELLS_RATE_AGE_MS_MAX."""
    if abs(new.cell_mv_min - old.cell_mv_min) > JUMP_CELL_MV:
        raise DecodeError("jump cell_mv", new.cell_mv_min)
    if abs(new.cell_mv_max - old.cell_mv_max) > JUMP_CELL_MV:
        raise DecodeError("jump cell_mv", new.cell_mv_max)
