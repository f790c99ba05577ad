"""The real lines: pyserial over a pty, TCP over loopback, with losses and returns."""

import os
import pty
import socket
import time
import tty

import pytest

from element.protocol.errors import BusError
from host_tools.links.serial_link import SerialLink
from host_tools.links.tcp_link import TCPLink

WAIT_S_MAX = 5.0


def _receive(link, size: int) -> bytes:
    """Collect size bytes from a link that never blocks."""
    data = b""
    end = time.monotonic() + WAIT_S_MAX
    while len(data) < size and time.monotonic() < end:
        data += link.receive()
        time.sleep(0.001)
    return data


def test_serial_carries_every_byte_value_both_ways() -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    link = SerialLink(os.ttyname(theirs))
    everything = bytes(range(256))
    os.write(ours, everything)
    assert _receive(link, 256) == everything
    link.send(everything)
    got = b""
    while len(got) < 256:
        got += os.read(ours, 512)
    assert got == everything
    link.close()
    os.close(ours)
    os.close(theirs)


def test_serial_that_vanishes_is_counted_and_no_error() -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    link = SerialLink(os.ttyname(theirs))
    os.close(theirs)
    os.close(ours)
    for _ in range(3):
        link.send(b"hello")
        assert link.receive() == b""
    assert link.lost > 0
    link.close()


def test_a_port_that_is_not_there_is_a_bus_error() -> None:
    with pytest.raises(BusError):
        SerialLink("/dev/does-not-exist")


def test_tcp_carries_bytes_and_comes_back_after_a_loss() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = TCPLink("127.0.0.1", server.getsockname()[1])
        peer, _ = server.accept()
        link.send(b"ping")
        assert peer.recv(16) == b"ping"
        peer.sendall(b"pong")
        assert _receive(link, 4) == b"pong"
        peer.close()
        end = time.monotonic() + WAIT_S_MAX
        while link.fileno() >= 0 and time.monotonic() < end:
            link.receive()
        assert link.fileno() == -1
        link.send(b"again")
        peer, _ = server.accept()
        assert peer.recv(16) == b"again"
        peer.close()
        link.close()


def test_tcp_without_a_peer_is_a_bus_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(BusError):
        TCPLink("127.0.0.1", port)
