"""Two services over TCP: a floor with elements, and the building above it, as processes."""

import json
import socket
import subprocess
import sys
from pathlib import Path

from element.protocol import codes
from hil.bench.panel import environment
from host_tools.attest.archive import export, load_trust, verify_folder
from host_tools.attest.log import BELOW_KIND
from host_tools.cli.main import main
from host_tools.identity.site import Site
from host_tools.ledger.store import Ledger

from .panel_process import Elements, Panel, until

KW = 1_000_000


def run(*arguments: str | Path) -> dict:
    """Run a command of the CLI and return what it says with --json."""
    done = subprocess.run(
        [sys.executable, "-m", "host_tools.cli.main", *map(str, arguments), "--json"],
        env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def admitted(tmp_path: Path, elements: Elements) -> tuple[Panel, Panel]:
    """Return (floor, building), admitted by the three commands."""
    floor, above = tmp_path / "floor", tmp_path / "building"
    above.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    lower = Panel(floor, [one["line"] for one in elements.lines],
                  f"parent:\n  listen: {listen}\n")
    site = Site(above / "site")
    site.folder.mkdir()
    site.create()
    asked = run("aggregator", "parent-request", lower.config, "-o", tmp_path / "floor.request")
    given = run("aggregator", "admit", tmp_path / "floor.request", "--site", site.folder,
                "--line", f"tcp:{listen}", "--zone", "3", "--tenant", "north", "-o",
                tmp_path / "floor.grant")
    assert asked["aggregator"] == given["aggregator"]
    run("aggregator", "parent-grant", lower.config, tmp_path / "floor.grant")
    return lower, Panel(above, [f"tcp:{listen}"])


def test_a_floor_under_a_building_over_tcp(tmp_path: Path) -> None:
    (tmp_path / "floor").mkdir()
    elements = Elements(tmp_path / "floor", 3)
    floor, building = admitted(tmp_path, elements)
    try:
        building.start()
        floor.start()
        until(lambda: floor.counted() == 3)
        until(lambda: building.counted() == 1)

        def ready(panel: Panel) -> int:
            return panel.get("/v1/capability")["services"]["regulation"]["discharge"]["power_mw"]

        until(lambda: ready(building) == ready(floor) > 0)
        one = building.get("/v1/elements")[0]
        assert (one["zone"], one["tenant"], one["role"]) == (3, "north", "aggregate-1")
        wanted = ready(building) // 2
        filed = building.request("POST", "/v1/dispatches", key="a", power_mw=wanted,
                                 duration_s=60).json()
        assert filed["admitted_mw"] == wanted
        until(lambda: abs(elements.power_mw - wanted) <= wanted // 20)
        # the building dies: within the lease the floor is at zero; then it goes on
        building.kill()
        until(lambda: elements.power_mw == 0, 6)
        building.start()
        until(lambda: abs(elements.power_mw - wanted) <= wanted // 20)
        # an alarm of the building's trips the floor, its own release ends it
        building.request("POST", "/v1/alarms", "read", zone=3)
        until(lambda: elements.power_mw == 0, 3)
        assert {entry["trip"] for entry in elements.report()} == {codes.TRIP_FIRE}
        assert ready(building) == 0
        # what has not said yet that it has tripped is not released
        until(lambda: building.get("/v1/elements")[0]["trip"])
        building.request("POST", "/v1/release", "life-safety", zone=3)
        until(lambda: {entry["trip"] for entry in elements.report()} == {0})

        def below() -> list:
            ledger = Ledger.at(building.folder / "aggregator.db")
            found = list(ledger.of_kind(BELOW_KIND))
            ledger.close()
            return found

        until(lambda: len(below()) >= 2, 45)
    finally:
        assert building.stop() == 0
        assert floor.stop() == 0
        elements.stop()
    for panel in (floor, building):
        ledger = Ledger.at(panel.folder / "aggregator.db")
        export(ledger, Site(panel.folder / "site").authorities().trust_root,
               panel.folder / "archive", panel.folder / "site")
        ledger.close()
        outcome = verify_folder(panel.folder / "archive")
        assert outcome.failures == [] and outcome.by_kind["record"] > 0
    assert load_trust(building.folder / "archive")


def test_what_the_commands_refuse(tmp_path: Path, capsys) -> None:
    site = Site(tmp_path / "site")
    site.folder.mkdir()
    site.create()
    config = tmp_path / "site.yaml"
    config.write_text("name: One\nsite: site\nparent:\n  listen: 127.0.0.1:8490\n")
    # nothing to aggregate yet
    assert main(["aggregator", "parent-request", str(config), "-o", str(tmp_path / "r")]) == 1
    assert "no element to aggregate" in capsys.readouterr().err
    junk = tmp_path / "junk"
    junk.write_bytes(b"\x80")
    assert main(["aggregator", "admit", str(junk), "--site", str(site.folder), "--line",
                 "tcp:127.0.0.1:1", "--zone", "1", "-o", str(tmp_path / "g")]) == 1
    assert main(["aggregator", "parent-grant", str(config), str(junk)]) == 1
    assert main(["aggregator", "admit", str(junk), "--site", str(site.folder), "--line",
                 "/dev/ttyACM0", "--zone", "1", "-o", str(tmp_path / "g")]) == 2
    assert not (tmp_path / "g").exists() and not (tmp_path / "parent").exists()
