"""Real processes: simulated elements behind TCP or a broker, the aggregator's service, its API.

For tests and benchmarks that kill them.
"""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from element.protocol import schema
from host_tools.ledger.dispatches import Dispatches
from host_tools.ledger.store import Ledger

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 30.0
ROLES = ("read", "dispatch", "life-safety", "admin")


def until(what: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Wait until what() is true and return it; fail when it is not in time."""
    end_s = time.monotonic() + limit_s
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > end_s:
            raise AssertionError("it did not happen in time")
        time.sleep(0.05)


def environment() -> dict[str, str]:
    """Return the environment of this checkout's programs."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'firmware'}"}


class Elements:
    """`python -m hil.swarm.serve`, enrolled into folder/site.

    mqtt: HOST:PORT/SITE of a broker instead of TCP.
    """

    def __init__(self, folder: Path, count: int, seed: int = 1, mqtt: str = "") -> None:
        self.folder = folder
        self._mqtt = mqtt
        self._count, self._seed = count, seed
        self.lines: list[dict[str, Any]] = []
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start it, on the ports of before when there were any."""
        # another test that looks for free ports may hold one of them for a moment
        until(self._serves)
        self.report()  # answered once everything is enrolled

    def _serves(self) -> bool:
        """Start it and take its lines; False when it did not get its ports."""
        where = ["--mqtt", self._mqtt]
        if not self._mqtt:
            base = int(self.lines[0]["line"].rsplit(":", 1)[1]) if self.lines \
                else _free_base(self._count)
            where = ["--tcp-base", str(base)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hil.swarm.serve", "--elements", str(self._count), "--seed",
             str(self._seed), *where, "--folder", str(self.folder / "elements"),
             "--site", str(self.folder / "site")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(), cwd=ROOT)
        assert self.process.stdout is not None
        said = [self.process.stdout.readline() for _ in range(self._count)]
        if not all(said):
            self.stop()
            return False
        self.lines = [json.loads(line) for line in said]
        return True

    def say(self, **command: Any) -> None:
        """Switch faults."""
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def report(self) -> list[dict[str, Any]]:
        """Return what every element does and has done."""
        self.say(report=True)
        assert self.process is not None and self.process.stdout is not None
        found: list[dict[str, Any]] = json.loads(self.process.stdout.readline())
        return found

    @property
    def power_mw(self) -> int:
        """What all give together."""
        return sum(one["power_mw"] for one in self.report())

    def stop(self) -> None:
        """End it; what is kept is kept."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(LIMIT_S)
            self.process.stdin and self.process.stdin.close()
            self.process.stdout and self.process.stdout.close()
            self.process = None


def _free_base(count: int) -> int:
    """Return the first of so many free ports in a row, below those that clients are given."""
    chance = random.SystemRandom()
    for _ in range(200):
        base = chance.randrange(12_000, 31_000, 20)
        with contextlib.ExitStack() as taken, contextlib.suppress(OSError):
            for port in range(base, base + count):
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
            return base
    raise AssertionError("no free ports")


class Panel:
    """`cellwall aggregator run` with a site.yaml in folder."""

    def __init__(self, folder: Path, lines: list[str], more: str = "",
                 ledger: str = "sqlite:///aggregator.db") -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.tokens = {}
        for role in ROLES:
            self.tokens[role] = f"{role}-" + "x" * 40
            path = folder / f"{role}.token"
            path.write_text(self.tokens[role])
            path.chmod(0o600)
        self.config = folder / "site.yaml"
        self.config.write_text(
            "name: Test house\nsite: site\nledger: " + json.dumps(ledger) + "\n"
            "record_interval_s: 10\n"
            + ("lines:\n" + "".join(f"  - line: {one}\n" for one in lines) if lines else "")
            + "api:\n  port: 0\n  token_files:\n"
            + "".join(f"    {role}: {role}.token\n" for role in ROLES) + more)
        self.log = folder / "panel.log"
        self._seen = 0
        self._http: httpx.Client | None = None

    def start(self) -> "Panel":
        """Start it and wait until its API answers."""
        self._seen = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "host_tools.cli.main", "aggregator", "run",
                 str(self.config), "--log", "json"],
                stdout=log, stderr=log, env=environment(), cwd=self.folder)
        port = until(self._port)
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
        return self

    def _port(self) -> int:
        assert self.process is not None and self.process.poll() is None, self.log.read_text()
        with self.log.open("rb") as log:
            log.seek(self._seen)
            for line in log.read().splitlines():
                if b'"event": "api"' in line:
                    return int(json.loads(line)["port"])
        return 0

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the log's entries of a kind, over all lives of the process."""
        out = []
        for line in self.log.read_bytes().splitlines():
            if line.startswith(b"{"):
                fields = json.loads(line)
                if fields["event"] == kind:
                    out.append(fields)
        return out

    def request(self, method: str, path: str, role: str = "dispatch", **json_body: Any
                ) -> httpx.Response:
        """Ask the API with a role's token."""
        assert self._http is not None
        return self._http.request(
            method, path, json=json_body or None,
            headers={"Authorization": f"Bearer {self.tokens[role]}"})

    def get(self, path: str, role: str = "read") -> Any:
        """Return what a GET gives."""
        reply = self.request("GET", path, role)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def counted(self) -> int:
        """Return how many elements may be planned with."""
        return int(self.get("/v1/capability")["elements_counted"])

    def kill(self) -> None:
        """SIGKILL: nothing is cleaned up."""
        self._end(signal.SIGKILL)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; returns its exit code."""
        return self._end(number)

    def _end(self, number: int) -> int:
        if self._http is not None:
            self._http.close()
            self._http = None
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(LIMIT_S)
        self.process = None
        return code


@contextmanager
def house(folder: Path, count: int = 4, more: str | Callable[[Elements], str] = "",
          ledger: str = "sqlite:///aggregator.db", mqtt: str = ""
          ) -> Iterator[tuple[Elements, Panel]]:
    """Run elements and a panel that knows them all.

    more: what else is in site.yaml, or what makes it of the elements. mqtt: HOST:PORT/SITE of a
    broker as bus.
    """
    elements = Elements(folder, count, mqtt=mqtt)
    lines = [] if mqtt else [one["line"] for one in elements.lines]
    panel = Panel(folder, lines, more if isinstance(more, str) else more(elements), ledger)
    try:
        panel.start()
        until(lambda: panel.counted() == count)
        yield elements, panel
    finally:
        panel.kill()
        elements.stop()


def filed_counters(url: str) -> dict[str, set[int]]:
    """Return the counters of every element's records and events in a ledger."""
    ledger = Ledger(url)
    out: dict[str, set[int]] = {}
    for kind, signer, counter, _, _ in ledger.statements():
        if kind in (schema.EXECUTION_RECORD, schema.SAFETY_EVENT):
            out.setdefault(signer.hex(), set()).add(counter)
    ledger.close()
    return out


@dataclass(frozen=True)
class AfterKills:
    """What must be nothing however often a panel was killed.

    lost: acknowledged statements that are not in the ledger. doubled: instructions that are
    there twice or not at all, and dispatch ids that elements saw and nobody has filed. unleased:
    looks at which an element gave power that nobody lent it any more.
    """

    lost: int
    doubled: int
    unleased: int

    @classmethod
    def judge(cls, elements: Elements, url: str, keys: list[str]) -> "AfterKills":
        """Compare what elements say with a ledger. keys: of what was instructed and answered."""
        filed, reports = filed_counters(url), elements.report()
        lost = sum(len(set(range(1, one["acknowledged"] + 1)) - filed.get(one["id"], set()))
                   for one in reports)
        ledger = Ledger(url)
        rows = Dispatches(ledger).newest(len(keys) + 1000)
        ledger.close()
        found = [one.key.split(":")[1] for one in rows]
        doubled = abs(len(found) - len(set(found))) + len(set(found) ^ set(keys))
        seen = {number for one in reports for number in one["dispatch_ids"]}
        doubled += len(seen - {one.id for one in rows})
        return cls(lost, doubled, sum(one["unleased_count"] for one in reports))


def killed_at_random(panel: Panel, times: int, seed: int,
                     progress: Callable[[int], None] = lambda _: None) -> list[str]:
    """Kill the panel while it dispatches, so many times; returns the keys that were asked for.

    The client does what clients do: it sends the same key until it is answered.
    """
    rng = random.Random(seed)
    keys: list[str] = []
    for at in range(times):
        key = f"k{seed}-{at}"
        keys.append(key)
        while True:
            try:
                reply = panel.request("POST", "/v1/dispatches", key=key, power_mw=2_000_000,
                                      duration_s=rng.choice([1, 600]), partial=True)
                if reply.status_code not in (201, 409):
                    raise AssertionError(reply.text)
                break
            except httpx.TransportError:
                panel.start()
        # not before it dispatches: elements have sessions, and send what they have signed
        until(lambda: panel.counted() > 0)
        time.sleep(rng.uniform(0, 1.5))
        panel.kill()
        panel.start()
        progress(at + 1)
    return keys
