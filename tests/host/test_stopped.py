"""Ctrl-C in the tools: exit code 4, and words that say what runs now and what to do next.

And whose maintenance it is: what flash began, flash ends; a person's own stays.
"""

import json
import os
import pty
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from element import version
from element.protocol.errors import BusError
from host_tools.attest.archive import STATEMENTS_FILE
from host_tools.cli import board_commands, verify_command
from host_tools.cli import main as cli
from host_tools.identity.site import Site
from host_tools.provision import flash as flash_module
from host_tools.provision import update as update_module
from host_tools.provision.build import Firmware
from host_tools.provision.cable import Cable, RefusedError
from host_tools.provision.flash import Flashed
from host_tools.provision.marks import MARK_S_MAX, cache_folder, is_marked, mark, unmark
from host_tools.provision.stopped import StoppedError, stoppable

from .memory_element import MemoryElement, on_a_pty
from .test_flash import FIRMWARE, MemoryREPL, repl_at, who

ROOT = Path(__file__).resolve().parents[2]
BOARD = f"memory, firmware {version.TEXT}"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def element(tmp_path: Path) -> Iterator[MemoryElement]:
    folder = tmp_path / "flash"
    folder.mkdir()
    with on_a_pty(folder) as served:
        assert served.happens(lambda: served.element.hal.now_ms > 101_500)
        yield served


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, stdout, stderr."""
    runner = CliRunner()
    with runner.isolation() as streams:
        code = cli.main(list(arguments))
        return code, streams[0].getvalue().decode(), streams[1].getvalue().decode()


def ctrl_c(*_: object, **__: object) -> None:
    """Press Ctrl-C in whatever is called."""
    raise KeyboardInterrupt


# ---- exit code and words ----


@pytest.mark.parametrize(("words", "says"), [
    (("flash", "--board", "rpi_pico"), "as it was; next: flash again"),
    (("enrol", "--zone", "3"), "not enrolled; next: enrol again"),
    (("doctor",), "next: doctor again"),
    (("console", "-c", "status"), "stopped"),
])
def test_a_signal_while_a_port_is_silent(tmp_path: Path, words: tuple[str, ...],
                                         says: str) -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    process = subprocess.Popen(
        [sys.executable, "-m", "host_tools.cli.main", words[0], os.ttyname(theirs), *words[1:]],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)})
    try:
        end_s = time.monotonic() + 60
        asked = False
        while not asked and time.monotonic() < end_s:
            time.sleep(0.05)
            try:
                asked = bool(os.read(ours, 4096))
            except BlockingIOError:
                continue
        assert asked
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 4, err
    assert out == "" and err.startswith("stopped") and says in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "cellwall" / "site").exists()  # nobody answered: no keys


def test_a_command_without_words_of_its_own(tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / STATEMENTS_FILE).touch()
    monkeypatch.setattr(verify_command, "verify_folder", ctrl_c)
    assert run("verify", str(tmp_path)) == (4, "", "stopped\n")
    code, out, _ = run("verify", str(tmp_path), "--json")
    assert code == 4 and json.loads(out) == {"error": "stopped", "next": ""}


def test_the_innermost_words_are_said() -> None:
    with pytest.raises(StoppedError) as caught, stoppable("outer", "a"), stoppable("inner", "b"):
        raise KeyboardInterrupt
    assert (caught.value.code, caught.value.value) == ("inner", "b")
    with pytest.raises(BusError), stoppable("outer", "a"):
        raise BusError("port busy")


@pytest.mark.parametrize(("where", "says"), [
    ("build_firmware", "the board is as it was"),
    ("_check_chip", "runs nothing now, or the firmware it had"),
    ("_check_identity", "the firmware is whole on the board, and starts"),
])
def test_flash_says_what_runs_now(monkeypatch: pytest.MonkeyPatch, where: str, says: str) -> None:
    monkeypatch.setattr(flash_module, "_bring", lambda *_: None)
    monkeypatch.setattr(flash_module, where, ctrl_c)
    with repl_at(who()) as (port, _):
        code, out, err = run("flash", port, "--board", "rpi_pico", "--json")
    assert code == 4 and says in err and "next: flash again" in err
    told = json.loads(out)
    assert says in told["error"] and told["next"].startswith("flash again")


def test_flash_half_way_says_that_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    repl = MemoryREPL({})
    monkeypatch.setattr(MemoryREPL, "hashes", lambda self, names=None: {} if names is None
                        else ctrl_c())
    done = Flashed("port", "rpi_pico", "1.2.3", "")
    with pytest.raises(StoppedError, match="runs nothing now: half"):
        flash_module._bring(repl, FIRMWARE, done, lambda *_: None)  # type: ignore[arg-type]
    assert repl.files["slots"] == flash_module.STATE_BROKEN


def site_of(element: MemoryElement, tmp_path: Path) -> Site:
    """Enrol the element; returns its site."""
    site = Site(tmp_path / "site")
    assert run("enrol", element.port, "--zone", "2", "--site", str(site.folder))[0] == 0
    return site


def test_enrol_says_that_it_may_be_done(element: MemoryElement, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cable, "session", ctrl_c)
    code, _, err = run("enrol", element.port, "--zone", "2", "--site", str(tmp_path / "site"))
    assert code == 4 and "enrolled, or not" in err and "next: enrol again" in err
    monkeypatch.undo()
    assert site_of(element, tmp_path).elements()


def newer(monkeypatch: pytest.MonkeyPatch, text: str = "9.9.9") -> None:
    """Let the checkout hold a firmware for the element in memory."""
    firmware = Firmware("memory", text, 9_009_009, 0, {}, {"element/x.mpy": b"x"})
    monkeypatch.setattr(board_commands, "build_firmware", lambda *_: firmware)
    monkeypatch.setattr(board_commands, "boards_of", lambda _: ["memory"])


def test_update_says_what_runs_now(element: MemoryElement, tmp_path: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(element, tmp_path)
    newer(monkeypatch)
    words = ("update", element.port, "--site", str(site.folder))
    monkeypatch.setattr(update_module.Update, "send", ctrl_c)
    code, _, err = run(*words)
    assert code == 4 and "runs the firmware it had" in err
    assert "next: update again: it goes on where it stopped" in err
    monkeypatch.setattr(update_module.Update, "send", lambda self: None)
    monkeypatch.setattr(update_module.Update, "wait_for_trial", ctrl_c)
    code, _, err = run(*words)
    assert code == 4 and "tries the new firmware" in err and "-c status" in err


def test_an_update_that_is_none(element: MemoryElement, tmp_path: Path,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(element, tmp_path)
    words = ("update", element.port, "--site", str(site.folder))

    def refuse(why: str) -> None:
        def send(_: object) -> None:
            raise RefusedError("the element refuses the update", why)
        monkeypatch.setattr(update_module.Update, "send", send)

    newer(monkeypatch, version.TEXT)
    refuse("this version runs already")
    code, out, err = run(*words)
    assert code == 0 and err == ""
    assert f"{version.TEXT} runs already; nothing to do" in out
    assert json.loads(run(*words, "--json")[1])["updated"] is False
    newer(monkeypatch, "0.0.9")
    refuse("older than what runs")
    code, out, err = run(*words)
    assert code == 3 and f"{version.TEXT} runs, this is 0.0.9" in err
    assert "refused: older than what runs" in err and "--checkout" in err and "rig" not in err
    refuse("flash error 28")
    code, _, err = run(*words)
    assert code == 3 and "flash error 28" in err
    monkeypatch.setattr(board_commands, "build_firmware",
                        lambda *_: Firmware("esp32", "9", 9, 0, {}, {}))
    code, _, err = run(*words)
    assert code == 3 and "this is memory" in err and "next: --board memory" in err


# ---- whose maintenance it is ----


def on(element: MemoryElement) -> bool:
    return bool(element.element.agent.service.maintenance.on)


def hardware(element: MemoryElement) -> str:
    with Cable(element.port) as cable:
        return cable.status()["hardware"]


def stop(element: MemoryElement) -> bool:
    with Cable(element.port) as cable:
        return flash_module._stop_element(cable, "rpi_pico")


def interrupted(monkeypatch: pytest.MonkeyPatch, then: object = None) -> None:
    """Press Ctrl-C when the element has gone into maintenance."""
    def ask(cable: Cable) -> None:
        if callable(then):
            then()
        raise KeyboardInterrupt
    monkeypatch.setattr(flash_module, "_ask_for_repl", ask)


def test_ctrl_c_ends_the_maintenance_that_flash_began(element: MemoryElement,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch)
    with pytest.raises(StoppedError, match="goes on with the firmware it had"):
        stop(element)
    assert not on(element) and not is_marked(hardware(element))


def test_a_later_flash_ends_it_when_the_element_was_gone(element: MemoryElement,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, lambda: setattr(element, "silent", True))
    with pytest.raises(StoppedError, match="runs nothing now, or the firmware it had"):
        stop(element)
    element.silent = False
    assert on(element) and is_marked(hardware(element))
    assert stop(element)
    assert element.happens(lambda: element.resets == 1)
    check(element, True)
    assert not on(element) and not is_marked(hardware(element))


def check(element: MemoryElement, is_ours: bool) -> None:
    """Let flash find the element that has restarted."""
    done = Flashed("", "memory", version.TEXT, "", hardware_id=hardware(element))
    firmware = SimpleNamespace(version=version.TEXT)
    flash_module._check_identity(element.port, firmware, done, is_ours)  # type: ignore[arg-type]
    assert done.element_id


def test_a_whole_flash_ends_what_it_began(element: MemoryElement) -> None:
    assert stop(element)
    assert element.happens(lambda: element.resets == 1) and on(element)
    assert is_marked(hardware(element))
    check(element, True)
    assert not on(element) and not is_marked(hardware(element))


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_persons_own_maintenance_stays(element: MemoryElement, is_cut: bool,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("console", element.port, "-c", "maintenance")[:2] == (0, "ok\n")
    time.sleep(0.3)
    if is_cut:
        monkeypatch.setattr(flash_module, "_goes_to_repl", ctrl_c)
        with pytest.raises(StoppedError, match="in maintenance"):
            stop(element)
    else:
        assert not stop(element)
        assert element.happens(lambda: element.resets == 1)
        check(element, False)
    assert on(element) and not is_marked(hardware(element))


def test_maintenance_that_stays_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    done = Flashed("port", "rpi_pico", "0.1.0", "", element_id="aa", maintenance=True)
    monkeypatch.setattr(board_commands, "flash", lambda *_: done)
    out = run("flash", "port", "--board", "rpi_pico")[1]
    assert "cellwall console port -c 'maintenance off'" in out


@pytest.mark.parametrize("line", ["maintenance", "maintenance off"])
def test_a_person_at_the_console_takes_it_over(element: MemoryElement, line: str) -> None:
    name = hardware(element)
    for other in ("status", "maintenance nonsense"):
        mark(name)
        run("console", element.port, "-c", other)
        assert is_marked(name)
    run("console", element.port, "-c", line)
    assert not is_marked(name)


def test_an_element_on_another_chip_is_left_at_work(element: MemoryElement) -> None:
    element.element.agent.board.NAME = "esp32"
    try:
        with pytest.raises(BusError, match="wrong chip") as caught:
            stop(element)
    finally:
        element.element.agent.board.NAME = "memory"
    assert "--board esp32" in str(caught.value.value) and not on(element)


def test_marks(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == cache / "cellwall" and not is_marked("0102")
    unmark("0102")
    mark("0102")
    assert is_marked("0102") and not is_marked("0103")
    path, = (cache / "cellwall" / "flashing").iterdir()
    for age_s, holds in ((MARK_S_MAX - 60, True), (MARK_S_MAX + 60, False), (-60, False)):
        os.utime(path, (time.time() - age_s,) * 2)
        assert is_marked("0102") is holds
    mark("0102")  # begins anew
    assert is_marked("0102")
    unmark("0102")
    assert not is_marked("0102")
    mark("../../x")
    assert [one.name for one in path.parent.iterdir()] == ["x"]
    (cache / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    mark("0102")  # which keeps nothing, and is no error
    assert not is_marked("0102")


# ---- what flash says of versions ----


@pytest.mark.parametrize(("before", "now", "says"), [
    ("0.1.1", "0.1.0", "firmware 0.1.1 -> 0.1.0: older, "),
    ("0.10.0", "0.9.0", "firmware 0.10.0 -> 0.9.0: older, "),
    ("0.1.0", "0.1.1", "firmware 0.1.0 -> 0.1.1, "),
    ("0.1.0", "0.1.0", "firmware 0.1.0, "), ("", "0.1.0", "firmware 0.1.0, ")])
def test_an_older_version_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch, before: str,
                                            now: str, says: str) -> None:
    done = Flashed("port", "rpi_pico", now, "", element_id="aa", version_before=before)
    monkeypatch.setattr(board_commands, "flash", lambda *_: done)
    assert says in run("flash", "port", "--board", "rpi_pico")[1]


def test_the_version_on_a_board_is_read_from_it() -> None:
    for says, found in (("0.1.1\r\n", "0.1.1"), ("", ""), (who(), ""), ("a b", "")):
        repl = SimpleNamespace(run=lambda code, says=says: says)
        assert flash_module._version_there(repl) == found  # type: ignore[arg-type]
