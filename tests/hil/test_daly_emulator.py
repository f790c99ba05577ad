"""Check the emulated Daly BMS against frames of real ones and against PyPI's dalybms."""

import json
import os
import pty
import select
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dalybms import DalyBMS

from hil.devices import daly_frames as frames
from hil.devices.daly import DalyEmulator
from hil.devices.measurement import Values
from hil.devices.protection import ERROR_CELL_UNDERVOLT, ERROR_SHORT_CIRCUIT
from hil.plant.cell import LFP
from hil.plant.pack import Imbalance, Pack

VECTORS = Path(__file__).parents[1] / "vectors" / "bms" / "daly.json"
READ_TIMEOUT_S = 30.0


def recorded() -> dict[str, Any]:
    """Return the captured frames: logs by name, each as {"id": [data, ...]}."""
    table = json.loads(VECTORS.read_text(encoding="utf-8"))
    logs: dict[str, Any] = {}
    for log in table["logs"]:
        by_id = logs.setdefault(log["name"], {})
        for text in log["frames"]:
            frame = bytes.fromhex(text)
            assert frames.build_frame(frame[1], frame[2], frame[4:-1]) == frame
            by_id.setdefault(frame[2], []).append(frame[4:-1])
    return {"logs": logs, "switches": table["switches"]["exchanges"]}


def make(seed: int = 1, **options: Any) -> DalyEmulator:
    """Return a 16-cell device at half charge."""
    rng = Random(seed)
    pack = Pack(LFP, 16, 100.0, rng, imbalance=Imbalance(0.0, 0.0, 0.0))
    options.setdefault("start_closed", True)
    return DalyEmulator(pack, rng, 16, **options)


def ask(bms: DalyEmulator, data_id: int, *data: int, address: int = 0x40, at_ms: int = 0) -> bytes:
    """Send one request and return everything that comes back within 2 s."""
    body = bytes((0xA5, address, data_id, 8, *data)).ljust(12, b"\x00")
    bms.feed(body + bytes((sum(body) & 0xFF,)), at_ms)
    reply = bms.take(at_ms + 2000)
    for start in range(0, len(reply), 13):
        frame = reply[start : start + 13]
        assert frame[:1] == b"\xa5"
        assert frame[2:4] == bytes((data_id, 8))
        assert sum(frame[:-1]) & 0xFF == frame[-1]
    return reply


def cells(*known_mv: int, total_mv: int, **places_mv: int) -> tuple[float, ...]:
    """Return 16 cells: the first ones, some by number, the rest so that the sum is right."""
    table = {index + 1: value for index, value in enumerate(known_mv)}
    table.update({int(name[1:]): value for name, value in places_mv.items()})
    rest = 16 - len(table)
    share_mv = (total_mv - sum(table.values())) / rest
    return tuple(table.get(number, share_mv) / 1000.0 for number in range(1, 17))


def test_a_captured_log_is_reproduced_byte_for_byte() -> None:
    """The capture of a 360 Ah pack at 50 A of discharge, leftovers of the buffer included."""
    log = recorded()["logs"]["discharge"]
    values = Values(
        cells_v=cells(0x0CAA, 0x0C95, 0x0C59, n5=0x0C13, n7=0x0CB7, total_mv=51_500),
        current_a=50.0, temperatures_c=(31.0,), charge_as=296.64 * 3600, full_as=360 * 3600.0,
        cycles_count=5, fet_charge=True, fet_discharge=True,
    )
    buffer = frames.ReplyBuffer(reuse=True)
    assert buffer.fill(frames.pack_data(values)) == log[0x90][0]
    assert buffer.fill(frames.cell_range_data(values)) == log[0x91][0]
    assert buffer.fill(frames.temperature_range_data(values)) == log[0x92][0]
    assert buffer.fill(frames.fet_data(values, 0x71)) == log[0x93][0]
    assert buffer.fill(frames.status_data(values)) == log[0x94][0]
    first, *_ = frames.numbered(frames.cells_mv(values), 6, 6, 1)
    assert buffer.fill(first) == log[0x95][0]


def test_a_second_capture_is_reproduced() -> None:
    """The same pack later: 18.7 A, 88 %."""
    log = recorded()["logs"]["discharge_2"]
    values = Values(
        cells_v=cells(0x0CCB, 0x0CD2, 0x0CAA, n5=0x0C67, total_mv=52_200), current_a=18.7,
        temperatures_c=(31.0,), charge_as=316.8 * 3600, full_as=360 * 3600.0, cycles_count=5,
        fet_charge=True, fet_discharge=True,
    )
    buffer = frames.ReplyBuffer(reuse=True)
    assert buffer.fill(frames.pack_data(values)) == log[0x90][0]
    assert buffer.fill(frames.cell_range_data(values)) == log[0x91][0]
    assert buffer.fill(frames.temperature_range_data(values)) == log[0x92][0]
    assert buffer.fill(frames.fet_data(values, 0x95)) == log[0x93][0]
    assert buffer.fill(frames.status_data(values)) == log[0x94][0]


def test_captures_of_other_firmware_are_reproduced() -> None:
    """Sixteen cells in six frames with leftovers; fourteen in five with zeros."""
    log = recorded()["logs"]["six_frames"]
    cells_v = tuple(
        int.from_bytes(data[at : at + 2], "big") / 1000 for data in log[0x95] for at in (1, 3, 5)
    )[:16]
    values = Values(cells_v, 1.0, (22.0,), 0.0, 3600.0, 0, fet_charge=True, fet_discharge=True)
    buffer = frames.ReplyBuffer(reuse=True)
    # When 0x91 was asked, 100 ms before 0x95, cell 8 was lowest by one more millivolt.
    earlier = replace(values, cells_v=(*cells_v[:7], 0x0CCB / 1000, *cells_v[8:]))
    assert buffer.fill(frames.cell_range_data(earlier)) == log[0x91][0]
    assert buffer.fill(frames.temperature_range_data(values)) == log[0x92][0]
    assert buffer.fill(frames.fet_data(values, 0x7A)) == log[0x93][0]
    assert buffer.fill(frames.status_data(values, dio_states=0)) == log[0x94][0]
    messages = frames.numbered(frames.cells_mv(values), 6, 6, 1)
    assert [buffer.fill(one) for one in messages] == log[0x95]

    log = recorded()["logs"]["cleared"]
    cells_v = tuple(
        int.from_bytes(data[at : at + 2], "big") / 1000 for data in log[0x95] for at in (1, 3, 5)
    )[:14]
    values = Values(cells_v, 0.0, (16.0, 16.0), 40.96 * 3600, 80 * 3600.0, 58,
                    fet_charge=True, fet_discharge=True)
    buffer = frames.ReplyBuffer(reuse=False)
    assert buffer.fill(frames.cell_range_data(values)) == log[0x91][0]
    assert buffer.fill(frames.temperature_range_data(values)) == log[0x92][0]
    assert buffer.fill(frames.fet_data(values, 0xED)) == log[0x93][0]
    messages = frames.numbered(frames.cells_mv(values), 6, 5, 1)
    assert [buffer.fill(one) for one in messages] == log[0x95]
    assert buffer.fill(frames.balance_data(values)) == log[0x97][0]
    assert buffer.fill(frames.error_data(values.errors)) == log[0x98][0]


def test_captured_switch_writes_are_answered_as_the_real_one_did() -> None:
    """The state first, then whatever the buffer held; the FET follows within 150 ms."""
    for request_text, reply_text in recorded()["switches"]:
        request, reply = bytes.fromhex(request_text), bytes.fromhex(reply_text)
        bms = make()
        bms._buffer.fill(b"\x01" + reply[5:-1])
        bms.feed(request, 0)
        assert bms.take(2000) == reply
        assert bms.fet_discharge is bool(request[4])
        assert bms.fet_charge


def test_switches_move_one_fet_each_and_pile_up() -> None:
    """Two writes at once act on two FETs; a value beyond 1 does nothing."""
    bms = make(start_closed=False)
    assert (bms.fet_charge, bms.fet_discharge) == (False, False)
    request = bytes.fromhex("A5 40 D9 08 01 00 00 00 00 00 00 00 C7")
    bms.feed(request + request[:2] + b"\xda" + request[3:-1] + b"\xc8", 0)
    assert len(bms.take(2000)) == 26
    assert (bms.fet_charge, bms.fet_discharge) == (True, True)
    ask(bms, 0xDA, 0, at_ms=3000)
    assert (bms.fet_charge, bms.fet_discharge) == (False, True)
    assert ask(bms, 0xD9, 2, at_ms=6000) == b""
    assert (bms.fet_charge, bms.fet_discharge) == (False, True)
    assert ask(bms, 0x93, at_ms=9000)[5:7] == b"\x00\x01"


@pytest.mark.parametrize(("current_a", "state"), [(12.3, 2), (-12.3, 1), (0.0, 0)])
def test_discharge_counts_up_from_30000(current_a: float, state: int) -> None:
    """The sign on the wire is ours; 0x93 says the direction once more."""
    bms = make(current_of=lambda: current_a)
    raw = int.from_bytes(ask(bms, 0x90)[8:10], "big")
    assert raw - 30_000 == pytest.approx(current_a * 10, abs=2)
    assert ask(bms, 0x93, at_ms=3000)[4] == state


def test_counts_of_frames_and_their_numbers() -> None:
    """As many frames as the pack needs, from 1; all of them or from 0 when built so."""
    assert list(ask(make(), 0x95)[4::13]) == [1, 2, 3, 4, 5, 6]
    assert len(ask(make(ntc_count=8), 0x96)) == 2 * 13
    assert ask(make(ntc_count=0), 0x96) == b""
    bms = make(all_frames=True, frame_from=0)
    assert list(ask(bms, 0x95)[4::13]) == list(range(16))
    assert len(ask(bms, 0x96, at_ms=5000)) == 3 * 13
    assert ask(bms, 0x57, at_ms=9000)[5:12] == b"CELLWAL"


def test_other_boards_other_ids_and_wrong_sums_are_not_answered() -> None:
    """Silence, as from a device that was not meant."""
    first, third = make(), make(board=3)
    for address in (0x20, 0x40, 0x80):
        assert len(ask(first, 0x90, address=address)) == 13
    assert ask(first, 0x90, address=0x41) == b""
    assert ask(third, 0x90, address=0x40) == b""
    assert ask(third, 0x90, address=0x42)[1] == 3
    assert ask(first, 0x33, at_ms=9000) == b""
    first.feed(bytes.fromhex("A5 40 90 08 00 00 00 00 00 00 00 00 7E"), 20_000)
    assert first.take(25_000) == b""
    assert first.bad_frames_count > 0
    # The fill bytes of a read do not matter.
    assert len(ask(first, 0x90, *[0xAA] * 8, at_ms=30_000)) == 13


def test_errors_and_balancing_have_their_bits() -> None:
    """Level 2 with its warning; short circuit in byte 6; the balance bit of cell 9 in byte 1."""
    assert frames.error_data(ERROR_CELL_UNDERVOLT) == b"\x0c" + bytes(7)
    assert frames.error_data(ERROR_SHORT_CIRCUIT) == bytes(6) + b"\x04\x00"
    values = Values((3.3,) * 16, 0.0, (), 0.0, 1.0, 0, balancing=1 << 8 | 1)
    assert frames.balance_data(values) == b"\x01\x01" + bytes(6)
    assert frames.temperature_range_data(values) == bytes(4)
    hot = replace(values, temperatures_c=(-40.0, 200.0), current_a=1e6)
    assert frames.temperature_range_data(hot) == bytes((240, 2, 0, 1))
    assert frames.pack_data(hot)[4:6] == b"\xff\xff"


@pytest.mark.parametrize("wrong", [{"board": 0}, {"board": 17}, {"frame_from": 2},
                                   {"code": "x" * 36}, {"ntc_count": 17}])
def test_construction_is_checked(wrong: dict[str, Any]) -> None:
    """Everything must fit its field."""
    with pytest.raises(ValueError, match=r"board|code|ntc_count"):
        make(**wrong)


@contextmanager
def served(bms: DalyEmulator) -> Iterator[str]:
    """Serve bms on a pty in real time; yield the name of the client's end."""
    near, far = pty.openpty()
    tty.setraw(far)
    stop = threading.Event()

    def serve() -> None:
        start_s = time.monotonic()
        while not stop.is_set():
            now_ms = int((time.monotonic() - start_s) * 1000)
            if select.select([near], [], [], 0.002)[0]:
                bms.feed(os.read(near, 256), now_ms)
            bms.update(now_ms)
            sent = bms.take(now_ms)
            if sent:
                os.write(near, sent)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield os.ttyname(far)
    finally:
        stop.set()
        thread.join(READ_TIMEOUT_S)
        os.close(near)
        os.close(far)


def test_dalybms_reads_and_switches_it() -> None:
    """A client that we did not write finds every value where it expects it."""
    bms = make(current_of=lambda: 12.0, ntc_count=3)
    with served(bms) as device:
        client = DalyBMS()
        client.connect(device)
        try:
            read = client.get_all()
            client.set_charge_mosfet(on=False)
            time.sleep(0.3)
            after = client.get_mosfet_status()
        finally:
            client.disconnect()
    values = bms.values()
    assert read["soc"]["total_voltage"] == pytest.approx(values.pack_v, abs=0.06)
    assert read["soc"]["current"] == pytest.approx(12.0, abs=0.2)
    assert read["soc"]["soc_percent"] == pytest.approx(bms.soc * 100, abs=0.2)
    volts = read["cell_voltages"]
    assert list(volts) == list(range(1, 17))
    assert list(volts.values()) == pytest.approx(values.cells_v, abs=0.002)
    assert read["cell_voltage_range"]["highest_voltage"] == pytest.approx(max(volts.values()))
    assert read["cell_voltage_range"]["lowest_cell"] == min(volts, key=volts.__getitem__)
    assert list(read["temperatures"].values()) == pytest.approx(values.temperatures_c, abs=0.6)
    assert read["temperature_range"]["highest_temperature"] == max(read["temperatures"].values())
    assert read["status"]["cells"] == 16
    assert read["status"]["temperature_sensors"] == 3
    assert read["mosfet_status"]["mode"] == "discharging"
    assert read["mosfet_status"]["charging_mosfet"] is True
    assert read["mosfet_status"]["capacity_ah"] == pytest.approx(bms.soc * 100, abs=0.1)
    assert read["errors"] == []
    assert (after["charging_mosfet"], after["discharging_mosfet"]) == (False, True)
