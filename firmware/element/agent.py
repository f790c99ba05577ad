"""The agent of one element: makes the objects, wires the handlers, supervises the tasks."""

import asyncio
import gc
import io
import sys

from . import interlock as latch
from . import version
from .admission import Admission
from .clock import Clock
from .control import EARLY_MS_MIN, PERIOD_MS, Control
from .crypto import p256
from .crypto.worker import Worker
from .enrolment import Enrolment
from .interlock import Interlock
from .journal import Journal
from .keeper import Keeper
from .lazy import forget
from .lease import Lease
from .ledger.log import FlashLog
from .ledger.recorder import Recorder
from .ledger.signer import Signer
from .link.host_port import SKEW_S, HostPort
from .protocol import cbor, codes, schema
from .protocol.errors import DecodeError, SignatureError
from .protocol.statements import statement_digest
from .service import Service
from .telemetry import telemetry_fields

TELEMETRY_PERIOD_MS = 1000
STATEMENT_RETRY_MS = 5000
STATEMENTS_IN_FLIGHT = 4
FAILURE_GRACE_MS = 300
DOUBT_GONE_MS = 3_600_000
# How much memory is in use is logged this often, after a collection.
HEAP_PERIOD_MS = 600_000


class Agent:
    """Everything that runs on one element. slots: the loader's module, None where it has none."""

    def __init__(self, board, hal, slots=None):
        self.board = board
        self.hal = hal
        self.journal = Journal(hal)
        hal.enable_set(False)
        hal.precharge_set(False)
        hal.duty_set(0)
        self.worker = Worker(hal)
        kind = codes.KIND_NAMES.index(board.STAGE)
        self.enrolment = Enrolment(
            hal, self.worker, kind, board.STEP_MW, board.CURRENT_MA_MAX, self.log)
        self.clock = Clock(hal)
        self.interlock = Interlock()
        self.lease = Lease(hal.ticks_diff)
        from .bms.choose import make_driver
        from .power.choose import make_stage

        self.driver = make_driver(board.BMS, hal, hal.bms_uart)
        self.driver.on_event = self._on_bms
        self.control = Control(
            hal, self.driver, make_stage(board, hal), self.interlock, self.lease, self.clock)
        forget(hal, ("bms.choose", "power.choose"))
        self.recorder = Recorder(hal, self.clock)
        self.signer = Signer(self.worker, FlashLog("ledger/s"))
        self.port = HostPort(
            hal, hal.link_uart, self.enrolment, self.worker, self.clock, self.log)
        self.port.on_opened = self._on_opened
        self.refused_count = 0
        self.late_ms_max = 0
        self._tick_waiter = hal.waiter()
        self._tick_now = False
        self._reported = (None, None)
        self._expired_seen = 0
        self._sent_at = {}
        self._boot_told = False
        self._heap_at = hal.ticks_ms()
        self._doubt_at = None  # when BMS and estimator last differed, unless that is long ago
        self.keeper = Keeper(hal, self.interlock, self.worker, self.log)
        self.service = Service(self, slots)
        self.admission = Admission(
            hal, self.port, self.control, self.lease, self.clock, self.interlock, self.enrolment,
            self.recorder, self._tick_waiter.kick)

    def log(self, text: str) -> None:
        """Write a line to the serial console."""
        self.journal.log(text)

    def _on_bms(self, text: str) -> None:
        """Log that the BMS was lost or is back, and why."""
        self.log(text)

    def boot(self) -> None:
        """Load identity, latch and chain from flash, wire the handlers. Outputs stay off."""
        self.keeper.load_latch()
        if not latch.self_test():
            self.interlock.trip(codes.TRIP_SELF_TEST)
        was_on_trial = self.service.load()
        if self.hal.reset_cause() == codes.RESET_WATCHDOG and not was_on_trial:
            # something stopped the control loop while it may have been conducting
            self.interlock.trip(codes.TRIP_WATCHDOG)
        self.enrolment.load()
        self.service.begin_link()
        self.signer.load(self.enrolment.sign_private, self.enrolment.element_id)
        self.signer.on_statement = self.hal.link_uart.kick
        if self.hal.slow_flash:
            from .ledger.pace import Pace

            pace = Pace(self.hal, self.worker, "ledger/p")
            self.signer.on_written = pace.appended
            pace.begin()
        if self.enrolment.enrolled:
            self._use_profile()
            self.enrolment.prove()
        self.port.handlers.update({
            schema.INTERROGATE: self._on_interrogate,
            schema.SETPOINT: self.admission.on_setpoint,
            schema.OWNER_LIMIT: self.admission.on_owner_limit,
            schema.TIME_SYNC: self._on_time_sync,
            schema.TRIP: self._on_trip,
            schema.RELEASE: self._on_release,
            schema.STATEMENT_ACK: self._on_statement_ack,
            schema.UPDATE: self.service.on_update,
        })
        if self.service.at_cable:
            # who may enrol stands before the element: a network's other end could be anybody
            self.port.handlers.update({
                schema.ENROL_OFFER: self._on_enrol_offer,
                schema.ENROL_GRANT: self._on_enrol_grant,
            })
        self.port.on_text = self.service.on_text

    def _use_profile(self) -> None:
        """Let control work to the credential's limits."""
        profile = self.enrolment.profile
        if profile.step_mw:
            self.control.stage.dwell(profile.on_ms_min, profile.off_ms_min)
        self.driver.monitor_only = profile.monitor_only
        self.control.use(profile)
        self.keeper.load_usage(self.control)

    def make_safe(self) -> None:
        """Switch the power stage off and ask for open FETs, whoever still runs. Never waits."""
        self.hal.enable_set(False)
        self.hal.precharge_set(False)
        self.hal.duty_set(0)
        self.driver.open_now()
        self.control.stage.zero()

    async def run(self) -> None:
        """Start every task under supervision and stay for ever."""
        tasks = [
            asyncio.create_task(self.supervise("bms", self.driver.run())),
            asyncio.create_task(self.supervise("link", self.run_link())),
            asyncio.create_task(self.supervise("worker", self.worker.run())),
        ]
        stage = self.control.stage.run(self.hal)
        if stage is not None:
            tasks.append(asyncio.create_task(self.supervise("stage", stage)))
        self.tasks = tasks  # a task without a handle may be collected
        await self.supervise("control", self.run_control())

    async def supervise(self, name: str, task) -> None:
        """Run a task that must never end. When it does: power off, latch, say why, restart."""
        failure = None
        try:
            await task
        except Exception as error:
            failure = error
        try:
            # first: to print waits for a host that does not read
            self.make_safe()
            if not self.service.on_trial:
                # a firmware on trial held power at zero; the loader goes back to the one before
                self.interlock.trip(codes.TRIP_TASK_FAILED)
            self.keeper.save_latch()
            self.keeper.save_usage()
            self._last_words(name, failure)
            # time for the bytes to leave, and for the BMS task, if it lives, to try again
            await self.hal.sleep_ms(FAILURE_GRACE_MS)
        finally:
            self.hal.reset()

    def _last_words(self, name: str, failure) -> None:
        """Say what ended a task, and keep it for the time after the restart."""
        words = "task %s %s" % (name, "ended" if failure is None else "failed")
        if failure is not None:
            text = io.StringIO()
            sys.print_exception(failure, text)
            words += "\n" + text.getvalue()
        for line in words.split("\n"):
            if line:
                self.log(line)
        self.keeper.save_failure(words)

    async def run_control(self) -> None:
        """Tick for ever; the only place that feeds the watchdog.

        Ticks lie on a grid of PERIOD_MS; one more comes between when there is reason to.
        """
        hal = self.hal
        due = last = hal.ticks_ms()
        while True:
            now = hal.ticks_ms()
            late_ms = hal.ticks_diff(now, due)
            if late_ms > self.late_ms_max:
                self.late_ms_max = late_ms
            self.tick(now, hal.ticks_diff(now, last))
            last = now
            if self.control.passed:
                hal.watchdog_feed()
            if late_ms >= 0:
                due = hal.ticks_add(due, PERIOD_MS)
                if hal.ticks_diff(due, hal.ticks_ms()) <= 0:
                    # overrun: start a new grid rather than chase the old one
                    due = hal.ticks_ms()
            if hal.ticks_diff(now, self._heap_at) >= HEAP_PERIOD_MS:
                self._heap_at = now
                self.worker.on_collected = self._log_heap
            self.worker.after_tick(now, due)
            await self._wait_for_tick(due, last)

    def _log_heap(self) -> None:
        """Log the heap in use: a leak shows over days, long before it stops anything."""
        if hasattr(gc, "mem_alloc"):  # CPython, which runs the tests, has no such number
            self.log("heap %d used, %d free" % (gc.mem_alloc(), gc.mem_free()))

    async def _wait_for_tick(self, due: int, last: int) -> None:
        """Wait for the grid's next tick at due, or less: a setpoint begins, a trip has come.

        Messages never act by themselves; they only make the next tick early, and never more
        than one in EARLY_MS_MIN after the last: a flood of them cannot stop the other tasks.
        """
        hal = self.hal
        while True:
            now = hal.ticks_ms()
            due_ms = hal.ticks_diff(due, now)
            wait_ms = 0 if self._tick_now else due_ms
            begins = self.lease.next_start_ms
            if begins is not None:
                wait_ms = min(wait_ms, hal.ticks_diff(begins, now))
            wait_ms = max(wait_ms, min(due_ms, EARLY_MS_MIN - hal.ticks_diff(now, last)))
            if wait_ms <= 0:
                self._tick_now = False
                await hal.sleep_ms(0)
                return
            await self._tick_waiter.wait(wait_ms)

    def tick(self, now: int, dt_ms: int) -> None:
        """Control, then account, then report what changed. dt_ms: since the last tick."""
        control = self.control
        lease = self.lease
        storage_ok = self.signer.storage_ok and self.keeper.storage_ok
        held = 0 if storage_ok else codes.INHIBIT_STORAGE
        if not self.enrolment.proven:
            held |= codes.INHIBIT_NOT_ENROLLED
        if self.service.holds:
            held |= codes.INHIBIT_MAINTENANCE
        control.held = held
        # after a stall control goes on in its usual steps; what is accounted is the true time
        control.step(now, min(dt_ms, 4 * PERIOD_MS))
        self.clock.keep(now)
        self.worker.at_rest = not control.enabled_mw and not control.conducting
        if control.profile is not None:
            if lease.expired_count != self._expired_seen:
                self._expired_seen = lease.expired_count
                self.recorder.flag(codes.QUALITY_LEASE_EXPIRED)
            soc_bp = self.driver.reading.soc_bp if control.is_fresh else None
            dispatch_id = lease.dispatch_id if lease.live else 0
            finished = self.recorder.tick(now, dt_ms, control, dispatch_id, soc_bp)
            if finished is not None:
                self.signer.submit(schema.EXECUTION_RECORD, finished)
            self._watch_soc(now, control)
        changed = self.keeper.tick(now)
        if changed is not None:
            self._latch_changed(now, *changed)
        if not self._boot_told and self.clock.is_set:
            # a boot is told when its time can be told
            self._boot_told = True
            self.notice(codes.NOTICE_BOOT, self.hal.reset_cause(), self.keeper.boot_count)
            self.service.tell_update()
        self.service.tick(now)
        if (control.state, control.inhibits) != self._reported:
            self.hal.link_uart.kick()

    def _watch_soc(self, now: int, control) -> None:
        """Say once when BMS and estimator begin to describe two batteries; flag the record.

        A BMS counts in whole percent: about the threshold doubt comes and goes with each of them.
        """
        if control.estimator.in_doubt:
            self.recorder.flag(codes.QUALITY_SOC_DOUBT)
            if self._doubt_at is None:
                self.notice(codes.NOTICE_SOC, self.driver.reading.soc_bp,
                            control.estimator.soc_bp)
            self._doubt_at = now
        elif self._doubt_at is not None \
                and self.hal.ticks_diff(now, self._doubt_at) >= DOUBT_GONE_MS:
            self._doubt_at = None

    def notice(self, cause: int, value: int, limit: int = 0, done=None) -> bool:
        """Put something that latched nothing into the chain; `done(statement)` when it is there.

        False when there is no room for it.
        """
        return self._event(self.hal.ticks_ms(), cause, value, limit, None, False, done)

    def _latch_changed(self, now: int, cause: int, value: int, limit: int, index,
                       released: bool) -> None:
        """Attest a trip or a release."""
        from .protocol import texts  # its memory is taken when there is something to say

        self.log(("released: " if released else "TRIPPED: ")
                 + texts.cause_text(cause, value, limit, index))
        self._event(now, cause, value, limit, index, released)

    def _event(self, now: int, cause: int, value: int, limit: int, index, released: bool,
               done=None) -> bool:
        event = {
            "cause": cause,
            "at_unix_ms": self.clock.unix_ms(now),
            "value": value,
            "limit": limit,
            "released": released,
            "index": index,
        }
        self.journal.note(event)
        return self.signer.submit(schema.SAFETY_EVENT, event, done)

    async def run_link(self) -> None:
        """Receive, answer, and send telemetry and statements when they are due."""
        hal = self.hal
        due = hal.ticks_ms()
        while True:
            now = hal.ticks_ms()
            wait_ms = hal.ticks_diff(due, now)
            if wait_ms > 0:
                await hal.link_uart.wait_rx(wait_ms)
            # one message at a time: each takes a small board as long as a tick may be late
            for payload in self.port.payloads():
                await self.worker.room()
                self.port.take(payload)
                await hal.relax()
            await self.worker.room()
            now = hal.ticks_ms()
            control = self.control
            changed = (control.state, control.inhibits) != self._reported
            if changed or hal.ticks_diff(now, due) >= 0:
                due = hal.ticks_add(now, TELEMETRY_PERIOD_MS)
                self.port.check()
                self._send_telemetry(now)
                await hal.relax()
            if self.port.has_session:
                for counter, statement in self.signer.unacked[:STATEMENTS_IN_FLIGHT]:
                    if self._send_due(counter, statement):
                        await hal.relax()
                        await self.worker.room()
            await hal.sleep_ms(0)  # a line that never falls silent must not stop the tick

    def _send_telemetry(self, now: int) -> None:
        """Tell the host what the hardware reads, with ages; nothing here echoes a command."""
        self._reported = (self.control.state, self.control.inhibits)
        sent = self.port.tell(schema.TELEMETRY, telemetry_fields(self, now))
        if sent:
            self.late_ms_max = 0

    def _on_opened(self, peer) -> None:
        """Speak first: with the first good message a party knows that it has a session."""
        self.log("session with %s" % peer.subject.hex())
        self._send_telemetry(self.hal.ticks_ms())

    def _send_due(self, counter: int, statement: bytes) -> bool:
        """Push a statement that the host has not acknowledged, again after a while."""
        now = self.hal.ticks_ms()
        sent_at = self._sent_at.get(counter)
        if sent_at is not None and self.hal.ticks_diff(now, sent_at) <= STATEMENT_RETRY_MS:
            return False
        self._sent_at[counter] = now
        self.port.send(schema.STATEMENT, {"statement": statement})
        return True

    def _on_time_sync(self, fields: dict) -> None:
        if not self.clock.set(fields["unix_ms"], self.enrolment.floor_unix_s - SKEW_S):
            self.refused_count += 1
            return
        self.port.check()
        self.recorder.interval_ms = fields["record_interval_ms"]

    def _on_trip(self, fields: dict) -> None:
        if self.service.zones.obeyed(fields["zone"]):
            self.interlock.trip(fields["cause"], fields["zone"])
            self._tick_now = True
            self._tick_waiter.kick()

    def _on_release(self, fields: dict) -> None:
        """Verify a release order in the background, then open the latch if it fits."""
        try:
            digest, payload, signature, _ = statement_digest("cw/release", fields["order"])
            order = schema.statement_from_wire(
                schema.table_of(schema.RELEASE_ORDER), cbor.decode(payload))
        except (DecodeError, SignatureError):
            self.refused_count += 1
            return

        def verified(job) -> None:
            fits = job.valid and order["element_id"] == self.enrolment.element_id
            if not fits or not self.interlock.release(
                    order["order_number"], order["cause"], self.control.hazard_persists()):
                self.refused_count += 1
                self.log("release refused")

        job = p256.VerifyJob(self.enrolment.life_safety_key, digest, signature)
        if not self.worker.submit(job, verified):
            self.refused_count += 1

    def _on_interrogate(self, fields: dict) -> None:
        reading = self.driver.reading
        self.signer.submit(schema.ANNOUNCEMENT, {
            "element_id": self.enrolment.element_id,
            "challenge": fields["challenge"],
            "credential": self.enrolment.credential,
            "board": self.board.NAME,
            "firmware": version.TEXT,
            "at_unix_ms": self.clock.unix_ms(self.hal.ticks_ms()),
            "state": self.control.state,
            "soc_bp": reading.soc_bp if reading.valid else None,
            "soh_bp": reading.soh_bp if reading.valid and reading.soh_bp >= 0 else None,
        }, self._send_statement)

    def _send_statement(self, statement: bytes) -> None:
        self.port.send(schema.STATEMENT, {"statement": statement})

    def _on_statement_ack(self, fields: dict) -> None:
        counter = fields["counter"]
        self.signer.acknowledge(counter)
        for sent in [known for known in self._sent_at if known <= counter]:
            del self._sent_at[sent]

    def _on_enrol_offer(self, fields: dict) -> None:
        if self.enrolment.enrolled:
            return
        request = self.enrolment.request_fields(fields["challenge"], self.board.NAME, version.TEXT)
        self.signer.submit(schema.ENROL_REQUEST, request, self._send_enrol_reply)

    def _send_enrol_reply(self, statement: bytes) -> None:
        self.port.send_plain(schema.ENROL_REPLY, {"request": statement})

    def _on_enrol_grant(self, fields: dict) -> None:
        def answer(accepted: bool, code: str) -> None:
            if accepted:
                self._use_profile()
                self.log("enrolled in zone %d" % self.enrolment.zone)
            self.port.send_plain(schema.ENROL_RESULT, {"accepted": accepted, "code": code[:32]})

        self.enrolment.grant(fields, answer)


def main(board, slots=None) -> None:
    """Run the agent of this board for ever; whatever ends it, the power stage is off."""
    port = __import__("element.hal." + board.PORT, None, None, ("open_board",))
    agent = Agent(board, port.open_board(board), slots)
    try:
        agent.boot()
        if hasattr(gc, "threshold"):  # from here on the worker collects, between ticks
            gc.collect()
            gc.threshold(-1)
        asyncio.run(agent.run())
    finally:
        agent.make_safe()
        agent.hal.repl_on()
