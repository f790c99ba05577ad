"""What all tests share: a MicroPython library for CPython, and a collector that stays quick."""

import gc
import os
import tempfile

import pytest

from hil.cryptolib_shim import install
from tests.campaign import WHOLE

install()

_module: list[object] = [None]


# Files that one worker runs: two emulated boards at once would crawl, and what mostly waits for
# clocks and processes leaves the processor to the others. The tests of a cable wait as well, but
# for nothing that another could disturb.
GROUPS = {
    "emulator": ("test_rp2040", "test_provision"),
    "cables": ("test_cable", "test_console_command", "test_flash", "test_stopped"),
    "waiting": ("test_instruments", "test_panel_mqtt", "test_panel_postgres",
                "test_panel_service", "test_recursion_service", "test_replay_lines", "test_rig_",
                "test_support_on_building"),
}


def pytest_configure(config: pytest.Config) -> None:
    """Let the keys that tests make be theirs and not the user's."""
    folder = tempfile.TemporaryDirectory(prefix="cellwall-config-")
    config.add_cleanup(folder.cleanup)
    os.environ["XDG_CONFIG_HOME"] = folder.name
    os.environ.pop("CELLWALL_BENCH_KEY", None)


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Make the groups, and leave long campaigns to `make nightly`."""
    for item in items:
        for group, names in GROUPS.items():
            if item.path.name.startswith(names):
                item.add_marker(pytest.mark.xdist_group(group))
    long = [] if WHOLE else [one for one in items if one.get_closest_marker("whole")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [one for one in items if one not in long]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before each file: take what is there out of the collector's way.

    The firmware collects often, as it must on a board. Here that would look each time through
    thousands of tests and every library, and be most of what many tests do.
    """
    module = getattr(item, "module", None)
    if module is not _module[0]:
        _module[0] = module
        gc.collect()
        gc.freeze()
