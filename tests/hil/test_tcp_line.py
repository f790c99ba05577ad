"""The element's TCP line on MicroPython, and the panel's: losses, returns, bounds."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from element.protocol.errors import BusError
from host_tools.links.tcp_link import OUT_SIZE_MAX, TCPLink
from tests.hil.line_process import LineElement, free_port, until

# Of a tick every 20 ms, on a machine that does other things too. On an idle one: transports.md
LATE_MS_MAX = 500
MEGABYTE = 1_000_000


@pytest.fixture
def port() -> int:
    """The port that the element listens on."""
    return free_port()


@pytest.fixture
def element(micropython: Path, tmp_path: Path, port: int) -> Iterator[LineElement]:
    """An element that listens."""
    element = LineElement(micropython, tmp_path, "tcp", {"address": "127.0.0.1", "port": port})
    yield element
    element.end()


def linked(port: int) -> TCPLink:
    """Return a link to the element, which may not listen yet."""
    made: list[TCPLink] = []

    def tried() -> bool:
        with contextlib.suppress(BusError):
            made.append(TCPLink("127.0.0.1", port))
        return bool(made)

    until(tried)
    return made[0]


def connected(port: int) -> socket.socket:
    """Return a plain connection to the element."""
    made: list[socket.socket] = []

    def tried() -> bool:
        with contextlib.suppress(OSError):
            made.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        return bool(made)

    until(tried)
    return made[0]


def collected(link: TCPLink, size: int) -> bytes:
    """Return what comes, size bytes of it at least."""
    data = bytearray()

    def enough() -> bool:
        data.extend(link.receive())
        return len(data) >= size

    until(enough)
    return bytes(data)


def test_every_byte_value_travels_both_ways(element: LineElement, port: int) -> None:
    element("set_echo(True)")
    link = linked(port)
    every = bytes(range(256)) * 8
    link.send(every)
    assert collected(link, len(every)) == every
    assert link.lost == 0 == element.number("line.lost_count")
    link.close()


def test_the_panel_reconnects_by_itself_and_no_call_waits(
        element: LineElement, port: int, micropython: Path, tmp_path: Path) -> None:
    link = linked(port)
    link.send(b"one")
    until(lambda: element.kept() == b"one")
    element.end()
    until(lambda: link.receive() == b"" and link.fileno() < 0)
    longest_s = 0.0
    for _ in range(50):
        began_s = time.monotonic()
        link.send(b"lost")
        link.receive()
        longest_s = max(longest_s, time.monotonic() - began_s)
        time.sleep(0.005)
    assert link.lost >= 100 and longest_s < 0.2
    again = LineElement(micropython, tmp_path, "tcp", {"address": "127.0.0.1", "port": port})
    until(lambda: link.receive() == b"" and link.fileno() >= 0)
    link.send(b"two")
    until(lambda: again.kept().endswith(b"two"))
    again.end()
    link.close()


def test_a_half_open_connection_is_replaced_and_a_live_one_is_not(
        element: LineElement, port: int) -> None:
    dead = connected(port)
    dead.sendall(b"before")
    until(lambda: element.kept() == b"before")
    # the panel lost its power: nothing was closed, and its successor comes at once
    panel = connected(port)
    panel.sendall(b"after")
    assert element.kept() == b"before"  # not yet: the first one may only be slow
    until(lambda: element.kept() == b"beforeafter")
    made = element.number("line.made_count")
    strangers = []
    for _ in range(20):
        strangers.append(connected(port))
        panel.sendall(b".")
        time.sleep(0.02)
    until(lambda: element.kept().endswith(b"." * 20))
    assert element.number("line.made_count") == made
    panel.close()
    strangers[-1].sendall(b"next")  # the newest of those that waited
    until(lambda: element.kept().endswith(b"next"))
    for one in (dead, *strangers):
        one.close()


def test_a_flood_leaves_bounded_memory_and_ticks_in_time(
        element: LineElement, port: int) -> None:
    link = linked(port)
    link.send(b"x")
    until(lambda: element.number("got") == 1)
    before = element.memory()
    element("settle()")
    noise = os.urandom(4096)
    sent = 0
    while sent < MEGABYTE:
        lost = link.lost
        link.send(noise)
        sent += len(noise) - (link.lost - lost)
        if link.lost > lost:
            time.sleep(0.001)
    until(lambda: (link.receive(), element.number("got") >= MEGABYTE)[1])
    late_ms, longest_us = element.number("late_ms"), element.number("look_us")
    print(f"tcp flood: tick late {late_ms} ms at most, look {longest_us} us")
    assert element.memory() < before + 40_000
    assert element.number("heap_max") < 900_000 and late_ms < LATE_MS_MAX
    element("set_echo(True)")
    link.send(b"alive")
    assert b"alive" in collected(link, 5)
    link.close()


def test_what_a_panel_does_not_read_is_dropped_whole_and_then_the_panel(
        element: LineElement, port: int) -> None:
    peer = connected(port)
    peer.sendall(b"x")
    until(lambda: element.number("got") == 1)
    # far more than two sockets hold; the line keeps 8 KB and says what it did not take
    pump = "[(line.write(bytes(4096)), line.look()) for _ in range(200)] and len(line.tx)"

    def given_up() -> bool:
        assert element.number(pump) <= 8192
        return not element.is_up()

    until(given_up)
    assert element.number("line.lost_count") > 0
    assert "takes nothing" in element("line.why")
    assert element.number("len(line.tx)") == 0
    peer.close()


def test_a_panel_s_queue_to_a_dead_element_is_bounded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = TCPLink("127.0.0.1", server.getsockname()[1])
        peer, _ = server.accept()
        for _ in range(4000):
            link.send(bytes(4096))
        assert link.lost > 0 and len(link._out) <= OUT_SIZE_MAX
        # what was taken is taken whole: the element sees frames or none
        sent = 4000 * 4096 - link.lost
        assert sent % 4096 == 0
        peer.settimeout(5)
        got = 0
        while got < sent:
            got += len(peer.recv(65536))
            link.receive()
        assert got == sent
        peer.close()
        link.close()


def test_a_port_that_another_program_holds_is_tried_again(
        micropython: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        element = LineElement(micropython, tmp_path, "tcp",
                              {"address": "127.0.0.1", "port": port})
        until(lambda: "cannot listen" in element("line.why"))
    link = linked(port)
    link.send(b"here")
    until(lambda: element.kept().endswith(b"here"))
    element.end()
    link.close()
