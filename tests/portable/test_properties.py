"""A property a limit: over random sequences no admitted setpoint takes the model outside it.

The model keeps its own exact books (every tick of the past, no windows of buckets) and knows
nothing of how `limits` and `usage` count. Setpoints are drawn well beyond every limit, with
leases of every length; only `admit_setpoint` stands between them and the control loop.
"""

from control_bench import FETS, TICK, Bench
from fakes import good_reading

from element import limits
from element.protocol import codes

CONVERTER = codes.KIND_CONVERTER
TICKS = 3000
# A pack small enough to be emptied within a test: 51.2 V, 2 Ah.
CAPACITY_MAH = 2000
ENERGY_MWH = 102_400
# What one tick may add beyond what was counted before it, in mW.
FULL_MW = 2_500_000


class Model:
    """A pack, its books, and a host that asks for anything at all."""

    def __init__(self, seed, kind=CONVERTER, **changes):
        fields = {"capacity_mah": CAPACITY_MAH, "energy_mwh_rated": ENERGY_MWH,
                  "ramp_mw_per_s": 50_000_000, "services": 0xFF}
        fields.update(changes)
        self.bench = Bench(kind, **fields)
        self.profile = self.bench.control.profile
        self.seed = seed
        self.soc_bp = 5000.0
        self.mdegc = 25_000
        self.past = []
        self.admitted = self.refused = self.moved = 0
        self.zero_refused = 0

    def draw(self, size):
        self.seed = (self.seed * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.seed >> 8) % size

    def ask(self):
        """Offer a random setpoint the way a host's message would."""
        bench, profile = self.bench, self.profile
        control = bench.control
        power = self.draw(6_000_001) - 3_000_000
        # minutes of one direction, so that the ends of every window are reached
        if self.draw(2):
            power = sizes(power) if self.bench.hal.now_ms // 120_000 % 2 else -sizes(power)
        if self.draw(3) == 0:
            power = power // 20
        if self.draw(12) == 0:
            power = 0
        lease = 1 + self.draw(profile.lease_ms_max + 500)
        service = 1 << self.draw(6)
        reason = limits.admit_setpoint(
            profile, bench.driver.reading, control.usage, control.is_fresh,
            control.instructed_mw, power, lease, service)
        if power == 0 and reason != codes.REASON_NONE:
            self.zero_refused += 1
        if reason != codes.REASON_NONE:
            self.refused += 1
            return
        self.admitted += 1
        bench.service = service
        if not bench.interlock.tripped:
            bench.offer(power, lease)

    def tick(self):
        bench = self.bench
        reading = bench.driver.reading
        reading.soc_bp = max(0, min(10000, int(self.soc_bp) // 100 * 100))
        reading.temperature_mdegc_min = reading.temperature_mdegc_max = self.mdegc
        before = bench.control.enabled_mw
        bench.tick()
        # the current of this tick flows until the next one
        ma = bench.plant_ma()
        self.soc_bp -= ma * TICK / 3600 / CAPACITY_MAH * 10
        power = bench.control.enabled_mw
        now = bench.hal.now_ms
        self.past.append((now, power, self.soc_bp, self.mdegc))
        if power:
            self.moved += 1
        return before, power

    def since(self, window_s):
        start = self.bench.hal.now_ms - window_s * 1000
        return [one for one in self.past if one[0] > start]

    def energy_mwh(self, window_s):
        return sum([abs(one[1]) for one in self.since(window_s)]) * TICK / 3_600_000

    def run(self, check, ticks=TICKS, ask_every=7, each=None):
        for index in range(ticks):
            if self.draw(ask_every) == 0:
                self.ask()
            if each is not None:
                each(index)
            before, power = self.tick()
            check(before, power)
        assert self.zero_refused == 0
        assert not self.bench.interlock.tripped, self.bench.interlock.cause
        assert self.moved > ticks // 40, self.moved
        return self


def sizes(power):
    return power if power > 0 else -power


def test_power():
    model = Model(1, power_mw_discharge_max=1_000_000, power_mw_charge_max=600_000)

    def check(_, power):
        assert -600_000 <= power <= 1_000_000

    assert model.run(check).refused > 100


def test_power_against_soc():
    model = Model(2, discharge_bp_at_soc=[1000, 0, 4000, 10000],
                  charge_bp_at_soc=[6000, 10000, 9000, 0])

    def check(_, power):
        soc = model.soc_bp
        # the BMS says whole percents, the estimate is a little older: 1.5 % of slack
        if power > 0 and soc < 4000:
            assert power <= 2_500_000 * (soc - 1000 + 150) / 3000, (power, soc)
        if power < 0 and soc > 6000:
            assert -power <= 2_000_000 * (9000 - soc + 150) / 3000, (power, soc)

    model.run(check, 6000)


def test_energy_and_depth_of_discharge():
    model = Model(3, soc_bp_min=4000, soc_bp_max=6000)

    def check(_, power):
        assert 4000 <= model.soc_bp <= 6000, model.soc_bp

    model.run(check, 6000)
    lowest = min([one[2] for one in model.past])
    highest = max([one[2] for one in model.past])
    # the window is used, not only respected
    assert lowest < 4200 or highest > 5800, (lowest, highest)


def test_backup_reserve():
    model = Model(4, reserve_soc_bp=4500, soc_bp_min=1000)
    seen = []

    def check(_, power):
        service = model.bench.lease.service
        if power > 0 and service != codes.SERVICE_BACKUP:
            if model.bench.lease.live:
                assert model.soc_bp >= 4500 - 1, model.soc_bp
        elif power > 0 and model.soc_bp < 4500:
            seen.append(1)

    model.run(check, 6000)
    assert seen, "backup never used its reserve"


def test_cell_voltage():
    model = Model(5)

    def move(_):
        reading = model.bench.driver.reading
        reading.cell_mv_min = max(2790, min(3500, reading.cell_mv_min + model.draw(61) - 29))
        reading.cell_mv_max = max(3300, min(3610, reading.cell_mv_max + model.draw(61) - 31))

    def check(before, power):
        reading = model.bench.driver.reading
        for sign, at_limit in ((1, reading.cell_mv_min <= 2800),
                               (-1, reading.cell_mv_max >= 3600)):
            if at_limit and power * sign > 0:
                assert sizes(power) < sizes(before)

    model.run(check, each=move)


def test_pack_current():
    model = Model(6, current_ma_discharge_max=20_000, current_ma_charge_max=10_000)

    def move(_):
        reading = model.bench.driver.reading
        reading.pack_mv = max(40_000, min(58_000, reading.pack_mv + model.draw(401) - 200))

    def check(_, power):
        ma = model.bench.plant_ma()
        # one step of the duty and the trim of the current loop
        assert -10_000 - 300 <= ma <= 20_000 + 300, ma

    model.run(check, each=move)


def test_what_the_bms_permits():
    model = Model(7)

    def move(index):
        reading = model.bench.driver.reading
        if index % 50 == 0:
            reading.current_ma_discharge_bms = 1000 * model.draw(50)
            reading.current_ma_charge_bms = 1000 * model.draw(50)

    def check(before, power):
        reading = model.bench.driver.reading
        ma = model.bench.plant_ma()
        if sizes(power) >= sizes(before):  # on the way down it takes the ramp
            assert ma <= reading.current_ma_discharge_bms + 300, ma
            assert ma >= -reading.current_ma_charge_bms - 300, ma

    model.run(check, each=move)


def test_temperature_for_charge_and_for_discharge():
    model = Model(8, temperature_mdegc_charge_min=5000, temperature_mdegc_charge_max=40_000,
                  temperature_mdegc_discharge_min=-10_000)

    def move(index):
        model.mdegc = (20_000, 54_000, 42_000, 2000, -12_000, 30_000)[index // 100 % 6]

    def check(before, power):
        low, high = (-10_000, 50_000) if power > 0 else (5000, 40_000)
        if power and not low <= model.mdegc <= high:
            assert sizes(power) < sizes(before), (power, model.mdegc)

    model.run(check, each=move)


def test_ramp():
    model = Model(9, ramp_mw_per_s=1_500_000)

    def check(before, power):
        if power and before and sizes(power) >= sizes(before):
            assert sizes(power - before) <= 150_000, (before, power)

    model.run(check)


def test_thermal_energy_in_any_window():
    model = Model(10, thermal_window_s=30, thermal_mwh_max=6000)

    def check(_, power):
        # a tick of counting and the ramp to zero come on top of what was free
        assert model.energy_mwh(30) <= 6000, model.energy_mwh(30)

    model.run(check)
    assert max([one[1] for one in model.past]) > 0


def test_temperature_rise_in_any_window():
    model = Model(11, thermal_window_s=30, thermal_mwh_max=1_000_000,
                  thermal_rise_mdegc_max=2000)

    def move(index):
        model.mdegc = 25_000 + (index % 600) * 10 if index % 600 < 400 else 25_000

    def check(before, power):
        rise = model.mdegc - min([one[3] for one in model.since(30)])
        if rise > 2000 and power:
            assert sizes(power) < sizes(before), rise

    model.run(check, each=move)


def test_mechanical_swing_in_any_window():
    for swing in (300, 1000):
        model = Model(12, swing_window_s=60, swing_bp_max=swing)

        def check(_, power, model=model, swing=swing):
            seen = [one[2] for one in model.since(60)]
            assert max(seen) - min(seen) <= swing + 2, max(seen) - min(seen)

        model.run(check)


def test_cycles_a_day():
    model = Model(13, day_cycles_milli_max=40)  # 8,192 mWh a day
    assert model.profile.day_mwh_max == 8160

    def check(_, power):
        assert model.energy_mwh(86400) <= 8160

    model.run(check, 1500)
    assert model.energy_mwh(86400) > 4000


def test_minimum_on_and_off_times():
    # the hardware's own are 3 s and 2 s; the credential's are longer
    model = Model(14, FETS, on_ms_min=4000, off_ms_min=5000, energy_mwh_rated=50_000_000)
    model.bench.stage.dwell(4000, 5000)
    changes = []

    def check(before, power):
        if (before > 0) - (before < 0) != (power > 0) - (power < 0):
            changes.append((model.bench.hal.now_ms, power))

    model.run(check, ask_every=15)
    assert len(changes) > 20
    for index in range(1, len(changes)):
        took = changes[index][0] - changes[index - 1][0]
        if changes[index][1]:  # it starts: it has rested
            assert took >= 5000, took


def test_service_and_response_class():
    model = Model(15, services=codes.SERVICE_ENERGY | codes.SERVICE_FREQUENCY, response_ms=1500)

    def check(_, power):
        if power:
            # frequency is permitted by its class and refused by the response time
            assert model.bench.lease.service == codes.SERVICE_ENERGY

    model.run(check)


def test_owners_limits():
    model = Model(16)
    now = model.bench.hal.ticks_ms

    def move(index):
        if index % 40 == 0:
            model.bench.control.usage.lend(
                ("a", "b")[model.draw(2)], model.draw(2_000_000), model.draw(2_000_000),
                now() + 1000 + model.draw(6000))

    def check(before, power):
        usage = model.bench.control.usage
        if sizes(power) >= sizes(before):
            assert -usage.owner_mw_charge <= power <= usage.owner_mw_discharge

    model.run(check, each=move)


def test_lease():
    model = Model(17)

    def check(before, power):
        if not model.bench.lease.live and power:
            assert sizes(power) < sizes(before)  # on its ramp of 200 ms to zero

    model.run(check, ask_every=40)


def test_monitor_only_never_moves():
    model = Model(18, monitor_only=True)
    for _ in range(500):
        model.ask()
        before, power = model.tick()
        assert before == power == 0 and not model.bench.hal.enabled
        assert model.bench.driver.wishes == []
    assert model.zero_refused == 0 and model.refused > 300


def test_everything_at_once():
    model = Model(19, thermal_window_s=60, thermal_mwh_max=12_000, swing_window_s=60,
                  swing_bp_max=1500, day_cycles_milli_max=2000, reserve_soc_bp=3000,
                  discharge_bp_at_soc=[2000, 3000, 6000, 10000], response_ms=4000)

    def check(_, power):
        assert model.energy_mwh(60) <= 12_000 and model.energy_mwh(86400) <= 409_600
        seen = [one[2] for one in model.since(60)]
        assert max(seen) - min(seen) <= 1502
        assert 1000 <= model.soc_bp <= 9000

    model.run(check)
    assert good_reading() is not model.bench.driver.reading
