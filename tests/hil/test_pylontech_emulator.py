"""Check the emulated Pylontech module against frames of real ones and PyPI's pylontech."""

import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pylontech import PylontechDecode, PylontechEncode, PylontechRS485

from hil.devices import pylontech_frames as frames
from hil.devices.measurement import Values
from hil.devices.protection import (
    ERROR_CELL_UNDERVOLT,
    ERROR_CHARGE_OVERCURRENT,
    ERROR_DISCHARGE_OVERTEMP,
    ProtectionLimits,
)
from hil.devices.pylontech import MONTH_MS, PylontechEmulator, share
from hil.devices.pylontech_frames import Management
from hil.plant.cell import LFP, NMC
from hil.plant.pack import Imbalance, Pack

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "bms" / "pylontech.json").read_text(encoding="utf-8"))
CAPTURED = {one["name"]: one for one in VECTORS["exchanges"]}
JOIN_TIMEOUT_S = 30.0
LIMITS = ProtectionLimits.for_chemistry(LFP)


def make(seed: int = 1, soc: float = 0.5, **options: Any) -> PylontechEmulator:
    """Return a 15-cell module."""
    rng = Random(seed)
    pack = Pack(LFP, 15, 100.0, rng, soc=soc, imbalance=Imbalance(0.0, 0.0, 0.0))
    return PylontechEmulator(pack, rng, 15, **options)


def ask(bms: PylontechEmulator, text: str, at_ms: int = 0) -> str:
    """Send a request without its carriage return; return the reply without it."""
    bms.feed(text.encode("ascii") + b"\r", at_ms)
    reply = bms.take(at_ms + 1000).decode("ascii")
    assert reply.endswith("\r") or not reply
    return reply[:-1]


def request(cid2: int, info: bytes = b"\x02", address: int = 2) -> str:
    """Return a request without its carriage return, with right checksums."""
    return frames.build_frame(address, cid2, info).decode("ascii")[:-1]


def info_of(name_or_reply: str) -> bytes:
    """Return the info of a captured reply by its name, or of a reply."""
    text = CAPTURED[name_or_reply]["reply"] if name_or_reply in CAPTURED else name_or_reply
    return bytes.fromhex(text[13:-4])


def values_of(info: bytes) -> Values:
    """Decode the module's part of an analog reply, written apart from the emulator's code."""
    count = info[2]
    end = 3 + 2 * count

    def words(at: int, number: int) -> list[int]:
        return [int.from_bytes(info[i : i + 2], "big", signed=True)
                for i in range(at, at + 2 * number, 2)]

    cells, hot = words(3, count), words(end + 1, info[end])
    at = end + 1 + 2 * info[end]
    large = info[at + 6] == 4
    cycles = words(at + 9, 1)[0]
    if large:
        left, full = (int.from_bytes(info[i : i + 3], "big") for i in (at + 11, at + 14))
    else:
        left, full = (int.from_bytes(info[i : i + 2], "big") for i in (at + 4, at + 7))
    return Values(
        tuple(one / 1000 for one in cells), -words(at, 1)[0] / 10,
        tuple((one - 2731) / 10 for one in hot), left * 3.6, full * 3.6, cycles)


@pytest.mark.parametrize("name", ["analog_us2000", "analog_us3000c", "analog_up2500"])
def test_captured_analog_values_are_reproduced(name: str) -> None:
    """From the values of a capture comes its info; pack voltage is measured apart there."""
    theirs = info_of(name)
    ours = frames.analog_data(values_of(theirs))
    at = 3 + 2 * theirs[2] + 1 + 2 * theirs[3 + 2 * theirs[2]] + 2
    ours_mv = int.from_bytes(ours[at - 2 : at], "big")
    assert abs(ours_mv - int.from_bytes(theirs[at : at + 2], "big")) <= 15
    assert ours[: at - 2] + theirs[at : at + 2] + ours[at:] == theirs[2:]


def test_captured_management_alarm_and_plain_replies_are_reproduced() -> None:
    """Limits of two modules, no alarm, and the fixed replies, with head and checksums."""
    wish = Management(53.25, 45.0, 37.0, 37.0, charge_enabled=True, discharge_enabled=True)
    frame = frames.build_frame(2, 0, b"\x02" + frames.management_data(wish))
    assert frame.decode("ascii") == CAPTURED["management_us3000c"]["reply"] + "\r"
    wish = Management(28.4, 23.2, 55.5, 55.5, charge_enabled=True, discharge_enabled=True)
    frame = frames.build_frame(2, 0, b"\x02" + frames.management_data(wish))
    assert frame.decode("ascii") == CAPTURED["management_up2500"]["reply"] + "\r"
    values = Values((3.226,) * 15, 0.0, (20.0,) * 5, 1.0, 2.0, 132,
                    fet_charge=True, fet_discharge=True)
    info = b"\x10\x02" + frames.alarm_data(values, LIMITS, b"\x00")
    frame = frames.build_frame(2, 0, info)
    assert frame.decode("ascii") == CAPTURED["alarm_us2000"]["reply"] + "\r"
    bms = make(name="US2000C", serial="HPTCR03171112590")
    for name in ("serial_us2000", "manufacturer_us2000"):
        assert ask(bms, CAPTURED[name]["request"]) == CAPTURED[name]["reply"]
    assert ask(bms, request(0x4F, b"")) == CAPTURED["version"]["reply"]
    assert ask(bms, request(0x96)) == CAPTURED["software_us3000c"]["reply"]


def test_system_parameters_have_the_form_of_the_capture() -> None:
    """Twelve words behind the flag; protections in their places; discharge negative."""
    theirs, ours = info_of("system_us3000c"), info_of(ask(make(), "~200246470000FDA7"))
    assert len(ours) == len(theirs) == 25
    words = [int.from_bytes(ours[at : at + 2], "big", signed=True) for at in range(1, 25, 2)]
    assert words[0] == 3650
    assert words[2] == 2500
    assert words[3:5] == [2731 + 600, 2731]
    assert words[5] == 800
    assert words[11] == -1000


@pytest.mark.parametrize(("current_a", "low", "high"), [(20.0, -202, -198), (-20.0, 198, 202)])
def test_charge_is_positive_on_the_wire(current_a: float, low: int, high: int) -> None:
    """The vendor's sign is the other one."""
    bms = make(current_of=lambda: current_a)
    info = info_of(ask(bms, "~20024642E00202FD33"))
    at = 3 + 2 * 15 + 1 + 2 * 5
    assert low <= int.from_bytes(info[at : at + 2], "big", signed=True) <= high


def test_limits_fall_towards_the_ends_of_soc_and_with_temperature() -> None:
    """0.5 C in the middle, less near the ends, none beyond, and then not enabled."""
    bms = make()

    def wish(soc: float, celsius: float = 25.0) -> Management:
        return bms.management(replace(
            bms.values(), charge_as=soc * 360_000.0, temperatures_c=(celsius,) * 5))

    assert (wish(0.5).charge_a_max, wish(0.5).discharge_a_max) == (50.0, 50.0)
    assert wish(0.95).charge_a_max == pytest.approx(25.0, abs=0.11)
    assert wish(0.10).discharge_a_max == pytest.approx(25.0, abs=0.11)
    assert (wish(1.0).charge_a_max, wish(1.0).charge_enabled) == (0.0, False)
    assert (wish(0.05).discharge_a_max, wish(0.05).discharge_enabled) == (0.0, False)
    assert wish(0.05).charge_now_1
    assert not wish(0.5).charge_now_1
    assert wish(0.13).charge_now_2
    assert wish(0.5, 7.5).charge_a_max == pytest.approx(25.0, abs=0.11)
    assert wish(0.5, -1.0).charge_a_max == 0.0
    assert wish(0.5, -10.0).discharge_a_max == pytest.approx(25.0, abs=0.11)
    assert not wish(0.5, 61.0).discharge_enabled
    values = [wish(soc / 100).charge_a_max for soc in range(101)]
    assert values == sorted(values, reverse=True)
    assert share(2.0, (0.0, 1.0, 3.0, 4.0)) == 1.0


def test_a_full_charge_is_asked_for_after_a_month_without_one() -> None:
    """Bit 3 rises after 30 days below 97 % and falls when it is reached."""
    bms = make(soc=0.5)
    assert not bms.management(bms.values()).full_charge
    bms.update(MONTH_MS + 1000)
    assert bms.management(bms.values()).full_charge
    assert info_of(ask(bms, "~20024692E00202FD2E", MONTH_MS + 1000))[-1] & 0x08
    full = make(soc=1.0, soc_error=0.1)
    full.update(MONTH_MS + 1000)
    assert not full.management(full.values()).full_charge


def test_protections_take_limits_and_fets_away_and_show_in_the_alarm() -> None:
    """Too hot to charge: the FET opens, charge is not enabled, status says so."""
    bms = make()
    bms._measured._pack.temperature_c = bms._measured._pack.ambient_c = 62.0
    for now_ms in range(100, 4000, 100):
        bms.update(now_ms)
    assert (bms.fet_charge, bms.fet_discharge) == (False, True)
    alarm = info_of(ask(bms, "~20024644E00202FD31", 5000))
    assert alarm[18:24] == b"\x05" + b"\x02" * 5
    status = alarm[-5:]
    assert status[0] == 1 << 6
    assert status[1] == 0b1100
    management = info_of(ask(bms, "~20024692E00202FD2E", 8000))
    assert management[-1] & 0x80 == 0
    assert management[5:7] == b"\x00\x00"


def test_alarm_bytes_name_the_cell_and_the_direction() -> None:
    """Below is 1, above is 2; the flow bits follow the current; extra bytes when built so."""
    values = Values((3.3, 2.4, 0.9), 5.0, (25.0,), 1.0, 1.0, 0,
                    errors=ERROR_CELL_UNDERVOLT | ERROR_CHARGE_OVERCURRENT)
    data = frames.alarm_data(values, LIMITS, b"\xab")
    assert data[:4] == bytes((3, 0, 1, 1))
    assert data[4:6] == bytes((1, 0))
    assert data[6:9] == bytes((2, 0, 0))
    assert data[9:] == bytes((1 << 1 | 1 << 2, 0, 1 << 6 | 1 << 3, 1 << 2, 0, 0xAB))
    hot = replace(values, errors=ERROR_DISCHARGE_OVERTEMP, current_a=-5.0)
    assert frames.alarm_data(hot, LIMITS, b"")[5] == 2
    assert frames.alarm_data(hot, LIMITS, b"")[-3] & 0xC0 == 1 << 7


def test_which_requests_are_answered_and_how() -> None:
    """Other addresses and wrong checksums: silence. Good frames it cannot serve: a code."""
    bms = make()
    assert ask(bms, request(0x42, b"\x03", address=3)) == ""
    assert ask(bms, "~20024642E00202FD34", 2000) == ""
    assert bms.bad_frames_count == 1
    assert ask(bms, request(0x77), 4000)[7:9] == "04"
    assert ask(bms, request(0x42, b"\x03"), 6000)[7:9] == "05"
    assert ask(bms, request(0x92, b"\xff"), 8000)[7:9] == "05"
    assert info_of(ask(bms, request(0x42, b"\xff"), 10_000))[:2] == b"\x10\x01"
    # Small letters and a second byte of info, as PyPI's pylontech sends them to real modules.
    text = "20024642c00402ff"
    text += f"{-sum(text.encode('ascii')) & 0xFFFF:04x}"
    assert len(info_of(ask(bms, "~" + text, 12_000))) > 50
    strict = make(report_bad_frames=True)
    assert ask(strict, "~20024642E00202FD34")[7:9] == "02"
    broken = "20024642D00202"
    broken += f"{-sum(broken.encode('ascii')) & 0xFFFF:04X}"
    assert ask(strict, "~" + broken, 2000)[7:9] == "03"
    group = make(address=0x12)
    assert ask(group, request(0x42, b"\x12", address=0x12))[3:5] == "12"


def test_turned_off_it_is_deaf_and_open() -> None:
    """Command 0x95 is acknowledged, opens the FETs and ends the conversation."""
    bms = make()
    assert ask(bms, request(0x95)) == "~200246000000FDB2"
    bms.update(3000)
    assert (bms.fet_charge, bms.fet_discharge) == (False, False)
    assert ask(bms, "~20024642E00202FD33", 4000) == ""


def test_the_vendors_example_of_the_length_field() -> None:
    """Chapter 2.3.2: 18 characters are D012. (The example in 2.3.3 does not add up.)"""
    assert frames.length_word(18) == 0xD012
    assert frames.length_word(0) == 0


@pytest.mark.parametrize("wrong", [{"address": 1}, {"address": 0x8E}, {"name": "x" * 11},
                                   {"serial": "short"}])
def test_construction_is_checked(wrong: dict[str, Any]) -> None:
    """Everything must fit its field, the pack voltage too."""
    with pytest.raises(ValueError, match=r"address|name"):
        make(**wrong)
    with pytest.raises(ValueError, match=r"65\.5 V"):
        PylontechEmulator(Pack(NMC, 16, 50.0, Random(1)), Random(1), 16)


@contextmanager
def served(bms: PylontechEmulator) -> Iterator[str]:
    """Serve bms on a TCP port of this machine in real time; yield its pyserial URL.

    Not on a pty: the client switches RTS, which a pty does not have.
    """
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(JOIN_TIMEOUT_S)
    stop = threading.Event()

    def serve() -> None:
        line, _peer = server.accept()
        start_s = time.monotonic()
        with line:
            while not stop.is_set():
                now_ms = int((time.monotonic() - start_s) * 1000)
                if select.select([line], [], [], 0.002)[0]:
                    data = line.recv(256)
                    if not data:
                        return
                    bms.feed(data, now_ms)
                bms.update(now_ms)
                sent = bms.take(now_ms)
                if sent:
                    line.sendall(sent)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"
    finally:
        stop.set()
        thread.join(JOIN_TIMEOUT_S)
        server.close()


def test_pypi_pylontech_reads_it() -> None:
    """A client that we did not write finds every value where it expects it."""
    bms = make(current_of=lambda: -12.0, serial="PYL0123456789ABC")
    encode, decode = PylontechEncode(), PylontechDecode()
    with served(bms) as url:
        client = PylontechRS485(device=url, baud=115200)

        def read(text: bytes) -> dict[str, Any]:
            client.send(text)
            header: dict[str, Any] = decode.decode_header(client.receive()[0])
            assert header["RTN"] == 0
            return header

        try:
            read(encode.getAnalogValue())
            analog = dict(decode.decodeAnalogValue())
            read(encode.getAlarmInfo())
            alarm = dict(decode.decodeAlarmInfo())
            read(encode.getChargeDischargeManagement())
            limits = dict(decode.decodeChargeDischargeManagementInfo())
            read(encode.getSerialNumber())
            serial = decode.decodeSerialNumber()["ModuleSerialNumber"]
            version = read(encode.getProtocolVersion())["VER"]
        finally:
            client.close()
    values = bms.values()
    assert analog["CellVoltages"] == pytest.approx(values.cells_v, abs=0.001)
    assert analog["Temperatures"] == pytest.approx(values.temperatures_c, abs=0.06)
    assert analog["Current"] == pytest.approx(12.0, abs=0.2)
    assert analog["Voltage"] == pytest.approx(values.pack_v, abs=0.01)
    assert analog["RemainCapacity"] == pytest.approx(bms.soc * 100, abs=0.05)
    assert analog["ModuleTotalCapacity"] == 100.0
    assert set(alarm["CellAlarm"] + alarm["TemperatureAlarm"]) == {"Ok"}
    assert (alarm["Status1"], alarm["Status2"], alarm["Status3"]) == (0, 0x0E, 0x80)
    assert (limits["ChargeCurrent"], limits["DischargeCurrent"]) == (50.0, -50.0)
    assert limits["StatusChargeEnable"]
    assert limits["StatusDischargeEnable"]
    assert not limits["StatusFullChargeRequired"]
    assert serial == "PYL0123456789ABC"
    assert version == 0x20
