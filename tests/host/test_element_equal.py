"""The same messages to the real firmware and to a simulated element: the same answers.

The firmware's whole agent runs in memory (tests/portable/element_bench.py), its plant behind it.
"""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from element.protocol import codes, schema
from hil.swarm.population import Population
from hil.swarm.specs import converters
from host_tools.identity.issuer import Authorities, Issuer
from host_tools.identity.keyring import Enrolled, Keyring
from host_tools.interlock.panel import ReleaseDesk
from host_tools.links.element_port import ElementPort

PORTABLE = Path(__file__).resolve().parents[1] / "portable"
STEP_MS = 20


class Line:
    """A host's port to one of the two; `move` lets time pass there."""

    def __init__(self, profile: dict[str, Any]) -> None:
        rng = random.Random(4)
        self.authorities = Authorities.make(rng.randbytes)
        self.said: list[tuple[int, dict[str, Any]]] = []
        self.now_ms = 1_767_225_600_000
        self.send: Callable[[bytes], None] = lambda data: None
        self.move: Callable[[int], bytes] = lambda duration_ms: b""
        self.sequence = 0

        def enrol(request: bytes, challenge: bytes) -> tuple[Enrolled, dict[str, Any]]:
            return Issuer(self.authorities).enrol(
                request, challenge, profile, 2, "", self.now_ms // 1000)

        def out(data: bytes) -> None:
            self.send(data)

        self.port = ElementPort("one", out,
                                Keyring(self.authorities.party, {}), enrol, rng.randbytes,
                                lambda kind, fields: self.said.append((kind, fields)),
                                lambda element_id: None)

    def run(self, duration_ms: int) -> None:
        for _ in range(duration_ms // STEP_MS):
            self.now_ms += STEP_MS
            self.port.tick(self.now_ms)
            data = self.move(STEP_MS)
            if data:
                self.port.receive(data, self.now_ms)

    def until(self, true: Callable[[], bool]) -> None:
        for _ in range(2000):
            if true():
                return
            self.run(STEP_MS)
        raise AssertionError(self.port.enrol_error)

    def connect(self) -> None:
        self.until(lambda: self.port.has_session)
        self.run(3000)

    def tell(self, kind: int, **fields: Any) -> Any:
        """Send a message; returns the answers to it and the state after it."""
        count = len(self.said)
        self.port.send(kind, fields)
        self.run(400)
        new = self.said[count:]
        answers = [(one, fields) for one, fields in new if one == schema.ACK]
        self.run(1800)
        told = [fields for one, fields in self.said if one == schema.TELEMETRY][-1]
        return answers, told["state"], told["trip_cause"]

    def sync(self) -> Any:
        return self.tell(schema.TIME_SYNC, unix_ms=self.now_ms, record_interval_ms=10_000)

    def setpoint(self, power_mw: int, lease_ms: int = 1500, service: int = 1, start_ms: int = 0,
                 sequence: int | None = None) -> Any:
        self.sequence += 1
        return self.tell(schema.SETPOINT, dispatch_id=7, power_mw=power_mw, service=service,
                         sequence=self.sequence if sequence is None else sequence,
                         start_unix_ms=self.now_ms + start_ms, lease_ms=lease_ms)

    def release(self, cause: int, number: int, key: str = "life_safety") -> Any:
        issued: list[bytes] = []
        desk = ReleaseDesk(getattr(self.authorities, key), number)
        element_id = self.port.element_id
        assert element_id is not None
        desk.order(element_id, cause, 0, lambda number, order: issued.append(order))
        return self.tell(schema.RELEASE, order=issued[0])


def script(line: Line) -> list[Any]:
    """Return everything that an element answers to one of each."""
    out = [line.setpoint(1_000_000)]  # before the clock is set
    line.sequence = 0
    out += [line.sync(), line.setpoint(1_000_000), line.setpoint(-500_000), line.setpoint(0, 0)]
    out += [line.setpoint(2_500_001), line.setpoint(-2_000_001), line.setpoint(1000, 0),
            line.setpoint(1000, 6000), line.setpoint(1000, service=0),
            line.setpoint(1000, service=codes.SERVICE_BACKUP | 1),
            line.setpoint(1000, start_ms=9000), line.setpoint(1000, start_ms=-3000),
            line.setpoint(1000, start_ms=5000, lease_ms=4900), line.setpoint(1000, sequence=3)]
    line.sequence += 1
    out.append(line.tell(schema.OWNER_LIMIT, owner="o", sequence=line.sequence, lease_ms=4000,
                         power_mw_discharge_max=100, power_mw_charge_max=100))
    out += [line.setpoint(101), line.setpoint(99)]
    line.run(3000)
    out += [line.setpoint(101), line.tell(schema.TRIP, cause=codes.TRIP_FIRE, zone=9),
            line.tell(schema.TRIP, cause=codes.TRIP_FIRE, zone=2), line.setpoint(1000),
            line.setpoint(0), line.tell(schema.TRIP, cause=codes.TRIP_OPERATOR, zone=0)]
    out += [line.release(codes.TRIP_FIRE, 10, "issuer"), line.release(codes.TRIP_OPERATOR, 11),
            line.release(codes.TRIP_FIRE, 11), line.release(codes.TRIP_FIRE, 12),
            line.setpoint(1000)]
    return out


def simulated(profile: dict[str, Any]) -> Line:
    line = Line(profile)
    population = Population.make(0)
    spec = converters(2500, **profile)(0, random.Random(1))
    element = population.add(spec)
    line.send = population.line(spec.name)

    def move(duration_ms: int) -> bytes:
        population.advance(population.now_ms + duration_ms)
        out = bytearray()
        population.pump(lambda name, data, at: out.extend(data))
        return bytes(out)

    line.move = move
    assert element.end.dropped == 0
    return line


def real(profile: dict[str, Any]) -> Line:
    sys.path.insert(0, str(PORTABLE))
    try:
        from element_bench import Element  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(PORTABLE))
    line = Line(profile)
    element = Element()
    element.host.received = list
    uart = element.hal.link_uart
    line.send = uart.put

    def move(duration_ms: int) -> bytes:
        element.run(duration_ms)
        data, uart.sent = b"".join(uart.sent), []
        return data

    line.move = move
    return line


def test_the_same_script_gets_the_same_answers(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sys.path.insert(0, str(PORTABLE))
    try:
        from fakes import profile_fields  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(PORTABLE))
    profile = profile_fields()
    answers = []
    for line in (real(profile), simulated(profile)):
        line.connect()
        answers.append(script(line))
    for index, (firmware, ours) in enumerate(zip(*answers, strict=True)):
        assert firmware == ours, index
    reasons = {ack["reason"] for acks, _, _ in answers[0] for _, ack in acks}
    assert len(reasons) >= 8
