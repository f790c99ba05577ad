"""What a run was made with: the same files give the same words, another byte gives others."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from element.protocol.errors import BusError
from hil.bench import provenance, session
from hil.bench.recording import Sampler
from hil.bench.session import fast_micropython, find_micropython
from hil.bench.site import Paths
from hil.scenarios.model import BuildingModel

PATHS = Paths.of_checkout(Path())


def test_firmware_hash_can_be_made_with_sha256sum() -> None:
    """The command that docs/results.md gives says the same."""
    text = (PATHS.firmware.parent / "docs" / "results.md").read_text(encoding="utf-8")
    command = next(line for line in text.splitlines() if line.startswith("find firmware"))
    assert "boards/virtual" in command
    said = subprocess.run(["sh", "-c", command], cwd=PATHS.firmware.parent, text=True,
                          capture_output=True, check=True).stdout
    assert said.split()[0] == provenance.firmware_sha256(PATHS.firmware, PATHS.board)


def test_firmware_hash_tells_names_contents_and_boards_apart(tmp_path: Path) -> None:
    """A changed byte, a renamed file, another board: another hash. A cache changes nothing."""
    firmware, board = tmp_path / "fw", tmp_path / "pico"
    (firmware / "element").mkdir(parents=True)
    board.mkdir()
    (firmware / "main.py").write_text("a")
    (firmware / "element" / "x.py").write_text("b")
    (board / "board.py").write_text("c")
    seen = [provenance.firmware_sha256(firmware, board)]
    (firmware / "element" / "__pycache__").mkdir()
    (firmware / "element" / "__pycache__" / "x.pyc").write_text("cache")
    assert provenance.firmware_sha256(firmware, board) == seen[0]
    (board / "board.py").write_text("d")
    seen.append(provenance.firmware_sha256(firmware, board))
    (firmware / "main.py").rename(firmware / "boot.py")
    seen.append(provenance.firmware_sha256(firmware, board))
    shutil.copytree(board, tmp_path / "other")
    seen.append(provenance.firmware_sha256(firmware, tmp_path / "other"))
    assert len(set(seen)) == 4


def test_interpreter_is_asked(tmp_path: Path) -> None:
    """The unix port says what it is; what says nothing is named."""
    assert "MicroPython v1." in provenance.interpreter_version(find_micropython())
    with pytest.raises(BusError, match="does not say its version"):
        provenance.interpreter_version(tmp_path / "none")


def test_virtual_boards_run_on_the_interpreter_that_was_compiled_here(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make fast` made it; without it, or when another is named, it is the usual one."""
    monkeypatch.delenv("CELLWALL_MICROPYTHON", raising=False)
    usual = find_micropython()
    monkeypatch.setattr(session, "_build_folder", lambda: tmp_path)
    for folder in ("bin", "fast"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "micropython").symlink_to(usual)
    assert fast_micropython() == tmp_path / "fast" / "micropython"
    assert find_micropython() == tmp_path / "bin" / "micropython"
    monkeypatch.setenv("CELLWALL_MICROPYTHON", str(usual))
    assert fast_micropython() == usual.resolve()
    monkeypatch.delenv("CELLWALL_MICROPYTHON")
    (tmp_path / "fast" / "micropython").unlink()
    assert fast_micropython() == tmp_path / "bin" / "micropython"


def test_rig_and_calibration_are_said_to_be_modelled() -> None:
    """Each element has its board; the meter's class is the scenario's, and nothing has a date."""
    paths = Paths(find_micropython(), PATHS.firmware, PATHS.board)
    building = BuildingModel(meter_class_pct=0.2, meter_rating_kw=50)
    made = provenance.provenance_of("real", ["a", "b"], building, paths)
    assert made.rig["kind"] == "real-time bench"
    assert [(one["element"], one["board"]) for one in made.rig["boards"]] == [
        ("a", "virtual"), ("b", "virtual")]
    assert made.calibration[0]["what"] == "active power, class 0.2 % of 50 kW"
    assert made.calibration[0]["date"] is None and "modelled" in made.calibration[0]["note"]
    assert made == provenance.provenance_of("real", ["a", "b"], building, paths)


def test_machine_is_named_where_it_says_so(tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """A device tree ends with a zero byte; a machine without either file has no model."""
    model = tmp_path / "model"
    model.write_bytes(b"Raspberry Pi 4 Model B\0")
    monkeypatch.setattr(provenance, "MODEL_FILES", (tmp_path / "none", model))
    assert provenance.host_of()["model"] == "Raspberry Pi 4 Model B"
    monkeypatch.setattr(provenance, "MODEL_FILES", (tmp_path / "none",))
    assert provenance.host_of()["model"] is None


def _sampler() -> Sampler:
    site = SimpleNamespace(rigs=[], read_meter=lambda *_: (0.0, 0))
    return Sampler(site, SimpleNamespace(last_split=None))  # type: ignore[arg-type]


def test_rows_that_close_late_are_measured() -> None:
    """The latest row counts; a second that was left out makes every later row late."""
    sampler = _sampler()
    for now_ms in (1000, 2000):
        sampler.sample(now_ms, "p", 0.0)
    assert sampler.recording.late_ms_max == 0
    sampler.sample(3004, "p", 0.0)
    sampler.sample(4001, "p", 0.0)
    assert sampler.recording.late_ms_max == 4
    sampler.sample(6002, "p", 0.0)
    assert sampler.recording.late_ms_max == 1002
