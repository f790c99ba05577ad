"""A board at a place of a rig: what it says of its latch; no run begins with one that is shut."""

from pathlib import Path

import pytest

from element.protocol import codes
from element.protocol.errors import BusError
from hil.rig.boards import check_latch, identify
from hil.rig.model import PlaceModel, RatedModel
from host_tools.identity.site import Site
from tests.host.memory_element import on_a_pty


def test_a_board_says_what_it_has_latched(tmp_path: Path) -> None:
    with on_a_pty(tmp_path) as served:
        rated = RatedModel(power_w=100, current_a=2)
        place = PlaceModel(name="desk", port=served.port, rated=rated)
        site = Site(tmp_path / "site")
        found = identify(place)
        assert found.trip == ""
        check_latch(place, found, site)
        with served.lock:
            served.element.agent.interlock.trip(codes.TRIP_FIRE)
        found = identify(place)
        assert found.trip == "fire alarm"
        with pytest.raises(BusError, match="holds a trip") as refused:
            check_latch(place, found, site)
        assert f"cellwall release {served.port} --site {site.folder}" in str(refused.value.value)
