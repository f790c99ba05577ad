"""Judge the emulated inverter by pysunspec2's own client, and drive it with the firmware."""

import os
import pty
import select
import sys
import threading
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pymodbus.constants import ExcCodes
from sunspec2.modbus.client import SunSpecModbusClientDeviceRTU

from element.power import base as faults
from element.power.sunspec import SunSpec
from hil.devices.modbus_rtu import ModbusRTUDevice, finished
from hil.devices.sunspec_inverter import InverterSetup, SunSpecInverter
from hil.devices.uart_line import FAULT_MODES
from hil.plant.cell import LFP
from hil.plant.inverter import InverterPlant
from hil.plant.pack import Pack

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "portable"))
from fakes import FakeHAL, Loop

MV = 51_200
TICK = 100


@dataclass
class Switches:
    """Stand in for the BMS."""

    fet_charge: bool = True
    fet_discharge: bool = True


def make(setup: InverterSetup | None = None, seed: int = 1) -> SunSpecInverter:
    """Return an inverter on closed FETs, its contactor open."""
    rng = Random(seed)
    plant = InverterPlant(Pack(LFP, 16, 100.0, rng), Switches(), rng)
    return SunSpecInverter(plant, rng, setup)


# ---- pysunspec2's client over a pty, in real time ----


class Served:
    """An inverter behind a pty, served by a thread."""

    def __init__(self, device: SunSpecInverter) -> None:
        self.device = device
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._theirs)
        self.name = os.ttyname(self._theirs)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        began_s = time.monotonic()
        while not self._ends.is_set():
            readable, _, _ = select.select([self._ours], [], [], 0.002)
            now_ms = int((time.monotonic() - began_s) * 1000)
            self.device.plant.advance(now_ms)
            if readable:
                self.device.feed(os.read(self._ours, 4096), now_ms)
            data = self.device.take(now_ms)
            if data:
                os.write(self._ours, data)

    def close(self) -> None:
        """End the thread and the pty."""
        self._ends.set()
        self._thread.join()
        os.close(self._ours)
        os.close(self._theirs)


@pytest.fixture
def served() -> Iterator[Served]:
    """An inverter that a serial client can open."""
    one = Served(make(InverterSetup(start_ms=100)))
    yield one
    one.close()


def test_pysunspec2_scans_reads_and_writes_it(served: Served) -> None:
    client = SunSpecModbusClientDeviceRTU(slave_id=1, name=served.name, baudrate=19200, timeout=2)
    try:
        client.scan()
        assert [number for number in client.models if isinstance(number, int)] == [
            1, 701, 702, 703, 704, 713, 802]
        common, capacity = client.models[1][0], client.models[702][0]
        assert (common.Mn.value, common.SN.value) == ("Cellwall", "B-0001")
        assert capacity.WMax.cvalue == 2500 and client.models[713][0].SoC.cvalue == pytest.approx(
            50.0, abs=1.0)
        measured, controls = client.models[701][0], client.models[704][0]
        assert (measured.InvSt.value, measured.ConnSt.value, measured.W.cvalue) == (7, 0, 0)
        served.device.plant.set_outputs(True, 0)
        client.models[703][0].ES.value = 1
        client.models[703][0].ES.write()
        controls.WSetRvrt.cvalue = 0
        controls.WSetEnaRvrt.value = 1
        controls.WSetRvrtTms.value = 3
        controls.WSetMod.value = 1
        controls.WSet.cvalue = -1500
        controls.WSetEna.value = 1
        controls.write()
        time.sleep(1.0)
        measured.read()
        assert measured.InvSt.value == 3 and measured.W.cvalue == pytest.approx(-1500, rel=0.01)
        assert served.device.plant.pcc_w == pytest.approx(-1500, rel=0.001)
        controls.read()
        assert 1 <= controls.WSetRvrtRem.value <= 3 and controls.WSet.cvalue == -1500
        time.sleep(3.0)
        controls.read()
        measured.read()
        assert (controls.WSetRvrtRem.value, controls.WSet.cvalue, measured.W.cvalue) == (0, 0, 0)
        assert served.device.reverted_count == 1
    finally:
        client.close()


# ---- frames ----


def exchange(device: ModbusRTUDevice, frame: bytes, now_ms: int = 1000) -> bytes:
    """Return the reply to a frame."""
    device.feed(frame, now_ms)
    return device.take(now_ms + 1000)


def framed(device: ModbusRTUDevice, body: bytes) -> bytes:
    """Return a frame with its CRC by pymodbus."""
    return body + device._framer.compute_CRC(body).to_bytes(2, "big")


def test_refusals_and_strangers() -> None:
    device = make()
    read = framed(device, bytes.fromhex("01039c400002"))
    assert exchange(device, read)[3:7] == b"SunS"
    assert exchange(device, framed(device, bytes.fromhex("010300000002")))[1:3] == b"\x83\x02"
    assert exchange(device, framed(device, bytes.fromhex("02039c400002"))) == b""
    assert exchange(device, framed(device, bytes.fromhex("01069c420005")))[1:3] == b"\x86\x02"
    assert exchange(device, framed(device, bytes.fromhex("0103ffff0002")))[1] == 0x83
    assert exchange(device, read[:-1] + b"\x00") == b"" and device.bad_frames_count == 1
    es = device._at[703] + 2
    device.refuse = ExcCodes.ILLEGAL_VALUE
    write = framed(device, b"\x01\x06" + es.to_bytes(2, "big") + b"\x00\x01")
    assert exchange(device, write)[1:3] == b"\x86\x03"
    device.refuse = None
    assert exchange(device, write) == write
    device.silent = True
    assert exchange(device, read) == b""


def test_a_request_in_pieces_and_one_that_was_broken_off() -> None:
    device = make()
    read = framed(device, bytes.fromhex("01039c400002"))
    device.feed(read[:3], 1000)
    device.feed(read[3:], 1003)
    assert device.take(2000)[3:7] == b"SunS"
    device.feed(read[:5], 3000)
    assert exchange(device, read, 3100)[3:7] == b"SunS", "the silence between did not end it"


def test_half_a_point_cannot_be_written() -> None:
    device = make()
    at = device._at[704]
    assert not device.write(at + 24, [0], 0) and not device.write(at + 25, [0], 0)
    assert not device.write(at + 33, [0, 0], 0) and not device.write(7, [0], 0)
    assert device.write(at + 24, [0xFFFF, 0xFF9C], 0)
    assert device.models[704].points["WSet"].value == -100


def test_the_line_takes_the_time_of_its_bytes() -> None:
    device = make()
    device.feed(framed(device, bytes.fromhex("01039c400020")), 1000)
    due_ms = device.due_ms()
    # 8 bytes in, 69 out at 19200, 5 to 20 ms of thinking
    assert due_ms is not None and 1000 + 5 + 36 + 5 <= due_ms <= 1000 + 5 + 37 + 20
    assert device.take(1015) == b"" and len(device.take(due_ms)) == 69


def test_a_coroutine_that_waits_is_noticed() -> None:
    class Waits:
        def __await__(self) -> Any:
            yield

    async def waiting() -> None:
        await Waits()

    with pytest.raises(RuntimeError, match="waits"):
        finished(waiting())


# ---- the firmware's driver, in virtual time ----


class Driven:
    """The firmware's stage on the emulated inverter; control is replaced by `tick`."""

    def __init__(self, setup: InverterSetup | None = None, seed: int = 1) -> None:
        self.hal: Any = FakeHAL(1000)
        self.device = make(setup, seed)
        self.plant = self.device.plant
        self.stage = SunSpec(15_000, 400, 1, 19200, 3000)
        self.loop: Any = Loop(self.hal)
        self.loop.add(self.stage.run(self.hal))
        self.hal.stage_uart.on_write = lambda data: self.device.feed(data, self.hal.now_ms)
        self.active = False
        self.fault = faults.FAULT_NONE

    def tick(self, target: int | None, count: int = 1) -> None:
        """Let 100 ms pass in steps of the bench's grid, then step or rest; a fault latches."""
        for _ in range(count):
            for _ in range(TICK // 5):
                self.loop.run_until(self.hal.now_ms + 5)
                assert not self.loop.failures, self.loop.failures
                self.plant.advance(self.hal.now_ms)
                data = self.device.take(self.hal.now_ms)
                if data:
                    self.hal.stage_uart.put(data)
            self.fault = self.fault or self.stage.fault
            if target is None or self.fault:
                self.stage.zero()
                self.stage.idle(MV, -1, TICK)
                self.plant.set_outputs(False, 0)
                self.active = False
                continue
            if not self.active:
                self.stage.start(1000)
                self.active = True
            out = self.stage.step(target, MV, 0, TICK, -1)
            self.plant.set_outputs(out.enable, 0)

    def at_power(self, target: int = 1_500_000) -> "Driven":
        """Bring it to power."""
        self.tick(None, 20)
        assert self.stage.inverter is not None
        self.tick(target, 30)
        assert self.stage.fault == faults.FAULT_NONE
        assert self.plant.pcc_w * 1000 == pytest.approx(target, rel=0.01)
        return self


@pytest.mark.parametrize("setup", [
    InverterSetup(), InverterSetup(base=0), InverterSetup(base=50000),
    InverterSetup(w_factor=-1, wset_factor=-2), InverterSetup(w_factor=1, wset_factor=2),
    InverterSetup(in_watts=False), InverterSetup(models=(1, 701, 702, 704))])
@pytest.mark.parametrize("target", [1_500_000, -2_000_000])
def test_the_firmware_drives_it_in_every_set_up(setup: InverterSetup, target: int) -> None:
    driven = Driven(setup).at_power(target)
    driven.tick(0, 10)
    assert abs(driven.plant.pcc_w) < 1.0
    driven.tick(None, 2)
    assert driven.plant.pcc_w == 0.0
    assert driven.device.models[704].points["WSetEna"].value == 0


def test_a_setpoint_is_there_in_time() -> None:
    driven = Driven().at_power(500_000)
    driven.tick(2_000_000, 5)
    assert driven.plant.pcc_w == pytest.approx(2000, rel=0.01)


@pytest.mark.parametrize("ignores", [False, True])
def test_a_dead_element_is_at_zero_within_two_seconds(ignores: bool) -> None:
    """Contactor welded or not: nobody refreshes the setpoint any more."""
    driven = Driven().at_power(2_400_000)
    driven.plant.ignores_enable = ignores
    began_ms = driven.hal.now_ms
    driven.plant.set_outputs(False, 0)
    zero_ms = None
    for now_ms in range(began_ms + 10, began_ms + 3000, 10):
        driven.plant.advance(now_ms)
        if abs(driven.plant.pcc_w) < 25.0 and zero_ms is None:
            zero_ms = now_ms - began_ms
    assert zero_ms is not None and zero_ms <= (1700 if ignores else 50)
    assert abs(driven.plant.pcc_w) < 1.0


@pytest.mark.parametrize("mode", FAULT_MODES)
def test_damaged_replies_are_ridden_through_or_end_at_zero(mode: str) -> None:
    """One reply in five damaged: it goes on. All of them: it never runs on stale values."""
    driven = Driven().at_power()
    driven.device.faults.mode, driven.device.faults.probability = mode, 0.2
    driven.tick(1_500_000, 100)
    assert driven.device.faults.hit_count > 10
    if driven.fault == faults.FAULT_NONE:
        assert driven.plant.pcc_w == pytest.approx(1500, rel=0.01)
    else:
        # replies half a second late or lost in pairs may be too much, and then it is off
        assert mode in ("late", "merge") and driven.plant.pcc_w == 0.0
    driven.device.faults.probability = 1.0
    for _ in range(40):
        driven.tick(1_500_000)
        told_mw = driven.stage._told_mw
        assert told_mw in (0, 1_500_000) and driven.plant.pcc_w < 1520
    if mode not in ("stuck", "echo", "noise", "split", "merge"):
        assert driven.fault == faults.FAULT_STALE and driven.plant.pcc_w == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_late_answers_never_become_the_scale_of_something_else(seed: int) -> None:
    driven = Driven(InverterSetup(w_factor=-1, wset_factor=-2), seed)
    driven.device.faults.mode, driven.device.faults.probability = "late", 0.15
    driven.tick(None, 900)
    assert driven.device.faults.hit_count > 3
    found = driven.stage.inverter
    assert found is not None
    assert (found.w_factor, found.wset_factor, found.soc_factor) == (-1, -2, -1)
    assert found.rated_mw == 2_500_000 and found.in_watts
    assert found.models == driven.device._at


@pytest.mark.parametrize(("spoil", "fault"), [
    ("failed", faults.FAULT_STATUS), ("alarms", faults.FAULT_STATUS),
    ("silent", faults.FAULT_STALE), ("dead", faults.FAULT_DEVIATION),
    ("gain", faults.FAULT_DEVIATION)])
def test_faults_of_the_inverter_are_named(spoil: str, fault: int) -> None:
    driven = Driven().at_power(2_000_000)
    if spoil == "alarms":
        driven.device.alarms = 1 << 7
    elif spoil in ("failed", "silent"):
        setattr(driven.device, spoil, True)
    elif spoil == "dead":
        driven.plant.dead = True
    else:
        driven.plant.gain = 1.15
    for _ in range(30):
        driven.tick(2_000_000)
        if driven.fault:
            break
    assert driven.fault == fault
    driven.tick(None, 2)
    assert driven.plant.pcc_w == 0.0


def test_a_reversion_that_is_ignored_leaves_the_contactor() -> None:
    driven = Driven().at_power()
    driven.device.reversion_ignored = True
    began_ms = driven.hal.now_ms
    driven.plant.advance(began_ms + 5000)
    assert driven.plant.pcc_w > 1000.0
    driven.plant.set_outputs(False, 0)
    driven.plant.advance(began_ms + 5050)
    assert driven.plant.pcc_w == 0.0
