"""A rig whose watchdog is a USB relay and whose switches are behind a real MQTT broker."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.report.write import load_results
from tests.hil.line_process import Broker, until
from tests.hil.rig_process import RUN_S_MAX, SCENARIO, RigProcess

pytestmark = pytest.mark.whole


class BrokerRig(RigProcess):
    """The rig and its broker."""

    def __init__(self, folder: Path) -> None:
        scenario = folder / "scenario.yaml"
        scenario.write_text(SCENARIO, encoding="utf-8")
        self.broker = Broker(folder)
        super().__init__(folder, scenario, "--usb-relay", "--broker",
                         f"127.0.0.1:{self.broker.port}")

    def regulating(self, name: str) -> subprocess.Popen[str]:
        """Start a run into a folder and wait until it is in regulation."""
        host = self.run("--out", str(self.folder / name))
        self.in_regulation(host)
        return host


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerRig]:
    served = BrokerRig(tmp_path_factory.mktemp("rig"))
    yield served
    served.end()
    served.broker.stop()


def test_switches_that_are_away_for_a_moment_stop_nothing(rig: BrokerRig) -> None:
    doctor = rig.hil("doctor", str(rig.rig), "--json")
    assert doctor.wait(RUN_S_MAX) == 0, rig.said()
    host = rig.regulating("moment")
    assert rig.state()["watchdog"] and all(rig.state()["power"].values())
    for plugged in (False, True):
        rig.plug(plugged, "power-1", "power-2")
        time.sleep(0 if plugged else 1.2)
    code = host.wait(RUN_S_MAX)
    results = load_results(rig.folder / "moment")
    assert code == (0 if results["passed"] else 1) and not results["aborted"], rig.said()
    assert {one["name"] for one in results["rig"]["losses"]} == {"power-1", "power-2"}
    assert all(one["back_s"] is not None for one in results["rig"]["losses"])
    rig.until_off()
    assert not any(rig.state()["power"].values())


@pytest.mark.parametrize("name", ["watchdog", "power-2"])
def test_a_lasting_loss_ends_it_with_everything_off(rig: BrokerRig, name: str) -> None:
    host = rig.regulating(f"lost-{name}")
    rig.plug(False, name)
    assert host.wait(RUN_S_MAX) == 3
    assert f"{name} does not answer" in " ".join(rig.said().split())
    rig.until_off()
    results = load_results(rig.folder / f"lost-{name}")
    assert [one["name"] for one in results["rig"]["losses"] if one["stopped"]] == [name]
    rig.plug(True, name)


def test_a_broker_that_dies_ends_it_with_everything_off(rig: BrokerRig) -> None:
    host = rig.regulating("broker")
    rig.broker.stop()
    assert host.wait(RUN_S_MAX) == 3
    rig.until_off()
    assert load_results(rig.folder / "broker")["aborted"]
    rig.broker.start()


def test_a_killed_host_leaves_nothing_on(rig: BrokerRig) -> None:
    until(lambda: rig.hil("doctor", str(rig.rig)).wait(RUN_S_MAX) == 0, 30.0)
    host = rig.regulating("killed")
    host.kill()
    host.wait()
    rig.until_off()
    assert rig.state()["power"]["wall"]  # it was the relay's own guard, and nothing else
