"""Enrolment, doctor, console and REPL of an emulated Pico, by the commands that a user has."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cbor2
import pytest

from element.protocol import codes, schema
from element.protocol.errors import BusError
from hil.bench.rp2040.littlefs_image import read_files
from host_tools.identity.site import Site
from host_tools.provision.cable import Cable
from host_tools.provision.doctor import Doctor
from tests.hil.provision_bench import TappedPico, doctor, install, run, served

REPL_S_MAX = 30
WINDOW = 8


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flash file with today's firmware, never started."""
    path = tmp_path_factory.mktemp("installed") / "flash.bin"
    install(path)
    return path


@pytest.fixture(scope="module")
def enrolled(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The flash file of an enrolled element and its site's folder; enrolment is looked at."""
    folder = tmp_path_factory.mktemp("enrolled")
    path, site = folder / "flash.bin", folder / "site"
    shutil.copy(installed, path)
    with served(path) as pico:
        status = pico.up()
        assert status["enrolled"] == "no" and status["held by"] == "not enrolled"
        enrolment(pico, site)
        pico.cut_power()
    keys_stayed(bytes(pico.left), cbor2.loads(read_files(path)["keys.cbor"]), site)
    return path, site


def enrolment(pico: TappedPico, folder: Path) -> None:
    """Enrol the element, and try a second time."""
    code, out, err = run("enrol", pico.port, "--zone", "3", "--tenant", "acme", "--role", "column",
                         "--site", str(folder))
    assert code == 0, err
    assert "column in zone 3, tenant acme" in out and str(folder) in out
    assert max(map(len, out.splitlines()[:1])) <= 80
    site = Site(folder)
    entry, = site.elements()
    assert (entry.zone, entry.tenant, entry.role, entry.board) == (3, "acme", "column", "rpi_pico")
    assert entry.port == pico.port and entry.element_id in out
    element_id = bytes.fromhex(entry.element_id)
    claims = site.keyring().known[element_id].claims
    assert claims["zone"] == 3 and claims["profile"]["role"] == "column"
    before = (folder / "elements" / f"{entry.element_id}.json").read_bytes()
    for other in (folder, folder.with_name("another")):
        code, out, err = run("enrol", pico.port, "--zone", "4", "--site", str(other))
        assert code == 3 and "already enrolled" in err and out == ""
        assert ("by this site" in err) is (other == folder) and "zone 3" in err
    assert (folder / "elements" / f"{entry.element_id}.json").read_bytes() == before
    assert not Site(folder.with_name("another")).elements()


def keys_stayed(left: bytes, keys: list[bytes], folder: Path) -> None:
    """Look for the private keys in everything that left the board, and in the site."""
    sign_private, agree_private, sign_public, agree_public, _ = keys
    # the tap sees the wire: public keys are on it, in the request and in the credential
    assert any(piece in left for piece in pieces(sign_public))
    assert any(piece in left for piece in pieces(agree_public))
    kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for private in (sign_private, agree_private):
        assert len(private) == 32
        for piece in pieces(private):
            for form in (piece, piece[::-1], piece.hex().encode(), piece.hex().upper().encode()):
                assert form not in left and form not in kept


def pieces(key: bytes) -> list[bytes]:
    """Return every WINDOW bytes of a key without a zero, which COBS would have replaced."""
    return [key[at:at + WINDOW] for at in range(len(key) - WINDOW + 1)
            if 0 not in key[at:at + WINDOW]]


@contextmanager
def at_work(enrolled: tuple[Path, Path], tmp_path: Path) -> Iterator[tuple[TappedPico, Path]]:
    """Serve an enrolled element of its own, up and running."""
    path = tmp_path / "flash.bin"
    shutil.copy(enrolled[0], path)
    with served(path) as pico:
        status = pico.up()
        assert status["enrolled"].startswith("zone 3") and status["trip"] == "none"
        yield pico, enrolled[1]


# ---- enrolment ----


def test_a_stuck_generator_makes_no_keys(installed: Path, tmp_path: Path) -> None:
    path = tmp_path / "flash.bin"
    shutil.copy(installed, path)
    with served(path) as pico:
        with pico.lock:
            pico.pico.set_entropy_stuck(True)
        assert pico.said("SignatureError", 40), pico.usb
        code, _, err = run("enrol", pico.port, "--zone", "3", "--site", str(tmp_path / "site"))
        assert code == 3 and "no answer from the element's console" in err
        pico.cut_power()
        assert "keys.cbor" not in read_files(path) and not pico.enabled
        # and one that moves again does
        with pico.lock:
            pico.pico.set_entropy_stuck(False)
        pico.power_on()
        with pico.lock:
            pico.pico.set_entropy_stuck(False)
        assert len(pico.up()["element"]) == 16
        pico.cut_power()
        assert "keys.cbor" in read_files(path)


# ---- doctor ----


def test_a_sound_element_passes_every_line(enrolled: tuple[Path, Path], tmp_path: Path) -> None:
    with at_work(enrolled, tmp_path) as (pico, site):
        code, out, err = run("doctor", pico.port, "--power", "--site", str(site))
        assert code == 0, out + err
        verdicts = [line.split()[0] for line in out.splitlines() if line[:1] != " "]
        assert verdicts.count("pass") == 8 and "FAIL" not in verdicts, out
        assert "FETs move: 50 W: closed, " in out and "opened again" in out
        assert max(map(len, out.splitlines())) <= 80
        assert pico.enabled and not pico.element.bms.fet_discharge

        def person(asked: str) -> None:
            """Do what the doctor asks for, in a moment."""
            closed = asked.startswith("close")
            threading.Timer(0.5, setattr, (pico.element, "interlock_ok", closed)).start()

        with Cable(pico.port, Site(site).keyring()) as cable:
            checks = {check.name: check
                      for check in Doctor(cable, Site(site), False, 20.0, person).run()}
        toggled = checks["interlock input toggles"]
        assert toggled.verdict == "pass" and toggled.detail == "opened and closed"
        assert "life-safety key" in toggled.next_step
        assert not [check for check in checks.values() if check.verdict == "fail"]
        with Cable(pico.port) as cable:
            assert cable.status()["trip"] == "interlock input"


def test_what_is_wrong_before_enrolment_has_its_next_step(installed: Path,
                                                           tmp_path: Path) -> None:
    path = tmp_path / "flash.bin"
    shutil.copy(installed, path)
    with served(path) as pico:
        pico.element.bms.silent = True
        pico.element.interlock_ok = False
        pico.element.plant.sense_override_ma = 9000
        pico.up()
        checks = doctor(pico.port, tmp_path / "site")
        bms = checks["BMS, both ways"]
        assert bms["verdict"] == "fail" and "nothing heard" in bms["detail"]
        assert "swap its RX and TX" in bms["next_step"]
        assert checks["cells plausible"]["verdict"] == "skip"
        sensor = checks["current sensor plausible"]
        assert sensor["verdict"] == "fail" and "SENSE_ZERO_MV" in sensor["next_step"]
        interlock = checks["interlock input toggles"]
        assert interlock["verdict"] == "fail" and "close the loop" in interlock["next_step"]
        assert checks["link, both ways"]["verdict"] == "pass"
        session = checks["enrolled with this site"]
        assert session["verdict"] == "fail"
        assert session["next_step"] \
            == f"cellwall enrol {pico.port} --zone N --site {tmp_path / 'site'}"
        assert checks["clock set"]["verdict"] == checks["FETs move"]["verdict"] == "skip"


@pytest.mark.whole
def test_what_goes_wrong_later_has_its_next_step(enrolled: tuple[Path, Path],
                                                  tmp_path: Path) -> None:
    with at_work(enrolled, tmp_path) as (pico, site):
        another = tmp_path / "another"
        Site(another).create()
        assert pico.happens(lambda: "mV" in pico.up()["bms"], 10)
        checks = doctor(pico.port, another)
        session = checks["enrolled with this site"]
        assert session["verdict"] == "fail" and "--site" in session["next_step"]
        assert "enrolled with another host" in session["detail"]
        pico.element.bms.silent = True  # hung: it answered and stopped
        pico.wait(3.0)
        checks = doctor(pico.port, site, "--power")
        bms = checks["BMS, both ways"]
        assert bms["verdict"] == "fail" and "loose wire" in bms["next_step"], bms
        fets = checks["FETs move"]
        assert fets["verdict"] == "fail" and "stale reading" in fets["detail"]
        assert not pico.enabled
        pico.element.bms.silent = False
        pico.element.bms.fets_forced_open = True  # a BMS that does not switch
        pico.wait(2.0)
        fets = doctor(pico.port, site, "--power")["FETs move"]
        assert fets["verdict"] == "fail" and "the BMS does not switch" in fets["next_step"], fets
        assert "stayed open" in fets["detail"] and "tripped: not actuated" in fets["detail"]


# ---- console and REPL ----


class Panel:
    """A session on a cable: what telemetry comes, and setpoints."""

    def __init__(self, cable: Cable) -> None:
        self.cable = cable
        self.telemetry: list[dict[str, Any]] = []
        self.acks: list[dict[str, Any]] = []
        cable.on_message = self._on_message
        cable.session()
        cable.send(schema.TIME_SYNC, {
            "unix_ms": time.time_ns() // 1_000_000, "record_interval_ms": 300_000})

    def _on_message(self, kind: int, fields: dict[str, Any]) -> None:
        if kind == schema.TELEMETRY:
            self.telemetry.append(fields)
        elif kind == schema.ACK:
            self.acks.append(fields)

    def setpoint(self, sequence: int, power_mw: int) -> dict[str, Any]:
        self.acks.clear()
        self.cable.send(schema.SETPOINT, {
            "dispatch_id": 1, "sequence": sequence, "power_mw": power_mw, "lease_ms": 3000,
            "service": codes.SERVICE_TEST, "start_unix_ms": time.time_ns() // 1_000_000})
        assert self.cable.until(lambda: bool(self.acks), 3.0)
        return self.acks[0]


def at_power(panel: Panel) -> int:
    """Bring the element to 100 W; returns the next sequence number."""
    for sequence in range(1, 12):
        panel.setpoint(sequence, 100_000)
        panel.cable.until(lambda: False, 0.8)
        if panel.telemetry and panel.telemetry[-1]["power_mw"] > 50_000:
            return sequence + 1
    raise AssertionError(panel.telemetry[-1:])


@pytest.mark.whole
def test_commands_and_a_session_share_the_cable_on_the_way_to_the_repl(
        enrolled: tuple[Path, Path], tmp_path: Path) -> None:
    with at_work(enrolled, tmp_path) as (pico, site):
        with Cable(pico.port, Site(site).keyring()) as cable:
            panel = Panel(cable)
            sequence = at_power(panel)
            for _ in range(3):  # a board drops what a busy machine is late to take: once more
                bad = damage(cable, panel)
                began, count = time.monotonic(), len(panel.telemetry)
                for line in ("status", "cells", "limits", "trips", "log", "help"):
                    assert len(cable.command(line)) > 0 or line == "log", line
                    panel.setpoint(sequence, 100_000)
                    sequence += 1
                waited_s = time.monotonic() - began
                cable.until(lambda: False, 1.5)
                if damage(cable, panel) == bad and len(panel.telemetry) - count >= int(waited_s):
                    break
            else:
                raise AssertionError("text and frames disturb each other every time")
            assert panel.telemetry[-1]["power_mw"] > 50_000
            with pytest.raises(BusError, match="say `maintenance` first"):
                cable.command("maintenance repl")
            cable.command("maintenance")
            assert cable.until(lambda: panel.telemetry[-1]["inhibits"]
                               & codes.INHIBIT_MAINTENANCE > 0, 5)
            ack = panel.setpoint(sequence, 100_000)
            assert not ack["accepted"] and ack["reason"] == codes.REASON_MAINTENANCE
            assert cable.until(lambda: panel.telemetry[-1]["fets"] == 0, 5)
            cable.command("maintenance repl", limit_s=20.0)
        to_the_repl_and_back(pico)


def damage(cable: Cable, panel: Panel) -> tuple[int, int]:
    """Return how many frames were damaged or dropped, there and here."""
    return panel.telemetry[-1]["dropped_count"], cable.element.bad_frames


def to_the_repl_and_back(pico: TappedPico) -> None:
    """Use the REPL through mpremote, reset, and find the element in maintenance."""
    assert pico.said("maintenance: the agent is not running; a reset starts it")
    pico.enabled = False
    assert mpremote(pico.port, "exec", "import os; print(os.listdir())").count("keys.cbor") == 1
    assert not pico.enabled and "repl" not in mpremote(pico.port, "ls").split()
    mpremote(pico.port, "reset")
    status = pico.up()
    assert "maintenance" in status["held by"] and status["state"] == "inhibited"
    with Cable(pico.port) as cable:
        cable.command("maintenance off")
        cable.until(lambda: False, 0.5)  # the next tick
        assert "maintenance" not in cable.status()["held by"]
    assert not pico.enabled


def mpremote(port: str, *words: str) -> str:
    """Run the tool that a person would use."""
    result = subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", port, *words], capture_output=True,
        text=True, timeout=REPL_S_MAX, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout
