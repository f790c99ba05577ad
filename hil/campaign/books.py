"""The books of a case: energy at the meter, what was split, what was signed, what was filed."""

import hashlib
from typing import Any

import numpy as np

from element.protocol import codes, schema
from hil.bench.site import Site
from hil.campaign.case import Case
from hil.campaign.invariants import Violation
from hil.campaign.panel import CampaignPanel
from host_tools import codec
from host_tools.aggregator import Aggregator
from host_tools.ledger.store import Ledger

BASELINE_S = 15
# A record against the plant's own energy: the sensor's class (gain 0.3 %, offset 30 mA), the loss
# model's, and the ends of an interval, which lie between two ticks.
RECORD_SHARE = 0.02
RECORD_RATED_S = 1.0
# Of these an element's own measurement, or the interval's ends, may be wrong.
_UNMEASURED = {"sensor_frozen", "sensor_offset", "gain_error", "bms_stuck", "stage_dead",
               "board_reset", "brown_out", "power_cut_in_write", "fets_dead", "fets_welded",
               "contacts_welded"}
_UNTIMED = {"clock_step", "link_delay", "link_reorders", "link_duplicates", "link_corrupts",
            "stale", "broker_gone", "replayed"}


class Books:
    """What flowed, second by second, and what was said of it."""

    def __init__(self, site: Site, start_unix_ms: int) -> None:
        self.records_count = self.trips_count = 0
        self.element_ids: dict[str, bytes] = {}
        self._site = site
        self._start_unix_ms = start_unix_ms
        self._energy_j: dict[str, list[float]] = {rig.name: [0.0] for rig in site.rigs}
        self._load_j = 0.0
        self._window_mw: int | None = None
        self._at_ms = 0
        self._seconds: list[int] = [0]
        self._baseline_mw: int | None = None
        self._base: list[int] = []

    def response_mw(self) -> int | None:
        """Return the last second's metered export relative to the baseline, mW."""
        if self._window_mw is None or self._baseline_mw is None:
            return None
        return self._window_mw - self._baseline_mw

    def close_second(self, now_ms: int, aggregator: Aggregator | None) -> str | None:
        """Read the meter; return what is wrong with the sums, None when nothing is."""
        site = self._site
        moved_j = 0.0
        for rig in site.rigs:
            rig.plant.advance(now_ms)
            energy = self._energy_j[rig.name]
            moved_j += rig.plant.energy_pcc_j - energy[-1]
            energy.append(rig.plant.energy_pcc_j)
        load_w, self._window_mw = site.read_meter(self._at_ms, now_ms, moved_j)
        self._load_j += load_w * (now_ms - self._at_ms) / 1000
        self._at_ms = now_ms
        self._seconds.append(now_ms)
        if aggregator is not None:
            self.element_ids.update({name: port.element_id for name, port
                                     in aggregator.ports.items() if port.element_id})
        if len(self._base) < BASELINE_S:
            self._base.append(self._window_mw)
            if len(self._base) == BASELINE_S:
                self._baseline_mw = sum(self._base) // BASELINE_S
        return None if aggregator is None else self._wrong_split(aggregator)

    @staticmethod
    def _wrong_split(aggregator: Aggregator) -> str | None:
        """Return what does not add up in the last split of an instruction."""
        split = aggregator.last_split
        if split is None:
            return None
        parts = sum(split.parts_mw.values())
        if parts != split.plan.admitted_mw:
            return f"parts of {parts} mW for {split.plan.admitted_mw} mW admitted"
        return None

    # when all is over

    def settle(self, panel: CampaignPanel, case: Case, now_ms: int) -> Violation | None:
        """Return the first thing that is wrong on paper."""
        problem = self._wrong_meter()
        if problem is not None:
            return Violation("conservation", None, now_ms, problem)
        ledger = Ledger.at(panel.ledger_path)
        try:
            chains = self._chains(ledger)
        finally:
            ledger.close()
        return (self._lost(panel, chains, now_ms) or self._broken(chains, now_ms)
                or self._unfounded(case, chains, now_ms)
                or self._wrong_records(case, chains, now_ms))

    def _wrong_meter(self) -> str | None:
        """Hold the meter's register against the plants and the load."""
        meter = self._site.meter
        true_mwh = (sum(energy[-1] for energy in self._energy_j.values()) - self._load_j) / 3.6
        if abs(meter.energy_mwh - true_mwh * meter.gain) > 2 + abs(true_mwh) * 1e-9:
            return f"the meter counted {meter.energy_mwh} mWh of {true_mwh:.0f} mWh"
        return None

    @staticmethod
    def _chains(ledger: Ledger) -> dict[bytes, list[tuple[int, int, dict[str, Any], bytes]]]:
        """Return each element's (counter, kind, fields, statement), in order of the counter."""
        chains: dict[bytes, list[tuple[int, int, dict[str, Any], bytes]]] = {}
        for kind, signer, counter, _, statement in ledger.statements():
            if kind in (schema.EXECUTION_RECORD, schema.SAFETY_EVENT):
                fields = codec.decode_statement(kind, codec.peek(statement)[2])
                chains.setdefault(signer, []).append((counter, kind, fields, statement))
        return {signer: sorted(chain) for signer, chain in chains.items()}

    @staticmethod
    def _lost(panel: CampaignPanel, chains: dict[bytes, Any], now_ms: int) -> Violation | None:
        """Nothing that was acknowledged is missing from the ledger."""
        for element_id, counter in panel.acknowledged.items():
            filed = {one[0] for one in chains.get(element_id, [])}
            missing = sorted(set(range(1, counter + 1)) - filed)
            if missing:
                return Violation("acknowledged_is_lost", element_id.hex(), now_ms,
                                 f"acknowledged up to {counter}, not filed: {missing[:8]}")
        return None

    @staticmethod
    def _broken(chains: dict[bytes, Any], now_ms: int) -> Violation | None:
        """Every chain goes from hash to hash."""
        for element_id, chain in chains.items():
            before = None
            for counter, _, fields, statement in chain:
                if before is not None and before[0] == counter - 1 \
                        and fields["previous_hash"] != hashlib.sha256(before[1]).digest():
                    return Violation("chain_is_broken", element_id.hex(), now_ms,
                                     f"statement {counter} does not follow its predecessor")
                before = (counter, statement)
        return None

    def _unfounded(self, case: Case, chains: dict[bytes, Any], now_ms: int) -> Violation | None:
        """No trip by message but ours: a stranger's word trips nobody."""
        alarmed = any(fault.kind == "fire_alarm" for fault in case.faults)
        for element_id, chain in chains.items():
            for _, kind, fields, _ in chain:
                if kind != schema.SAFETY_EVENT or fields["released"]:
                    continue
                self.trips_count += fields["cause"] < codes.NOTICE_BOOT
                if fields["cause"] == codes.TRIP_OPERATOR or (
                        fields["cause"] == codes.TRIP_FIRE and not alarmed):
                    return Violation("tripped_by_nobody", element_id.hex(), now_ms,
                                     f"event {fields['counter']}: cause {fields['cause']}")
        return None

    def _wrong_records(self, case: Case, chains: dict[bytes, Any], now_ms: int
                       ) -> Violation | None:
        """Every record is what the plant gave, within the element's class of measurement."""
        untimed = any(fault.kind in _UNTIMED for fault in case.faults)
        excused = {fault.element for fault in case.faults if fault.kind in _UNMEASURED}
        for rig in self._site.rigs:
            chain = chains.get(self.element_ids.get(rig.name, b""), [])
            for counter, kind, fields, _ in chain:
                if kind != schema.EXECUTION_RECORD:
                    continue
                self.records_count += 1
                if untimed or rig.name in excused:
                    continue
                true_mwh = self._energy_mwh(rig.name, fields)
                room = RECORD_SHARE * abs(true_mwh) + rig.rating_w * RECORD_RATED_S / 3.6
                if abs(fields["energy_mwh"] - true_mwh) > room:
                    return Violation(
                        "record_is_not_the_meter", rig.name, now_ms,
                        f"record {counter} says {fields['energy_mwh']} mWh, the plant gave "
                        f"{true_mwh:.0f} mWh, room {room:.0f}")
        return None

    def _energy_mwh(self, name: str, record: dict[str, Any]) -> float:
        begin_ms = record["start_unix_ms"] - self._start_unix_ms
        end_ms = record["end_unix_ms"] - self._start_unix_ms
        energy = np.interp([begin_ms, end_ms], self._seconds, self._energy_j[name])
        return float(energy[1] - energy[0]) / 3.6
