"""A simulated element: the element's end of the protocol, a battery of integers, faults.

Its bytes are those of a real element. What it says of a battery is simulated, and its board and
firmware say so in every announcement.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from element.protocol import codes, schema
from hil.swarm.body import Body
from host_tools.identity.keys import KeyPair
from host_tools.links.element_end import ElementEnd
from host_tools.links.element_identity import ElementIdentity
from host_tools.links.element_user import Answer, ElementUser

BOARD = "simulated"
FIRMWARE = "swarm 1"
TELEMETRY_PERIOD_MS = 1000
REFUSED_BY_FAULT = codes.REASON_BMS


@dataclass(frozen=True)
class Spec:
    """What one element is: its name, the profile to enrol it with, its battery.

    efficiency_bp: of one way. phase_ms: when in a second it sends its telemetry.
    """

    name: str
    profile: dict[str, Any]
    zone: int = 1
    tenant: str = ""
    cell_count: int = 16
    soc_bp: int = 5000
    efficiency_bp: int = 9700
    phase_ms: int = 0
    soh_bp: int | None = None


@dataclass(slots=True)
class Faults:
    """What is wrong with an element; all of it can be switched at any time.

    silent: it sends nothing. deaf: it hears nothing. stale: its BMS is not heard. refuses: every
    setpoint but zero. ack_delay_ms: its answers come late. loss: how likely a frame is lost,
    either way. clock_error_ms: by how much its clock is ahead from the next TimeSync on.
    records_to_drop: so many of the next records of its chain are lost for good.
    """

    silent: bool = False
    deaf: bool = False
    stale: bool = False
    refuses: bool = False
    ack_delay_ms: int = 0
    loss: float = 0.0
    clock_error_ms: int = 0
    records_to_drop: int = 0


class SimulatedElement(ElementUser):
    """One element. send: where its bytes go. keep: called when a restart must know more.

    Times are any milliseconds of the caller's, the same for all calls.
    """

    __slots__ = ("_boot_count", "_boot_told", "_late", "_random", "_reported", "_send",
                 "_telemetry_ms", "body", "end", "faults", "spec")

    def __init__(self, spec: Spec, sign: KeyPair, agree: KeyPair, rng: random.Random,
                 send: Callable[[bytes], None], now_ms: int,
                 keep: Callable[[], None] | None = None) -> None:
        self.spec = spec
        self.faults = Faults()
        self._send = send
        self._random = rng
        self._boot_count = 1
        self._boot_told = False
        self._late: list[tuple[int, int, Answer]] = []  # answers that are delayed
        self._reported = (-1, -1)
        self._telemetry_ms = now_ms - now_ms % TELEMETRY_PERIOD_MS + spec.phase_ms
        self.end = ElementEnd(ElementIdentity(sign, agree, self._rated, keep), self, self._emit,
                              rng.randbytes, BOARD, FIRMWARE, spec.name.encode()[:16])
        self.body = Body(self.end, spec.cell_count, spec.soc_bp, spec.efficiency_bp, now_ms)

    @property
    def element_id(self) -> bytes:
        """The 8 bytes that name it."""
        return self.end.identity.element_id

    def _rated(self, profile: dict[str, Any]) -> str:
        """Return what of a granted profile is beyond this element, "" for nothing."""
        for name in ("power_mw_discharge_max", "power_mw_charge_max", "current_ma_charge_max",
                     "current_ma_discharge_max", "energy_mwh_rated"):
            if profile[name] > self.spec.profile[name]:
                return name
        same = all(profile[name] == self.spec.profile[name] for name in ("kind", "step_mw"))
        return "" if same else "kind"

    # the line

    def _emit(self, data: bytes) -> None:
        faults = self.faults
        if faults.silent or (faults.loss and self._random.random() < faults.loss):
            return
        self._send(data)

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take bytes from the line."""
        faults = self.faults
        if faults.deaf or (faults.loss and self._random.random() < faults.loss):
            return
        self.body.stale = faults.stale
        self.body.advance(now_ms)
        self.end.receive(data, now_ms)
        self._report(now_ms)

    @property
    def due_ms(self) -> int:
        """When `step` is wanted next."""
        due_ms = self._telemetry_ms
        change_ms = self.body.change_ms
        if change_ms is not None and change_ms < due_ms:
            due_ms = change_ms
        if self._late:
            due_ms = min(due_ms, self._late[0][0])
        return due_ms

    def step(self, now_ms: int) -> None:
        """Let time pass and say what is due."""
        self.body.stale = self.faults.stale
        self.body.advance(now_ms)
        while self._late and self._late[0][0] <= now_ms:
            _, sequence, answer = self._late.pop(0)
            self.end.acknowledge(sequence, *answer)
        if now_ms >= self._telemetry_ms:
            self._telemetry_ms += (now_ms - self._telemetry_ms) // TELEMETRY_PERIOD_MS \
                * TELEMETRY_PERIOD_MS + TELEMETRY_PERIOD_MS
            self.end.tick(now_ms)
            self._tell()
        self._report(now_ms)

    def _tell(self) -> None:
        self._reported = (self.body.state, self.body.inhibits)
        self.end.send_telemetry(self.telemetry())

    def _report(self, now_ms: int) -> None:
        """Sign what has happened, offer it, and say at once when the state has changed."""
        body = self.body
        while body.finished:
            self._chain(schema.EXECUTION_RECORD, body.finished.pop(0))
        hazard = body.hazard
        if hazard and not body.interlock.tripped and not self.faults.stale:
            self._trip(hazard, body.reading.cell_mv_min)
        if (body.state, body.inhibits) != self._reported and self.end.peers:
            self._tell()
        if self.end.chain.unacked:
            self.end.offer_statements(now_ms)

    def _chain(self, kind: int, fields: dict[str, Any]) -> None:
        chain = self.end.chain
        if chain.add(kind, fields) and self.faults.records_to_drop:
            self.faults.records_to_drop -= 1
            chain.unacked.pop()

    def _event(self, cause: int, value: int, limit: int, released: bool) -> None:
        self._chain(schema.SAFETY_EVENT, {
            "cause": cause, "at_unix_ms": self.end.unix_ms(self.body.now_ms), "value": value,
            "limit": limit, "released": released, "index": None})

    def _trip(self, cause: int, value: int) -> None:
        if self.body.trip(cause, value):
            self._event(cause, value, 0, False)

    # ElementUser

    def on_enrolled(self) -> None:
        self.body.use(self.end.identity.claims["profile"])

    def on_setpoint(self, fields: dict[str, Any]) -> Answer | None:
        if self.faults.refuses and fields["power_mw"]:
            return self._answered(fields, (REFUSED_BY_FAULT, 0))
        return self._answered(fields, self.body.admit(fields))

    def on_owner_limit(self, fields: dict[str, Any]) -> Answer | None:
        return self._answered(fields, self.body.owner_limit(fields))

    def _answered(self, fields: dict[str, Any], answer: Answer) -> Answer | None:
        if answer[0] != codes.REASON_NONE:
            self.body.recorder.flag(codes.QUALITY_REFUSED)
        if not self.faults.ack_delay_ms:
            return answer
        due_ms = self.body.now_ms + self.faults.ack_delay_ms
        self._late.append((due_ms, fields["sequence"], answer))
        return None

    def on_trip(self, fields: dict[str, Any]) -> None:
        if fields["zone"] in (0, self.end.identity.zone):
            self._trip(fields["cause"], fields["zone"])

    def on_release(self, order: dict[str, Any]) -> bool:
        latch = self.body.interlock
        value, limit = latch.value, latch.limit
        persists = bool(self.body.hazard) or self.faults.stale
        if not latch.release(order["order_number"], order["cause"], persists):
            return False
        self._event(order["cause"], value, limit, True)
        self.body.look()
        return True

    def on_time_sync(self, fields: dict[str, Any]) -> None:
        if self.faults.clock_error_ms:
            self.end.set_clock(fields["unix_ms"] + self.faults.clock_error_ms)
        self.body.recorder.interval_ms = fields["record_interval_ms"]
        self.body.look()
        if not self._boot_told:
            self._boot_told = True
            self._event(codes.NOTICE_BOOT, codes.RESET_POWER_ON, self._boot_count, False)

    def announcement(self) -> dict[str, Any]:
        return {"state": self.body.state, "soc_bp": self.body.soc_bp, "soh_bp": self.spec.soh_bp}

    def telemetry(self) -> dict[str, Any]:
        body = self.body
        reading = body.reading
        heard = body.profile is not None
        discharge_mw, charge_mw, room_out_mwh, room_in_mwh = body.ready()
        soc_bp = body.soc_bp
        age_ms = 2500 if body.stale else 100
        return {
            "at_unix_ms": self.end.unix_ms(body.now_ms),
            "state": body.state,
            "inhibits": body.inhibits,
            "trip_cause": body.interlock.cause,
            "power_mw": body.realized_mw,
            "instructed_mw": body.instructed_mw,
            "power_mw_discharge_ready": discharge_mw,
            "power_mw_charge_ready": charge_mw,
            "room_mwh_discharge": room_out_mwh,
            "room_mwh_charge": room_in_mwh,
            "pack_mv": reading.pack_mv if heard else None,
            "current_ma": reading.current_ma,
            "current_age_ms": 0,
            "soc_bp": soc_bp if heard else None,
            "cell_mv_min": reading.cell_mv_min if heard else None,
            "cell_mv_max": reading.cell_mv_max if heard else None,
            "temperature_mdegc_max": reading.temperature_mdegc_max if heard else None,
            "bms_age_ms": age_ms if heard else None,
            "cells_age_ms": age_ms if heard else None,
            "fets": (3 if body.realized_mw else 0) if heard else None,
            "refused_count": self.end.refused,
            "dropped_count": self.end.dropped,
            "late_ms_max": 0,
            "flags": codes.FLAG_MONITOR if body.profile and body.profile.monitor_only else 0,
            "soc_bp_low": body.usage.soc_bp_low if body.usage is not None else None,
            "soc_bp_high": body.usage.soc_bp_high if body.usage is not None else None,
            "soc_bp_doubt": 50 if heard else None,
            "cell_index_min": 0 if heard else None,
            "cell_index_max": 0 if heard else None,
            "bms_errors": 0 if heard else None,
            "bms_lost_count": 0,
            "bms_note": "BMS not heard" if body.stale else "",
        }

    # over a restart

    def state(self) -> dict[str, Any]:
        """Return what a restart must know, as CBOR can carry it; without the keys."""
        return {"end": self.end.state(), "body": self.body.snapshot(),
                "boot_count": self._boot_count}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state. Raises DecodeError or SignatureError for one that is not ours."""
        self.end.restore(state["end"])
        if self.end.identity.enrolled:
            self.body.use(self.end.identity.claims["profile"])
        self.body.resume(state["body"])
        self._boot_count = state["boot_count"] + 1
