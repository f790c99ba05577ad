"""`hil run --rig --flash`: who can be flashed, and what has to answer behind it."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from element.protocol.errors import BusError
from hil.rig import flashing
from hil.rig.boards import BoardIdentity
from hil.rig.flashing import check_can_flash, check_flashed, flash_place
from hil.rig.load import RigError, load_rig, seats_of
from hil.scenarios.load import find_scenario, load_scenario
from host_tools.cli.main import app
from host_tools.provision.flash import Flashed
from tests.hil.rig_process import ONE_ELEMENT
from tests.hil.test_rig_model import RIG

FOUND = BoardIdentity("rpi_pico", "0.7.0", "e660", "aabbccdd00112233", True, 3, 12, "")
FLASHED = Flashed("/dev/a", "rpi_pico", "0.7.0", "MicroPython 1.25.0 on a board",
                  hardware_id="e660", element_id="aabbccdd00112233")


def _seats(tmp_path: Path, board: str | None):
    path = tmp_path / "rig.yaml"
    more = "" if board is None else f"board: {board}, "
    path.write_text(RIG.replace("rated: {power_w: 2500, ", f"{more}rated: {{power_w: 2500, "),
                    encoding="utf-8")
    scenario = load_scenario(find_scenario("short"))
    wall = scenario.elements[0].model_copy(update={
        "name": "wall", "count": 1, "zone": 1, "rating_w": 2500, "current_a_max": 60})
    return path, seats_of(path, load_rig(path),
                          scenario.model_copy(update={"elements": [wall]}))


@pytest.mark.parametrize(("board", "why"), [
    (None, "place one has no `board`"), ("virtual", "place one is a virtual, which has no REPL")])
def test_a_board_that_cannot_be_flashed_is_refused_before_anything(
        tmp_path: Path, board: str | None, why: str) -> None:
    with pytest.raises(RigError, match=why):
        check_can_flash(*_seats(tmp_path, board))


def test_a_board_that_can_is_flashed_and_said(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    path, seats = _seats(tmp_path, "rpi_pico")
    check_can_flash(path, seats)
    asked, said = [], []

    def flash(port: str, board: str, checkout: Path, progress: object) -> Flashed:
        asked.append((port, board, (checkout / "firmware" / "main.py").is_file()))
        return replace(FLASHED, copied=["a", "b"], unchanged_count=40)

    monkeypatch.setattr(flashing, "flash", flash)
    flash_place(seats[0].place, said.append)
    assert asked == [("/dev/a", "rpi_pico", True)]
    assert "2 files copied, 40 were the same" in said[1]
    monkeypatch.setattr(flashing, "flash", lambda *_: replace(FLASHED, maintenance=True))
    with pytest.raises(BusError, match="maintenance off"):
        flash_place(seats[0].place, said.append)


@pytest.mark.parametrize(("field", "value", "word"), [
    ("firmware", "0.6.0", "firmware 0.6.0, flashed 0.7.0"), ("hardware", "e661", "chip e661"),
    ("element_id", "ffffffffffffffff", "element ffffffffffffffff")])
def test_who_answers_behind_it_must_be_who_was_flashed(tmp_path: Path, field: str, value: str,
                                                       word: str) -> None:
    _, seats = _seats(tmp_path, "rpi_pico")
    check_flashed(seats[0].place, FOUND, FLASHED)
    with pytest.raises(BusError, match=word):
        check_flashed(seats[0].place, replace(FOUND, **{field: value}), FLASHED)


def test_the_command_wants_a_rig_with_boards_to_flash(tmp_path: Path) -> None:
    reply = CliRunner().invoke(app, ["hil", "run", "short", "--flash"])
    assert reply.exit_code == 2 and "--rig" in reply.output
    path, _ = _seats(tmp_path, None)
    scenario = tmp_path / "one.yaml"
    scenario.write_text(ONE_ELEMENT, encoding="utf-8")
    reply = CliRunner().invoke(app, ["hil", "run", str(scenario), "--rig", str(path), "--flash"])
    assert reply.exit_code == 2 and "has no `board`" in " ".join(reply.output.split())
