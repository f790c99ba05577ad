"""Over TCP, MQTT and Bluetooth LE: sessions open, messages flow, what was heard before is dead.

Only bytes are replayed, at the panel's end of each line, as somebody between the two would.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bleak
import pytest

from element.protocol import schema
from element.protocol.errors import BusError
from element.protocol.framing import FrameDecoder
from host_tools import codec
from host_tools.identity.site import Site
from host_tools.links.base import Link
from host_tools.links.open_line import open_line
from host_tools.provision import cable as cable_module
from host_tools.provision.cable import Cable
from host_tools.provision.enrol import enrol
from tests.hil.line_process import Broker, free_port, until
from tests.hil.linux_machine import Machine, build_shim
from tests.hil.network_machine import BLEElement, NetworkElement, Recorded, enrolled_at
from tests.host.ble_air import Air, client_of, scanner_of

OPEN_S_MAX = 30.0
AGO_MS = 60_000


@dataclass
class Bench:
    """An enrolled element at the end of a line, and its site."""

    name: str
    site: Site
    restart: Callable[[], None]


def tcp(folder: Path, micropython: Path, site: Site) -> Iterator[Bench]:
    """Serve an element that listens."""
    machine = Machine(folder, build_shim(folder), micropython)
    element = NetworkElement(machine)
    element.enrol(site)
    port = free_port()
    element.use("tcp", {"port": port})  # on every address: a network now
    yield Bench(f"tcp:127.0.0.1:{port}", site, element.restart)
    element.end()
    machine.close()


def mqtt(folder: Path, micropython: Path, site: Site) -> Iterator[Bench]:
    """Serve an element that is a broker's client."""
    broker = Broker(folder)
    machine = Machine(folder, build_shim(folder), micropython)
    element = NetworkElement(machine)
    element_id = element.enrol(site)
    element.use("mqtt", {"broker": "127.0.0.1", "port": broker.port, "site": "house"})
    yield Bench(f"mqtt:127.0.0.1:{broker.port}/house/{element_id}", site, element.restart)
    element.end()
    machine.close()
    broker.stop()


def ble(folder: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Serve an element that advertises."""
    air = Air()
    monkeypatch.setattr(bleak, "get_platform_client_backend_type",
                        lambda: (client_of(air), "bumble"))
    monkeypatch.setattr(bleak, "get_platform_scanner_backend_type",
                        lambda: (scanner_of(air), "bumble"))
    (folder / "flash").mkdir()
    element = BLEElement(folder / "flash", air)
    element_id = enrolled_at(element.port, site)
    element.on_air()
    yield Bench(f"ble:{element_id}", site, element.restart)
    element.end()


@pytest.fixture(params=["tcp", "mqtt", "ble"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, micropython: Path,
          monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """An element at the end of each line."""
    site = Site(tmp_path / "site")
    if request.param == "tcp":
        yield from tcp(tmp_path, micropython, site)
    elif request.param == "mqtt":
        yield from mqtt(tmp_path, micropython, site)
    else:
        yield from ble(tmp_path, site, monkeypatch)


class Panel:
    """One person's hold of a line: a session on it, and all that was sent."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.link: Any = None

        def recording(name: str) -> Link:
            self.link = Recorded(open_line(name))
            return self.link

        monkeypatch.setattr(cable_module, "open_line", recording)
        self.cable: Any = None

        def opened() -> bool:
            try:
                self.cable = Cable(bench.name, bench.site.keyring())
            except BusError:
                return False  # the element starts, or the radio looks for it
            return True

        until(opened, OPEN_S_MAX)
        self.telemetry: list[dict[str, Any]] = []
        self.cable.on_message = lambda kind, fields: (
            self.telemetry.append(fields) if kind == schema.TELEMETRY else None)

    def sync(self, unix_ms: int) -> None:
        """Set the element's clock to this and wait for word from it."""
        self.cable.send(schema.TIME_SYNC, {"unix_ms": unix_ms, "record_interval_ms": 300_000})
        self.telemetry.clear()
        assert self.cable.until(lambda: len(self.telemetry) > 0, OPEN_S_MAX)

    def clock_ms(self) -> int | None:
        """Return the element's clock, None when it is not set."""
        said = self.cable.status(OPEN_S_MAX)["clock"]
        return None if said == "not set" else int(said)

    def replay(self, frames: list[bytes]) -> None:
        """Send frames that were heard before, and give the element time to act on them.

        Forwards, and then backwards: the last to arrive are the ones that would turn time back.
        """
        for frame in frames + frames[::-1]:
            self.link.link.send(frame)
            self.cable.step()
        self.cable.until(lambda: False, 0.5)


def kinds(sent: list[bytes]) -> set[int]:
    """Return the kinds of the link messages among what was sent."""
    payloads = [payload for data in sent for payload in FrameDecoder(4096).feed(data)]
    return {codec.decode_message(payload)[0] for payload in payloads if payload[0] != 0xD0}


def news(site: Site, party: str) -> None:
    """Let a site's roots sign what its element is told before the next handshake."""
    site.pki.rotate("life_safety")
    site.pki.issue_party(party, "alarm")
    site.pki.revoke(party, 0)
    site.pki.renew(site.elements()[0].element_id)


def now_ms() -> int:
    """Return this machine's time."""
    return time.time_ns() // 1_000_000


def test_a_session_opens_messages_flow_and_replayed_frames_have_no_effect(
        bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    news(bench.site, "roof")
    panel = Panel(bench, monkeypatch)
    panel.cable.session(OPEN_S_MAX)
    panel.sync(now_ms() - AGO_MS)  # had a replay an effect, the clock would stand here again
    heard = panel.clock_ms()
    assert heard is not None and abs(now_ms() - AGO_MS - heard) < AGO_MS // 2
    panel.sync(now_ms())
    captured = list(panel.link.sent)
    assert {schema.TRUST, schema.EDHOC_1, schema.EDHOC_3} <= kinds(captured)

    # in the same session
    panel.replay(captured)
    clock_ms = panel.clock_ms()
    assert clock_ms is not None and abs(now_ms() - clock_ms) < AGO_MS // 2
    assert panel.cable.element.has_session
    panel.sync(now_ms())
    panel.cable.close()

    # in a later session
    news(bench.site, "yard")
    later = Panel(bench, monkeypatch)
    later.cable.session(OPEN_S_MAX)
    later.sync(now_ms())
    later.replay(captured)
    clock_ms = later.clock_ms()
    assert clock_ms is not None and abs(now_ms() - clock_ms) < AGO_MS // 2
    later.sync(now_ms())
    captured += later.link.sent
    later.cable.close()

    # after the element's power was cut
    bench.restart()
    last = Panel(bench, monkeypatch)
    last.replay(captured)
    assert last.clock_ms() is None
    assert last.cable.status(OPEN_S_MAX)["link"].startswith("no session")
    # nothing that its roots had said once has come back in place of what they said last
    last.link.sent.clear()
    last.cable.session(OPEN_S_MAX)
    assert schema.EDHOC_3 in kinds(last.link.sent) and schema.TRUST not in kinds(last.link.sent)
    last.sync(now_ms())
    last.cable.close()


def test_over_a_network_nobody_enrols_and_no_text_changes_anything(
        tmp_path: Path, micropython: Path) -> None:
    """The tool refuses by the line's name; the element refuses whoever asks."""
    machine = Machine(tmp_path, build_shim(tmp_path), micropython)
    element = NetworkElement(machine)
    port = free_port()
    element.use("tcp", {"port": port})
    name = f"tcp:127.0.0.1:{port}"
    cable: list[Cable] = []

    def opened() -> bool:
        try:
            cable.append(Cable(name))
        except BusError:
            return False
        return True

    until(opened)
    assert cable[0].status(OPEN_S_MAX)["enrolled"] == "no"
    for command in ("maintenance", "set-zone 2", "maintenance repl"):
        with pytest.raises(BusError, match="cable") as refused:
            cable[0].command(command, OPEN_S_MAX)
        assert "refused" in refused.value.code
    assert not list((tmp_path / "flash").glob("maintenance*"))
    cable[0].close()
    site = Site(tmp_path / "site")
    for wrong in ("mqtt:broker/house/0011223344556677", "ble:F0:00:00:00:00:01",
                  "tcp:wall.example:7653"):
        with pytest.raises(BusError, match="enrolled over a cable"):
            enrol(wrong, site, {}, 1, "tenant", lambda text: None)
    # the loopback is allowed to the tool, but this element is open to its network
    with pytest.raises(BusError, match="no session"):
        monkey = pytest.MonkeyPatch()
        monkey.setattr("host_tools.provision.enrol.ENROL_S_MAX", 3.0)
        try:
            enrolled_at(name, site)
        finally:
            monkey.undo()
    element.end()
    machine.close()
