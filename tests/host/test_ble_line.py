"""The element's BLE line on a stand-in radio, and the panel's link through real bleak and GATT."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import bleak
import pytest

from element.link.ble_line import BLELine, name_of, uuid_bytes
from element.protocol.errors import BusError
from host_tools.links import ble_link
from host_tools.links.ble_link import BLELink

from .ble_air import Air, client_of, scanner_of

ID = bytes.fromhex("0011223344556677")
WAIT_S_MAX = 20.0
MEGABYTE = 1_000_000


class HAL:
    """A board's clock; nobody waits on it."""

    class _Waiter:
        def kick(self) -> None:
            """Wake nobody."""

    def ticks_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def ticks_diff(self, later: int, earlier: int) -> int:
        return later - earlier

    def waiter(self) -> Any:
        return self._Waiter()

    def log(self, line: str) -> None:
        """Say nothing."""


class Element:
    """A line that is looked at every 5 ms in a thread of its own. echo: what comes goes back."""

    def __init__(self, air: Air) -> None:
        self.line = BLELine(HAL(), air.module)
        self.line.begin(ID)
        self.echo = False
        self.got = bytearray()
        self.longest_s = 0.0
        self.rx_max = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.005):
            began_s = time.monotonic()
            self.line.look()
            self.longest_s = max(self.longest_s, time.monotonic() - began_s)
            self.rx_max = max(self.rx_max, len(self.line.rx))
            while data := self.line.read():
                self.got += data
                if self.echo:
                    self.line.write(data)

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join(10)


def until(what: Any, limit_s: float = WAIT_S_MAX) -> None:
    """Wait until what() is true; fails when it never is."""
    end_s = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def air(monkeypatch: pytest.MonkeyPatch) -> Air:
    """An air for one element; bleak reaches it."""
    air = Air()
    monkeypatch.setattr(bleak, "get_platform_client_backend_type",
                        lambda: (client_of(air), "bumble"))
    monkeypatch.setattr(bleak, "get_platform_scanner_backend_type",
                        lambda: (scanner_of(air), "bumble"))
    return air


@pytest.fixture
def element(air: Air) -> Iterator[Element]:
    """An element that advertises."""
    element = Element(air)
    yield element
    element.end()


@pytest.fixture
def link(element: Element, air: Air) -> Iterator[BLELink]:
    """The panel's link to it."""
    link = BLELink(air.address)
    yield link
    link.close()


def collected(link: BLELink, size: int) -> bytes:
    """Return what comes, size bytes of it at least."""
    data = bytearray()

    def enough() -> bool:
        data.extend(link.receive())
        return len(data) >= size

    until(enough)
    return bytes(data)


def test_every_byte_value_travels_both_ways_in_pieces(
        element: Element, link: BLELink, air: Air) -> None:
    element.echo = True
    every = bytes(range(256)) * 12  # a frame of the longest kind is shorter
    air.deaf = True
    link.send(every)
    until(lambda: air.refused_count > 5)  # the stack is full for a while, and nothing is lost
    air.deaf = False
    assert collected(link, len(every)) == every
    assert element.line.lost_count == 0 == link.lost and air.truncated == 0


def test_an_element_is_found_by_its_id_and_the_service(element: Element, air: Air) -> None:
    assert asyncio.run(ble_link.scan(1.0)) == {ID.hex(): air.address}
    link = BLELink(ID.hex())
    link.send(b"found")
    until(lambda: element.got == b"found")
    link.close()


def test_a_link_that_was_cut_comes_back_by_itself(
        element: Element, link: BLELink, air: Air) -> None:
    link.send(b"one")
    until(lambda: element.got == b"one")
    air.soon(air.cut)
    until(lambda: not link.is_up and not element.line.is_up)
    link.send(b"lost")
    element.line.write(b"lost too")
    assert link.lost == 4 and element.line.lost_count >= 8
    until(lambda: link.is_up and element.line.is_up)
    link.send(b"two")
    until(lambda: element.got == b"onetwo")


def test_a_stack_that_takes_nothing_blocks_nothing_and_ends_the_connection(
        element: Element, link: BLELink, air: Air) -> None:
    link.send(b"x")
    until(lambda: element.got == b"x")
    air.deaf = True
    for _ in range(10):
        element.line.write(bytes(2000))
    assert len(element.line.tx) <= 8192 and element.line.lost_count >= 10_000
    until(lambda: "takes nothing" in element.line.why)
    assert element.longest_s < 0.5 and len(element.line.tx) == 0
    air.deaf = False
    until(lambda: link.is_up and element.line.is_up)


def test_a_flood_of_noise_leaves_bounded_memory_and_a_living_line(
        element: Element, link: BLELink, air: Air) -> None:
    sent = 0
    air.interval_s = 0.0  # faster than any radio
    while sent < MEGABYTE:
        lost = link.lost
        link.send(os.urandom(2048))
        sent += 2048 - (link.lost - lost)
        if link.lost > lost:
            time.sleep(0.005)
    until(lambda: len(element.got) + element.line.lost_count + air.truncated >= sent)
    print(f"ble flood: {sent} bytes, look {element.longest_s * 1000:.1f} ms at most, "
          f"{element.line.lost_count} lost, {air.truncated} truncated")
    assert element.rx_max <= 4096 and len(element.line._events) <= 32
    element.got.clear()
    link.send(b"alive")
    until(lambda: element.got == b"alive")


def test_a_second_central_is_sent_away_and_a_silent_one_too(air: Air) -> None:
    line = BLELine(HAL(), air.module)
    line.begin(ID)
    left: list[int] = []
    line._ble.gap_disconnect = left.append
    air.irq(1, (64, 0, b""))
    air.irq(1, (65, 0, b""))
    line.look()
    assert left == [65] and line.is_up
    air.irq(3, (65, 11))  # what the other one writes is not for us
    line._heard_at -= 10_001
    line.look()
    assert left == [65, 64] and not line.is_up and line.why == "panel silent"


def test_more_events_than_the_queue_takes_end_the_connection(air: Air) -> None:
    line = BLELine(HAL(), air.module)
    line.begin(ID)
    line._ble.gap_disconnect = lambda handle: True
    air.irq(1, (64, 0, b""))
    for _ in range(100):
        air.irq(3, (64, 11))
    line.look()
    assert line.is_up  # writes are taken together
    for _ in range(100):
        air.irq(21, (64, 23))
    assert len(line._events) == 32
    line.look()
    assert not line.is_up and line.why == "too much at once"


def test_no_element_in_reach_is_a_bus_error(element: Element, air: Air) -> None:
    with pytest.raises(BusError, match="not found"):
        BLELink("F0:00:00:00:00:00", connect_s=0.3)


def test_the_name_and_the_service_as_they_are_sent() -> None:
    assert name_of(ID) == "cw-0011223344556677"
    assert uuid_bytes("6E400001-B5A3-F393-E0A9-E50E24DCCA9E").hex() == \
        "9ecadc240ee5a9e093f3a3b50100406e"
