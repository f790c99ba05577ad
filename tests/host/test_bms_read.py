"""`cellwall bms read` against emulated devices: real ptys, and bleak over a virtual radio."""

import json
import os
import pty
import select
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import bleak
import pytest
from typer.testing import CliRunner

from element.bms import FAMILIES
from hil.devices import BMS_FAMILIES, daly_ble
from hil.devices.base import EmulatedBMS
from hil.devices.daly import DalyEmulator
from hil.devices.jbd import JBDEmulator
from hil.plant.cell import CHEMISTRIES
from hil.plant.pack import Pack
from host_tools.bms.line import BLE_CHARACTERISTICS
from host_tools.cli import main as cli
from host_tools.links.serial_link import SerialLink

from .virtual_radio import Radio, backend_for

ADDRESS = "F0:10:20:30:40:50"


def pack_of(series_count: int = 15, soc: float = 0.57, amperes: float = 12.3) -> Pack:
    pack = Pack(CHEMISTRIES["LFP"], series_count, 100.0, Random(4), soc=soc)
    pack.advance(2000, amperes)
    return pack


def device_of(family: str, **options: Any) -> EmulatedBMS:
    device = BMS_FAMILIES[family](pack_of(), Random(5), 15, capacity_ah=100.0, start_closed=True,
                                  **options)
    device.update(2000)
    return device


@contextmanager
def on_a_pty(device: EmulatedBMS) -> Iterator[str]:
    """Serve a device in real time at the end of a pty; yields the port's name."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    name = os.ttyname(theirs)
    ended = threading.Event()

    def serve() -> None:
        zero = time.monotonic() - 3.0
        while not ended.is_set():
            ready, _, _ = select.select([ours], [], [], 0.002)
            now_ms = int((time.monotonic() - zero) * 1000)
            if ready:
                device.feed(os.read(ours, 4096), now_ms)
            data = device.take(now_ms)
            if data:
                os.write(ours, data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield name
    finally:
        ended.set()
        thread.join(5)
        os.close(ours)
        os.close(theirs)


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process, as a user's shell would."""
    runner = CliRunner()
    with runner.isolation() as streams:
        code = cli.main(["bms", "read", *arguments])
        out, err = streams[0].getvalue(), streams[1].getvalue()
    return code, out.decode(), err.decode()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_over_its_wire(family: str) -> None:
    with on_a_pty(device_of(family)) as port:
        code, out, err = run(port, "--family", family, "--count", "2", "--period-s", "0.1",
                             "--json")
    assert code == 0, err
    first, second = (json.loads(line) for line in out.splitlines())
    assert first["family"] == family and first["problems"] == []
    assert 48_000 < first["pack_mv"] < 50_500 and len(first["cell_mv"]) == 15
    assert abs(sum(first["cell_mv"]) - first["pack_mv"]) < 600
    # positive is discharge, whatever the vendor thinks
    assert 11_800 < first["current_ma"] < 12_800
    assert abs(first["soc_bp"] - 5700) <= 200
    assert first["error_names"] == [] and first["fet_discharge"] is True
    assert second["line"]["good"] > first["line"]["good"] and second["line"]["no_answer"] == 0
    low, high = first["cell_index_min"], first["cell_index_max"]
    assert first["cell_mv"][low] == min(first["cell_mv"])
    assert first["cell_mv"][high] == max(first["cell_mv"])


def test_auto_finds_the_family() -> None:
    with on_a_pty(device_of("daly")) as port:
        code, out, err = run(port, "--count", "1", "--json")
    assert code == 0 and json.loads(out)["family"] == "daly", err


def test_the_table_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with on_a_pty(device_of("jbd")) as port:
        code, out, _ = run(port, "--family", "jbd", "--count", "1")
    assert code == 0 and "discharge" in out and "cells" in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_a_silent_port_says_what_to_look_at() -> None:
    device = device_of("jbd")
    device.silent = True
    with on_a_pty(device) as port:
        code, out, err = run(port, "--family", "jbd", "--count", "1", "--json")
    assert code == 3 and "no BMS answers" in json.loads(out)["error"]
    assert "no answer to 03" in err and "9600" in err and "RX/TX" in err


def test_a_line_that_echoes_is_named() -> None:
    class Echo:
        def __init__(self) -> None:
            self.held = b""

        def feed(self, data: bytes, now_ms: int) -> None:
            self.held += data

        def take(self, now_ms: int) -> bytes:
            data, self.held = self.held, b""
            return data

    echo: Any = Echo()
    with on_a_pty(echo) as port:
        code, _, err = run(port, "--family", "daly", "--count", "1")
    assert code == 3 and "TX and RX are joined" in err


def test_damaged_answers_are_counted_and_asked_for_again() -> None:
    device = device_of("jbd")
    device.fault_mode, device.fault_probability = "flip", 0.4
    with on_a_pty(device) as port:
        _, out, _ = run(port, "--family", "jbd", "--count", "6", "--period-s", "0.1", "--json")
    looks = [json.loads(line) for line in out.splitlines()]
    assert looks[-1]["line"]["no_answer"] > 0 and looks[-1]["line"]["good"] > 6
    for look in looks:
        if "pack_mv" in look:
            assert 48_000 < look["pack_mv"] < 50_500


@pytest.mark.parametrize("arguments", [
    ("--family", "tesla", "/dev/null"), ("ble:00:11:22:33:44:55", "--family", "jk"),
    ("/dev/null", "--count", "-1"),
])
def test_wrong_use_is_exit_2(arguments: tuple[str, ...]) -> None:
    code, _, err = run(*arguments)
    assert code == 2, err


def test_a_port_that_is_not_there_is_exit_3() -> None:
    code, _, err = run("/dev/does-not-exist", "--family", "jbd")
    assert code == 3 and "no such port: /dev/does-not-exist" in err and "next: " in err


def test_other_ports_that_are_none_have_their_cause(tmp_path: Path) -> None:
    """The same words as the other commands'; test_ports.py has them all."""
    code, _, err = run(str(tmp_path), "--family", "jbd")
    assert code == 3 and f"not a serial port: {tmp_path}" in err and "next: " in err
    with on_a_pty(device_of("jbd")) as port:
        holder = SerialLink(port)
        code, _, err = run(port, "--family", "jbd")
        holder.close()
    assert code == 3 and "port busy" in err and f"fuser {port}" in err


def timed(device: EmulatedBMS) -> Callable[[bytes], bytes]:
    """Return what a device answers to a write, its time going on by itself."""
    now_ms = 3000

    def answer(request: bytes) -> bytes:
        nonlocal now_ms
        device.feed(request, now_ms)
        now_ms += 2000
        return device.take(now_ms)

    return answer


def in_the_air(monkeypatch: pytest.MonkeyPatch, family: str,
               answer: Callable[[bytes], bytes]) -> None:
    notify, write = BLE_CHARACTERISTICS[family]
    service = {"jbd": "ff00", "daly": "fff0"}[family]
    radio = Radio(ADDRESS, service, notify, write, answer)
    monkeypatch.setattr(bleak, "get_platform_client_backend_type",
                        lambda: (backend_for(radio), "bumble"))


def daly_of() -> DalyEmulator:
    device = device_of("daly")
    assert isinstance(device, DalyEmulator)
    return device


def test_jbd_over_bluetooth(monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_air(monkeypatch, "jbd", timed(device_of("jbd")))
    code, out, err = run(f"ble:{ADDRESS}", "--family", "jbd", "--count", "1", "--json")
    assert code == 0, err
    look = json.loads(out)
    assert look["model"] == "CELLWALL-JBD-16S" and 11_800 < look["current_ma"] < 12_800
    assert len(look["cell_mv"]) == 15


def test_daly_over_bluetooth(monkeypatch: pytest.MonkeyPatch) -> None:
    device = daly_of()
    in_the_air(monkeypatch, "daly", lambda request: daly_ble.answer(device, request))
    code, out, err = run(f"ble:{ADDRESS}", "--family", "daly", "--count", "2", "--period-s",
                         "0.1", "--json")
    assert code == 0, err
    look = json.loads(out.splitlines()[-1])
    assert 11_800 < look["current_ma"] < 12_800 and abs(look["soc_bp"] - 5700) <= 200
    assert len(look["cell_mv"]) == 15 and look["fet_charge"] is True


def test_a_module_that_wants_to_be_paired_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_air(monkeypatch, "jbd", lambda request: request)  # it echoes until it is paired
    code, _, err = run(f"ble:{ADDRESS}", "--family", "jbd", "--count", "1")
    assert code == 3 and "paired" in err and "bluetoothctl" in err


def test_a_module_behind_an_app_password_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_air(monkeypatch, "jbd", lambda request: b"")
    code, _, err = run(f"ble:{ADDRESS}", "--family", "jbd", "--count", "1")
    assert code == 3 and "app password" in err


def test_no_module_in_the_air_is_exit_3(monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_air(monkeypatch, "jbd", timed(device_of("jbd")))
    code, _, err = run("ble:00:11:22:33:44:55", "--family", "jbd")
    assert code == 3 and "not found" in err


def test_the_jbd_emulator_is_the_one_with_a_name() -> None:
    assert isinstance(device_of("jbd"), JBDEmulator)
