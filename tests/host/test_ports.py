"""Serial ports: names that stay, and a next step for each usual failure."""

import errno
import fcntl
import os
import pty
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from element.protocol.errors import BusError
from host_tools.bms.line import SerialLine
from host_tools.links import ports
from host_tools.links.serial_link import SerialLink
from host_tools.provision.cable import Cable
from host_tools.provision.repl import Repl


@pytest.fixture
def port() -> Iterator[str]:
    """A port with nobody at its other end."""
    ours, theirs = pty.openpty()
    yield os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def no_ports(monkeypatch: pytest.MonkeyPatch, *devices: str) -> None:
    """Let these be the machine's USB serial ports, and one that is no USB port."""
    found = [SimpleNamespace(device=device, vid=0x2E8A) for device in devices]
    found.append(SimpleNamespace(device="/dev/ttyS0", vid=None))
    monkeypatch.setattr(ports.list_ports, "comports", lambda: found)


def by_id(monkeypatch: pytest.MonkeyPatch, folder: Path, **names: str) -> None:
    """Make a by-id folder of links."""
    folder.mkdir()
    for name, target in names.items():
        (folder / name).symlink_to(target)
    monkeypatch.setattr(ports, "BY_ID", folder)


def test_a_port_has_its_stable_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ttyACM0", "ttyACM1", "ttyUSB0"):
        (tmp_path / name).touch()
    links = tmp_path / "by-id"
    by_id(monkeypatch, links, usb_Board_A="../ttyACM1", usb_Board_B="../ttyACM0")
    assert ports.stable_name(str(tmp_path / "ttyACM0")) == str(links / "usb_Board_B")
    assert ports.stable_name(str(links / "usb_Board_A")) == str(links / "usb_Board_A")
    assert ports.stable_name(str(tmp_path / "ttyUSB0")) == str(tmp_path / "ttyUSB0")
    no_ports(monkeypatch, *(str(tmp_path / name) for name in ("ttyACM0", "ttyACM1", "ttyUSB0")))
    assert ports.known_ports() == sorted(
        [str(links / "usb_Board_A"), str(links / "usb_Board_B"), str(tmp_path / "ttyUSB0")])


def test_without_a_by_id_folder_names_stay(monkeypatch: pytest.MonkeyPatch,
                                           tmp_path: Path) -> None:
    monkeypatch.setattr(ports, "BY_ID", tmp_path / "none")
    assert ports.stable_name("/dev/ttyACM0") == "/dev/ttyACM0"


def test_a_port_that_is_not_there_names_those_that_are(monkeypatch: pytest.MonkeyPatch,
                                                       tmp_path: Path) -> None:
    monkeypatch.setattr(ports, "BY_ID", tmp_path / "none")
    no_ports(monkeypatch)
    with pytest.raises(BusError, match="no such port") as caught:
        ports.check_port("/dev/ttyACM9")
    assert "check the cable (some only charge)" in str(caught.value.value)
    no_ports(monkeypatch, "/dev/ttyACM3", "/dev/ttyACM4")
    with pytest.raises(BusError) as caught:
        ports.check_port("/dev/ttyACM9")
    assert "/dev/ttyACM3" in str(caught.value.value)
    assert "/dev/ttyACM4" in str(caught.value.value) and "ttyS0" not in str(caught.value.value)


def test_a_file_or_a_folder_is_no_port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("text")
    no_ports(monkeypatch, "/dev/ttyACM3")
    for name in (str(file), str(tmp_path), "/dev/null"):
        for opener in (Cable, Repl, SerialLine):
            with pytest.raises(BusError, match="not a serial port") as caught:
                opener(name, 9600) if opener is SerialLine else opener(name)
            assert name in str(caught.value.value)
            assert "next: name one of /dev/ttyACM3" in str(caught.value.value)
    assert file.read_text() == "text"


def test_a_port_that_is_not_ours_to_open(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    ports.check_port(port)
    monkeypatch.setattr(os, "access", lambda path, mode: path != port)  # root may do anything
    with pytest.raises(BusError, match="no permission") as caught:
        ports.check_port(port)
    assert "usermod -aG dialout" in str(caught.value.value)


def test_a_port_that_does_not_open_says_why(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(BusError, match="does not open") as caught:
        ports.check_port(port)
    assert "next: " in str(caught.value.value)
    assert "Input/output error" in str(caught.value.value)


def test_a_port_that_another_program_has_locked(port: str) -> None:
    holder = SerialLink(port)
    try:
        for opener in (Cable, Repl):
            with pytest.raises(BusError, match="port busy") as caught:
                opener(port)
            assert "fuser" in str(caught.value.value)
    finally:
        holder.close()
    with Cable(port):
        pass


def test_a_port_that_is_locked_without_a_terminal(port: str) -> None:
    fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(BusError, match="port busy"):
        Cable(port)
    os.close(fd)


def test_an_exclusive_terminal_is_busy(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    def busy(*_: object) -> int:  # root opens what others cannot
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "open", busy)
    with pytest.raises(BusError, match="port busy"):
        ports.check_port(port)
