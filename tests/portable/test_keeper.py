"""Check what outlives a reset: latch, boots, use of the envelopes, SoC; and a flash that fails."""

import os
from binascii import crc32

from control_bench import TICK, Bench
from fakes import drain, in_folder

from element import keeper as module
from element.crypto.worker import Worker
from element.interlock import Interlock
from element.keeper import RETRY_MS, USAGE_PERIOD_MS, Keeper, read_file
from element.protocol import cbor, codes

USAGE_FILES = ("usage.0", "usage.1")
ENVELOPES = {"thermal_window_s": 600, "thermal_mwh_max": 100_000, "swing_window_s": 600,
             "swing_bp_max": 5000, "day_cycles_milli_max": 1000}


def sealed(values):
    """Return a usage file with these values."""
    data = cbor.encode(values)
    return data + crc32(data).to_bytes(4, "little")


class Life:
    """One life of a keeper with a control loop, on the flash of the folder it is in."""

    def __init__(self, **changes):
        fields = dict(ENVELOPES)
        fields.update(changes)
        self.bench = Bench(**fields)
        self.lines = []
        self.worker = Worker(self.bench.hal)
        self.latch = self.bench.interlock
        self.keeper = Keeper(self.bench.hal, self.latch, self.worker, self.lines.append)
        self.keeper.load_latch()
        self.keeper.load_usage(self.bench.control)

    def tick(self):
        event = self.keeper.tick(self.bench.hal.ticks_ms())
        drain(self.worker)
        return event

    @property
    def usage(self):
        return self.bench.control.usage


def test_a_trip_and_its_cell_outlive_the_reset_and_so_does_its_release():
    def body():
        one = Life()
        assert one.keeper.boot_count == 1 and one.tick() is None
        one.latch.trip(codes.TRIP_CELL_HIGH, 3710, 3700, 6)
        assert one.tick() == (codes.TRIP_CELL_HIGH, 3710, 3700, 6, False)
        assert one.tick() is None
        two = Life()
        assert two.keeper.boot_count == 2
        assert (two.latch.cause, two.latch.value, two.latch.limit, two.latch.index) \
            == (codes.TRIP_CELL_HIGH, 3710, 3700, 6)
        # it was attested in the life before
        assert two.tick() is None
        assert two.lines == ["still tripped: cell over-voltage, cell 7: 3710 mV, limit 3700 mV"]
        assert two.latch.release(9, codes.TRIP_CELL_HIGH, False)
        assert two.tick() == (codes.TRIP_CELL_HIGH, 0, 0, None, True)
        three = Life()
        assert not three.latch.tripped and three.latch.order_number == 9

    in_folder("keeper_latch", body)


def test_a_spent_order_number_outlives_the_reset_without_a_release():
    def body():
        one = Life()
        one.latch.trip(codes.TRIP_FIRE)
        one.tick()
        assert not one.latch.release(5, codes.TRIP_FIRE, True)
        assert one.tick() is None
        assert Life().latch.order_number == 5

    in_folder("keeper_order", body)


def test_the_envelopes_go_on_over_a_power_cut_at_any_moment():
    def body():
        one = Life()
        full_mwh = 2_500_000 // 1000 * 300 // 3600 * 1000
        for _ in range(3):
            before = one.usage.thermal.total_mwh
            # used, and never written: the power is cut before the period is over
            one.usage.thermal.add_mwh(20_000)
            two = Life()
            assert two.usage.thermal.total_mwh == before + full_mwh >= one.usage.thermal.total_mwh
            one = two
        assert one.usage.swing.high - one.usage.swing.low >= 2 * (full_mwh // 500)

    in_folder("keeper_usage", body)


def test_usage_and_soc_are_written_in_their_period_and_read_back():
    def body():
        one = Life()
        one.bench.run_at(1_000_000, 100)
        one.bench.hal.now_ms += USAGE_PERIOD_MS
        one.tick()
        soc = one.bench.control.estimator.soc_bp
        used = one.usage.thermal.total_mwh
        assert used > 2000
        two = Life()
        assert two.usage.thermal.total_mwh >= used
        assert two.bench.control.estimator.known
        assert abs(two.bench.control.estimator.soc_bp - soc) <= 1
        assert two.bench.control.estimator.doubt_bp > 1000
        written = [read_file(path) for path in USAGE_FILES]
        assert None not in written and written[0] != written[1]
        two.bench.hal.now_ms += USAGE_PERIOD_MS - 1
        two.usage.thermal.add_mwh(5)
        two.tick()
        assert [read_file(path) for path in USAGE_FILES] == written

    in_folder("keeper_period", body)


def test_usage_that_cannot_be_read_is_used_up():
    def body():
        good = sealed([9, 0, 0, 0, 0, 0, 0, 5000, 100, 0, 0])
        for data in (b"", b"\xff", sealed([1, 2, 3]), sealed([9] + [0] * 9 + [b""]), good[:-1],
                     good[:20] + b"\x01" + good[21:], good + b"\x00",
                     sealed([0, 0, 0, 0, 0, 0, 0, 5000, 100, 0, 0]),
                     sealed([9, 0, 0, 1 << 40, 0, 0, 0, 5000, 100, 0, 0]),
                     sealed([9, 0, 0, 0, 0, 0, -1_000_001, 5000, 100, 0, 0])):
            Life()
            for path in USAGE_FILES:
                with open(path, "wb") as file:
                    file.write(data)
            one = Life()
            assert one.usage.thermal.total_mwh == 100_000
            assert "used up" in one.lines[-1]
            one.bench.renewing = 1_000_000
            one.bench.tick(30)
            assert not one.bench.hal.enabled

    in_folder("keeper_damaged", body)


def test_a_torn_file_costs_one_period_more_and_not_the_envelopes():
    def body():
        unsaved = []
        for torn in (False, True):
            for path in USAGE_FILES:
                if path in os.listdir():
                    os.remove(path)
            one = Life()
            one.bench.hal.now_ms += USAGE_PERIOD_MS
            one.tick()
            before = one.usage.thermal.total_mwh
            if torn:
                older = min(USAGE_FILES, key=lambda path: cbor.decode(read_file(path)[:-4])[0])
                with open(older, "r+b") as file:
                    file.write(b"\x00\x00")
            unsaved.append(Life().usage.thermal.total_mwh - before)
        assert unsaved[0] > 0 and unsaved[1] == 2 * unsaved[0], unsaved

    in_folder("keeper_torn", body)


def test_a_flash_that_does_not_take_the_latch_holds_until_it_does():
    def body():
        for start, error, said in (
                ("latch.cbor", OSError(28, "full"), "28"), ("usage.", OSError(28, "full"), "28"),
                ("latch.cbor", MemoryError("full"), "memory"),
                ("usage.", MemoryError("full"), "memory")):
            one = Life()

            def fail(name, mode, start=start, error=error):
                if name.startswith(start) and "w" in mode:
                    raise error
                return open(name, mode)

            module.open = fail
            try:
                one.latch.trip(codes.TRIP_FIRE)
                one.bench.hal.now_ms += USAGE_PERIOD_MS
                one.tick()
                assert not one.keeper.storage_ok
                assert one.lines[-1].endswith("not written: error " + said)
                one.bench.hal.now_ms += RETRY_MS - 1
                one.tick()
                assert len(one.lines) == 1
                one.bench.hal.now_ms += TICK
                one.tick()
                assert not one.keeper.storage_ok and len(one.lines) == 2
            finally:
                del module.open
            one.bench.hal.now_ms += RETRY_MS
            one.tick()
            assert one.keeper.storage_ok
            assert Life().latch.cause == codes.TRIP_FIRE
            one.latch.release(one.latch.order_number + 1, codes.TRIP_FIRE, False)
            one.tick()

    in_folder("keeper_flash", body)


def test_before_enrolment_there_is_no_usage_to_write():
    def body():
        bench = Bench()
        keeper = Keeper(bench.hal, Interlock(), Worker(bench.hal), print)
        keeper.save_usage()
        assert [read_file(path) for path in USAGE_FILES] == [None, None]

    in_folder("keeper_unenrolled", body)


def test_a_latch_file_that_is_there_and_cannot_be_opened_is_not_taken_for_none():
    def body():
        os.mkdir("latch.cbor")
        bench = Bench()
        keeper = Keeper(bench.hal, Interlock(), Worker(bench.hal), print)
        try:
            keeper.load_latch()
            raise AssertionError("it was taken for an element that has never been tripped")
        except OSError as error:
            assert error.errno != 2, error
        finally:
            os.rmdir("latch.cbor")
        assert keeper.boot_count == 0

    in_folder("keeper_unreadable", body)
