"""Benchmarks of the host's parts: verification of records."""

import hashlib
import random
import time
from collections.abc import Iterator
from typing import Any

from element.protocol import rare, schema
from hil.benchmarks.registry import Context, Measure, benchmark
from host_tools import codec
from host_tools.attest.archive import Verifier
from host_tools.attest.commitment import Committer, Leaf
from host_tools.identity.issuer import Authorities, Issuer
from host_tools.identity.keys import make_key_pair

RECORDS_COUNT = 10000
ELEMENTS_COUNT = 20


def lowest_profile() -> dict[str, Any]:
    """Return a profile with every field at the low end of its range, kind converter."""
    fields: dict[str, Any] = {}
    for _, name, kind, low, _ in rare.PROFILE:
        special = {schema.TEXT: "LFP", schema.INTS: [], schema.BOOL: False}
        fields[name] = special.get(kind, low)
    return fields


def make_archive(count: int, seed: int) -> tuple[Verifier, list[tuple[int, int | None, bytes]]]:
    """Return a verifier and the signed statements of one interval with count records."""
    rng = random.Random(seed)
    authorities = Authorities.make(rng.randbytes)
    issuer = Issuer(authorities)
    start_ms = 1_767_225_600_000
    entries: list[tuple[int, int | None, bytes]] = []
    leaves: list[Leaf] = []
    for _ in range(ELEMENTS_COUNT):
        sign, agree = make_key_pair(rng.randbytes), make_key_pair(rng.randbytes)
        challenge = rng.randbytes(16)
        asked = codec.encode_statement(schema.ENROL_REQUEST, {
            "element_id": sign.key_id, "challenge": challenge,
            "sign_key": schema.cose_key(sign.public),
            "agree_key": schema.cose_key(agree.public), "hardware_id": b"hw",
            "board": "bench", "firmware": "bench"})
        request = codec.sign1(sign.private, "cw/enrol-request", sign.key_id, asked)
        enrolled, _ = issuer.enrol(request, challenge, lowest_profile(), 1, "", start_ms // 1000)
        entries.append((schema.CREDENTIAL, None, enrolled.credential))
        previous = bytes(32)
        for counter in range(1, count // ELEMENTS_COUNT + 1):
            fields = {
                "element_id": sign.key_id, "counter": counter, "previous_hash": previous,
                "dispatch_id": counter, "start_unix_ms": start_ms + counter * 60000,
                "end_unix_ms": start_ms + counter * 60000 + 60000,
                "instructed_mw_mean": rng.randint(-2_000_000, 2_000_000),
                "realized_mw_mean": rng.randint(-2_000_000, 2_000_000),
                "realized_mw_min": -1, "realized_mw_max": 1, "energy_mwh": rng.randint(-9, 9),
                "soc_bp_start": 5000, "soc_bp_end": 4990, "quality": 0}
            statement = codec.sign1(sign.private, "cw/record", sign.key_id,
                                    codec.encode_statement(schema.EXECUTION_RECORD, fields))
            previous = hashlib.sha256(statement).digest()
            entries.append((schema.EXECUTION_RECORD, 1, statement))
            leaves.append(Leaf(sign.key_id, schema.EXECUTION_RECORD, fields, statement))
    commitment, _ = Committer(authorities.aggregator).commit(
        leaves, start_ms, start_ms + 60000, 0, 0)
    entries.append((schema.INTERVAL_COMMITMENT, 1, commitment))
    return Verifier(authorities.trust_root), entries


@benchmark("verify")
def verify_rate(context: Context) -> Iterator[Measure]:
    """Verify 10,000 records as `cellwall verify` does: signatures, chains, tree, totals."""
    verifier, entries = make_archive(RECORDS_COUNT, 1)
    began = time.perf_counter()
    outcome = verifier.run(entries)
    spent_s = time.perf_counter() - began
    yield Measure("verify.records_per_s", round(RECORDS_COUNT / spent_s), "1/s", ">= 5000")
    yield Measure("verify.failed", outcome.failed, "", "== 0")
