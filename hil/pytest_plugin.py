"""Write HIL tests as pytest: fixtures `bench`, `board`; marks `hardware`, `cellwall_scenario`.

In virtual time by default; `--cellwall-rig rig.yaml` runs the same tests on a rig. Whoever uses
none of it pays nothing: all of the bench is imported when a fixture is first asked for.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCENARIO = "short"
REASON = "needs hardware: give --cellwall-rig rig.yaml"
_SKIPPED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options in a group of their own."""
    group = parser.getgroup("cellwall")
    group.addoption("--cellwall-rig", metavar="RIG.yaml", default=None,
                    help="run the fixtures bench and board on this rig")
    group.addoption("--cellwall-scenario", metavar="SCENARIO", default=SCENARIO,
                    help=f"whose elements they have (default: {SCENARIO}); a test's own marker "
                         "comes first")
    group.addoption("--cellwall-seed", metavar="N", type=int, default=1,
                    help="seed of plant and noise in virtual time")


def pytest_configure(config: pytest.Config) -> None:
    """Make our markers known."""
    config.addinivalue_line("markers", "hardware: skipped, and counted, without --cellwall-rig")
    config.addinivalue_line(
        "markers", "cellwall_scenario(name): scenario, by name or file, of the fixture bench")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs hardware where there is none."""
    if config.getoption("--cellwall-rig") is not None:
        return
    marked = [one for one in items if one.get_closest_marker("hardware")]
    for item in marked:
        item.add_marker(pytest.mark.skip(reason=REASON))
    config.stash[_SKIPPED] = len(marked)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say how many were left out, and why."""
    count = config.stash.get(_SKIPPED, 0)
    if count:
        terminalreporter.write_line(f"cellwall: SKIPPED {count} tests: {REASON}")


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A started bench, every element ready; everything is off afterwards."""
    from hil.rig.live import open_live
    from hil.scenarios.load import find_scenario, load_scenario

    marker = request.node.get_closest_marker("cellwall_scenario")
    name = str(marker.args[0]) if marker and marker.args else request.config.getoption(
        "--cellwall-scenario")
    rig = request.config.getoption("--cellwall-rig")
    live = open_live(load_scenario(find_scenario(name)),
                     request.config.getoption("--cellwall-seed"),
                     None if rig is None else Path(rig))
    try:
        yield live
    finally:
        live.close()


@pytest.fixture
def board(bench: Any) -> Any:
    """The first element of the bench."""
    return next(iter(bench.boards.values()))
