"""`cellwall console` at a whole element in memory, as a person and as a script use it."""

import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.history import FileHistory, InMemoryHistory
from typer.testing import CliRunner

from element.protocol import codes
from host_tools.cli import main as cli
from host_tools.cli.console_command import checked, history, shown, with_time
from host_tools.provision.console import COMMANDS, Reply, telemetry_text

from .memory_element import MemoryElement, on_a_pty

ROOT = Path(__file__).resolve().parents[2]
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07")


def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """Run the command line in this process, stdin no terminal."""
    runner = CliRunner()
    with runner.isolation(input=stdin) as streams:
        code = cli.main(["console", *arguments])
        out, err = streams[0].getvalue(), streams[1].getvalue()
    return code, out.decode(), err.decode()


@pytest.fixture
def element(tmp_path: Path) -> Iterator[MemoryElement]:
    folder = tmp_path / "flash"
    folder.mkdir()
    with on_a_pty(folder) as served:
        assert served.happens(lambda: served.element.hal.now_ms > 101_500)
        yield served


def enrolled(element: MemoryElement, tmp_path: Path) -> str:
    """Enrol the element; returns the site's folder."""
    site = str(tmp_path / "site")
    assert cli.main(["enrol", element.port, "--zone", "2", "--site", site, "--json"]) == 0
    return site


# ---- scripts ----


def test_commands_print_their_replies(element: MemoryElement) -> None:
    code, out, err = run(element.port, "-c", "status", "-c", "trips")
    assert code == 0 and err == ""
    assert out.startswith("board     memory, firmware ") and "latched: nothing" in out
    code, out, err = run(element.port, stdin="trips\n\n  cells \nquit\nmaintenance\n")
    assert code == 0 and "cell 16   3200 mV" in out and "latched: nothing" in out
    assert not element.element.agent.service.maintenance.on


def test_a_refusal_is_exit_1_and_the_rest_goes_on(element: MemoryElement) -> None:
    code, out, err = run(element.port, "-c", "limits", "-c", "trips", "-c", "maintenance")
    assert code == 1 and out == "latched: nothing\nok\n"
    assert "limits: refused: not enrolled: nothing is permitted" in err
    assert element.element.agent.service.maintenance.on
    assert run(element.port, "-c", "maintenance off") == (0, "ok\n", "")
    assert not element.element.agent.service.maintenance.on
    code, out, err = run(element.port, "--json", "-c", "trips", "-c", "nonsense")
    assert code == 1
    first, second = json.loads(out)
    assert first["command"] == "trips" and first["lines"][0] == "latched: nothing"
    assert first["refused"] == ""
    assert second["refused"].startswith("no command 'nonsense'") and second["lines"] == []


@pytest.mark.parametrize("line", ["x" * 81, "st\x01atus", "stätus"])
def test_what_no_element_takes_is_not_sent(element: MemoryElement, line: str) -> None:
    code, _, err = run(element.port, "-c", line)
    assert code == 3 and "printable ASCII" in err and line.encode() not in element.to_host


def test_the_way_to_the_repl_is_explained(element: MemoryElement) -> None:
    code, _, err = run(element.port, "-c", "maintenance repl")
    assert code == 1 and "say `maintenance` first" in err
    assert run(element.port, "-c", "maintenance")[0] == 0
    time.sleep(0.3)
    code, _, err = run(element.port, "-c", "maintenance repl")
    assert code == 0 and f"mpremote connect {element.port} reset" in err
    assert "maintenance off" in err


def test_the_log_does_not_mix_with_replies(element: MemoryElement) -> None:
    ended = threading.Event()

    def chatter() -> None:
        while not ended.is_set():
            with element.lock:
                element.element.agent.log("a line of the log")
            time.sleep(0.02)

    thread = threading.Thread(target=chatter)
    thread.start()
    try:
        for _ in range(5):
            code, out, err = run(element.port, "-c", "trips", "-c", "cells")
            assert code == 0 and "line of the log" not in out, err
            assert len(out.splitlines()) == 19, out
        out = run(element.port, "-c", "log")[1]
        assert out.count("a line of the log") == len(out.splitlines()) == 16
    finally:
        ended.set()
        thread.join()


def test_nobody_at_the_port_is_exit_3(element: MemoryElement) -> None:
    element.silent = True
    code, _, err = run(element.port, "-c", "status")
    assert code == 3 and "no answer from the element's console" in err and "cellwall flash" in err
    code, _, err = run("/dev/does-not-exist", "-c", "status")
    assert code == 3 and "no such port" in err


@contextmanager
def answering(answer: Callable[[bytes], bytes]) -> Iterator[str]:
    """Serve something that answers what it gets; yields the port."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            if select.select([ours], [], [], 0.02)[0]:
                os.write(ours, answer(os.read(ours, 4096)))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield os.ttyname(theirs)
    finally:
        ended.set()
        thread.join(5)
        os.close(ours)
        os.close(theirs)


def test_a_repl_is_recognized() -> None:
    def repl(data: bytes) -> bytes:
        if b"\x03" in data:
            return b"\r\nKeyboardInterrupt: \r\n>>> \r\n>>> "
        return data.replace(b"\r", b"\r\nNameError: name isn't defined\r\n>>> ")

    with answering(repl) as port:
        code, _, err = run(port, "-c", "status")
    assert code == 3 and "MicroPython's REPL answers" in err and "mpremote connect" in err


# ---- what a person sees ----


FIELDS: dict[str, Any] = {
    "state": codes.STATE_ACTIVE, "power_mw": 1_234_567, "soc_bp": 5012, "bms_age_ms": 412,
    "trip_cause": 0, "inhibits": 0}


@pytest.mark.parametrize(("changes", "text"), [
    ({}, "active | +1235 W | SoC 50.1 % | BMS 0.4 s | no trip"),
    ({"power_mw": -800_000}, "active | -800 W | SoC 50.1 % | BMS 0.4 s | no trip"),
    ({"power_mw": 0, "state": 4, "inhibits": 258},
     "inhibited | 0 W | SoC 50.1 % | BMS 0.4 s | held: stale reading, maintenance"),
    ({"power_mw": 0, "state": 5, "trip_cause": codes.TRIP_FIRE, "inhibits": 4},
     "tripped | 0 W | SoC 50.1 % | BMS 0.4 s | TRIP fire alarm"),
    ({"soc_bp": None, "bms_age_ms": None, "power_mw": 0, "state": 99},
     "code 99 | 0 W | SoC ? | BMS silent | no trip"),
])
def test_telemetry_in_a_line(changes: dict[str, Any], text: str) -> None:
    assert telemetry_text({**FIELDS, **changes}) == text


def test_long_lines_go_on_indented() -> None:
    reply = Reply("status", ["bms       " + "word " * 30, "state     idle"], "")
    lines = shown(reply).splitlines()
    assert len(lines) == 4 and max(map(len, lines)) <= 80
    assert lines[1].startswith(" " * 10 + "word") and lines[3] == "state     idle"
    assert shown(Reply("set-zone 3", [], "")) == "ok"
    assert shown(Reply("limits", [], "not enrolled")) == "refused: not enrolled"
    assert checked("  set-zone   3 ") == "set-zone 3"


def test_a_clock_has_its_time_behind_it() -> None:
    line = "clock     1795195890826"
    assert with_time(line) == f"{line}, 2026-11-20T17:31:30Z"
    assert shown(Reply("status", [line], "")) == f"{line}, 2026-11-20T17:31:30Z"
    for other in ("clock     not set", "clock 12 x", "boot      5", "clock     " + "9" * 16):
        assert with_time(other) == other


def test_a_cache_that_cannot_be_written_forgets_what_was_typed(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert isinstance(history(), FileHistory)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert isinstance(history(), InMemoryHistory)


class Terminal:
    """A person at an 80-column terminal with the console in it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = dict(os.environ, XDG_CACHE_HOME=str(folder), TERM="xterm")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "host_tools.cli.main", "console", *arguments], cwd=ROOT,
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True)
        os.close(theirs)
        self.seen = b""

    def reads(self, text: str, limit_s: float = 15.0) -> bool:
        """Read until text has appeared since the last `typed`."""
        end_s = time.monotonic() + limit_s
        while text.encode() not in ESCAPES.sub(b"", self.seen):
            if time.monotonic() > end_s:
                return False
            if select.select([self.ours], [], [], 0.1)[0]:
                try:
                    data = os.read(self.ours, 4096)
                except OSError:
                    return text.encode() in ESCAPES.sub(b"", self.seen)
                self.seen += data
                if b"\x1b[6n" in data:  # where is the cursor?
                    os.write(self.ours, b"\x1b[1;1R")
        return True

    def typed(self, keys: str) -> None:
        self.seen = b""
        os.write(self.ours, keys.encode())

    def close(self) -> int:
        """Wait for the end and return the exit code."""
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()
            os.close(self.ours)


def test_a_person_at_the_console(element: MemoryElement, tmp_path: Path) -> None:
    site = enrolled(element, tmp_path)
    terminal = Terminal(tmp_path / "cache", element.port, "--site", site)
    try:
        assert terminal.reads("Tab completes"), terminal.seen
        assert terminal.reads(">") and terminal.reads("SoC 50.0 %"), terminal.seen
        terminal.typed("tri\t")
        assert terminal.reads("ps"), terminal.seen  # what is drawn already is not drawn again
        terminal.typed("\r")
        assert terminal.reads("latched: nothing"), terminal.seen
        with element.lock:
            element.element.agent.log("something has happened")
        assert terminal.reads("something has happened"), terminal.seen
        terminal.typed("maintenance\x03")  # Ctrl-C clears the line
        time.sleep(0.3)
        assert not element.element.agent.service.maintenance.on
        terminal.typed("maintenance o\t")
        assert terminal.reads("ff"), terminal.seen
        terminal.typed("\x03cells\r")
        assert terminal.reads("cell 16   3200 mV") and terminal.reads("ms old"), terminal.seen
        terminal.typed("maintenance\r")
        assert terminal.reads("ok") and terminal.reads("held:"), terminal.seen
        terminal.typed("help\r")
        assert terminal.reads("Ctrl-D    end this console"), terminal.seen
        terminal.typed("nonsense\r")
        assert terminal.reads("refused: no command 'nonsense'"), terminal.seen
        for _ in range(5):  # a key that comes before the next prompt is the terminal's, not ours
            time.sleep(0.5)
            terminal.typed("\x04")
            if terminal.process.poll() is not None:
                break
        assert terminal.close() == 0
    finally:
        terminal.process.kill()
    history = (tmp_path / "cache" / "cellwall" / "console_history").read_text()
    assert "+trips" in history and "+cells" in history
    assert element.element.agent.port.dropped_count <= 1


def test_without_keys_there_is_no_session_and_the_repl_ends_it(element: MemoryElement,
                                                               tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "cache", element.port, "--site", str(tmp_path / "nowhere"))
    try:
        assert terminal.reads("no session: the element is not enrolled"), terminal.seen
        terminal.typed("maintenance\r")
        assert terminal.reads("ok")
        time.sleep(0.3)
        terminal.typed("maintenance repl\r")
        assert terminal.reads(f"mpremote connect {element.port} reset"), terminal.seen
        assert terminal.close() == 0
    finally:
        terminal.process.kill()
    assert element.element.agent.service.maintenance.on


def test_it_completes_what_the_element_knows() -> None:
    from element.console import _HELP

    words = {tuple(line.split("  ")[0].split()) for line in _HELP}
    assert {first for first, *_ in words} == set(COMMANDS) - {"help"}
    assert {more[0] for first, *more in words if first == "maintenance" and more} \
        == set(COMMANDS["maintenance"])
