"""One element's control loop in memory: a board, a BMS and a plant of a few lines."""

from fakes import FakeDriver, FakeHAL, good_reading, make_profile

from element.bms.base import FET_DISCHARGE, FETS_BOTH
from element.clock import Clock
from element.control import PERIOD_MS, Control
from element.interlock import Interlock
from element.lease import Lease
from element.power.bms_fets import BMSFets
from element.power.converter import Converter
from element.protocol import codes

NOW = 1_767_225_600_000
FULL_MA = 60_000
TICK = PERIOD_MS
FETS = codes.KIND_BMS_FETS


class Link:
    """A DC link: 70 % of the way to the pack in a tick of pre-charge, 2 % down without."""

    def __init__(self, mv=0):
        self.mv = mv
        self.works = True  # False: the resistor is broken
        self.gone = False  # True: the capacitor is short, the pack's fuse has blown
        self.welded = False
        self.closed_mv = []  # what it had when FETs closed on it
        self._joined = False

    def after(self, _dt_ms, hal, reading):
        """Return the voltage one tick later."""
        joined = reading.fets & FET_DISCHARGE != 0 or self.welded
        if joined and not self._joined:
            self.closed_mv.append(self.mv)
        self._joined = joined
        if self.gone:
            self.mv = 0
        elif joined:
            self.mv = reading.pack_mv
        elif hal.precharge and self.works:
            self.mv += (reading.pack_mv - self.mv) * 7 // 10
        else:
            self.mv -= self.mv // 50
        return self.mv


class Bench:
    """One element in memory. `tick` runs the clock, the BMS, the plant and the control step."""

    def __init__(self, kind=codes.KIND_CONVERTER, now_ms=100_000, stage=None, **changes):
        self.hal = FakeHAL(now_ms)
        self.driver = FakeDriver()
        self.interlock = Interlock()
        self.lease = Lease(self.hal.ticks_diff)
        self.clock = Clock(self.hal)
        self.clock.set(NOW)
        if stage is not None:
            self.stage = stage
        elif kind == FETS:
            self.stage = BMSFets(500_000, 3000, 2000, 600, 0)
        else:
            self.stage = Converter(FULL_MA, 12_000, 300)
        self.control = Control(self.hal, self.driver, self.stage, self.interlock, self.lease,
                               self.clock)
        self.control.use(make_profile(kind, **changes))
        self.kind = kind
        self.gain_pct = 100
        self.bms_answers = True
        self.cells_answer = True
        self.renewing = None  # (power) of a host that renews its lease every second
        self.dispatch = 0
        self.service = codes.SERVICE_REGULATION
        self.bms_follows = True
        self.stray_ma = 0
        self.welded = False  # a relay: its contacts stay closed
        self.last_level = 0
        self.link = None  # a DC link: see Link
        good_reading(self.driver.reading, self.hal.ticks_ms())

    def plant_ma(self):
        """Return the pack current that the outputs of the last tick cause."""
        fets = self.driver.reading.fets
        if self.kind == codes.KIND_RELAY:
            return self.relay_ma(fets)
        if not self.hal.enabled:
            return self.stray_ma
        if self.kind == FETS:
            level = (fets & FET_DISCHARGE != 0) - (fets & 1)
            return level * (10_350 if level > 0 else 9_180) * self.gain_pct // 100
        return self.hal.duty * FULL_MA // 1000 * self.gain_pct // 100

    def relay_ma(self, fets):
        """Return the current of a relay stage, whose duty's sign is its direction."""
        if self.hal.enabled:
            self.last_level = 1 if self.hal.duty > 0 else -1
        elif not self.welded:
            self.last_level = 0
        if fets != FETS_BOTH:
            return 0
        level = self.last_level
        return level * (10_350 if level > 0 else 9_180) * self.gain_pct // 100

    def offer(self, power_mw, lease_ms=1500):
        """Lend power from now."""
        now = self.hal.ticks_ms()
        self.dispatch += 1
        assert self.lease.offer(self.dispatch, power_mw, now, self.hal.ticks_add(now, lease_ms),
                                self.service)

    def tick(self, count=1, each=None):
        for index in range(count):
            hal = self.hal
            hal.now_ms += TICK
            now = hal.ticks_ms()
            reading = self.driver.reading
            if self.bms_answers:
                reading.at_ms = now
                reading.valid = True
                if self.cells_answer:
                    reading.cells_at_ms = now
                    reading.cells_valid = True
            if self.renewing is not None and index % 10 == 0:
                self.offer(self.renewing)
            if self.link is not None:
                hal.link_mv = self.link.after(TICK, hal, reading)
            hal.ma = self.plant_ma()
            if self.bms_answers and self.bms_follows:
                reading.current_ma = hal.ma
            self.control.step(now, TICK)
            self.check_always()
            if each is not None:
                each(index)

    def check_always(self):
        """What holds after every tick, whatever happens."""
        hal, control, driver = self.hal, self.control, self.driver
        if hal.enabled:
            assert driver.fets_proven and driver.reading.fets == driver.fets_wanted != 0
            assert not self.interlock.tripped and control.state == codes.STATE_ACTIVE
            assert control.profile is not None and self.clock.is_set
        else:
            assert hal.duty == 0 and control.enabled_mw == 0
        if control.state != codes.STATE_ACTIVE:
            assert not hal.enabled and driver.fets_wanted == 0 and control.instructed_mw == 0

    def run_at(self, power_mw, ticks=40):
        """Bring the element to power and keep it there with a lease renewed every second."""
        self.renewing = power_mw
        self.tick(ticks)
        assert self.control.state == codes.STATE_ACTIVE and self.hal.enabled
        assert abs(self.control.realized_mw - power_mw) <= abs(power_mw) // 10 + 20_000
        return self

    def off_after(self, limit_ms):
        """Tick until everything is off; fail when that takes longer than limit_ms."""
        began = self.hal.now_ms
        for _ in range(limit_ms // TICK + 1):
            if not self.hal.enabled and self.driver.fets_wanted == 0:
                break
            self.tick()
        took = self.hal.now_ms - began
        assert not self.hal.enabled and self.driver.fets_wanted == 0, "still on"
        assert took <= limit_ms, took
        return took

    def tripped_by(self, cause):
        assert self.interlock.cause == cause, self.interlock.cause
        assert self.control.state == codes.STATE_TRIPPED
        # the lease is gone: power has to be asked for anew
        assert not self.lease.live
        # and a second cause changes nothing
        self.interlock.trip(codes.TRIP_OPERATOR)
        self.tick(3)
        assert self.interlock.cause == cause
