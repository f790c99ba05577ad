"""The agent of one element: makes the objects, wires the handlers, supervises the tasks."""

import asyncio
import sys

from .bms.jbd import JBD
from .clock import STEP_MS_MAX, Clock
from .control import EARLY_MS_MIN, PERIOD_MS, Control
from .crypto import p256
from .crypto.worker import Worker
from .enrolment import Enrolment, read_file, statement_digest, write_file
from .interlock import Interlock
from .lease import Lease
from .ledger.log import FlashLog
from .ledger.recorder import Recorder
from .ledger.signer import Signer
from .limits import admit_setpoint, ready_mw
from .link.host_port import HostPort
from .power.bms_fets import BMSFets
from .power.converter import Converter
from .protocol import cbor, codes, schema
from .protocol.errors import DecodeError, SignatureError

FIRMWARE = "cellwall 0.1.0"
TELEMETRY_PERIOD_MS = 1000
STATEMENT_RETRY_MS = 5000
STATEMENTS_IN_FLIGHT = 4
# A setpoint whose start is further from now than this was delayed or is for another day.
START_OFFSET_MS_MAX = 5000
FAILURE_GRACE_MS = 300
# A latch that the flash did not take is written again after this time.
LATCH_RETRY_MS = 5000
_LATCH_FILE = "latch.cbor"


def make_stage(board, hal):
    """Return the power stage that the board has."""
    if board.STAGE == "converter":
        return Converter(board.DUTY_FULL_MA, board.LOSS_STANDING_MW, board.LOSS_BP)
    remainder_mw = int.from_bytes(hal.entropy(4), "big") % board.STEP_MW - board.STEP_MW // 2
    return BMSFets(board.STEP_MW, board.ON_MS_MIN, board.OFF_MS_MIN, board.LOSS_BP, remainder_mw)


class Agent:
    """Everything that runs on one element."""

    def __init__(self, board, hal):
        self.board = board
        self.hal = hal
        hal.enable_set(False)
        hal.duty_set(0)
        self.worker = Worker(hal)
        kind = codes.KIND_CONVERTER if board.STAGE == "converter" else codes.KIND_BMS_FETS
        self.enrolment = Enrolment(
            hal, self.worker, kind, board.STEP_MW, board.CURRENT_MA_MAX, self.log)
        self.clock = Clock(hal)
        self.interlock = Interlock()
        self.lease = Lease(hal.ticks_diff)
        self.driver = JBD(hal, hal.bms_uart)
        self.control = Control(
            hal, self.driver, make_stage(board, hal), self.interlock, self.lease, self.clock)
        self.recorder = Recorder(hal, self.clock)
        self.signer = Signer(self.worker, FlashLog("ledger"))
        self.port = HostPort(hal, hal.link_uart, self.enrolment)
        self.sequence = 0
        self._sequence_session = 0
        self.refused_count = 0
        self.late_ms_max = 0
        self._tick_waiter = hal.waiter()
        self._tick_now = False
        self._reported = (None, None)
        self._latched = codes.TRIP_NONE
        self._order_saved = 0
        self._latch_unsaved = False
        self._latch_retry_at = 0
        self._expired_seen = 0
        self._sent_at = {}

    def log(self, text: str) -> None:
        """Write a line to the serial console."""
        print("[%d] %s" % (self.hal.ticks_ms(), text))

    def boot(self) -> None:
        """Load identity, latch and chain from flash, wire the handlers. Outputs stay off."""
        latch = read_file(_LATCH_FILE)
        if latch is not None:
            self._load_latch(latch)
        self.enrolment.load()
        self.signer.load(self.enrolment.sign_private, self.enrolment.element_id)
        self.signer.on_statement = self.hal.link_uart.kick
        if self.enrolment.enrolled:
            self._use_profile()
        # the first trip must not be the one that finds out that the flash cannot be written
        self._save_latch()
        self.port.handlers.update({
            schema.INTERROGATE: self._on_interrogate,
            schema.SETPOINT: self._on_setpoint,
            schema.TIME_SYNC: self._on_time_sync,
            schema.TRIP: self._on_trip,
            schema.RELEASE: self._on_release,
            schema.STATEMENT_ACK: self._on_statement_ack,
            schema.ENROL_OFFER: self._on_enrol_offer,
            schema.ENROL_GRANT: self._on_enrol_grant,
        })

    def _load_latch(self, data: bytes) -> None:
        """Restore the latch; a file that cannot be read may have held a trip, so it is one."""
        try:
            cause, value, limit, order_number = latch_from_bytes(data)
            self._latched = cause  # it has been attested
        except DecodeError:
            cause, value, limit, order_number = codes.TRIP_SELF_TEST, 0, 0, 0
        self.interlock.order_number = order_number
        self._order_saved = order_number
        if cause != codes.TRIP_NONE:
            self.interlock.trip(cause, value, limit)
            self.log("still tripped: " + codes.name_of(codes.TRIP_NAMES, cause))

    def _use_profile(self) -> None:
        """Let control work to the credential's limits."""
        profile = self.enrolment.profile
        if profile.step_mw:
            self.control.stage.dwell(profile.on_ms_min, profile.off_ms_min)
        self.control.profile = profile

    def make_safe(self) -> None:
        """Switch the power stage off and ask for open FETs, whoever still runs. Never waits."""
        self.hal.enable_set(False)
        self.hal.duty_set(0)
        self.driver.open_now()

    async def run(self) -> None:
        """Start every task under supervision and stay for ever."""
        tasks = [
            asyncio.create_task(self.supervise("bms", self.driver.run())),
            asyncio.create_task(self.supervise("link", self.run_link())),
            asyncio.create_task(self.supervise("worker", self.worker.run())),
        ]
        self.tasks = tasks  # a task without a handle may be collected
        await self.supervise("control", self.run_control())

    async def supervise(self, name: str, task) -> None:
        """Run a task that must never end. When it does: power off, latch, restart."""
        try:
            await task
            self.log("task %s ended" % name)
        except Exception as error:
            self.log("task %s failed" % name)
            sys.print_exception(error)
        try:
            self.make_safe()
            self.interlock.trip(codes.TRIP_TASK_FAILED)
            self._save_latch()
            # time for the bytes to leave, and for the BMS task, if it lives, to try again
            await self.hal.sleep_ms(FAILURE_GRACE_MS)
        finally:
            self.hal.reset()

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
            hal.watchdog_feed()
            if late_ms >= 0:
                due = hal.ticks_add(due, PERIOD_MS)
                if hal.ticks_diff(due, hal.ticks_ms()) <= 0:
                    # overrun: start a new grid rather than chase the old one
                    due = hal.ticks_ms()
            await self._wait_for_tick(due, last)

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
        interlock = self.interlock
        storage_ok = self.signer.storage_ok and not self._latch_unsaved
        control.held = 0 if storage_ok else codes.INHIBIT_STORAGE
        # after a stall control goes on in its usual steps; what is accounted is the true time
        control.step(now, min(dt_ms, 4 * PERIOD_MS))
        self.clock.keep(now)
        if control.profile is not None:
            if lease.expired_count != self._expired_seen:
                self._expired_seen = lease.expired_count
                self.recorder.flag(codes.QUALITY_LEASE_EXPIRED)
            soc_bp = self.driver.reading.soc_bp if control.is_fresh else None
            dispatch_id = lease.dispatch_id if lease.live else 0
            finished = self.recorder.tick(now, dt_ms, control, dispatch_id, soc_bp)
            if finished is not None:
                self.signer.submit(schema.EXECUTION_RECORD, finished)
        if interlock.cause != self._latched:
            self._latch_changed(now)
        elif interlock.order_number != self._order_saved:
            self._order_saved = interlock.order_number
            self.worker.urgent(self._save_latch)
        elif self._latch_unsaved and self.hal.ticks_diff(now, self._latch_retry_at) >= 0:
            self._latch_retry_at = self.hal.ticks_add(now, LATCH_RETRY_MS)
            self.worker.urgent(self._save_latch)
        if (control.state, control.inhibits) != self._reported:
            self.hal.link_uart.kick()

    def _latch_changed(self, now: int) -> None:
        """Attest a trip or a release and keep it over a power cut."""
        interlock = self.interlock
        released = interlock.cause == codes.TRIP_NONE
        cause = self._latched if released else interlock.cause
        self._latched = interlock.cause
        self._order_saved = interlock.order_number
        name = codes.name_of(codes.TRIP_NAMES, cause)
        self.log(("released: " if released else "TRIPPED: ") + name)
        self.worker.urgent(self._save_latch)
        self.signer.submit(schema.SAFETY_EVENT, {
            "cause": cause,
            "at_unix_ms": self.clock.unix_ms(now),
            "value": interlock.value,
            "limit": interlock.limit,
            "released": released,
        })

    def _save_latch(self) -> None:
        """Write the latch to flash; one that is not taken holds power off until it is."""
        interlock = self.interlock
        try:
            write_file(_LATCH_FILE, cbor.encode(
                [interlock.cause, interlock.value, interlock.limit, interlock.order_number]))
        except OSError as error:
            self.log("latch not written: error %s" % error.errno)
            self._latch_unsaved = True
            self._latch_retry_at = self.hal.ticks_add(self.hal.ticks_ms(), LATCH_RETRY_MS)
            return
        self._latch_unsaved = False

    async def run_link(self) -> None:
        """Receive, answer, and send telemetry and statements when they are due."""
        hal = self.hal
        due = hal.ticks_ms()
        while True:
            now = hal.ticks_ms()
            wait_ms = hal.ticks_diff(due, now)
            if wait_ms > 0:
                await hal.link_uart.wait_rx(wait_ms)
            self.port.receive()
            now = hal.ticks_ms()
            control = self.control
            changed = (control.state, control.inhibits) != self._reported
            if changed or hal.ticks_diff(now, due) >= 0:
                due = hal.ticks_add(now, TELEMETRY_PERIOD_MS)
                self._send_telemetry(now)
            self._send_statements(now)
            await hal.sleep_ms(0)  # a line that never falls silent must not stop the tick

    def _send_telemetry(self, now: int) -> None:
        """Tell the host what the hardware reads, with ages; nothing here echoes a command."""
        control = self.control
        reading = self.driver.reading
        self._reported = (control.state, control.inhibits)
        discharge_mw = charge_mw = 0
        hard = control.inhibits & ~(codes.INHIBIT_LEASE | codes.INHIBIT_LIMIT)
        if control.profile is not None and not self.interlock.tripped and not hard:
            discharge_mw, charge_mw = ready_mw(control.profile, reading)
        valid = reading.valid
        cells = reading.cells_valid
        sent = self.port.send(schema.TELEMETRY, {
            "at_unix_ms": self.clock.unix_ms(now),
            "state": control.state,
            "inhibits": control.inhibits,
            "trip_cause": self.interlock.cause,
            "power_mw": control.realized_mw,
            "instructed_mw": control.instructed_mw,
            "power_mw_discharge_ready": discharge_mw,
            "power_mw_charge_ready": charge_mw,
            "pack_mv": reading.pack_mv if valid else None,
            "current_ma": control.sense_ma,
            "current_age_ms": min(self.hal.sense_age_ms(), 0xFFFF),
            "soc_bp": reading.soc_bp if valid else None,
            "cell_mv_min": reading.cell_mv_min if cells else None,
            "cell_mv_max": reading.cell_mv_max if cells else None,
            "temperature_mdegc_max": reading.temperature_mdegc_max if valid else None,
            "bms_age_ms": reading.age_ms(self.hal, now),
            "cells_age_ms": reading.cells_age_ms(self.hal, now),
            "fets": reading.fets if valid else None,
            "refused_count": self.refused_count,
            "dropped_count": self.port.dropped_count,
            "late_ms_max": min(self.late_ms_max, 0xFFFF),
        })
        if sent:
            self.late_ms_max = 0

    def _send_statements(self, now: int) -> None:
        """Push the oldest statements the host has not acknowledged, again after a while."""
        if not self.port.has_session:
            return
        for counter, statement in self.signer.unacked[:STATEMENTS_IN_FLIGHT]:
            sent_at = self._sent_at.get(counter)
            if sent_at is None or self.hal.ticks_diff(now, sent_at) > STATEMENT_RETRY_MS:
                self._sent_at[counter] = now
                self.port.send(schema.STATEMENT, {"statement": statement})

    def _on_setpoint(self, fields: dict) -> None:
        reason, limit = self._admit(fields)
        if reason != codes.REASON_NONE:
            self.refused_count += 1
            self.recorder.flag(codes.QUALITY_REFUSED)
        self.port.send(schema.ACK, {
            "sequence": fields["sequence"], "accepted": reason == codes.REASON_NONE,
            "reason": reason, "limit": limit,
        })

    def _admit(self, fields: dict) -> tuple:
        """Check a setpoint against everything the element knows; offer it to the lease if fit."""
        profile = self.control.profile
        if profile is None:
            return codes.REASON_NOT_ENROLLED, None
        if not self.clock.is_set:
            return codes.REASON_CLOCK, None
        if self._sequence_session != self.port.session_count:
            # a host that was restarted counts from the beginning; the session keeps replays out
            self._sequence_session = self.port.session_count
            self.sequence = 0
        if fields["sequence"] <= self.sequence:
            return codes.REASON_SEQUENCE, self.sequence & 0x7FFFFFFF
        self.sequence = fields["sequence"]
        power_mw = fields["power_mw"]
        lease_ms = fields["lease_ms"]
        start = self.clock.ticks_of(fields["start_unix_ms"], START_OFFSET_MS_MAX)
        if power_mw == 0:
            self._offer_zero(fields["dispatch_id"], start, lease_ms)
            return codes.REASON_NONE, None
        now = self.hal.ticks_ms()
        if not self.enrolment.valid_at(self.clock.unix_ms(now)):
            return codes.REASON_NOT_ENROLLED, None
        if self.interlock.tripped:
            return codes.REASON_TRIPPED, self.interlock.cause
        if self.driver.reading.protecting:
            return codes.REASON_BMS, self.driver.reading.errors
        if self.control.held:
            return codes.REASON_STORAGE, None
        reason, limit = admit_setpoint(
            profile, self.driver.reading, self.control.is_fresh,
            self.control.instructed_mw, power_mw, lease_ms, fields["service"])
        if reason != codes.REASON_NONE:
            return reason, limit
        if start is None:
            return codes.REASON_LEASE, START_OFFSET_MS_MAX
        end = self.hal.ticks_add(start, lease_ms)
        left_ms = self.hal.ticks_diff(end, now)
        # it came after its own end, or reaches further ahead than power may be lent: a lost link
        # is safe a lease after the last word that came through, whatever start that word named
        if not 0 < left_ms <= profile.lease_ms_max + STEP_MS_MAX:
            return codes.REASON_LEASE, profile.lease_ms_max
        if not self.lease.offer(fields["dispatch_id"], power_mw, start, end):
            return codes.REASON_LEASE, None
        self._tick_waiter.kick()
        return codes.REASON_NONE, None

    def _offer_zero(self, dispatch_id: int, start, lease_ms: int) -> None:
        """Take a setpoint of zero, which nothing refuses: at its start, or now if that is odd."""
        now = self.hal.ticks_ms()
        if start is None:
            start = now
        end = self.hal.ticks_add(start, lease_ms)
        if not self.lease.offer(dispatch_id, 0, start, end):
            self.lease.drop()
            self.lease.offer(dispatch_id, 0, now, end)
        self._tick_waiter.kick()

    def _on_time_sync(self, fields: dict) -> None:
        if not self.clock.set(fields["unix_ms"]):
            self.refused_count += 1
            return
        self.recorder.interval_ms = fields["record_interval_ms"]

    def _on_trip(self, fields: dict) -> None:
        if fields["zone"] in (0, self.enrolment.zone):
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
            "firmware": FIRMWARE,
            "at_unix_ms": self.clock.unix_ms(self.hal.ticks_ms()),
            "state": self.control.state,
            "soc_bp": reading.soc_bp if reading.valid else None,
            "soh_bp": None,
            "counter": self.signer.counter,
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
        request = self.enrolment.request_fields(fields["challenge"], self.board.NAME, FIRMWARE)
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


def latch_from_bytes(data: bytes) -> tuple:
    """Return (cause, value, limit, order_number) of a latch file. Raises DecodeError."""
    parts = cbor.decode(data)
    if not isinstance(parts, list) or len(parts) != 4:
        raise DecodeError("latch", None)
    for part in parts:
        if not isinstance(part, int) or part is True or part is False:
            raise DecodeError("latch", None)
    if not 0 <= parts[0] <= 255 or parts[3] < 0:
        raise DecodeError("latch", parts[0])
    return tuple(parts)


def main(board) -> None:
    """Run the agent of this board for ever; whatever ends it, the power stage is off."""
    port = __import__("element.hal." + board.PORT, None, None, ("open_board",))
    agent = Agent(board, port.open_board(board))
    try:
        agent.boot()
        asyncio.run(agent.run())
    finally:
        agent.make_safe()
