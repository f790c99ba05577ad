"""Say what a verified bundle proves and what it does not, in numbers and in sentences."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from host_tools.attest.audit import GRIND_LOG2, findings
from host_tools.attest.standing import NAME, PROFILE, SKEW_S, TENANT, Listed
from host_tools.attest.verifier import Outcome


@dataclass
class Run:
    """The shown counters of one element, and which between first and last are not shown."""

    element_id: bytes
    first: int
    last: int
    count: int = 0
    energy_mwh: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)


def runs_of(outcome: Outcome) -> list[Run]:
    """Return a run for every element with a record, in the order of their ids."""
    runs: dict[bytes, Run] = {}
    for one in sorted(outcome.records, key=lambda shown: (shown.element_id, shown.counter)):
        run = runs.setdefault(one.element_id, Run(one.element_id, one.counter, one.counter - 1))
        if one.counter > run.last + 1:
            run.missing.append((run.last + 1, one.counter - 1))
        run.last = one.counter
        run.count += 1
        run.energy_mwh += one.energy_mwh
    return list(runs.values())


def iso(unix_ms: int) -> str:
    """Return a time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(unix_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _gaps(run: Run) -> str:
    return ", ".join(str(low) if low == high else f"{low}..{high}" for low, high in run.missing)


def proven(outcome: Outcome) -> Iterator[str]:
    """Yield a sentence for everything that holds."""
    numbers = [one[2] for one in outcome.intervals]
    if outcome.records:
        events = sum(1 for one in outcome.records if one.is_event)
        told = f" ({events} of them safety events)" if events else ""
        yield (f"{len(outcome.records)} records{told} are genuine: each signed by its element's "
               f"own key, under a credential that {_issuer(outcome)} and that was valid when "
               f"the record was made (within {SKEW_S} s).")
        yield ("Each is in the interval shown, at the position shown, under the root that the "
               "aggregator signed.")
    else:
        yield "The totals of these intervals were declared and signed by the aggregator."
    if outcome.parties:
        name = outcome.parties[outcome.aggregator_id][-1].claims[NAME]
        yield (f"The aggregator {outcome.aggregator_id.hex()} ({name}) had a credential by the "
               "operator's root whenever it signed any of this.")
    for run in runs_of(outcome):
        if not run.missing and run.count > 1:
            yield (f"Element {run.element_id.hex()}: no record between counter {run.first} and "
                   f"{run.last} is missing.")
    whole = [number for number, count in outcome.shown_counts.items()
             if count and count == next(one[5] for one in outcome.intervals if one[2] == number)]
    if whole:
        yield (f"Every record of interval {_some(whole)} is shown, and they make the declared "
               "totals.")
    if numbers == list(range(numbers[0], numbers[0] + len(numbers))) and len(numbers) > 1:
        yield f"Intervals {numbers[0]} to {numbers[-1]} follow each other without a gap."
    if outcome.checkpoints:
        newest = outcome.checkpoints[-1]
        yield (f"All intervals shown are in the log of {newest[2]} intervals that the aggregator "
               f"signed at {iso(newest[4])}.")
    for older, newer in pairwise(outcome.checkpoints):
        yield (f"Nothing of the log was changed between {iso(older[4])} ({older[2]} intervals) "
               f"and {iso(newer[4])}: it was only appended to.")
    for listed, whose in _lists(outcome):
        if listed is not None:
            yield (f"By the {listed.role}'s list {listed.number} of "
                   f"{iso(listed.issued_unix_s * 1000)}, {whose} when it signed.")
    if outcome.audit:
        yield from _audited(outcome.audit)


def _audited(audit: dict[str, Any]) -> Iterator[str]:
    challenge = f" and challenge {audit['challenge'].hex()}" if audit["challenge"] else ""
    yield (f"{audit['sample']} of {audit['leaf_count']} leaves, selected by audit commitment "
           f"{audit['commitment'].hex()}{challenge}, have the energy that the declared "
           f"{audit['total_mwh']} mWh counts for them.")
    for one in findings(audit):
        text = (f"A total inflated by {one['inflation_pct']:g} % needs {one['wrong_leaves']} "
                f"wrong leaves and would have escaped with probability {one['escape']:.2g}")
        yield (f"{text} in one try, which is all there was if the challenge was chosen after "
               f"that commitment was told; in 2^{GRIND_LOG2} tries at most "
               f"{one['escape_ground']:.2g}.")


def not_proven(outcome: Outcome) -> Iterator[str]:
    """Yield a sentence for everything that a reader could think is shown and is not."""
    for run in runs_of(outcome):
        if run.missing:
            yield (f"Element {run.element_id.hex()}: counters {_gaps(run)} are not shown; nothing "
                   "is said of them.")
    if outcome.records:
        yield "What elements did before the first and after the last counter shown."
    hidden = sum(one[5] for one in outcome.intervals) - len(outcome.records)
    if hidden:
        yield (f"What the {hidden} records that are not shown say; their number, and between "
               "which of the shown ones they stand, is all that is told.")
    if any(outcome.shown_counts[one[2]] < one[5] for one in outcome.intervals):
        yield ("That the declared totals are true" +
               (" beyond the probabilities above." if outcome.audit else
                ": they are declared, not checked."))
    if outcome.audit:
        yield ("Instructed energy and shortfall: the audit is of realized energy. It takes for "
               f"granted that no element can do more than {outcome.audit['leaf_mwh_max']} mWh in "
               "a record.")
    if not outcome.checkpoints:
        yield "That history was only appended to: the bundle has no checkpoint of the log."
    newest_ms = max([one[7] for one in outcome.intervals] + [
        one[4] for one in outcome.checkpoints])
    for listed, whose in _lists(outcome):
        if listed is None:
            yield f"That {whose}: no list of that root is in the bundle or with the roots."
        elif newest_ms // 1000 > listed.issued_unix_s:
            yield (f"That {whose} after {iso(listed.issued_unix_s * 1000)}, when the newest list "
                   "at hand was made; some of what is shown was signed later.")
    if not outcome.trust.roots:
        yield ("That issuer and aggregator could speak at the time: bare keys were given, so "
               "rotation, the aggregator's validity and its revocation were not checked.")
    yield "That an element measured right."
    yield "That the aggregator told others the same: compare bundles with --against."


def _issuer(outcome: Outcome) -> str:
    return "the issuer's root signed with the key then in force" if outcome.trust.roots \
        else "a trusted issuer signed"


def _lists(outcome: Outcome) -> Iterator[tuple[Listed | None, str]]:
    """Yield the newest list of each root that the bundle depends on, and what it is about."""
    if outcome.records:
        yield outcome.trust.newest("issuer"), "no element shown was revoked"
    if outcome.parties:
        yield outcome.trust.newest("operator"), "the aggregator was not revoked"


def _claims(outcome: Outcome, run: Run) -> dict[int, Any]:
    """Return the newest claims of an element under which a record is shown."""
    return next(one.claims for one in reversed(outcome.records)
                if one.element_id == run.element_id)


def _some(numbers: list[int]) -> str:
    text = ", ".join(map(str, numbers[:8]))
    return text + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")


def as_dict(outcome: Outcome) -> dict[str, Any]:
    """Return all of it for JSON. Energy: mWh, discharge positive; times: Unix ms."""
    audit = outcome.audit
    return {
        "holds": True, "aggregator": outcome.aggregator_id.hex(),
        "trust": "roots" if outcome.trust.roots else "bare keys",
        "revocation_lists": [{
            "role": one.role, "number": one.number, "issued_unix_s": one.issued_unix_s,
            "next_unix_s": one.next_unix_s} for one in outcome.trust.lists],
        "records": [{
            "element": one.element_id.hex(), "counter": one.counter, "interval": one.interval,
            "index": one.index, "kind": "safety-event" if one.is_event else "record",
            "start_unix_ms": one.start_unix_ms, "end_unix_ms": one.end_unix_ms,
            "energy_mwh": one.energy_mwh, "quality": one.quality} for one in outcome.records],
        "elements": [{
            "element": run.element_id.hex(), "first": run.first, "last": run.last,
            "shown": run.count, "missing": run.missing, "energy_mwh": run.energy_mwh,
            "tenant": _claims(outcome, run)[TENANT],
            "chemistry": _claims(outcome, run)[PROFILE][20],
            "role": _claims(outcome, run)[PROFILE][21]}
            for run in runs_of(outcome)],
        "intervals": [{
            "number": one[2], "start_unix_ms": one[6], "end_unix_ms": one[7],
            "leaf_count": one[5], "shown": outcome.shown_counts[one[2]],
            "instructed_mwh": one[8], "realized_mwh": one[9], "shortfall_mwh": one[10],
            "missing_count": one[11], "flagged_count": one[12]} for one in outcome.intervals],
        "checkpoints": [{"intervals": one[2], "root": one[3].hex(), "at_unix_ms": one[4]}
                        for one in outcome.checkpoints],
        "audit": audit and {**audit, "challenge": audit["challenge"].hex(),
                            "commitment": audit["commitment"].hex(),
                            "grind_log2": GRIND_LOG2, "findings": findings(audit)},
        "proven": list(proven(outcome)), "not_proven": list(not_proven(outcome)),
    }
