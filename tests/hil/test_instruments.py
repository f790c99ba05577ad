"""Drivers of a rig's instruments against emulated ones that speak the real protocols."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as mqtt
import pytest
from sunspec2.modbus.client import SunSpecModbusClientDeviceRTU, SunSpecModbusClientDeviceTCP

from element.protocol.errors import BusError
from hil.devices.endpoint import PtyEndpoint, TCPEndpoint
from hil.devices.scpi_load import EmulatedLoad
from hil.devices.shelly import Contact, HTTPShelly, MQTTShelly
from hil.devices.sunspec_meter import SunSpecMeter
from hil.devices.usb_relay import EmulatedUSBRelay
from hil.instruments.base import Setup
from hil.instruments.electronic_load import LoadLimits
from hil.instruments.modbus_meter import ModbusMeter, RegisterMap
from hil.instruments.scpi_load import SCPILoad
from hil.instruments.shelly_http import ShellyHTTP
from hil.instruments.shelly_mqtt import ShellyMQTT
from hil.instruments.usb_relay import USBRelayWatchdog, frame
from hil.instruments.watchdog_relay import SwitchWatchdog
from tests.hil.line_process import Broker, until

SERIAL = "M-4711"


@pytest.fixture(params=["tcp", "rtu"])
def served_meter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """An emulated meter on either line, and the power that it measures."""
    power = [0.0]
    meter = SunSpecMeter(lambda: power[0], SERIAL)
    endpoint = (TCPEndpoint(meter.over_tcp) if request.param == "tcp"
                else PtyEndpoint(tmp_path / "by-id" / "meter", meter.over_rtu))
    endpoint.replug()
    yield endpoint, power
    endpoint.unplug()


def test_a_meter_is_found_by_its_marker_and_its_sign_flips_once(served_meter: Any) -> None:
    endpoint, power = served_meter
    meter = ModbusMeter(Setup("pcc", endpoint.address))
    identity = meter.identify()
    assert (identity.manufacturer, identity.serial) == ("Cellwall", SERIAL)
    for wanted_w in (1234.0, -2500.0, 0.0):
        power[0] = wanted_w
        reading = meter.read()
        assert reading.power_mw == wanted_w * 1000
        assert meter.decode(reading.words) == reading.power_mw
    meter.close()


def test_somebody_elses_client_reads_the_emulated_meter(served_meter: Any) -> None:
    endpoint, power = served_meter
    power[0] = 777.0
    if isinstance(endpoint, TCPEndpoint):
        host, _, port = endpoint.address.partition(":")
        judge = SunSpecModbusClientDeviceTCP(1, ipaddr=host, ipport=int(port))
    else:
        judge = SunSpecModbusClientDeviceRTU(1, endpoint.address, baudrate=9600)
    judge.scan()
    assert judge.common[0].SN.value == SERIAL
    model = judge.models[203][0]
    model.read()
    assert model.W.cvalue == -777
    judge.close()


def test_a_meter_that_is_unplugged_is_named_and_back_by_itself(served_meter: Any) -> None:
    endpoint, power = served_meter
    power[0] = 5.0
    meter = ModbusMeter(Setup("pcc", endpoint.address, 0.4))
    assert meter.read().power_mw == 5000
    endpoint.unplug()
    for _ in range(2):
        with pytest.raises(BusError) as caught:
            meter.read()
        assert "meter pcc does not answer" in str(caught.value.code)
        assert endpoint.address in str(caught.value.value)
        assert "next:" in str(caught.value.value)
    endpoint.replug()
    assert meter.read().power_mw == 5000
    meter.close()


def test_a_meter_by_its_register_map(served_meter: Any) -> None:
    endpoint, power = served_meter
    power[0] = 321.0
    # W of model 203: behind the marker (2), model 1 (68), number and length (2) at place 16
    where = RegisterMap(40000 + 2 + 68 + 18, "holding", "int16", 2.0)
    meter = ModbusMeter(Setup("pcc", endpoint.address), positive_is="export", registers=where)
    assert meter.read().power_mw == -642_000
    meter.close()
    with pytest.raises(BusError, match="not as expected"):
        ModbusMeter(Setup("pcc", endpoint.address), registers=RegisterMap(100)).read()


@pytest.fixture(params=["http", "mqtt"])
def served_switch(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """An emulated Shelly on either way, with a driver for it."""
    contact = Contact("shellyplus1pm-a8032abe54dc", lambda: 42.0)
    broker = None
    endpoint: Any
    driver: Any
    if request.param == "http":
        endpoint = HTTPShelly(contact)
        endpoint.replug()
        driver = ShellyHTTP(Setup("main", endpoint.address))
    else:
        broker = Broker(tmp_path)
        endpoint = MQTTShelly(contact, "127.0.0.1", broker.port, "shelly-main")
        until(lambda: _plugged(endpoint))
        driver = ShellyMQTT(Setup("main", endpoint.address))
    yield endpoint, driver
    driver.close()
    endpoint.unplug()
    if broker is not None:
        broker.stop()


def _plugged(endpoint: MQTTShelly) -> bool:
    try:
        endpoint.replug()
    except OSError:
        return False
    return True


def test_a_switch_reads_back_and_ends_by_itself(served_switch: Any) -> None:
    endpoint, driver = served_switch
    assert driver.identify().serial == endpoint.contact.serial
    assert not driver.state().on
    driver.set(True)
    assert driver.state().on and driver.state().power_w == 42.0
    driver.set(True, 0.3)
    assert endpoint.contact.on
    until(lambda: not endpoint.contact.on)
    driver.set(True)
    driver.make_safe()
    assert not endpoint.contact.on
    endpoint.unplug()
    with pytest.raises(BusError, match="switch main does not answer"):
        driver.set(True)
    endpoint.replug()
    until(lambda: _answers(driver))
    assert not driver.state().on


def _answers(driver: Any) -> bool:
    try:
        driver.identify()
    except BusError:
        return False
    return True


def test_a_shelly_answers_as_documented_to_a_plain_request() -> None:
    shelly = HTTPShelly(Contact("shellyplus1pm-1", lambda: 8.9))
    shelly.replug()
    base = f"http://{shelly.address}/rpc/"
    assert httpx.get(f"{base}Switch.Set?id=0&on=true&toggle_after=30").json() == {
        "was_on": False}
    status = httpx.get(f"{base}Switch.GetStatus?id=0").json()
    assert status["output"] is True and status["apower"] == 8.9
    assert 29 < status["timer_duration"] <= 30
    assert httpx.get(f"{base}Switch.Set?id=1&on=true").status_code == 500
    assert httpx.get(f"{base}Shelly.GetDeviceInfo").json()["gen"] == 2
    shelly.unplug()


def test_a_shelly_tells_its_broker_what_it_did(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    shelly = MQTTShelly(Contact("s-1"), "127.0.0.1", broker.port, "s-1")
    until(lambda: _plugged(shelly))
    heard: list[str] = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_message = lambda _, __, message: heard.append(message.payload.decode())
    client.connect("127.0.0.1", broker.port)
    client.subscribe("s-1/status/switch:0")
    client.loop_start()
    driver = ShellyMQTT(Setup("main", shelly.address))
    driver.set(True, 0.2)
    until(lambda: len(heard) >= 2)
    assert '"output": true' in heard[0] and '"output": false' in heard[1]
    driver.close()
    client.loop_stop()
    shelly.unplug()
    broker.stop()


@pytest.fixture(params=["tcp", "serial"])
def served_load(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """An emulated load on either line."""
    load = EmulatedLoad()
    endpoint = (TCPEndpoint(load.session) if request.param == "tcp"
                else PtyEndpoint(tmp_path / "load", load.session))
    endpoint.replug()
    yield endpoint, load
    endpoint.unplug()


def test_a_load_is_protected_before_it_draws(served_load: Any) -> None:
    endpoint, load = served_load
    driver = SCPILoad(Setup("bank", endpoint.address))
    assert driver.identify().serial == "L-0001"
    driver.protect(LoadLimits(20, 60, 1500))
    assert load.protections == {"CURR": 20, "VOLT": 60, "POW": 1500}
    driver.set_power(900)
    driver.input_on(True)
    assert driver.measure_w() == load.power_w == 900
    with pytest.raises(BusError, match="POW 1600 is answered by -222"):
        driver.set_power(1600)
    assert load.power_w == 900  # what was refused changes nothing
    endpoint.unplug()
    with pytest.raises(BusError, match="load bank does not answer"):
        driver.measure_w()
    endpoint.replug()
    driver.make_safe()
    assert load.power_w == 0 and load.on_without_protection_count == 0
    driver.close()


def test_a_load_that_does_not_take_its_protection_is_no_load(served_load: Any) -> None:
    endpoint, load = served_load
    driver = SCPILoad(Setup("bank", endpoint.address))
    with pytest.raises(BusError, match="CURR:PROT 99"):
        driver.protect(LoadLimits(99, 60, 1500))
    assert not load.input_on
    driver.close()


def test_the_frames_of_the_relay_are_the_makers() -> None:
    assert frame(1, True) == bytes.fromhex("a00101a2")
    assert frame(1, False) == bytes.fromhex("a00100a1")


def test_a_usb_relay_drops_when_nobody_feeds_it(tmp_path: Path) -> None:
    relay = EmulatedUSBRelay(tmp_path / "relay")
    relay.replug()
    watchdog = USBRelayWatchdog(Setup("main", relay.address), 1.0)
    watchdog.identify()
    assert not relay.on
    watchdog.feed()
    until(lambda: relay.on)
    until(lambda: not relay.on)  # not fed again
    watchdog.feed()
    until(lambda: relay.on)
    watchdog.make_safe()
    until(lambda: not relay.on)
    watchdog.feed()
    watchdog.close()
    until(lambda: not relay.on)
    assert relay.bad_frames_count == 0
    relay.unplug()


def test_a_usb_relay_that_is_unplugged_is_named_and_back_by_itself(tmp_path: Path) -> None:
    relay = EmulatedUSBRelay(tmp_path / "relay")
    relay.replug()
    watchdog = USBRelayWatchdog(Setup("main", relay.address), 5.0)
    watchdog.feed()
    relay.unplug()
    with pytest.raises(BusError, match="watchdog relay main does not answer"):
        watchdog.feed()
    relay.replug()
    watchdog.feed()
    until(lambda: relay.on)
    watchdog.close()
    relay.unplug()


FEEDER = """
import sys, time
from hil.instruments.base import Setup
from hil.instruments.shelly_http import ShellyHTTP
from hil.instruments.usb_relay import USBRelayWatchdog
from hil.instruments.watchdog_relay import SwitchWatchdog
kind, address = sys.argv[1:]
setup = Setup("main", address)
relay = USBRelayWatchdog(setup, 60.0) if kind == "usb" else SwitchWatchdog(ShellyHTTP(setup), 1.5)
while True:
    relay.feed()
    print("fed", flush=True)
    time.sleep(0.2)
"""


@pytest.mark.parametrize("kind", ["usb", "shelly"])
def test_a_watchdog_relay_falls_when_its_host_is_killed(tmp_path: Path, kind: str) -> None:
    contact = Contact("s-1")
    relay: Any = (EmulatedUSBRelay(tmp_path / "relay") if kind == "usb"
                  else HTTPShelly(contact))
    relay.replug()

    def closed() -> bool:
        return bool(relay.on if kind == "usb" else contact.on)

    host = subprocess.Popen([sys.executable, "-c", FEEDER, kind, relay.address],
                            stdout=subprocess.PIPE, env=os.environ | {
                                "PYTHONPATH": os.pathsep.join(sys.path)})
    assert host.stdout is not None
    host.stdout.readline()
    until(closed)  # what is on the wire has still to be heard
    for _ in range(10):  # longer than its time: it is the feeding that keeps it closed
        host.stdout.readline()
        assert closed()
    host.kill()
    host.wait()
    until(lambda: not closed())
    time.sleep(0.3)
    assert not closed()
    relay.unplug()


def test_a_switch_as_watchdog_says_what_it_survives(tmp_path: Path) -> None:
    assert SwitchWatchdog(ShellyHTTP(Setup("w", "127.0.0.1:1")), 2.0).survives == "machine"
    assert USBRelayWatchdog(Setup("w", str(tmp_path / "none")), 2.0).survives == "process"
    with pytest.raises(BusError, match="supervisor cannot open"):
        USBRelayWatchdog(Setup("w", str(tmp_path / "none")), 2.0).identify()
