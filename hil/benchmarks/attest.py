"""Benchmarks of the attestation: receipts, the pipeline of an interval, bundles, audits."""

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from element.protocol import schema, trust
from hil.benchmarks.registry import Context, Measure, benchmark
from host_tools import codec
from host_tools.attest import audit, bundle, merkle, pipeline, receipts
from host_tools.attest.audit_check import check_audit
from host_tools.attest.commitment import Committer, Leaf, energy_mwh
from host_tools.attest.log import CHECKPOINT_KIND, IntervalLog
from host_tools.attest.standing import RootKey, Trust
from host_tools.attest.verifier import verify_bundle
from host_tools.identity.credentials import party_credential
from host_tools.identity.issuer import Authorities
from host_tools.identity.keys import KeyPair, make_key_pair

RECORDS_COUNT = 10_000
ELEMENTS_COUNT = 20
SHOWN_COUNT = 100
VERIFIED_COUNT = 500
START_MS = 1_767_225_600_000
INTERVAL_MS = 60_000
RATING_MW = 5_000_000
LATER_MS = START_MS + 86_400_000  # when bundles are made
TENANTS = ("north", "south", "atrium")
CHEMISTRIES = ("LFP", "NMC")
ROLES = ("wall", "column", "floor", "cabinet")


@dataclass(frozen=True)
class Building:
    """A made-up building: its keys, its elements in the order of their ids, its statements."""

    authorities: Authorities
    operator: KeyPair
    elements: list[KeyPair]
    entries: list[bundle.Entry]

    @property
    def trust(self) -> Trust:
        """What a counterparty trusts: roots, of which none was rotated yet."""
        begins_s = START_MS // 1000 - 86400
        return Trust(roots={"issuer": [RootKey(self.authorities.issuer.public, begins_s)],
                            "operator": [RootKey(self.operator.public, begins_s)]})

    @property
    def bare_trust(self) -> Trust:
        """The same as keys without any history, of which a bench's trust.json has as much."""
        keys = self.authorities
        return Trust({keys.issuer.key_id: keys.issuer.public},
                     {keys.aggregator.key_id: keys.aggregator.public})

    @property
    def without_party(self) -> list[bundle.Entry]:
        """The statements as a bench has them: nobody credentialed the aggregator."""
        return [one for one in self.entries if one[0] != trust.PARTY_CREDENTIAL]


def _lowest(table: tuple[Any, ...]) -> dict[str, Any]:
    """Return fields at the low end of every range, for whatever the contract asks."""
    out: dict[str, Any] = {}
    for _, name, kind, low, _ in table:
        if kind == schema.MAP:
            out[name] = _lowest(low)
        elif kind in (schema.TEXT, schema.BYTES):
            out[name] = "x" * low if kind == schema.TEXT else bytes(low)
        else:
            out[name] = {schema.INTS: [], schema.BOOL: False}.get(kind, low)
    return out


def make_credential(issuer: KeyPair, sign: KeyPair, agree_key: bytes, index: int,
                    changes: dict[str, Any]) -> bytes:
    """Return a signed credential; tenant, chemistry and role go round with index."""
    claims = _lowest(schema.table_of(schema.CREDENTIAL))
    claims["profile"].update(
        kind=1, chemistry=CHEMISTRIES[index % len(CHEMISTRIES)], role=ROLES[index % len(ROLES)],
        power_mw_discharge_max=RATING_MW, power_mw_charge_max=RATING_MW)
    claims.update(
        issuer="benchmark", subject=sign.key_id.hex(), tenant=TENANTS[index % len(TENANTS)],
        expires_unix_s=START_MS // 1000 + 86400, not_before_unix_s=START_MS // 1000 - 3600,
        issued_unix_s=START_MS // 1000, cnf={"cose_key": schema.cose_key(sign.public)},
        agree_key=schema.cose_key(agree_key))
    if "manufacturer" in claims:
        claims["manufacturer"] = f"maker {index % 2}"
    claims.update(changes)
    return codec.sign1(issuer.private, schema.STATEMENT_TYP[schema.CREDENTIAL], issuer.key_id,
                       codec.encode_statement(schema.CREDENTIAL, claims))


def make_record(sign: KeyPair, counter: int, previous: bytes, start_ms: int, power_mw: int
                ) -> Leaf:
    """Return one signed record of a minute at a steady power."""
    fields = {
        "element_id": sign.key_id, "counter": counter, "previous_hash": previous,
        "dispatch_id": counter, "start_unix_ms": start_ms, "end_unix_ms": start_ms + INTERVAL_MS,
        "instructed_mw_mean": power_mw, "realized_mw_mean": power_mw,
        "realized_mw_min": power_mw - 5000, "realized_mw_max": power_mw + 5000,
        "energy_mwh": energy_mwh(power_mw, INTERVAL_MS), "soc_bp_start": 5000,
        "soc_bp_end": 4990, "quality": 0}
    statement = codec.sign1(sign.private, schema.STATEMENT_TYP[schema.EXECUTION_RECORD],
                            sign.key_id,
                            codec.encode_statement(schema.EXECUTION_RECORD, fields))
    return Leaf(sign.key_id, schema.EXECUTION_RECORD, fields, statement)


def make_building(
    intervals: int, leaves: int, seed: int, elements: int = ELEMENTS_COUNT,
    change: Callable[[int, list[Leaf]], list[Leaf]] | None = None,
    credential_changes: dict[str, Any] | None = None, checkpoints: int = 0,
) -> Building:
    """Return a building of so many intervals with so many leaves each.

    change(interval number, leaves) is what a dishonest aggregator does before it commits.
    checkpoints: how many, evenly spread, the last over all.
    """
    rng = random.Random(seed)
    authorities = Authorities.make(rng.randbytes)
    signers = sorted([make_key_pair(rng.randbytes) for _ in range(elements)],
                     key=lambda one: one.key_id)
    entries: list[bundle.Entry] = [
        (schema.CREDENTIAL, None, make_credential(
            authorities.issuer, sign, authorities.aggregator_agree.public, index,
            credential_changes or {}))
        for index, sign in enumerate(signers)]
    # from a generator of its own: the keys above are the same with and without it
    operator = make_key_pair(random.Random(f"operator {seed}").randbytes)
    entries.append((trust.PARTY_CREDENTIAL, None, party_credential(
        "aggregator", "aggregator", authorities.aggregator.public,
        authorities.aggregator_agree.public, operator, "benchmark", START_MS // 1000)))
    committer, log = Committer(authorities.aggregator), IntervalLog()
    chains = dict.fromkeys(range(elements), (0, bytes(32)))
    for number in range(1, intervals + 1):
        members: list[Leaf] = []
        at_ms = START_MS + (number - 1) * INTERVAL_MS
        for place in range(leaves):
            index = place * elements // leaves
            counter, previous = chains[index]
            leaf = make_record(signers[index], counter + 1, previous, at_ms,
                               rng.randint(1_000_000, 4_000_000))
            chains[index] = (counter + 1, hashlib.sha256(leaf.statement).digest())
            members.append(leaf)
        members = change(number, members) if change else members
        statement, _ = committer.commit(members, at_ms, at_ms + INTERVAL_MS, 0, 0)
        entries += [(leaf.kind, number, leaf.statement) for leaf in members]
        entries.append((schema.INTERVAL_COMMITMENT, number, statement))
        log.append(statement)
        if checkpoints and number % max(1, intervals // checkpoints) == 0:
            entries.append((CHECKPOINT_KIND, None, log.checkpoint(
                authorities.aggregator, at_ms + INTERVAL_MS)))
    return Building(authorities, operator, signers, entries)


def _best_s(work: Callable[[], object], count: int = 3) -> float:
    """Return the shortest of some runs: other work on the machine only ever adds."""
    spent = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return min(spent)


@benchmark("attest_receipts")
def receipt_times(context: Context) -> Iterator[Measure]:
    """Build the RFC 9942 receipts of 10,000 leaves, tree and signature included; verify some."""
    building = make_building(1, RECORDS_COUNT, 1)
    leaves = [one for kind, _, one in building.entries if kind == schema.EXECUTION_RECORD]
    key = building.authorities.aggregator

    def build() -> list[bytes]:
        tree = merkle.Tree(leaves)
        return receipts.all_receipts(receipts.sign_root(key, 1, tree.size, tree.root), tree)

    made = build()
    yield Measure("attest.receipts_10000_ms", round(_best_s(build) * 1000, 1), "ms", "<= 150")
    began = time.perf_counter()
    for index in range(VERIFIED_COUNT):
        receipts.check_inclusion(made[index], leaves[index], key.public)
    spent_ms = (time.perf_counter() - began) * 1000 / VERIFIED_COUNT
    yield Measure("attest.receipt_verify_ms", round(spent_ms, 3), "ms", "<= 1")


@benchmark("attest_pipeline")
def pipeline_times(context: Context) -> Iterator[Measure]:
    """Verify 10,000 records and their credentials, build the tree, sign the root."""
    building = make_building(1, RECORDS_COUNT, 2)
    credentials = [one for kind, _, one in building.entries if kind == schema.CREDENTIAL]
    records = [one for kind, _, one in building.entries if kind == schema.EXECUTION_RECORD]
    for workers in (1, 2):
        # a pool's start is inside the time
        spent_s = _best_s(partial(
            pipeline.close_interval, credentials, records, building.trust,
            building.authorities.aggregator, 1, workers))
        reach = "<= 2.0" if workers == 2 else ""
        yield Measure(f"attest.pipeline_10000_{workers}_processes_s", round(spent_s, 3), "s",
                      reach)


@benchmark("attest_bundle")
def bundle_sizes(context: Context) -> Iterator[Measure]:
    """Disclose 100 of 10,000 records: scattered in one interval, and one element's hundred."""
    for name, intervals, leaves in (("scattered", 1, RECORDS_COUNT), ("in_a_row", 500, 20)):
        building = make_building(intervals, leaves, 3)
        holdings = bundle.Holdings(building.entries)
        if intervals == 1:
            chosen = {1: sorted(random.Random(4).sample(range(leaves), SHOWN_COUNT))}
        else:
            chosen = {number: [7] for number in range(201, 201 + SHOWN_COUNT)}
        key = building.authorities.aggregator
        made = bundle.build(holdings, chosen, key, LATER_MS)
        yield Measure(f"attest.bundle_100_{name}_kib", round(len(made) / 1024, 1), "KiB", "<= 60")
        spent_s = _best_s(partial(verify_bundle, made, building.trust))
        yield Measure(f"attest.bundle_100_{name}_verify_ms", round(spent_s * 1000, 1), "ms", "")


@benchmark("attest_audit")
def audit_times(context: Context) -> Iterator[Measure]:
    """Audit an interval of 10,000 leaves with the sample that finds 20 % despite grinding."""
    building = make_building(1, RECORDS_COUNT, 5)
    holdings = bundle.Holdings(building.entries)
    made = audit.build_audit(holdings, 1, 1000, building.authorities.aggregator, LATER_MS)
    yield Measure("attest.audit_1000_kib", round(len(made) / 1024, 1), "KiB", "")
    began = time.perf_counter()
    outcome = verify_bundle(made, building.trust, None, check_audit)
    yield Measure("attest.audit_1000_verify_ms", round((time.perf_counter() - began) * 1000), "ms",
                  "")
    found = audit.findings(outcome.audit or {}, (2000,))[0]
    yield Measure("attest.audit_1000_escape_of_20_pct", found["escape"], "", "<= 1e-12")
