"""A tenant's statement for a month: energy in and out by element, dispatch and chemistry. Pure.

Integers throughout: energy in mWh as the elements have signed it, times in ms. A record that
reaches over an end of the month is divided by time, so that both months together have all of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from element.protocol.errors import RangeError
from host_tools.attest.commitment import energy_mwh
from host_tools.attest.standing import Trust
from host_tools.envelope.capability import SERVICE_NAMES
from host_tools.settlement.evidence import Credited, Evidence, Rejected, Source, once

# Records that follow one another may be so far apart: ticks are not exact.
GAP_MS_MAX = 2000


@dataclass
class Sums:
    """What was done. out and in_: mWh, non-negative. shortfall: of what was instructed, mWh.

    flagged_ms: time of records with any quality flag. missing_ms: between records, in which the
    element has none. split_count: records of which a part belongs to another month.
    """

    out_mwh: int = 0
    in_mwh: int = 0
    instructed_mwh: int = 0
    shortfall_mwh: int = 0
    record_count: int = 0
    recorded_ms: int = 0
    flagged_count: int = 0
    flagged_ms: int = 0
    missing_count: int = 0
    missing_ms: int = 0
    split_count: int = 0

    def add(self, other: "Sums") -> None:
        """Add another one's."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def throughput_mwh(self) -> int:
        """Energy through the pack, both ways."""
        return self.out_mwh + self.in_mwh

    @property
    def shortfall_bp(self) -> int:
        """The share of what was instructed that was not done, in basis points."""
        return self.shortfall_mwh * 10_000 // self.instructed_mwh if self.instructed_mwh else 0


@dataclass
class Line:
    """One element under one dispatch id, 0 for none. service, source, key: "" if not known."""

    ledger: str
    element_id: str
    chemistry: str
    manufacturer: str
    dispatch_id: int
    service: str
    source: str
    key: str
    sums: Sums = field(default_factory=Sums)
    counters: list[int] = field(default_factory=list)
    intervals: list[int] = field(default_factory=list)


@dataclass
class Group:
    """Elements of one chemistry and manufacturer. cycles_milli: thousandths of a full cycle of
    their rated energy, out and in."""

    chemistry: str
    manufacturer: str
    element_count: int
    rated_mwh: int
    sums: Sums

    @property
    def cycles_milli(self) -> int:
        """Throughput as full equivalent cycles, in thousandths, rounded down."""
        return self.sums.throughput_mwh * 1000 // (2 * self.rated_mwh)


@dataclass
class Statement:
    """One tenant, one month. pending_count: records that no interval was closed over yet.

    aggregates: of the tenant's, whose elements are credited from the ledgers below alone.
    """

    tenant: str
    start_unix_ms: int
    end_unix_ms: int
    lines: list[Line]
    elements: dict[str, Sums]
    groups: list[Group]
    total: Sums
    rejected: list[Rejected]
    pending_count: int = 0
    aggregates: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        def shown(sums: Sums) -> dict[str, Any]:
            return asdict(sums) | {"shortfall_bp": sums.shortfall_bp}

        return {
            "tenant": self.tenant, "start_unix_ms": self.start_unix_ms,
            "end_unix_ms": self.end_unix_ms, "total": shown(self.total),
            "elements": {name: shown(sums) for name, sums in sorted(self.elements.items())},
            "lines": [{name: value for name, value in asdict(one).items() if name != "sums"}
                      | shown(one.sums) | {"counters": ranges(one.counters),
                                           "intervals": ranges(one.intervals)}
                      for one in self.lines],
            "groups": [{"chemistry": one.chemistry, "manufacturer": one.manufacturer,
                        "element_count": one.element_count, "rated_mwh": one.rated_mwh,
                        "throughput_mwh": one.sums.throughput_mwh,
                        "cycles_milli": one.cycles_milli} | shown(one.sums)
                       for one in self.groups],
            "pending_count": self.pending_count, "aggregates": self.aggregates,
            "not_credited": [asdict(one) for one in self.rejected]}


def month_unix_ms(month: str, zone_name: str = "UTC") -> tuple[int, int]:
    """Return begin and end of a month YYYY-MM in a named time zone, Unix ms.

    Raises RangeError for another form and for a zone that is not known.
    """
    try:
        zone = ZoneInfo(zone_name)
        year, number = (int(part) for part in month.split("-"))
        if len(month) != 7:
            raise ValueError(month)
        begin = datetime(year, number, 1, tzinfo=zone)
        end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone)
    except (ValueError, ZoneInfoNotFoundError, OSError) as error:
        raise RangeError("month YYYY-MM or time zone", f"{month}, {zone_name}") from error
    return round(begin.timestamp() * 1000), round(end.timestamp() * 1000)


def statement(sources: Sequence[Source], trusted: Sequence[Trust], tenant: str,
              start_unix_ms: int, end_unix_ms: int) -> Statement:
    """Return what a tenant's elements did in [start, end). Every record credited is verified."""
    found: list[Credited] = []
    rejected: list[Rejected] = []
    pending, aggregates = 0, set[str]()

    def wanted(claims: dict[str, Any], fields: dict[str, Any]) -> bool:
        return bool(claims["tenant"] == tenant and fields["start_unix_ms"] < end_unix_ms
                    and fields["end_unix_ms"] > start_unix_ms)

    for source in sources:
        evidence = Evidence(source, trusted, wanted)
        found += evidence.credited()
        rejected += evidence.rejected
        pending += evidence.pending_count
        aggregates |= evidence.aggregates
    records, doubled = once(found)
    out = _summed(tenant, start_unix_ms, end_unix_ms, records, [*rejected, *doubled])
    out.pending_count, out.aggregates = pending, sorted(aggregates)
    return out


def _summed(tenant: str, start_ms: int, end_ms: int, records: list[Credited],
            rejected: list[Rejected]) -> Statement:
    lines: dict[tuple[str, str, str, str, int], Line] = {}
    elements: dict[str, Sums] = {}
    groups: dict[tuple[str, str], Group] = {}
    rated: dict[tuple[str, str, str], int] = {}
    total = Sums()
    records.sort(key=lambda one: (one.fields["element_id"], one.fields["counter"]))
    before: dict[bytes, int] = {}
    for one in records:
        line = _line_of(lines, one)
        sums = _sums(one.fields, start_ms, end_ms)
        _count_gap(sums, before.get(one.fields["element_id"]), one.fields)
        before[one.fields["element_id"]] = one.fields["end_unix_ms"]
        line.counters.append(one.fields["counter"])
        line.intervals.append(one.number)
        kind = line.chemistry, line.manufacturer
        group = groups.setdefault(kind, Group(*kind, 0, 0, Sums()))
        for part in (line.sums, elements.setdefault(line.element_id, Sums()), group.sums, total):
            part.add(sums)
        rated[(*kind, line.element_id)] = one.claims["profile"]["energy_mwh_rated"]
    for (chemistry, manufacturer, _), energy in rated.items():
        group = groups[chemistry, manufacturer]
        group.element_count += 1
        group.rated_mwh += energy
    return Statement(tenant, start_ms, end_ms, [lines[key] for key in sorted(lines)], elements,
                     [groups[key] for key in sorted(groups)], total,
                     sorted(rejected, key=lambda one: (one.ledger, one.element_id, one.counter)))


def _line_of(lines: dict[tuple[str, str, str, str, int], Line], one: Credited) -> Line:
    """Return the line that a record belongs to."""
    profile, service = one.claims["profile"], one.service
    key = (one.ledger, one.fields["element_id"].hex(), profile["chemistry"],
           one.claims["manufacturer"], one.fields["dispatch_id"])
    if key not in lines:
        lines[key] = Line(
            *key, *(("", "", "") if service is None else
                    (SERVICE_NAMES.get(service.service, str(service.service)), service.source,
                     service.key)))
    return lines[key]


def _sums(fields: dict[str, Any], start_ms: int, end_ms: int) -> Sums:
    """Return what a record adds to the month."""
    whole_ms = fields["end_unix_ms"] - fields["start_unix_ms"]
    low_ms, high_ms = max(fields["start_unix_ms"], start_ms), min(fields["end_unix_ms"], end_ms)
    energy = _part(fields["energy_mwh"], fields, low_ms, high_ms)
    asked = _part(energy_mwh(fields["instructed_mw_mean"], whole_ms), fields, low_ms, high_ms)
    done = energy if asked >= 0 else -energy
    flagged = bool(fields["quality"])
    return Sums(
        max(0, energy), max(0, -energy), abs(asked),
        min(abs(asked), max(0, abs(asked) - done)), 1, high_ms - low_ms, int(flagged),
        high_ms - low_ms if flagged else 0, 0, 0, int(high_ms - low_ms != whole_ms))


def _part(amount: int, fields: dict[str, Any], low_ms: int, high_ms: int) -> int:
    """Return what of an amount over a record's time lies between two moments.

    Parts that adjoin add up to the whole, for each is the difference of two roundings.
    """
    start_ms, end_ms = fields["start_unix_ms"], fields["end_unix_ms"]
    whole_ms = max(1, end_ms - start_ms)
    size = abs(amount)
    part = size * (high_ms - start_ms) // whole_ms - size * (low_ms - start_ms) // whole_ms
    return part if amount >= 0 else -part


def _count_gap(sums: Sums, before_ms: int | None, fields: dict[str, Any]) -> None:
    """Count the intervals that are missing between a record and the one before."""
    if before_ms is None:
        return
    gap_ms = fields["start_unix_ms"] - before_ms
    length_ms = max(1, fields["end_unix_ms"] - fields["start_unix_ms"])
    if gap_ms > GAP_MS_MAX:
        sums.missing_ms = gap_ms
        sums.missing_count = max(1, (gap_ms + length_ms // 2) // length_ms)


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers as text, consecutive ones as ranges: 1-3 7."""
    out: list[list[int]] = []
    for number in sorted(set(numbers)):
        if out and number == out[-1][1] + 1:
            out[-1][1] = number
        else:
            out.append([number, number])
    return " ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in out)
