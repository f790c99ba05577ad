"""The field's over-dispatch on the bench: a BMS that is wrong, a pack that is out of balance."""

from pathlib import Path
from typing import Any

import pytest

from element.protocol import codes, schema
from hil.fmea.trial import READY_MS, Trial
from hil.scenarios.model import ElementModel, PhaseModel, ScenarioModel
from host_tools import codec

REST_MS = 33 * 60_000
EMPTY_MS = 30 * 60_000
# On the plateau of LFP a rested voltage tells little; NMC tells its SoC everywhere.
NMC = {"chemistry": "NMC", "series_count": 14, "cell_mv_min": 3100, "cell_mv_max": 4150}


def scenario(**changes: Any) -> ScenarioModel:
    fields: dict[str, Any] = {
        "name": "wall", "kind": "converter", "chemistry": "LFP", "series_count": 15,
        "capacity_ah": 16, "rating_w": 2500, "current_a_max": 60, "cell_mv_min": 2800,
        "cell_mv_max": 3600, "soc_pct": 55, "soc_min_pct": 15, "soc_max_pct": 95} | changes
    return ScenarioModel(
        scenario="estimator", description="One element and its BMS's error.",
        elements=[ElementModel(**fields)],
        phases=[PhaseModel(name="discovery", signal="idle", duration_s=20),
                PhaseModel(name="power", signal="ramp", duration_s=60, power_kw=2)])


class Emptying(Trial):
    """Rest, then ask for discharge for as long as the element gives any."""

    rest_ms = REST_MS

    def _target_mw(self, unix_ms: int) -> int | None:
        now_ms = self.clock.now_ms
        if now_ms < max(READY_MS, self.rest_ms):
            return None
        return 750_000

    def telemetry(self) -> dict[str, Any]:
        return dict(self.aggregator.inventory.views()[0].telemetry or {})

    def empty(self) -> dict[str, Any]:
        """Run, and return the telemetry of after the rest and of the end."""
        seen: dict[str, Any] = {}
        self.clock.call_at(self.rest_ms, lambda: seen.update(rested=self.telemetry()))
        self.run(lambda _: None, 0, self.rest_ms + EMPTY_MS)
        seen["end"] = self.telemetry()
        return seen


def notices(trial: Trial) -> list[dict[str, Any]]:
    out = []
    ledger = trial.aggregator.ledger
    for kind, _, _, _, statement in ledger.statements():
        if kind == schema.SAFETY_EVENT:
            fields = codec.decode_statement(kind, codec.peek(statement)[2])
            if fields["cause"] == codes.NOTICE_SOC:
                out.append(fields)
    return out


@pytest.mark.parametrize("rest_ms", [REST_MS, pytest.param(20_000, marks=pytest.mark.whole)])
def test_a_bms_that_says_55_where_30_is_usable(tmp_path: Path, micropython: Path,
                                               rest_ms: int) -> None:
    trial = Emptying(scenario(soc_pct=30, bms_soc_error_pct=25), 3, tmp_path / "trial")
    trial.rest_ms = rest_ms
    # the board reports what it knows once a minute into these
    heard: list[dict[str, Any]] = []

    def look() -> None:
        heard.append(trial.telemetry() if trial.aggregator.inventory.views() else {})
        trial.clock.call_at(trial.clock.now_ms + 60_000, look)

    trial.clock.call_at(60_000, look)
    seen = trial.empty()
    cells = trial.rig.plant.pack.cell_soc()
    if rest_ms == REST_MS:
        rested = seen["rested"]
        assert abs(rested["soc_bp"] - 5500) <= 300  # the BMS still believes it
        assert rested["flags"] & codes.FLAG_SOC_DOUBT and rested["flags"] & codes.FLAG_SOC_AT_REST
        assert rested["soc_bp_low"] <= 3300
        # it stopped at its own floor by what the cells hold, and no cell was driven below it
        assert min(cells) >= 0.12, min(cells)
    # rested or not, no cell is ever driven to its voltage limit's margin, nothing trips
    assert seen["end"]["trip_cause"] == codes.TRIP_NONE
    assert abs(trial.rig.plant.pcc_w) < 25
    assert min(cells) > 0.0


@pytest.mark.whole
def test_an_imbalanced_pack_ends_with_its_weakest_cell(tmp_path: Path, micropython: Path) -> None:
    trial = Emptying(scenario(soc_pct=50, cells_soc_spread_pct=9, **NMC), 5, tmp_path / "trial")
    spread = trial.rig.plant.pack.cell_soc()
    assert min(spread) < 0.40 < 0.45 < sum(spread) / len(spread)
    seen = trial.empty()
    rested = seen["rested"]
    assert abs(rested["soc_bp"] - 5000) <= 300
    assert rested["flags"] & codes.FLAG_SOC_DOUBT
    assert rested["soc_bp_low"] <= min(spread) * 10_000 + 300
    cells = trial.rig.plant.pack.cell_soc()
    # the weakest cell stops the pack at the floor of 15 %, while the BMS still counts 25 and more
    assert 0.08 <= min(cells) <= 0.2, min(cells)
    assert seen["end"]["soc_bp"] >= 2300
    assert seen["end"]["trip_cause"] == codes.TRIP_NONE


@pytest.mark.whole
def test_a_bms_that_drifts_is_flagged_before_its_error_is_dispatched(
        tmp_path: Path, micropython: Path) -> None:
    # 15 % a month, sixteen days on: simulated as the drift so far, and going on at that pace
    trial = Emptying(scenario(
        soc_pct=40, bms_soc_error_pct=8, bms_soc_drift_pct_per_month=15, **NMC),
        4, tmp_path / "trial")
    seen = trial.empty()
    assert seen["rested"]["flags"] & codes.FLAG_SOC_DOUBT
    assert seen["rested"]["soc_bp_low"] <= 4100
    assert min(trial.rig.plant.pack.cell_soc()) >= 0.11


@pytest.mark.whole
def test_a_sound_bms_is_not_doubted(tmp_path: Path, micropython: Path) -> None:
    trial = Emptying(scenario(soc_pct=60), 6, tmp_path / "trial")
    seen = trial.empty()
    assert not seen["rested"]["flags"] & codes.FLAG_SOC_DOUBT
    assert abs(trial.rig.plant.pack.soc - 0.15) < 0.06
