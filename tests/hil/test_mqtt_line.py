"""The element's MQTT line on MicroPython, a real Mosquitto, and the panel's hub over aiomqtt."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from element.protocol.errors import BusError
from host_tools.links.mqtt_link import MQTTHub, MQTTLink, Secrets
from tests.hil.line_process import ID_HEX, Broker, LineElement, free_port, until

LATE_MS_MAX = 500
MEGABYTE = 1_000_000
SITE = "house"
DOWN = f"cellwall/{SITE}/{ID_HEX}/down"


def settings(broker: Broker, **more: Any) -> dict[str, Any]:
    """Return the element's settings for a broker."""
    return {"broker": "127.0.0.1", "port": broker.port, "site": SITE, **more}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that lets everybody in."""
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def element(micropython: Path, tmp_path: Path, broker: Broker) -> Iterator[LineElement]:
    """An element that is connected to it."""
    element = LineElement(micropython, tmp_path, "mqtt", settings(broker))
    until(element.is_up)
    yield element
    element.end()


@pytest.fixture
def hub(broker: Broker) -> Iterator[MQTTHub]:
    """The panel's connection to it."""
    hub = MQTTHub("127.0.0.1", broker.port, SITE)
    hub.wait_up()
    yield hub
    hub.close()


def collected(link: MQTTLink, size: int) -> bytes:
    """Return what comes, size bytes of it at least."""
    data = bytearray()

    def enough() -> bool:
        data.extend(link.receive())
        return len(data) >= size

    until(enough)
    return bytes(data)


def test_a_panel_finds_its_elements_and_every_byte_travels_both_ways(
        element: LineElement, hub: MQTTHub) -> None:
    until(lambda: hub.elements() == [ID_HEX])
    link = hub.link(ID_HEX)
    stranger = hub.link("ffffffffffffffff")
    element("set_echo(True)")
    every = bytes(range(256)) * 8
    link.send(every)
    assert collected(link, len(every)) == every
    assert link.lost == 0 == element.number("line.lost_count") and stranger.receive() == b""
    element.end()  # no good-bye: the broker says it for the element
    until(lambda: hub.elements() == [])


def test_a_broker_that_was_away_finds_both_ends_again_and_no_tick_was_late(
        element: LineElement, hub: MQTTHub, broker: Broker) -> None:
    link = hub.link(ID_HEX)
    element("set_echo(True)")
    element("settle()")
    broker.stop()
    until(lambda: not element.is_up() and not hub.is_up)
    element("line.write(b'nobody hears this')")
    link.send(b"nor this")
    assert link.lost == 8 and element.number("line.lost_count") >= 17
    time.sleep(1.0)
    broker.start()
    until(lambda: element.is_up() and hub.is_up and hub.elements() == [ID_HEX])
    link.send(b"again")
    assert collected(link, 5) == b"again"
    late_ms, longest_us = element.number("late_ms"), element.number("look_us")
    ticks = element.number("tick_count")
    print(f"mqtt broker away: {ticks} ticks, late {late_ms} ms at most, look {longest_us} us")
    assert late_ms < LATE_MS_MAX and element.number("line.made_count") == 2


def test_a_broker_that_falls_silent_is_left_and_found_again(
        element: LineElement, broker: Broker) -> None:
    # the limits of the module, shorter: nobody waits twelve seconds for a test
    for name, value in (("PING_MS", 300), ("SILENT_MS_MAX", 1500)):
        element(f"setattr(__import__('sys').modules['element.link.mqtt_line'], {name!r}, {value})")
    ticks = element.number("tick_count")
    until(lambda: element.number("tick_count") > ticks + 100)
    assert element.is_up()  # it answers pings: a quiet line is no dead one
    element("settle()")
    broker.freeze(True)
    until(lambda: not element.is_up())
    assert element("line.why") == "'broker silent'" and element.number("late_ms") < LATE_MS_MAX
    broker.freeze(False)
    until(element.is_up)


def test_a_broker_that_takes_connections_and_says_nothing_holds_nothing_up(
        micropython: Path, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        element = LineElement(micropython, tmp_path, "mqtt", {
            "broker": "127.0.0.1", "port": silent.getsockname()[1], "site": SITE})
        peer, _ = silent.accept()
        until(lambda: peer.recv(1) == b"\x10")
        # an answer that is cut off in the middle, as a bad line cuts it
        peer.sendall(b"\x20\x02\x00")
        element("settle()")
        until(lambda: element.number("tick_count") > 50)
        assert element.number("late_ms") < LATE_MS_MAX and not element.is_up()
        peer.sendall(b"\x00\x90\x03\x00\x01\x00")
        until(element.is_up)
        peer.sendall(b"\xff\xff\xff\xff\xff\xff")
        until(lambda: "DecodeError" in element("line.why") and not element.is_up())
        peer.close()
        element.end()


def test_a_flood_and_packets_of_any_size_leave_bounded_memory_and_ticks_in_time(
        element: LineElement, hub: MQTTHub, broker: Broker) -> None:
    link = hub.link(ID_HEX)
    before = element.memory()
    element("settle()")
    noise = os.urandom(2048)
    sent = 0
    while sent < MEGABYTE:
        lost = link.lost
        link.send(noise)
        if link.lost > lost:
            time.sleep(0.002)
        else:
            sent += len(noise)
    # a packet longer than the element takes, and one of nothing
    until(lambda: hub.publish(ID_HEX, bytes(200_000)))
    until(lambda: hub.publish(ID_HEX, b""))
    until(lambda: element.number("line._packets.skipped_count") == 1)
    until(lambda: element.number("got + line.lost_count") >= MEGABYTE)
    late_ms, longest_us = element.number("late_ms"), element.number("look_us")
    print(f"mqtt flood: tick late {late_ms} ms at most, look {longest_us} us")
    assert element.memory() < before + 40_000 and late_ms < LATE_MS_MAX
    assert element.number("heap_max") < 900_000
    element("set_echo(True)")
    link.send(b"alive")
    assert collected(link, 5).endswith(b"alive")
    assert element.number("line.made_count") == 1


def test_what_a_broker_has_retained_is_no_news(element: LineElement, broker: Broker,
                                               micropython: Path, tmp_path: Path) -> None:
    import asyncio

    import aiomqtt

    async def retain() -> None:
        async with aiomqtt.Client("127.0.0.1", broker.port) as client:
            await client.publish(DOWN, b"old", retain=True)

    asyncio.run(retain())
    until(lambda: element.kept() == b"old")  # said while the element listened
    element.end()
    again = LineElement(micropython, tmp_path, "mqtt", settings(broker))
    until(again.is_up)
    until(lambda: again.number("line.lost_count") > 0)
    assert again.kept() == b""
    again.end()


def test_user_and_password_are_needed_and_a_wrong_one_is_said(
        micropython: Path, tmp_path: Path) -> None:
    import subprocess

    from tests.hil.line_process import SERVICES
    services = dict(one.split("=", 1) for one in SERVICES.read_text().split())
    program = Path(services["MOSQUITTO"]).parents[1] / "bin" / "mosquitto_passwd"
    users = tmp_path / "users"
    users.write_text("element:right\npanel:other\n")
    subprocess.run([str(program), "-U", str(users)], check=True, timeout=20,
                   env={**os.environ, "LD_LIBRARY_PATH": services["LD_LIBRARY_PATH"]})
    broker = Broker(tmp_path, f"allow_anonymous false\npassword_file {users}\n")
    flash = tmp_path / "flash"
    flash.mkdir()
    (flash / "mqtt").write_text("element\nwrong\n")
    element = LineElement(micropython, flash, "mqtt", settings(broker))
    until(lambda: "refuses this element" in element("line.why"))
    element.end()
    (flash / "mqtt").write_text("element\nright\n")
    element = LineElement(micropython, flash, "mqtt", settings(broker))
    until(element.is_up)
    with pytest.raises(BusError, match="uthori"):
        hub = MQTTHub("127.0.0.1", broker.port, SITE, Secrets("panel", "wrong"))
        try:
            hub.wait_up(2)
        finally:
            hub.close()
    hub = MQTTHub("127.0.0.1", broker.port, SITE, Secrets("panel", "other"))
    until(lambda: hub.elements() == [ID_HEX])
    hub.close()
    element.end()
    broker.stop()


def test_no_broker_is_a_bus_error() -> None:
    hub = MQTTHub("127.0.0.1", free_port(), SITE)
    with pytest.raises(BusError, match="no broker"):
        hub.wait_up(0.3)
    hub.close()
