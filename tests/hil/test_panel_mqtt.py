"""A panel whose bus is a real broker: found, dispatched, and back by itself when it was gone."""

from pathlib import Path

import pytest

from .line_process import Broker
from .panel_process import Elements, Panel, until

KW = 1_000_000


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    """A Mosquitto of its own."""
    return Broker(tmp_path)


def test_a_building_on_a_broker_that_goes_and_comes_back(broker: Broker, tmp_path: Path) -> None:
    elements = Elements(tmp_path, 5, mqtt=f"127.0.0.1:{broker.port}/house")
    panel = Panel(tmp_path, [], f"broker: {{host: 127.0.0.1, port: {broker.port}, site: house}}\n")
    try:
        panel.start()
        until(lambda: panel.counted() == 5)
        ask = {"key": "m", "power_mw": 4 * KW, "duration_s": 600, "partial": True}
        assert panel.request("POST", "/v1/dispatches", **ask).status_code == 201
        until(lambda: abs(elements.power_mw - 4 * KW) < 10)
        broker.stop()
        until(lambda: elements.power_mw == 0, 15)  # nobody renews: the leases end
        broker.start()
        # the same instruction, still in force, under its one number
        until(lambda: abs(elements.power_mw - 4 * KW) < 10, 40)
        assert {number for one in elements.report() for number in one["dispatch_ids"]} == {1}
        assert panel.stop() == 0
        until(lambda: elements.power_mw == 0, 10)
    finally:
        panel.kill()
        elements.stop()
        broker.stop()
