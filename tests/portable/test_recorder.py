"""Check the recorder: exact sums, interval boundaries, flags."""

from fakes import WRAP, FakeHAL

from element.clock import Clock
from element.ledger.recorder import Recorder
from element.protocol import codes, schema

NOW = 1_767_225_600_000  # a whole minute


class Values:
    """What the recorder reads of control."""

    state = codes.STATE_ACTIVE
    inhibits = 0
    instructed_mw = 0
    realized_mw = 0


def bench(offset_ms=0, ticks_ms=1000, interval_ms=60_000):
    hal = FakeHAL(ticks_ms)
    clock = Clock(hal)
    clock.set(NOW + offset_ms)
    recorder = Recorder(hal, clock)
    recorder.interval_ms = interval_ms
    return hal, clock, recorder, Values()


def run(hal, recorder, control, ticks, dt=100, soc=5000, dispatch=3, each=None):
    """Tick and return the finished intervals."""
    out = []
    for index in range(ticks):
        hal.now_ms += dt
        if each is not None:
            each(index)
        finished = recorder.tick(hal.ticks_ms(), dt, control, dispatch, soc)
        if finished is not None:
            out.append(finished)
    return out


def test_nothing_is_recorded_before_the_clock_is_set():
    hal = FakeHAL()
    recorder = Recorder(hal, Clock(hal))
    assert run(hal, recorder, Values(), 1000) == []


def test_intervals_end_on_whole_ones_of_unix_time():
    hal, _, recorder, control = bench(offset_ms=12_300)
    records = run(hal, recorder, control, 1800)
    assert [record["end_unix_ms"] - NOW for record in records] == [60_000, 120_000, 180_000]
    assert records[0]["start_unix_ms"] == NOW + 12_400
    for index in range(1, 3):
        assert records[index]["start_unix_ms"] == records[index - 1]["end_unix_ms"]
    assert records[0]["quality"] == codes.QUALITY_PARTIAL
    assert records[1]["quality"] == records[2]["quality"] == 0


def test_the_first_interval_is_whole_when_it_starts_on_time():
    hal, _, recorder, control = bench(offset_ms=-100)
    records = run(hal, recorder, control, 700)
    assert records[0]["quality"] == 0 and records[0]["start_unix_ms"] == NOW


def test_sums_are_exact_against_an_independent_computation():
    for sign in (1, -1):
        hal, _, recorder, control = bench(offset_ms=-100)
        seed = 7
        trace = []

        def each(index):
            nonlocal seed
            seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
            control.realized_mw = sign * (seed >> 8) % 2_500_001
            control.instructed_mw = sign * 1_234_567
            trace.append(control.realized_mw)

        records = run(hal, recorder, control, 1201, each=each)
        assert len(records) == 2
        # the first tick only opens the interval; each later one tells of the 100 ms before it
        for number, record in enumerate(records):
            powers = trace[1 + 600 * number:601 + 600 * number]
            energy_uj = sum([power * 100 for power in powers])
            exact_mwh = energy_uj / 3_600_000
            assert abs(record["energy_mwh"] - exact_mwh) <= 0.51
            assert abs(record["realized_mw_mean"] - energy_uj / 60_000) <= 1.1
            assert abs(record["instructed_mw_mean"] - sign * 1_234_567) <= 1
            assert record["realized_mw_min"] == min(powers)
            assert record["realized_mw_max"] == max(powers)


def test_no_energy_is_lost_between_intervals():
    hal, _, recorder, control = bench(offset_ms=-100, interval_ms=10_000)
    seed = 3
    total_uj = 0

    def each(index):
        nonlocal seed, total_uj
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        control.realized_mw = (seed >> 8) % 2_000_001 - 1_000_000
        total_uj += control.realized_mw * 100 if index else 0

    records = run(hal, recorder, control, 36_001, each=each)
    assert len(records) == 360
    whole = sum([record["realized_mw_mean"] * 10_000 for record in records])
    assert abs(whole - total_uj) <= 360 * 2 * 10_000
    assert abs(sum([record["energy_mwh"] for record in records]) - total_uj / 3_600_000) <= 180


def test_late_ticks_count_their_true_time():
    hal, _, recorder, control = bench(offset_ms=-100)
    control.realized_mw = 1_000_000
    run(hal, recorder, control, 1)
    for dt in (100, 5000, 100, 900, 300, 20_000, 33_600):
        records = run(hal, recorder, control, 1, dt=dt)
    assert records[0]["energy_mwh"] == 16_667 and records[0]["realized_mw_mean"] == 1_000_000


def test_an_interval_across_the_wrap_of_the_counter():
    hal, _, recorder, control = bench(offset_ms=-100, ticks_ms=WRAP - 30_000)
    control.realized_mw = 500_000
    records = run(hal, recorder, control, 1300)
    assert [record["end_unix_ms"] - NOW for record in records] == [60_000, 120_000]
    assert records[0]["realized_mw_mean"] == 500_000


def test_flags():
    hal, clock, recorder, control = bench(offset_ms=-100)
    run(hal, recorder, control, 10)
    recorder.flag(codes.QUALITY_REFUSED)
    records = run(hal, recorder, control, 600)
    assert records[0]["quality"] == codes.QUALITY_REFUSED
    control.state = codes.STATE_TRIPPED
    run(hal, recorder, control, 1)
    control.state = codes.STATE_IDLE
    control.inhibits = codes.INHIBIT_STALE | codes.INHIBIT_LEASE
    run(hal, recorder, control, 1)
    control.inhibits = 0
    clock.set(clock.unix_ms(hal.ticks_ms()) + 700)
    records = run(hal, recorder, control, 650)
    expected = codes.QUALITY_TRIPPED | codes.QUALITY_STALE | codes.QUALITY_CLOCK_STEPPED
    assert records[0]["quality"] == expected


def test_a_flag_without_an_open_interval_is_lost():
    hal, _, recorder, control = bench(offset_ms=-100)
    recorder.flag(codes.QUALITY_REFUSED)
    assert run(hal, recorder, control, 700)[0]["quality"] == 0


def test_soc_at_both_ends_and_none_when_stale():
    hal, _, recorder, control = bench(offset_ms=-100)
    run(hal, recorder, control, 1, soc=7000)
    run(hal, recorder, control, 599, soc=None)
    record = run(hal, recorder, control, 1, soc=6500)[0]
    assert (record["soc_bp_start"], record["soc_bp_end"]) == (7000, 6500)
    run(hal, recorder, control, 599)
    record = run(hal, recorder, control, 1, soc=None)[0]
    assert (record["soc_bp_start"], record["soc_bp_end"]) == (6500, None)


def test_the_dispatch_of_an_interval():
    hal, _, recorder, control = bench(offset_ms=-100)
    run(hal, recorder, control, 300, dispatch=0)
    run(hal, recorder, control, 100, dispatch=8)
    run(hal, recorder, control, 100, dispatch=9)
    records = run(hal, recorder, control, 200, dispatch=0)
    assert records[0]["dispatch_id"] == 9
    assert run(hal, recorder, control, 600, dispatch=0)[0]["dispatch_id"] == 0


def test_a_finished_interval_fits_its_statement_at_the_edges():
    for power in (-100_000_000, 0, 100_000_000):
        hal, _, recorder, control = bench(offset_ms=-100, interval_ms=900_000)
        control.realized_mw = control.instructed_mw = power
        record = None
        for _ in range(1000):
            hal.now_ms += 1000
            finished = recorder.tick(hal.ticks_ms(), 1000, control, 1, None)
            record = finished or record
        record.update({"element_id": bytes(8), "counter": 1, "previous_hash": bytes(32)})
        schema.statement_to_wire(schema.table_of(schema.EXECUTION_RECORD), record)
