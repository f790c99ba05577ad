"""Close an interval in one go: check every signature and credential, build the tree, sign it.

Signature checks are the cost (about 45 us each) and are independent, so they are dealt out to
worker processes; everything else happens here. Workers are started for the call: their start is
part of its time. With one worker no process is started.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from element.protocol import schema
from element.protocol.errors import SignatureError
from host_tools import codec
from host_tools.attest import merkle
from host_tools.attest.receipts import SignedRoot, sign_root
from host_tools.attest.verifier import CLOCK_SKEW_S_MAX
from host_tools.identity.keys import KeyPair, key_id

RECORDS_MAX = 1_000_000
WORKERS_MAX = 64
# Below this many records a process costs more to start than it saves.
RECORDS_PER_WORKER_MIN = 2000
Known = dict[bytes, tuple[bytes, int, int]]  # element id -> key, not before and expires, Unix s
_TYPS = {schema.STATEMENT_TYP[kind]: kind
         for kind in (schema.EXECUTION_RECORD, schema.SAFETY_EVENT)}


def open_credentials(credentials: Sequence[bytes], issuer_key: bytes) -> Known:
    """Return what credentials say, by element id. Raises DecodeError or SignatureError."""
    out: Known = {}
    for statement in credentials:
        payload = codec.verify1(statement, issuer_key, schema.STATEMENT_TYP[schema.CREDENTIAL])
        claims = codec.decode_statement(schema.CREDENTIAL, payload)
        raw = schema.raw_key(claims["cnf"]["cose_key"])
        if claims["subject"] != key_id(raw).hex():
            raise SignatureError("subject is not the key's id", claims["subject"])
        out[key_id(raw)] = (raw, claims["not_before_unix_s"], claims["expires_unix_s"])
    return out


def check_records(known: Known, records: Sequence[bytes]) -> list[tuple[bytes, int]]:
    """Return (element id, counter) of every record, each signed by a key valid at its time.

    Raises DecodeError or SignatureError for the first that does not hold.
    """
    out = []
    for statement in records:
        typ, kid, _ = codec.peek(statement)
        if kid not in known or typ not in _TYPS:
            raise SignatureError("no valid credential for element", kid)
        raw, not_before_s, expires_s = known[kid]
        fields = codec.decode_statement(_TYPS[typ], codec.verify1(statement, raw, typ))
        if fields["element_id"] != kid:
            raise SignatureError("signed for another element", fields["element_id"])
        start_ms = fields.get("start_unix_ms", fields.get("at_unix_ms", 0))
        end_ms = fields.get("end_unix_ms", start_ms)
        if start_ms // 1000 < not_before_s - CLOCK_SKEW_S_MAX \
                or end_ms // 1000 > expires_s + CLOCK_SKEW_S_MAX:
            raise SignatureError("outside the credential's validity", end_ms // 1000)
        out.append((kid, fields["counter"]))
    return out


def check_all(known: Known, records: Sequence[bytes], workers: int) -> list[tuple[bytes, int]]:
    """Return what `check_records` does, dealt out to at most so many processes."""
    count = min(workers, WORKERS_MAX, max(1, len(records) // RECORDS_PER_WORKER_MIN))
    if count <= 1:
        return check_records(known, records)
    size = -(-len(records) // count)
    parts = [records[at:at + size] for at in range(0, len(records), size)]
    # forked: nothing has to be imported again; this process keeps the first part for itself
    with ProcessPoolExecutor(count - 1, get_context("fork")) as pool:
        waiting = [pool.submit(check_records, known, part) for part in parts[1:]]
        done = check_records(known, parts[0])
        for one in waiting:
            done += one.result()
    return done


def close_interval(
    credentials: Sequence[bytes], records: Sequence[bytes], issuer_key: bytes,
    aggregator: KeyPair, number: int, workers: int = 1,
) -> tuple[merkle.Tree, SignedRoot]:
    """Return the tree over checked records, in its order, and its root signed for receipts.

    Raises DecodeError or SignatureError for a statement that does not hold, and SignatureError
    for a counter that occurs twice.
    """
    if len(records) > RECORDS_MAX:
        raise SignatureError("records", len(records))
    places = check_all(open_credentials(credentials, issuer_key), records, workers)
    if len(set(places)) != len(places):
        raise SignatureError("counter twice in interval", number)
    ordered = [record for _, record in sorted(zip(places, records, strict=True))]
    tree = merkle.Tree(ordered)
    return tree, sign_root(aggregator, number, tree.size, tree.root)
