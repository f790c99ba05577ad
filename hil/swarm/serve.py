"""Serve simulated elements in real time, for tests and for users without hardware.

    python -m hil.swarm.serve --elements 8 --seed 1 --tcp-base 7000 --folder DIR
    python -m hil.swarm.serve --elements 2 --socket DIR | --pty DIR

Prints one JSON line an element: its name, its id and the line it is on. Its keys, its credential
and its chain are kept in the folder, so that the process can be killed at any moment and started
again with the same elements. A JSON line on stdin switches faults: {"name": "sim-00000",
"silent": true}; without a name, of all of them. {"report": true} prints a JSON line of what each
element does and has done. Ends with SIGTERM or SIGINT.
"""

import argparse
import contextlib
import json
import os
import pty
import random
import selectors
import signal
import socket
import sys
import time
import tty
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import cbor2

from element.protocol.errors import Error
from hil.swarm.body import RAMP_STEP_MS
from hil.swarm.element import Faults, SimulatedElement, Spec
from hil.swarm.mqtt import Bridge
from hil.swarm.site import enrol_into
from hil.swarm.specs import mixed
from host_tools.identity.keys import KeyPair, make_key_pair

HOST = "127.0.0.1"
READ_SIZE = 4096
# What may wait for a host that does not read; then its connection is given up.
OUT_SIZE_MAX = 1 << 20
SAVE_PERIOD_MS = 10_000
WAIT_S_MAX = 0.25
_SEED_SIZE = 64
# Instructions that a report names.
SEEN_MAX = 100_000


def now_ms() -> int:
    """Return the elements' time."""
    return time.monotonic_ns() // 1_000_000


class Served:
    """One element with its file and its line."""

    def __init__(self, spec: Spec, path: Path) -> None:
        """Make the element, or the one that the file tells of. Raises Error for a damaged file."""
        self._path = path
        kept: dict[str, Any] = {}
        if path.exists():
            kept = cbor2.loads(path.read_bytes())
        self._seeds: list[bytes] = kept.get("seeds") or [
            os.urandom(_SEED_SIZE), os.urandom(_SEED_SIZE)]
        sign, agree = map(_pair, self._seeds)
        self.out = bytearray()
        self.peer: socket.socket | int | None = None
        self.on_out: Callable[[], None] = lambda: None
        self._saved_ms = now_ms()
        self._dispatch_ids: set[int] = set()
        self._unleased_count = 0
        self.element = SimulatedElement(spec, sign, agree, random.SystemRandom(), self._say,
                                        now_ms(), self.save)
        if kept:
            self.element.restore(kept["state"])
        self.save()  # a boot is counted before anything is said

    def save(self) -> None:
        """Replace the file by one with the present state, whole or not at all."""
        new = self._path.with_suffix(".new")
        data = cbor2.dumps({"seeds": self._seeds, "state": self.element.state()})
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)

    def _say(self, data: bytes) -> None:
        if self.peer is not None:
            self.out += data
            self.on_out()

    def step(self) -> None:
        """Let time pass; the SoC is kept now and then."""
        present_ms = now_ms()
        self.element.step(present_ms)
        self.look()
        if present_ms - self._saved_ms >= SAVE_PERIOD_MS:
            self._saved_ms = present_ms
            self.save()


    def look(self) -> None:
        """Take note of what is being done, and of power that nobody lends any more."""
        body = self.element.body
        lease = body.lease
        if lease.live and lease.power_mw and len(self._dispatch_ids) < SEEN_MAX:
            self._dispatch_ids.add(lease.dispatch_id)
        if body.realized_mw and not lease.live and body.profile is not None \
                and not body.profile.step_mw \
                and body.now_ms > lease.last_end_ms + lease.zero_ramp_ms + RAMP_STEP_MS:
            self._unleased_count += 1

    def report(self) -> dict[str, Any]:
        """Return what it does and has done since the process began."""
        chain, body = self.element.end.chain, self.element.body
        return {"id": self.element.element_id.hex(), "counter": chain.counter,
                "acknowledged": chain.counter - len(chain.unacked),
                "power_mw": body.realized_mw, "live": body.lease.live,
                "dispatch_ids": sorted(self._dispatch_ids),
                "unleased_count": self._unleased_count, "trip": body.interlock.cause}


def _pair(seed: bytes) -> KeyPair:
    return make_key_pair(lambda size: seed[:size])


class Server:
    """All elements of a process and the selector that they share."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.served: dict[str, Served] = {}
        self.ended = False
        self.bridge: Bridge | None = None

    def listen(self, one: Served, listener: socket.socket) -> None:
        """Take connections for an element; a new one replaces the one before."""
        listener.setblocking(False)

        def accept() -> None:
            with contextlib.suppress(BlockingIOError):
                peer, _ = listener.accept()
                if peer.family != socket.AF_UNIX:
                    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.use(one, peer)

        self.selector.register(listener, selectors.EVENT_READ, accept)

    def use(self, one: Served, peer: socket.socket | int) -> None:
        """Put an element on a connection in place of the one before."""
        self._drop(one)
        if isinstance(peer, int):
            os.set_blocking(peer, False)
        else:
            peer.setblocking(False)
        one.peer = peer
        self.selector.register(peer, selectors.EVENT_READ, lambda: self._serve(one))
        one.on_out = lambda: self._send(one)

    def open_pty(self, one: Served, path: Path) -> None:
        """Put an element on a pseudo-terminal whose other end is at path."""
        ours, theirs = pty.openpty()
        tty.setraw(theirs)  # and kept open: it outlives the programs that open it
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        path.symlink_to(os.ttyname(theirs))
        self.use(one, ours)

    def _drop(self, one: Served) -> None:
        peer, one.peer = one.peer, None
        one.out.clear()
        if peer is not None:
            self.selector.unregister(peer)
            if isinstance(peer, int):
                os.close(peer)
            else:
                peer.close()

    def _serve(self, one: Served) -> None:
        """Hand what has come to the element, or send what waits."""
        peer = one.peer
        if peer is None:
            return
        try:
            data = os.read(peer, READ_SIZE) if isinstance(peer, int) else peer.recv(READ_SIZE)
        except BlockingIOError:
            self._send(one)
            return
        except OSError:
            data = b""
        if data:
            one.element.receive(data, now_ms())
            one.look()
            self._send(one)
        elif not isinstance(peer, int):
            self._drop(one)

    def _send(self, one: Served) -> None:
        """Send what waits, as much as the peer takes."""
        peer = one.peer
        if peer is None:
            return
        try:
            while one.out:
                size = os.write(peer, one.out) if isinstance(peer, int) else peer.send(one.out)
                del one.out[:size]
        except BlockingIOError:
            if isinstance(peer, int) and len(one.out) > OUT_SIZE_MAX:
                one.out.clear()  # nobody reads a line that stays
        except OSError:
            self._drop(one)
            return
        if len(one.out) > OUT_SIZE_MAX:
            self._drop(one)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if one.out else 0)
        if self.selector.get_key(peer).events != wanted:
            self.selector.modify(peer, wanted, lambda: self._serve(one))

    def command(self, line: str) -> None:
        """Switch the faults that a JSON line names; what cannot be read is said on stderr."""
        known = {field.name: type(getattr(Faults(), field.name)) for field in fields(Faults)}
        try:
            asked = json.loads(line)
            if asked == {"report": True}:
                print(json.dumps([one.report() for one in self.served.values()]), flush=True)
                return
            name = asked.pop("name", None)
            targets = list(self.served.values()) if name is None else [self.served[name]]
            values = {key: known[key](value) for key, value in asked.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            print(f"no such fault: {line.strip()!r} ({error!r})", file=sys.stderr)
            return
        for one in targets:
            for key, value in values.items():
                setattr(one.element.faults, key, value)

    def read_commands(self) -> None:
        """Take fault lines from stdin for as long as it is open."""
        pending = bytearray()

        def read() -> None:
            data = os.read(0, READ_SIZE)
            if not data:
                self.selector.unregister(0)
            pending.extend(data)
            while b"\n" in pending:
                line, _, rest = bytes(pending).partition(b"\n")
                pending[:] = rest
                self.command(line.decode("utf-8", "replace"))

        # a regular file cannot be waited for: whoever gives one gives no commands
        with contextlib.suppress(PermissionError, ValueError, OSError):
            self.selector.register(0, selectors.EVENT_READ, read)

    def run(self) -> None:
        """Serve until `ended`; what is kept is kept at the end as well."""
        while not self.ended:
            due_ms = min(one.element.due_ms for one in self.served.values())
            wait_s = min(max((due_ms - now_ms()) / 1000, 0.0), WAIT_S_MAX)
            for key, _ in self.selector.select(wait_s):
                key.data()
            present_ms = now_ms()
            for one in self.served.values():
                if one.element.due_ms <= present_ms:
                    one.step()
        for one in self.served.values():
            one.save()


def _lines(server: Server, options: argparse.Namespace, index: int, one: Served) -> str:
    """Put an element on its line; returns the line's name."""
    name = one.element.spec.name
    if options.pty is not None:
        options.pty.mkdir(parents=True, exist_ok=True)
        server.open_pty(one, options.pty / name)
        return str(options.pty / name)
    if options.socket is not None:
        options.socket.mkdir(parents=True, exist_ok=True)
        path = options.socket / f"{name}.sock"
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen(4)
        server.listen(one, listener)
        return f"unix:{path}"
    if server.bridge is not None:
        server.use(one, server.bridge.attach(one.element.element_id.hex()))
        return f"mqtt:{options.mqtt}/{one.element.element_id.hex()}"
    port = options.tcp_base + index if options.tcp_base else 0
    listener = socket.create_server((HOST, port))
    server.listen(one, listener)
    return f"tcp:{HOST}:{listener.getsockname()[1]}"


def main(argv: list[str] | None = None) -> int:
    """Serve; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m hil.swarm.serve", description="Serve simulated elements in real time.")
    parser.add_argument("--elements", type=int, default=8, metavar="N")
    parser.add_argument("--seed", type=int, default=1, help="of their kinds and ratings")
    parser.add_argument("--folder", type=Path, default=Path("build/swarm"),
                        help="where their keys, credentials and chains are kept")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--tcp-base", type=int, default=0, metavar="PORT",
                       help="first port on the loopback address; 0 takes free ones")
    kinds.add_argument("--socket", type=Path, metavar="DIR", help="Unix sockets instead")
    kinds.add_argument("--mqtt", metavar="HOST:PORT/SITE", help="a broker instead")
    kinds.add_argument("--pty", type=Path, metavar="DIR", help="pseudo-terminals instead")
    parser.add_argument("--site", type=Path, metavar="DIR",
                        help="enrol them into this site, which is made where there is none")
    options = parser.parse_args(argv)
    if options.elements < 1:
        parser.error("--elements: at least 1")
    server = Server()
    options.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    rng = random.Random(options.seed)
    lines = []
    try:
        if options.mqtt is not None:
            place, _, name = options.mqtt.partition("/")
            host, _, port = place.partition(":")
            server.bridge = Bridge(host, int(port), name)
        for index in range(options.elements):
            spec = mixed(index, rng)
            one = Served(spec, options.folder / f"{spec.name}.cbor")
            server.served[spec.name] = one
            line = _lines(server, options, index, one)
            lines.append((one.element, line))
            print(json.dumps({"name": spec.name, "element_id": one.element.element_id.hex(),
                              "line": line, "zone": spec.zone,
                              "power_mw": spec.profile["power_mw_discharge_max"],
                              "energy_mwh": spec.profile["energy_mwh_rated"]}), flush=True)
        if options.site is not None:
            enrol_into(options.site, lines)
    except (OSError, Error, cbor2.CBORError, KeyError, ValueError) as error:
        print(f"cannot serve: {error}\n  next: another --tcp-base, or another --folder",
              file=sys.stderr)
        return 3
    server.read_commands()

    def end(*_: object) -> None:
        server.ended = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
