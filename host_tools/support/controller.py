"""Grid support of one building: measurements in, mode and lent power out. No I/O of its own."""

from collections.abc import Callable, Iterable
from typing import Any

from element.protocol import codes
from host_tools.envelope.policy import Among
from host_tools.ledger.dispatches import Dispatch
from host_tools.support import black_start, modes
from host_tools.support.black_start import BlackStart
from host_tools.support.droop import VOLTAGE, Curve, Lead, required_mw
from host_tools.support.modes import (
    EMERGENCY,
    ISLANDED,
    MEASUREMENT_AGE_MS_MAX,
    STANDBY,
    Measurement,
    Mode,
    Nominal,
)
from host_tools.support.share import ANYBODY, Responders

# Power is lent for so long by one measurement; the next one extends it.
LEND_MS = 2500
FOLLOWS_BP = 9000
GRID_GOOD_MS = 300_000
SOURCES = {modes.SUPPORT: "support", EMERGENCY: "emergency", ISLANDED: "emergency"}


class Support:
    """One building's support. power_mw: the most that it gives or takes for the grid.

    lend(source, power_mw, service, now_ms, end_ms, among) files a new instruction and returns it;
    extend(number, power_mw, service, end_ms, now_ms, among) lets it last, False when it has
    ended; finish(number, now_ms) ends it. tell(kind, now_ms, **fields) says what happens.
    responders: who responds to an event, by where it is measured.
    """

    def __init__(self, curve: Curve | None, power_mw: int, nominal: Nominal,
                 demand_limit_mw: int | None, lend: Callable[..., Dispatch],
                 extend: Callable[..., bool], finish: Callable[..., Any],
                 tell: Callable[..., None], lead_ms: int = 0,
                 responders: Responders = ANYBODY, armed: bool = False) -> None:
        """armed: elements are kept at zero with their FETs closed while the grid is well."""
        self._armed = armed
        self.responders = responders
        self._near = responders.to("")  # who responds to where it is measured
        self._lead = Lead(lead_ms)
        self.curve, self.power_mw, self.nominal = curve, power_mw, nominal
        self.demand_limit_mw = demand_limit_mw
        self.mode = Mode()
        self.measured: Measurement | None = None
        self.required_mw = 0
        self.black_start = BlackStart()
        self._lend, self._extend, self._finish, self._tell = lend, extend, finish, tell
        self._number: int | None = None
        self._number_source = ""
        self._facts: set[str] = set()
        self._good_since_ms: int | None = None

    def measure(self, measured: Measurement) -> None:
        """Take a measurement; one older than the last is passed over."""
        before = self.measured
        if before is None or measured.at_ms >= before.at_ms:
            self.measured = measured
            if before is None or measured.place != before.place:
                self._near = self.responders.to(measured.place)

    def step(self, now_ms: int, realized_mw: int, ready_mw: int, alarm: bool) -> None:
        """Find the mode and lend what it asks for.

        realized_mw: of all elements. ready_mw: that they could discharge. alarm: a zone is in
        alarm, which ends a black start.
        """
        if self.curve is None:
            return
        before = self.mode
        self.mode = modes.step(
            before, self.measured, self.nominal, self.curve.points[0][0], VOLTAGE.points[0][0],
            self.demand_limit_mw, now_ms)
        if self.mode.name != before.name:
            self._tell("support_mode", now_ms, mode=self.mode.name, why=self.mode.why)
        self._go_on(now_ms, realized_mw, ready_mw, alarm)
        self.required_mw = self._required_mw(ready_mw)
        self._lend_it(now_ms)

    def _required_mw(self, ready_mw: int) -> int:
        measured, curve = self.measured, self.curve
        if measured is None or curve is None or self.mode.name == STANDBY:
            return 0
        if self.mode.name == ISLANDED or self.black_start.state == black_start.RUNNING:
            # there is no grid to follow: an island gets what its black start allows
            return min(ready_mw, self.power_mw) * self.black_start.share_bp // 10000
        excess_mw = 0
        if self.demand_limit_mw is not None:
            excess_mw = max(0, measured.demand_mw - self.demand_limit_mw)
        share_bp = self._lead.step(
            curve.share_bp(self.nominal.deviation_mhz(measured)), measured.at_ms)
        return required_mw(
            self.power_mw, share_bp,
            VOLTAGE.share_bp(self.nominal.deviation_bp(measured)), excess_mw)

    @property
    def among(self) -> Among:
        """Who responds now."""
        if self.mode.name == ISLANDED or self.measured is None:
            return self.responders.whole_building
        return self._near

    def _lend_it(self, now_ms: int) -> None:
        """Keep one instruction in force while there is something to support."""
        source = SOURCES.get(self.mode.name, "")
        if not source and self._armed and self.measured is not None \
                and now_ms - self.measured.at_ms <= MEASUREMENT_AGE_MS_MAX:
            source = SOURCES[modes.SUPPORT]  # of zero: who is at rest takes 0.3 s to begin
        if self._number is not None and source != self._number_source:
            self._finish(self._number, now_ms)
            self._number = None
        if not source:
            return
        service = codes.SERVICE_FREQUENCY
        end_ms = now_ms + LEND_MS
        among = self.among
        if self._number is None or not self._extend(
                self._number, self.required_mw, service, end_ms, now_ms, among):
            filed = self._lend(source, self.required_mw, service, now_ms, end_ms, among)
            self._number, self._number_source = filed.id, source

    # black start

    def begin_black_start(self, now_ms: int) -> BlackStart:
        """Begin one, or say why not."""
        self._facts = {"no voltage at the PCC"} if self.mode.name == ISLANDED else set()
        self.black_start = black_start.begin(self._facts, now_ms)
        self._tell("black_start", now_ms, state=self.black_start.state, why=self.black_start.why)
        return self.black_start

    def confirm(self, fact: str, now_ms: int) -> bool:
        """Take a fact that a person has seen; False for one that no person is asked for."""
        asked = {step.done for step in black_start.STEPS if step.by == "person"}
        if fact not in asked or self.black_start.state != black_start.RUNNING:
            return False
        if fact == "PCC switch closed":
            self._facts.discard("PCC switch seen open")
        self._facts.add(fact)
        self._tell("black_start_fact", now_ms, fact=fact)
        return True

    def withdraw(self, fact: str) -> None:
        """Take back a fact that is not true any more."""
        self._facts.discard(fact)

    def _go_on(self, now_ms: int, realized_mw: int, ready_mw: int, alarm: bool) -> None:
        """Add what the panel sees itself, and move the black start on."""
        before = self.black_start
        if before.state != black_start.RUNNING:
            return
        facts = set(self._facts) | set(self._seen(now_ms, realized_mw, ready_mw))
        self.black_start = black_start.go_on(before, facts, now_ms, alarm)
        self._facts |= facts & {one.done for one in black_start.STEPS}
        if self.black_start != before:
            step = self.black_start.step
            self._tell("black_start", now_ms, state=self.black_start.state,
                       step=step.name if step else "", why=self.black_start.why)

    def _seen(self, now_ms: int, realized_mw: int, ready_mw: int) -> Iterable[str]:
        step = self.black_start.step
        measured = self.measured
        if measured is None or step is None:
            return
        off_bp = self.nominal.deviation_bp(measured)
        off_mhz = abs(self.nominal.deviation_mhz(measured))
        if off_bp <= -modes.NO_GRID_VOLTAGE_BP:
            yield "no voltage at the PCC"
        if step.name == "zero" and realized_mw == 0:
            yield "all elements at zero"
        if step.name == "support" and self.required_mw and \
                realized_mw * 10000 >= self.required_mw * FOLLOWS_BP:
            yield "elements follow"
        good = abs(off_bp) <= VOLTAGE.points[-1][0] and off_mhz < modes.EMERGENCY_MHZ
        if not good or step.name != "grid back":
            self._good_since_ms = None
        elif self._good_since_ms is None:
            self._good_since_ms = now_ms
        elif now_ms - self._good_since_ms >= GRID_GOOD_MS:
            yield "grid good for five minutes"
