"""Check what outlives a reset: latch, boots, use of the envelopes, SoC; and a flash that fails."""

import os

from control_bench import TICK, Bench
from fakes import drain, in_folder

from element import keeper as module
from element.crypto.worker import Worker
from element.interlock import Interlock
from element.keeper import RETRY_MS, USAGE_PERIOD_MS, Keeper, read_file
from element.protocol import cbor, codes

ENVELOPES = {"thermal_window_s": 600, "thermal_mwh_max": 100_000, "swing_window_s": 600,
             "swing_bp_max": 5000, "day_cycles_milli_max": 1000}


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
        written = read_file("usage.cbor")
        two.bench.hal.now_ms += USAGE_PERIOD_MS - 1
        two.usage.thermal.add_mwh(5)
        two.tick()
        assert read_file("usage.cbor") == written

    in_folder("keeper_period", body)


def test_usage_that_cannot_be_read_is_used_up():
    def body():
        for data in (b"", b"\xff", cbor.encode([1, 2, 3]), cbor.encode([0] * 9 + [b""]),
                     cbor.encode([0, 0, 1 << 40, 0, 0, 0, 5000, 100, 0, 0]),
                     cbor.encode([0, 0, 0, 0, 0, -1_000_001, 5000, 100, 0, 0])):
            Life()
            with open("usage.cbor", "wb") as file:
                file.write(data)
            one = Life()
            assert one.usage.thermal.total_mwh == 100_000
            assert "used up" in one.lines[-1]
            one.bench.renewing = 1_000_000
            one.bench.tick(30)
            assert not one.bench.hal.enabled

    in_folder("keeper_damaged", body)


def test_a_flash_that_does_not_take_the_latch_holds_until_it_does():
    def body():
        real = module.write_file
        for path in ("latch.cbor", "usage.cbor"):
            one = Life()

            def fail(name, data, path=path):
                if name == path:
                    raise OSError(28, "full")
                real(name, data)

            module.write_file = fail
            try:
                one.latch.trip(codes.TRIP_FIRE)
                one.bench.hal.now_ms += USAGE_PERIOD_MS
                one.tick()
                assert not one.keeper.storage_ok
                assert one.lines[-1].endswith("not written: error 28")
                one.bench.hal.now_ms += RETRY_MS - 1
                one.tick()
                assert len(one.lines) == 1
                one.bench.hal.now_ms += TICK
                one.tick()
                assert not one.keeper.storage_ok and len(one.lines) == 2
            finally:
                module.write_file = real
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
        assert read_file("usage.cbor") is None

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
