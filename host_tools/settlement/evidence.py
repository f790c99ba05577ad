"""Which records of a ledger may be credited: genuine, credentialed then, and committed to. Pure.

Nothing is believed that a signature does not carry: a record's tenant, chemistry and manufacturer
are those of the credential that its element had when it was made.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from element.protocol import codes, schema, trust
from element.protocol.errors import DecodeError, RangeError, SignatureError
from host_tools import codec
from host_tools.attest import merkle
from host_tools.attest.commitment import Leaf
from host_tools.attest.primitives import Refused
from host_tools.attest.standing import AGGREGATOR, PARTY, Credential, Trust

Entry = tuple[int, int | None, bytes]


@dataclass(frozen=True)
class Service:
    """What the table of instructions says of one dispatch id."""

    service: int
    source: str
    key: str


@dataclass(frozen=True)
class Source:
    """One ledger. dispatches: by number. trusted: roots that speak for what is in it."""

    name: str
    entries: Sequence[Entry]
    dispatches: dict[int, Service] = field(default_factory=dict)


@dataclass(frozen=True)
class Credited:
    """One record that holds. number: of the interval that was committed to."""

    ledger: str
    fields: dict[str, Any]
    claims: dict[str, Any]
    number: int
    statement: bytes
    service: Service | None


@dataclass(frozen=True)
class Rejected:
    """One statement that is not credited, and why not."""

    ledger: str
    element_id: str
    counter: int
    why: str


class Evidence:
    """What one ledger proves. trusted: the roots that are believed, any of them.

    takes(claims, fields): which records are wanted; only these are verified.
    """

    def __init__(self, source: Source, trusted: Sequence[Trust],
                 takes: Callable[[dict[str, Any], dict[str, Any]], bool]) -> None:
        self._source = source
        self._trusted = trusted
        self._takes = takes
        self._known: dict[bytes, list[tuple[Trust, Credential, dict[str, Any]]]] = {}
        self._parties: dict[bytes, list[tuple[Trust, Credential]]] = {}
        self._commitments: dict[int, bytes] = {}
        self._leaves: dict[int, list[Leaf]] = {}
        self._standing: dict[int, str] = {}
        self._waiting: list[tuple[int | None, Leaf]] = []
        self.rejected: list[Rejected] = []
        self.pending_count = 0  # records that no interval was closed over yet
        self.aggregates: set[str] = set()  # whose elements are in ledgers of their own
        for kind, number, statement in source.entries:
            self._sort(kind, number, statement)

    def _sort(self, kind: int, number: int | None, statement: bytes) -> None:
        """Put a statement where it is wanted; what is malformed is rejected."""
        try:
            if kind == schema.CREDENTIAL:
                self._take_credential(statement)
            elif kind == trust.PARTY_CREDENTIAL:
                self._take_party(statement)
            elif kind == schema.INTERVAL_COMMITMENT and number is None:
                fields = codec.decode_statement(kind, codec.peek(statement)[2])
                self._commitments[fields["number"]] = statement
            elif kind in (schema.EXECUTION_RECORD, schema.SAFETY_EVENT):
                fields = codec.decode_statement(kind, codec.peek(statement)[2])
                leaf = Leaf(fields["element_id"], kind, fields, statement)
                if number is not None:
                    self._leaves.setdefault(number, []).append(leaf)
                if kind == schema.EXECUTION_RECORD:
                    self._waiting.append((number, leaf))
        except (DecodeError, SignatureError, RangeError) as error:
            self._reject(b"", 0, f"malformed: {error.code}")

    def _signed_by_a_root(self, statement: bytes, typ: str) -> tuple[Trust, Credential] | None:
        for one in self._trusted:
            try:
                return one, one.credential(statement, typ)
            except Refused:
                continue
        return None

    def _take_credential(self, statement: bytes) -> None:
        found = self._signed_by_a_root(statement, codec.typ_of(schema.CREDENTIAL))
        claims = codec.decode_statement(schema.CREDENTIAL, codec.peek(statement)[2])
        if found is None:
            self._reject(bytes.fromhex(claims["subject"]), 0,
                         "its credential is by no root that is trusted")
            return
        known = self._known.setdefault(found[1].key_id, [])
        known.append((*found, claims))
        known.sort(key=lambda one: int(one[2]["issued_unix_s"]))

    def _take_party(self, statement: bytes) -> None:
        found = self._signed_by_a_root(statement, codec.typ_of(trust.PARTY_CREDENTIAL))
        if found is not None:
            self._parties.setdefault(found[1].key_id, []).append(found)

    def _reject(self, element_id: bytes, counter: int, why: str) -> None:
        self.rejected.append(Rejected(self._source.name, element_id.hex(), counter, why))

    def credited(self) -> Iterator[Credited]:
        """Yield the records that are wanted and hold, in the order of element and counter."""
        for number, leaf in sorted(self._waiting, key=lambda one: one[1].order):
            held = self._known.get(leaf.element_id, ())
            if not held:
                self._reject(leaf.element_id, leaf.fields["counter"],
                             "no credential of its element here")
                continue
            believed, credential, claims = _in_force(held, leaf.fields["start_unix_ms"])
            if not self._takes(claims, leaf.fields):
                continue
            if claims["profile"]["kind"] == codes.KIND_AGGREGATE:
                self.aggregates.add(leaf.element_id.hex())
                continue
            try:
                self._check(leaf, believed, credential)
                if number is None:
                    self.pending_count += 1
                    continue
                self._check_interval(number)
            except (DecodeError, SignatureError, Refused) as error:
                self._reject(leaf.element_id, leaf.fields["counter"], error.code)
                continue
            yield Credited(self._source.name, leaf.fields, claims, number, leaf.statement,
                           self._source.dispatches.get(leaf.fields["dispatch_id"]))

    @staticmethod
    def _check(leaf: Leaf, believed: Trust, credential: Credential) -> None:
        """Check a record's signature, and that its credential held for all of its time."""
        typ, kid, _ = codec.peek(leaf.statement)
        if typ != schema.STATEMENT_TYP[leaf.kind] or kid != leaf.element_id:
            raise SignatureError("signed for another element", kid)
        codec.verify1(leaf.statement, credential.key, typ)
        believed.check([credential], leaf.fields["start_unix_ms"] // 1000,
                       leaf.fields["end_unix_ms"] // 1000)

    def _check_interval(self, number: int) -> None:
        """Check once that an interval's commitment is the aggregator's and over these leaves."""
        if number not in self._standing:
            try:
                self._open_interval(number)
                self._standing[number] = ""
            except (DecodeError, SignatureError, Refused) as error:
                self._standing[number] = f"its interval does not hold: {error.code}"
        if self._standing[number]:
            raise SignatureError(self._standing[number])

    def _open_interval(self, number: int) -> None:
        statement = self._commitments.get(number)
        if statement is None:
            raise SignatureError("no commitment", number)
        fields = codec.decode_statement(schema.INTERVAL_COMMITMENT, codec.peek(statement)[2])
        at_s = fields["end_unix_ms"] // 1000
        parties = self._parties.get(fields["aggregator_id"], [])
        if not parties:
            raise SignatureError("no credential of the aggregator", fields["aggregator_id"])
        believed = parties[0][0]
        one = believed.check([party for _, party in parties], at_s, at_s)
        if one.claims[PARTY] != AGGREGATOR:
            raise SignatureError("party is no aggregator")
        codec.verify1(statement, one.key, schema.STATEMENT_TYP[schema.INTERVAL_COMMITMENT])
        leaves = sorted(self._leaves.get(number, []), key=lambda leaf: leaf.order)
        if fields["root"] != merkle.root([leaf.statement for leaf in leaves]):
            raise SignatureError("records are not those that were committed to", number)


def _in_force(held: Sequence[tuple[Trust, Credential, dict[str, Any]]], start_unix_ms: int
              ) -> tuple[Trust, Credential, dict[str, Any]]:
    """Return the newest credential that was issued by then; the first for what came before it."""
    issued = [one for one in held if one[2]["issued_unix_s"] * 1000 <= start_unix_ms]
    return issued[-1] if issued else held[0]


def once(records: Iterable[Credited]) -> tuple[list[Credited], list[Rejected]]:
    """Return each record once, however many ledgers have it; of two that differ under one
    counter, neither."""
    by_counter: dict[tuple[bytes, int], list[Credited]] = {}
    for one in records:
        known = by_counter.setdefault((one.fields["element_id"], one.fields["counter"]), [])
        if all(other.statement != one.statement for other in known):
            known.append(one)
    good = [known[0] for known in by_counter.values() if len(known) == 1]
    bad = [Rejected(one.ledger, one.fields["element_id"].hex(), one.fields["counter"],
                    "two records under one counter")
           for known in by_counter.values() if len(known) > 1 for one in known]
    return good, bad
