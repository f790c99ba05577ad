"""Simulated elements behind real lines, in a process that is killed and started again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from element.protocol import codes, schema
from hil.swarm.specs import mixed
from host_tools.identity.issuer import Authorities, Issuer
from host_tools.identity.keyring import Enrolled, Keyring
from host_tools.links.element_port import ElementPort

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """The server and a host's port to its first element."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authorities = Authorities.make(Random(1).randbytes)
        self.keyring = Keyring(self.authorities.party, {})
        self.said: list[tuple[int, dict[str, Any]]] = []

    def start(self, *options: str) -> list[dict[str, Any]]:
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'firmware'}"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hil.swarm.serve", "--elements", "2", "--folder",
             str(self.folder / "kept"), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment, cwd=self.folder)
        assert self.process.stdout is not None
        return [json.loads(self.process.stdout.readline()) for _ in range(2)]

    def end(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        code = self.process.wait(20)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        return code

    def command(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def open(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd

        def enrol(request: bytes, challenge: bytes) -> tuple[Enrolled, dict[str, Any]]:
            return Issuer(self.authorities).enrol(
                request, challenge, mixed(0, Random(1)).profile, 1, "", int(time.time()))

        self.port = ElementPort("one", lambda data: os.write(fd, data) and None, self.keyring,
                                enrol, os.urandom,
                                lambda kind, fields: self.said.append((kind, fields)),
                                lambda element_id: None)

    def until(self, true: Any, seconds: float = 15.0) -> None:
        end_s = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end_s, (self.port.enrol_error, len(self.said))
            now_ms = time.time_ns() // 1_000_000
            self.port.tick(now_ms)
            try:
                self.port.receive(os.read(self.fd, 4096), now_ms)
            except BlockingIOError:
                time.sleep(0.02)

    def pause(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end_s)

    def heard(self, kind: int) -> list[dict[str, Any]]:
        return [fields for one, fields in self.said if one == kind]

    def connect(self) -> None:
        self.until(lambda: self.port.has_session)
        self.port.send(schema.TIME_SYNC, {"unix_ms": time.time_ns() // 1_000_000,
                                          "record_interval_ms": 10_000})


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Process]:
    one = Process(tmp_path)
    yield one
    if one.process.poll() is None:
        one.end(signal.SIGKILL)


def test_an_element_behind_tcp_outlives_a_kill(served: Process) -> None:
    first = served.start()
    assert [one["name"] for one in first] == ["sim-00000", "sim-00001"]
    host, port = first[0]["line"].removeprefix("tcp:").split(":")
    with socket.create_connection((host, int(port))) as line:
        served.open(line.fileno())
        served.connect()
        served.port.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 0})
        served.until(lambda: served.heard(schema.TELEMETRY)[-1]["state"] == codes.STATE_TRIPPED)
        served.until(lambda: len(served.heard(schema.STATEMENT)) >= 2)
    served.end(signal.SIGKILL)
    served.said.clear()
    again = served.start("--tcp-base", port)
    assert [one["element_id"] for one in again] == [one["element_id"] for one in first]
    with socket.create_connection((host, int(port))) as line:
        served.open(line.fileno())
        served.connect()  # without another enrolment
        served.until(lambda: served.heard(schema.TELEMETRY)[-1]["state"] == codes.STATE_TRIPPED)
        assert len(served.keyring.known) == 1
        served.command('{"name": "sim-00000", "silent": true}')
        served.command('{"nonsense": 1}')
        served.pause(0.7)
        count = len(served.said)
        served.pause(2.5)
        assert len(served.said) == count
    assert served.end() == 0


def test_elements_behind_sockets(served: Process) -> None:
    lines = served.start("--socket", str(served.folder))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(lines[0]["line"].removeprefix("unix:"))
        served.open(line.fileno())
        served.connect()
    assert served.end() == 0


def test_elements_behind_ptys(served: Process) -> None:
    lines = served.start("--pty", str(served.folder / "ptys"))
    fd = os.open(lines[0]["line"], os.O_RDWR | os.O_NOCTTY)
    try:
        served.open(fd)
        served.connect()
        assert served.port.element_id == bytes.fromhex(lines[0]["element_id"])
    finally:
        os.close(fd)
    assert served.end() == 0
