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
from host_tools.attest.commitment import span_unix_ms
from host_tools.attest.primitives import Refused
from host_tools.attest.receipts import SignedRoot, sign_root
from host_tools.attest.standing import Credential, Trust
from host_tools.identity.keys import KeyPair

RECORDS_MAX = 1_000_000
WORKERS_MAX = 64
# Below this many records a process costs more to start than it saves.
RECORDS_PER_WORKER_MIN = 2000
Known = dict[bytes, list[Credential]]  # by element id; several are renewals
_TYPS = {schema.STATEMENT_TYP[kind]: kind
         for kind in (schema.EXECUTION_RECORD, schema.SAFETY_EVENT)}


def open_credentials(credentials: Sequence[bytes], trust: Trust) -> Known:
    """Return credentials by element id. Raises SignatureError for one that does not hold."""
    out: Known = {}
    for statement in credentials:
        try:
            one = trust.credential(statement, schema.STATEMENT_TYP[schema.CREDENTIAL])
        except Refused as error:
            raise SignatureError(error.code, error.value) from error
        out.setdefault(one.key_id, []).append(one)
    return out


def check_records(trust: Trust, known: Known, records: Sequence[bytes]
                  ) -> list[tuple[bytes, int]]:
    """Return (element id, counter) of every record, each signed by a key valid at its time.

    Raises DecodeError or SignatureError for the first that does not hold.
    """
    out = []
    for statement in records:
        typ, kid, _ = codec.peek(statement)
        if kid not in known or typ not in _TYPS:
            raise SignatureError("no valid credential for element", kid)
        fields = codec.decode_statement(
            _TYPS[typ], codec.verify1(statement, known[kid][0].key, typ))
        if fields["element_id"] != kid:
            raise SignatureError("signed for another element", fields["element_id"])
        start_ms, end_ms = span_unix_ms(fields)
        try:
            trust.check(known[kid], start_ms // 1000, end_ms // 1000)
        except Refused as error:
            raise SignatureError(error.code, error.value) from error
        out.append((kid, fields["counter"]))
    return out


def check_all(trust: Trust, known: Known, records: Sequence[bytes], workers: int
              ) -> list[tuple[bytes, int]]:
    """Return what `check_records` does, dealt out to at most so many processes."""
    count = min(workers, WORKERS_MAX, max(1, len(records) // RECORDS_PER_WORKER_MIN))
    if count <= 1:
        return check_records(trust, known, records)
    size = -(-len(records) // count)
    parts = [records[at:at + size] for at in range(0, len(records), size)]
    # forked: nothing has to be imported again; this process keeps the first part for itself
    with ProcessPoolExecutor(count - 1, get_context("fork")) as pool:
        waiting = [pool.submit(check_records, trust, known, part) for part in parts[1:]]
        done = check_records(trust, known, parts[0])
        for one in waiting:
            done += one.result()
    return done


def close_interval(
    credentials: Sequence[bytes], records: Sequence[bytes], trust: Trust,
    aggregator: KeyPair, number: int, workers: int = 1,
) -> tuple[merkle.Tree, SignedRoot]:
    """Return the tree over checked records, in its order, and its root signed for receipts.

    Raises DecodeError or SignatureError for a statement that does not hold, and SignatureError
    for a counter that occurs twice.
    """
    if len(records) > RECORDS_MAX:
        raise SignatureError("records", len(records))
    places = check_all(trust, open_credentials(credentials, trust), records, workers)
    if len(set(places)) != len(places):
        raise SignatureError("counter twice in interval", number)
    ordered = [record for _, record in sorted(zip(places, records, strict=True))]
    tree = merkle.Tree(ordered)
    return tree, sign_root(aggregator, number, tree.size, tree.root)
