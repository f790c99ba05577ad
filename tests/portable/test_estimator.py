"""Check the element's own SoC: charge counted, corrected at rest, compared with the BMS."""

from fakes import good_reading

from element.estimator import (
    BMS_DOUBT_BP,
    OCV_ERROR_MV,
    RESIDUAL_BP_MAX,
    REST_MS,
    Estimator,
    ocv_table,
    soc_bp_at,
)


def reading_at(table, soc_bp, weak_bp=None, strong_bp=None, bms_bp=None):
    """Return a reading of sixteen rested cells at soc_bp, one weaker and one stronger."""
    reading = good_reading()
    mv = voltage(table, soc_bp)
    low = mv if weak_bp is None else voltage(table, weak_bp)
    high = mv if strong_bp is None else voltage(table, strong_bp)
    reading.cell_mv_min, reading.cell_mv_max = min(low, mv), max(high, mv)
    reading.cell_mv_sum = 14 * mv + low + high
    reading.soc_bp = soc_bp if bms_bp is None else bms_bp
    return reading


def voltage(table, soc_bp):
    index = min(soc_bp // 500, 19)
    part = soc_bp - 500 * index
    return table[index] + (table[index + 1] - table[index]) * part // 500


def rest(estimator, reading, minutes=31):
    for _ in range(minutes * 60):
        estimator.step(1000, 0, reading)


def test_tables_rise_and_are_inverted():
    for chemistry in ("LFP", "NMC"):
        table = ocv_table(chemistry)
        assert len(table) == 21
        for index in range(20):
            assert table[index] < table[index + 1]
        for index in range(21):
            assert soc_bp_at(table, table[index]) == 500 * index
        assert soc_bp_at(table, 0) == 0 and soc_bp_at(table, 5000) == 10000
        middle = (table[10] + table[11]) // 2
        assert 5000 < soc_bp_at(table, middle) < 5500
    assert ocv_table("sodium") is None


def test_it_begins_with_the_bms_give_or_take():
    estimator = Estimator(100_000, "NMC")
    estimator.step(100, 0, None)
    assert not estimator.known and estimator.low_bp == 0 and estimator.high_bp == 10000
    estimator.step(100, 0, good_reading())
    assert estimator.known and estimator.soc_bp == 5000
    assert BMS_DOUBT_BP <= estimator.doubt_bp <= BMS_DOUBT_BP + 2
    assert (estimator.low_bp, estimator.high_bp) == (5000, 5000)


def test_charge_is_counted_exactly_and_the_doubt_grows():
    for ma, want in ((50_000, 4500), (-50_000, 5500)):
        estimator = Estimator(100_000, "other")
        reading = good_reading()
        reading.soc_bp = 5000
        estimator.step(0, 0, reading)
        for _ in range(3600):  # six minutes at 50 A are 5 Ah of 100
            estimator.step(100, ma, reading)
        assert abs(estimator.soc_bp - want) <= 1
        # 1 % of 5 Ah and 100 mA for six minutes are 60 mAh
        assert BMS_DOUBT_BP + 5 <= estimator.doubt_bp <= BMS_DOUBT_BP + 8


def test_small_currents_are_not_lost_in_rounding():
    estimator = Estimator(1000, "other")
    reading = good_reading()
    estimator.step(0, 0, reading)
    for _ in range(36_000):
        estimator.step(100, 7, reading)
    assert abs(estimator.soc_bp - (5000 - 70)) <= 1


def test_the_ends_hold():
    estimator = Estimator(1000, "other")
    estimator.step(0, 0, good_reading())
    for _ in range(100):
        estimator.step(1000, 100_000, good_reading())
    assert estimator.soc_bp == 0 and estimator.doubt_bp == 0
    for _ in range(1000):
        estimator.step(1000, -100_000, good_reading())
    assert estimator.soc_bp == 10000


def test_rest_corrects_a_bms_that_is_wrong():
    table = ocv_table("NMC")
    for true_bp in (2000, 3700, 6000, 8500):
        estimator = Estimator(100_000, "NMC")
        wrong = 5200
        reading = reading_at(table, true_bp, bms_bp=wrong)
        estimator.step(100, 0, reading)
        assert estimator.soc_bp == wrong
        rest(estimator, reading)
        assert abs(estimator.soc_bp - true_bp) <= 150 and estimator.doubt_bp <= 200
        assert estimator.rested and estimator.in_doubt == (abs(wrong - true_bp) > RESIDUAL_BP_MAX)


def test_no_correction_before_the_rest_is_over_nor_while_current_flows():
    table = ocv_table("NMC")
    reading = reading_at(table, 2000, bms_bp=5200)
    estimator = Estimator(100_000, "NMC")
    for _ in range(REST_MS // 1000 - 1):
        estimator.step(1000, 0, reading)
    assert estimator.soc_bp > 5000
    estimator.step(1000, 1001, reading)  # a pulse, and the rest begins anew
    for _ in range(REST_MS // 1000 - 1):
        estimator.step(1000, -1000, reading)
    assert not estimator.rested
    for _ in range(3):
        estimator.step(1000, 0, reading)
    assert estimator.rested


def test_a_stale_reading_corrects_nothing():
    estimator = Estimator(100_000, "NMC")
    estimator.step(100, 0, reading_at(ocv_table("NMC"), 2000, bms_bp=5200))
    for _ in range(4000):
        estimator.step(1000, 0, None)
    assert not estimator.rested and estimator.low_bp > 0


def test_the_plateau_of_lfp_narrows_the_doubt_and_never_excludes_the_truth():
    table = ocv_table("LFP")
    for true_bp in range(500, 10000, 700):
        for error_mv in (1 - OCV_ERROR_MV, 0, OCV_ERROR_MV - 1):
            estimator = Estimator(100_000, "LFP")
            reading = reading_at(table, true_bp, bms_bp=min(10000, true_bp + 300))
            reading.cell_mv_sum += 16 * error_mv
            estimator.step(100, 0, reading)
            rest(estimator, reading)
            assert abs(estimator.soc_bp - true_bp) <= estimator.doubt_bp + 2, true_bp


def test_an_imbalanced_pack_is_only_as_full_as_its_weakest_cell():
    # the BMS says 55 %, the weakest cell holds 30 %: the over-dispatch of the field
    table = ocv_table("LFP")
    estimator = Estimator(100_000, "LFP")
    reading = reading_at(table, 5500, weak_bp=3000)
    estimator.step(100, 0, reading)
    assert estimator.low_bp == 5500 and not estimator.in_doubt
    rest(estimator, reading)
    assert estimator.in_doubt
    assert estimator.low_bp <= 3000 + 100, estimator.low_bp
    # and it stays so while charge is counted from here
    estimator.step(36_000, 50_000, reading)  # 0.5 Ah
    assert estimator.low_bp <= 2950 + 100


def test_the_strongest_cell_ends_a_charge():
    table = ocv_table("NMC")
    estimator = Estimator(100_000, "NMC")
    reading = reading_at(table, 6000, strong_bp=8000)
    estimator.step(100, 0, reading)
    rest(estimator, reading)
    assert estimator.in_doubt and estimator.high_bp >= 7900
    assert estimator.low_bp <= 6000


def test_the_window_is_never_more_hopeful_than_the_bms():
    for bms_bp in (1000, 4000, 5000, 6000, 9900):
        estimator = Estimator(100_000, "other")
        reading = good_reading()
        estimator.step(100, 0, reading)
        reading.soc_bp = bms_bp
        estimator.step(100, 0, reading)
        assert estimator.low_bp <= bms_bp <= estimator.high_bp
        assert estimator.in_doubt == (abs(bms_bp - estimator.soc_bp) > RESIDUAL_BP_MAX)


def test_a_bms_that_drifts_by_fifteen_percent_a_month_is_found_out():
    """A month in which the BMS loses half a percent a day, and the pack is used and rested."""
    table = ocv_table("NMC")
    estimator = Estimator(100_000, "NMC")
    true_uas = 5500 * 36_000_000  # of 10000 * 36e6: 100 Ah
    found_day = None
    for day in range(30):
        drift_bp = 50 * (day + 1)
        for ma, minutes in ((20_000, 60), (0, 120), (-20_000, 60), (0, 120)):
            for _ in range(minutes * 6):
                true_uas -= ma * 10_000
                true_bp = true_uas // 36_000_000
                reading = reading_at(table, true_bp, bms_bp=min(10000, true_bp + drift_bp))
                # the sensor is wrong by half a percent and 40 mA
                estimator.step(10_000, ma + ma // 200 + 40, reading)
                assert abs(estimator.soc_bp - true_bp) <= 300
                assert abs(estimator.soc_bp - true_bp) <= estimator.doubt_bp + 2
                # nothing may be dispatched that is not there, give or take the estimate's own
                assert estimator.low_bp <= true_bp + RESIDUAL_BP_MAX
        if estimator.in_doubt and found_day is None:
            found_day = day + 1
    assert found_day is not None and 8 <= found_day <= 14, found_day


def test_a_restart_keeps_the_estimate_and_doubts_it_more():
    estimator = Estimator(100_000, "NMC")
    reading = reading_at(ocv_table("NMC"), 4000, weak_bp=3000)
    estimator.step(100, 0, reading)
    rest(estimator, reading)
    again = Estimator(100_000, "NMC")
    again.restore(estimator.snapshot(), 400)
    assert again.known and abs(again.soc_bp - estimator.soc_bp) <= 1
    assert abs(again.doubt_bp - estimator.doubt_bp - 400) <= 2
    assert again.weak_bp == estimator.weak_bp > 500
    blank = Estimator(100_000, "NMC")
    blank.restore(Estimator(100_000, "NMC").snapshot(), 400)
    assert not blank.known
