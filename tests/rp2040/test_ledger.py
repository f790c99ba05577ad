"""Power cuts in the flash writes of a running element: what it signed is whole afterwards."""

from pathlib import Path

from hil.bench.faults import above_safe
from hil.bench.rp2040.board import PicoBoard
from hil.fmea.bench import scenario_for
from hil.fmea.faults import FAULTS
from hil.fmea.trial import Trial
from host_tools.attest.archive import export, verify_folder

# Flash operations from the last start to the cut: at boot, in a record, in envelopes, in what
# littlefs moves for them.
COUNTS = (30, 2, 47, 11, 80)
RECORD_EVERY_MS = 10_000
LOOK_MS = 20
WATCH_MS = 240_000
SAFE_WITHIN_MS = 40


class Cuts:
    """Cut the power in the middle of flash operations, one after the other."""

    def __init__(self, trial: Trial, board: PicoBoard) -> None:
        self.trial = trial
        self.board = board
        self.left = list(COUNTS)
        self.cut_ms: list[int] = []
        self.unsafe_ms: list[int] = []
        self._was_powered = False

    def look(self) -> None:
        """Note a cut when it happens, and arm the next one when the board starts again."""
        now_ms = self.trial.clock.now_ms
        powered = self.board.running and self.board.pico.powered
        if powered and not self._was_powered and self.left:
            self.board.pico.cut_power_at(self.left.pop(0), "middle")
        if not powered and self._was_powered:
            self.cut_ms.append(now_ms)
        self._was_powered = powered
        self.trial.rig.plant.advance(now_ms)
        late = not powered and now_ms > self.cut_ms[-1] + SAFE_WITHIN_MS
        if late and above_safe(self.trial.rig):
            self.unsafe_ms.append(now_ms)
        self.trial.clock.call_at(now_ms + LOOK_MS, self.look)


def test_power_cuts_in_flash_writes_lose_no_record(tmp_path: Path) -> None:
    trial = Trial(scenario_for(FAULTS[0]), 11, tmp_path / "run", record_every_ms=RECORD_EVERY_MS)
    board = PicoBoard(trial.rig.board.spec)
    trial.rig.board = board
    cuts = Cuts(trial, board)
    verified = []
    powers_w = []

    def conclude(one: Trial) -> None:
        powers_w.append(one.rig.plant.pcc_w)
        export(one.aggregator.ledger, one.authorities.trust_root, tmp_path / "statements")
        verified.append(verify_folder(tmp_path / "statements"))

    try:
        outcome = trial.run(lambda _: cuts.look(), 0, WATCH_MS, conclude)
    finally:
        board.close()
    print(cuts.cut_ms, outcome, verified)
    assert len(cuts.cut_ms) == len(COUNTS) and board.restart_count == len(COUNTS)
    assert cuts.unsafe_ms == []
    # every record and event in one chain without a gap, each signature good
    assert verified[0].failures == []
    assert verified[0].by_kind["record"] > 15
    assert outcome.trip == "" and abs(powers_w[0]) > 100
