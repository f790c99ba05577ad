"""A rig with an emulated Pico as its place: the real RP2040 image at the end of a port."""

import csv
import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from hil.devices.endpoint import TCPEndpoint
from hil.devices.shelly import Contact, HTTPShelly
from hil.devices.sunspec_meter import SunSpecMeter
from hil.report.write import load_results
from tests.hil.provision_bench import TappedPico, install, run, served
from tests.hil.rig_process import ONE_ELEMENT


def _rig(folder: Path, port: str, relay: HTTPShelly, meter: TCPEndpoint) -> Path:
    """Write rig.yaml for one board, a watchdog relay and a meter."""
    path = folder / "rig.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump({
            "rig": "pico", "emulated": True, "site": "site", "rated": {"power_w": 2500},
            "meter": "pcc",
            "watchdog": {"name": "dog", "kind": "shelly_http", "address": relay.address,
                         "grace_s": 10},
            "places": [{"name": "desk", "port": port, "board": "rpi_pico", "grace_s": 30,
                        "rated": {"power_w": 2500, "current_a": 60}}],
            "meters": [{"name": "pcc", "address": meter.address, "grace_s": 10}]}, file)
    return path


def _served_rig(pico: TappedPico, contact: Contact) -> tuple[HTTPShelly, TCPEndpoint]:
    """Let a relay and a meter stand in the same plant as the board."""
    plant = pico.element.plant

    def power_w() -> float:
        plant.dead = not contact.on
        return plant.pcc_w

    relay, meter = HTTPShelly(contact), TCPEndpoint(SunSpecMeter(power_w, "PICO-1").over_tcp)
    relay.replug()
    meter.replug()
    return relay, meter


@pytest.mark.whole
def test_a_pico_is_a_place_of_a_rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLWALL_LOCKS", str(tmp_path / "locks"))
    flash, scenario, out = tmp_path / "flash.bin", tmp_path / "pico.yaml", tmp_path / "out"
    scenario.write_text(ONE_ELEMENT, encoding="utf-8")
    install(flash)
    contact = Contact("shellyplus1-dog")
    with served(flash) as pico:
        pico.up()
        relay, meter = _served_rig(pico, contact)
        rig = _rig(tmp_path, pico.port, relay, meter)
        code, said, err = run("hil", "doctor", str(rig), "--json")
        assert code == 0, said + err
        checks = {one["name"]: one for one in json.loads(said)}
        assert checks["desk"]["both_ways"] and "rpi_pico" in checks["desk"]["identity"]
        code, said, err = run("hil", "run", str(scenario), "--rig", str(rig), "--out", str(out),
                              "--flash")
        assert "place desk: flashing rpi_pico" in err and "every SHA-256 verified" in err
        assert code in (0, 1) and (out / "results.json").is_file(), err
        assert not contact.on and pico.enabled
        relay.unplug()
        meter.unplug()
    results = load_results(out)
    with (out / "console.csv").open(newline="", encoding="utf-8") as file:
        said = list(csv.DictReader(file))
    (session,) = [one for one in said if "session with" in one["text"]]
    assert session["element"] == "wall" and 0 < float(session["t_s"]) < 75
    assert not results["aborted"] and results["statements"]["failed"] == 0
    assert results["rig"]["boards"][0]["board"] == "rpi_pico"
    assert results["rig"]["boards"][0]["interpreter"].startswith("MicroPython 1.")
    assert results["elements"][0]["setpoints_accepted"] > 5
    assert results["elements"][0]["records"] >= 1
