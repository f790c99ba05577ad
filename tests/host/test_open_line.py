"""Names of lines: what they open, which of them is a cable, and what a wrong one is told."""

import socket
from collections.abc import Callable

import pytest

from element.protocol.errors import BusError
from host_tools.links import mqtt_link
from host_tools.links.background import BOX_SIZE_MAX, Mailbox
from host_tools.links.mqtt_link import Secrets
from host_tools.links.open_line import is_cable, is_line, open_line
from host_tools.links.tcp_link import TCPLink

ID = "0011223344556677"


@pytest.mark.parametrize(("name", "line", "cable"), [
    ("/dev/ttyACM0", False, True), ("COM3", False, True), ("tcp:127.0.0.1:7653", True, True),
    ("tcp:localhost:1", True, True), ("tcp:[::1]:7653", True, True),
    ("tcp:wall.example:7653", True, False), ("tcp:8.8.8.8:1", True, False),
    (f"mqtt:127.0.0.1/house/{ID}", True, False), (f"mqtts:b:1/h/{ID}", True, False),
    ("ble:F0:00:00:00:00:01", True, False),
])
def test_what_a_name_is(name: str, line: bool, cable: bool) -> None:
    assert (is_line(name), is_cable(name)) == (line, cable)


@pytest.mark.parametrize("name", [
    "tcp:", "tcp:host", "tcp:host:0", "tcp:host:70000", "tcp::5", "tcp:host:x", "mqtt:",
    "mqtt:host", f"mqtt:host//{ID}", f"mqtt:/house/{ID}", "mqtt:host/house/wall",
    f"mqtt:host:x/house/{ID}", f"mqtt:host/house/{ID.upper()}A", "mqtts:host/house",
])
def test_a_name_that_is_none_says_what_to_write(name: str) -> None:
    with pytest.raises(BusError, match="next: write"):
        open_line(name)


def test_tcp_names_open_and_a_serial_port_stays_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = open_line(f"tcp:127.0.0.1:{server.getsockname()[1]}")
        assert isinstance(link, TCPLink)
        link.close()
    with pytest.raises(BusError, match="no such port"):
        open_line("/dev/does-not-exist")


@pytest.mark.parametrize(("name", "made"), [
    (f"mqtt:broker.example/house/{ID}", ("broker.example", 1883, "house", False)),
    (f"mqtt:broker.example:99/house/{ID}", ("broker.example", 99, "house", False)),
    (f"mqtts:[::1]/house/{ID}", ("::1", 8883, "house", True)),
])
def test_mqtt_names_make_a_connection(monkeypatch: pytest.MonkeyPatch, name: str,
                                      made: tuple[object, ...]) -> None:
    seen: list[tuple[object, ...]] = []

    class Hub:
        """What a name asks for."""

        def __init__(self, host: str, port: int, site: str, known: Secrets, tls: bool) -> None:
            seen.append((host, port, site, tls))
            assert known == Secrets("me", "secret", "ca.pem")

        def wait_up(self) -> None:
            """Be up at once."""

        def link(self, element: str, owns_hub: bool) -> tuple[str, bool]:
            """Return what was asked for."""
            return element, owns_hub

    monkeypatch.setattr(mqtt_link, "MQTTHub", Hub)
    monkeypatch.setattr(Secrets, "of_environment",
                        classmethod(lambda cls: cls("me", "secret", "ca.pem")))
    assert open_line(name) == (ID, True)
    assert seen == [made]


def test_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch,
                                           tmp_path: Callable[..., object]) -> None:
    path = tmp_path / "password"  # type: ignore[operator]
    path.write_text("secret\n")
    monkeypatch.setenv("CELLWALL_MQTT_USER", "me")
    monkeypatch.setenv("CELLWALL_MQTT_PASSWORD_FILE", str(path))
    monkeypatch.setenv("CELLWALL_MQTT_CA", "ca.pem")
    assert Secrets.of_environment() == Secrets("me", "secret", "ca.pem")
    monkeypatch.setenv("CELLWALL_MQTT_PASSWORD_FILE", str(path) + ".gone")
    with pytest.raises(BusError, match="password"):
        Secrets.of_environment()


def test_a_mailbox_is_bounded_and_wakes_who_waits() -> None:
    import select

    box = Mailbox()
    box.put(b"")
    assert select.select([box.fileno()], [], [], 0)[0] == []
    box.put(b"one")
    box.put(b"two")
    assert select.select([box.fileno()], [], [], 0)[0] == [box.fileno()]
    assert box.take() == b"onetwo" and box.take() == b""
    assert select.select([box.fileno()], [], [], 0)[0] == []
    box.put(bytes(BOX_SIZE_MAX))
    box.put(b"x")
    assert box.lost == 1 and len(box.take()) == BOX_SIZE_MAX
    box.close()
    box.close()
    box.put(b"late")
    assert box.take() == b"" and box.fileno() == -1
