"""One element at the end of a cable: replies, log, sessions, and what disturbs them."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from element.protocol import codes, schema
from element.protocol.errors import BusError, RangeError
from host_tools.cli import main as cli
from host_tools.cli.board_commands import shown
from host_tools.identity.site import Site
from host_tools.provision.cable import ASK_COUNT_MAX, Cable, RefusedError
from host_tools.provision.doctor import FAILED, PASSED, Check, Doctor
from host_tools.provision.enrol import load_profile

from .memory_element import MemoryElement, on_a_pty


@pytest.fixture
def element(tmp_path: Path) -> Iterator[MemoryElement]:
    folder = tmp_path / "flash"
    folder.mkdir()
    with on_a_pty(folder) as served:
        assert served.happens(lambda: served.element.hal.now_ms > 101_500)
        yield served


@pytest.fixture
def site(element: MemoryElement, tmp_path: Path) -> Site:
    """The site with which the element is enrolled."""
    made = Site(tmp_path / "site")
    assert run("enrol", element.port, "--zone", "2", "--site", str(made.folder))[0] == 0
    return made


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, stdout, stderr."""
    runner = CliRunner()
    with runner.isolation() as streams:
        code = cli.main(list(arguments))
        return code, streams[0].getvalue().decode(), streams[1].getvalue().decode()


def test_replies_refusals_and_silence(element: MemoryElement) -> None:
    with Cable(element.port) as cable:
        assert cable.command("trips") == ["latched: nothing"]
        with pytest.raises(RefusedError, match="limits was refused") as caught:
            cable.command("limits")
        assert caught.value.value == "not enrolled: nothing is permitted"
        assert cable.status()["board"].startswith("memory, firmware ")
        element.silent = True
        with pytest.raises(BusError, match="no answer") as silent:
            cable.command("trips", limit_s=0.3)
        assert not isinstance(silent.value, RefusedError) and element.port in str(silent.value)
        element.silent = False
        assert cable.command("trips") == ["latched: nothing"]


def test_a_reply_with_a_line_lost_is_asked_for_again(element: MemoryElement) -> None:
    def is_whole(lines: list[str]) -> bool:
        return lines == ["latched: nothing"]

    with Cable(element.port) as cable:
        element.to_lose = [b"latched: nothing\r\n"] * 2
        assert cable.command("trips") == []
        assert cable.ask("trips", is_whole) == ["latched: nothing"] and element.to_lose == []
        element.to_lose = [b"board     "]
        assert cable.status()["board"].startswith("memory, firmware ")
        element.to_lose = [b"latched: nothing\r\n"] * ASK_COUNT_MAX
        with pytest.raises(BusError, match=r"answer was lost.*end other work"):
            cable.ask("trips", is_whole)


def test_what_was_typed_before_does_not_reach_the_command(element: MemoryElement) -> None:
    fd = os.open(element.port, os.O_RDWR | os.O_NOCTTY)
    os.write(fd, b"maintenan")  # somebody stopped in the middle of a word
    time.sleep(0.1)
    os.close(fd)
    with Cable(element.port) as cable:
        assert cable.interrupted()  # which clears the line
        assert cable.command("trips") == ["latched: nothing"]
    assert not element.element.agent.service.maintenance.on


def test_an_answer_to_somebody_else_is_not_taken_for_ours(element: MemoryElement) -> None:
    fd = os.open(element.port, os.O_RDWR | os.O_NOCTTY)
    os.write(fd, b"\x00limits\r\x00help\r\x00")
    os.close(fd)
    with Cable(element.port) as cable:
        assert cable.command("trips") == ["latched: nothing"]


def test_the_log_goes_beside_the_replies(element: MemoryElement) -> None:
    seen: list[str] = []
    with Cable(element.port) as cable:
        cable.on_text = seen.append
        cable.command("trips")
        with element.lock:
            element.element.agent.log("one")
            element.element.agent.log("two \x07")
        assert cable.command("trips") == ["latched: nothing"]
        assert [line.split("] ")[1] for line in seen] == ["one", "two "]
        assert cable.log == seen
        assert [line.split("] ")[1] for line in cable.command("log")] == ["one", "two "]


def test_an_element_at_work_and_one_that_is_not(element: MemoryElement) -> None:
    with Cable(element.port) as cable:
        assert cable.interrupted() and not cable.repl_seen
        element.silent = True
        assert not cable.interrupted(limit_s=0.2) and not cable.repl_seen


def test_a_session_beside_commands(element: MemoryElement, site: Site) -> None:
    kinds: list[int] = []
    with Cable(element.port, site.keyring()) as cable:
        cable.on_message = lambda kind, fields: kinds.append(kind)
        element_id = cable.session()
        assert element_id.hex() == site.elements()[0].element_id and cable.knows(element_id)
        cable.send(schema.TIME_SYNC, {"unix_ms": time.time_ns() // 1_000_000,
                                      "record_interval_ms": 10_000})
        for _ in range(10):
            assert cable.status()["link"].startswith("session, ")
            cable.until(lambda: False, 0.2)
        assert kinds.count(schema.TELEMETRY) >= 2 and cable.element.bad_frames == 0
    with Cable(element.port) as cable, pytest.raises(BusError, match="no session") as caught:
        cable.session(limit_s=3.0)
    assert "enrolled with another host" in str(caught.value.value)
    with Cable(element.port) as cable, pytest.raises(BusError, match="no session"):
        cable.send(schema.STATEMENT_ACK, {"counter": 0})


def test_enrolment_keeps_one_entry_and_refuses_a_second(element: MemoryElement,
                                                        site: Site, tmp_path: Path) -> None:
    entry, = site.elements()
    # the entry's credential is the one that the element keeps
    assert element.element.agent.enrolment.credential.hex() == entry.credential
    code, out, err = run("enrol", element.port, "--zone", "2", "--site", str(site.folder))
    assert code == 3 and "refused: already enrolled" in err and "by this site" in err
    assert f"next: nothing is missing; cellwall doctor {element.port}" in err and out == ""
    other = str(tmp_path / "other")
    code, _, err = run("enrol", element.port, "--zone", "2", "--site", other)
    assert code == 3 and "elsewhere" in err and site.elements() == [entry]
    assert "next: name that site's folder with --site" in err
    assert not Path(other).exists()  # no keys for an element that is not ours


def test_no_keys_are_made_before_an_element_answers(element: MemoryElement,
                                                    tmp_path: Path) -> None:
    folder = tmp_path / "site"
    element.silent = True
    for port in ("/dev/does-not-exist", str(tmp_path), element.port):
        assert run("enrol", port, "--zone", "2", "--site", str(folder))[0] == 3
        assert not folder.exists()


def test_a_role_that_there_is_not(tmp_path: Path) -> None:
    code, _, err = run("enrol", "/dev/does-not-exist", "--zone", "2", "--role", "roof")
    assert code == 2
    for role in ("roof", "wall", "column", "floor", "cabinet"):
        assert role in err


def test_a_site_folder_that_cannot_be_written(element: MemoryElement, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, out, err = run("enrol", element.port, "--zone", "2", "--json",
                         "--site", str(tmp_path / "file" / "site"))
    assert code == 3 and "site's folder cannot be written" in err and "Traceback" not in err
    assert json.loads(out)["next"] == "name another folder with --site"
    with Cable(element.port) as cable:
        assert cable.status()["enrolled"] == "no"


def test_a_file_that_cannot_be_used_is_no_defect(monkeypatch: pytest.MonkeyPatch,
                                                 tmp_path: Path) -> None:
    for error in (PermissionError(13, "Permission denied", str(tmp_path / "keys")),
                  OSError(28, "No space left on device")):
        def fail(*_: object, error: OSError = error) -> None:
            raise error
        monkeypatch.setattr(Site, "element", fail)
        code, out, err = run("update", "aa", "--site", str(tmp_path), "--json")
        assert code == 3 and "Traceback" not in err and "--site" in err
        assert str(error.filename or "No space") in json.loads(out)["error"]
    monkeypatch.setattr(Site, "element", lambda *_: 1 / 0)
    code, out, err = run("update", "aa", "--site", str(tmp_path), "--json")
    assert code == 1 and "Traceback" in err and "defect" in json.loads(out)["error"]


def test_errors_are_objects_too(tmp_path: Path) -> None:
    code, out, err = run("update", "aa", "--site", str(tmp_path), "--json")
    told = json.loads(out)
    assert code == 3 and told["error"] == "rig fault: no such element: aa; here: none"
    assert "--site" in told["next"] and "rig fault" in err and err[:1] != "\n"
    code, out, err = run("flash", "x", "--board", "nonsense", "--json")
    assert code == 2 and "nonsense" in json.loads(out)["error"] and "nonsense" in err
    assert run("update", "aa", "--site", str(tmp_path))[1] == ""


def test_an_error_begins_on_the_first_line() -> None:
    for words in (("flash", "/dev/x", "--board", "rpi_pico"), ("enrol", "/dev/x", "--zone", "1")):
        code, out, err = run(*words)
        assert code == 3 and out == "" and err.startswith("rig fault: no such port"), err


def test_a_slow_element_is_not_given_a_second_credential(element: MemoryElement,
                                                         tmp_path: Path) -> None:
    """It verifies its grant for longer than offers are repeated."""
    worker = element.element.agent.worker
    submit = worker.submit

    def slow(job: object, done: object, spare: int = 0) -> bool:
        if type(job).__name__ != "VerifyJob":
            return bool(submit(job, done, spare))
        begun = element.element.hal.now_ms
        step = job.step  # type: ignore[attr-defined]

        class Later:
            def step(self) -> bool:
                if element.element.hal.now_ms - begun < 6000:
                    element.element.hal.now_ms += 1
                    return False
                return bool(step())

            def __getattr__(self, name: str) -> object:
                return getattr(job, name)

        return bool(submit(Later(), done, spare))

    worker.submit = slow
    folder = tmp_path / "site"
    code, _, err = run("enrol", element.port, "--zone", "2", "--site", str(folder))
    assert code == 0, err
    entry, = Site(folder).elements()
    assert element.element.agent.enrolment.credential.hex() == entry.credential


# ---- profiles ----


def test_profiles(tmp_path: Path) -> None:
    fields = load_profile("lfp_16s_2500w", "column")
    assert fields["role"] == "column" and fields["kind"] == codes.KIND_CONVERTER
    assert fields["services"] == 7
    with pytest.raises(BusError, match="no such profile") as caught:
        load_profile("nothing", "wall")
    assert "lfp_16s_2500w" in str(caught.value.value)
    path = tmp_path / "mine.yaml"
    for text, error in (("kind: [", BusError), ("- 1", BusError), ("", BusError),
                        ("kind: converter\nservices: [flying]", RangeError),
                        ("kind: converter", RangeError)):
        path.write_text(text)
        with pytest.raises(error):
            load_profile(str(path), "wall")


# ---- the doctor's words ----


def test_a_sound_element_and_its_doctor(element: MemoryElement, site: Site) -> None:
    code, out, err = run("doctor", element.port, "--power", "--site", str(site.folder), "--json")
    checks = json.loads(out)
    assert code == 0 and [check["verdict"] for check in checks].count("pass") == 8, out + err
    with element.lock:
        element.element.agent.interlock.trip(codes.TRIP_FIRE)
    # the session of before lives on in the element: its telemetry is no damage
    with Cable(element.port) as cable:
        cable.until(lambda: False, 2.5)
        assert cable.element.foreign >= 1 and cable.element.damaged_frames == 0
    code, out, _ = run("doctor", element.port, "--power", "--site", str(site.folder), "--json")
    assert json.loads(out)[5]["detail"] == "WHO answered by HERE, 0 frames damaged"
    fets = json.loads(out)[-1]
    assert code == 1 and fets["verdict"] == "fail" and "fire alarm" in fets["detail"]
    assert fets["next_step"].endswith(f"cellwall release {element.port}")


@pytest.mark.parametrize(("count", "verdict", "detail"), [
    (1, "pass", "WHO answered by HERE, 1 frames damaged, none when asked again"),
    (99, "fail", "WHO was not answered, ")])
def test_a_frame_that_was_damaged_once_is_no_noise(
    element: MemoryElement, site: Site, count: int, verdict: str, detail: str,
) -> None:
    element.frames_to_damage = count
    with Cable(element.port, site.keyring()) as cable:
        checks = Doctor(cable, site, False, 0, lambda words: None).run()
        link = next(one for one in checks if one.name == "link, both ways")
    assert (link.verdict, link.detail.startswith(detail)) == (verdict, True), link


class BusyCable(Cable):
    """A cable on a machine so busy that the next setpoints leave late."""

    late_count = 0

    def send(self, kind: int, fields: dict[str, Any]) -> None:
        if kind == schema.SETPOINT and fields["power_mw"] and self.late_count:
            self.late_count -= 1
            time.sleep(1.6)
        super().send(kind, fields)


@pytest.mark.parametrize(("count", "verdict", "detail", "step"), [
    (2, PASSED, "W: closed, ", ""),
    (99, FAILED, "; setpoints came after the end of their lease of 1500 ms", "too busy")])
def test_a_busy_machine_is_no_fault_of_the_element(
    element: MemoryElement, site: Site, count: int, verdict: str, detail: str, step: str,
) -> None:
    with BusyCable(element.port, site.keyring()) as cable:
        cable.late_count = count
        fets = list(Doctor(cable, site, True, 0, lambda words: None).run())[-1]
    assert fets.verdict == verdict and detail in fets.detail and step in fets.next_step, fets


def test_the_doctor_knows_maintenance_and_the_site(element: MemoryElement, site: Site,
                                                   tmp_path: Path) -> None:
    with Cable(element.port) as cable:
        cable.command("maintenance")
    code, out, _ = run("doctor", element.port, "--power", "--site", str(site.folder), "--json")
    fets = json.loads(out)[-1]
    assert code == 1 and fets["detail"] == "no power is permitted: maintenance"
    assert fets["next_step"] == "console: maintenance off"
    wrong = tmp_path / "wrong"
    code, out, _ = run("doctor", element.port, "--site", str(wrong), "--json")
    session = json.loads(out)[6]
    assert code == 1 and session["detail"] == f"no site keys: {wrong}"
    assert "--site" in session["next_step"]
    assert f"no site keys: {wrong}" in run("update", element.port, "--board", "rpi_pico",
                                           "--site", str(wrong))[2].replace("\n", "")


def test_the_doctor_names_the_command_that_enrols(element: MemoryElement, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    plain = f"cellwall enrol {element.port} --zone N"
    folder = str(tmp_path)
    for options, step in (((), plain), (("--site", folder), f"{plain} --site {folder}")):
        code, out, _ = run("doctor", element.port, *options, "--json")
        session = json.loads(out)[6]
        assert code == 1 and session["verdict"] == "fail" and session["next_step"] == step


def test_cells_that_cannot_be(element: MemoryElement, site: Site) -> None:
    with element.lock:
        element.element.bms.basic["raw_10mv"] = 4900
    element.happens(lambda: False, 1.5)
    code, out, _ = run("doctor", element.port, "--site", str(site.folder))
    assert code == 1 and "FAIL  cells plausible: 16 cells" in out and "sense wires" in out


def test_checks_fit_the_terminal() -> None:
    long = Check("name", FAILED, "detail [1, 5] " * 12, "step [bold] " * 12)
    lines = shown(long).plain.splitlines()
    assert lines[0].startswith("FAIL  name: detail [1, 5]") and max(map(len, lines)) <= 80
    assert all(line.startswith("      ") for line in lines[1:]) and "[bold]" in lines[-1]
    assert shown(Check("name", PASSED, "detail", "never shown")).plain == "pass  name: detail"
