"""Check what counts as plausible: ranges at their edges, the sum of the cells, jumps."""

import gc

from element.bms import plausible
from element.bms.base import Reading
from element.protocol.errors import DecodeError

try:
    from micropython import heap_lock, heap_unlock
except ImportError:  # CPython: the same statement without its proof
    def heap_lock():
        """Do nothing."""

    heap_unlock = heap_lock


def refusal(check, *values):
    """Return (code, value) of the DecodeError, or None when all is well."""
    try:
        check(*values)
    except DecodeError as error:
        return error.code, error.value
    return None


def test_ranges_at_their_edges():
    for check, low, high in (
        (plausible.check_pack_mv, 2000, 200_000), (plausible.check_cell_mv, 500, 5000),
        (plausible.check_temperature, -45_000, 130_000),
        (plausible.check_current, -1_000_000, 1_000_000),
    ):
        for good in (low, low + 1, high - 1, high):
            assert refusal(check, good) is None
        for bad in (low - 1, high + 1, low - 100_000_000, high + 100_000_000):
            assert refusal(check, bad)[1] == bad
    assert refusal(plausible.check, "x", 3, 1, 2) == ("x", 3)


def test_the_cells_must_add_up_to_the_pack():
    for pack_mv in (2000, 12_800, 51_200, 200_000):
        margin = pack_mv // 20 + 200
        for sign in (1, -1):
            assert refusal(plausible.check_sum, pack_mv + sign * margin, pack_mv) is None
            total = pack_mv + sign * (margin + 1)
            assert refusal(plausible.check_sum, total, pack_mv) == ("cells sum", total)


def reading(**changes):
    out = Reading()
    out.pack_mv = 50_000
    out.soc_bp = 5000
    out.temperature_mdegc_min, out.temperature_mdegc_max = 20_000, 25_000
    out.cell_mv_min, out.cell_mv_max = 3200, 3300
    for name in changes:
        setattr(out, name, changes[name])
    return out


def test_jumps_at_their_edges():
    for check, name, base, step in (
        (plausible.check_pack_jump, "pack_mv", 50_000, 12_000),
        (plausible.check_pack_jump, "soc_bp", 5000, 1000),
        (plausible.check_pack_jump, "temperature_mdegc_min", 20_000, 15_000),
        (plausible.check_pack_jump, "temperature_mdegc_max", 25_000, 15_000),
        (plausible.check_cells_jump, "cell_mv_min", 3200, 600),
        (plausible.check_cells_jump, "cell_mv_max", 3300, 600),
    ):
        for sign in (1, -1):
            new = reading(**{name: base + sign * step})
            assert refusal(check, reading(), new) is None, name
            new = reading(**{name: base + sign * (step + 1)})
            code, value = refusal(check, reading(), new)
            assert code.startswith("jump ") and value == base + sign * (step + 1)


def test_checking_allocates_nothing():
    old, new = reading(), reading(pack_mv=51_000)
    gc.collect()
    heap_lock()
    try:
        plausible.check_pack_jump(old, new)
        plausible.check_cells_jump(old, new)
        plausible.check_sum(50_000, 50_000)
        plausible.check_current(-5)
    finally:
        heap_unlock()
    assert new.pack_mv == 51_000
