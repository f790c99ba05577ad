"""Signed statements in a folder, and their verification offline against the trust root.

`statements.cborseq` is a CBOR sequence (RFC 8742) of [kind, interval number or null, statement];
kind and number only say where to look, nothing is believed that a signature does not carry.
`roots/` and `revocations/` say who could speak when; a run of the bench has bare keys instead, in
`trust.json`. Verification needs no other file and no network.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cbor2

from element.protocol import schema, trust
from element.protocol.errors import DecodeError, SignatureError
from host_tools import codec
from host_tools.attest import merkle
from host_tools.attest.commitment import Leaf, span_unix_ms, totals
from host_tools.attest.curtailment import (
    CURTAILMENT_KIND,
    CURTAILMENT_TYP,
    check_next,
    order_of,
)
from host_tools.attest.log import (
    BELOW_KIND,
    CHECKPOINT_KIND,
    CHECKPOINT_SHAPE,
    CHECKPOINT_TYP,
)
from host_tools.attest.made_of import check_made_of
from host_tools.attest.primitives import Refused, open_signed, peek
from host_tools.attest.standing import AGGREGATOR, PARTIES, PARTY, ROLES, Credential, Trust
from host_tools.identity.issuer import TrustRoot
from host_tools.identity.keys import key_id
from host_tools.ledger.store import Ledger

STATEMENTS_FILE = "statements.cborseq"
TRUST_FILE = "trust.json"
ROOTS_FOLDER, REVOCATIONS_FOLDER = "roots", "revocations"
FILE_SIZE_MAX = 1 << 30
_KIND_NAMES = {kind: typ.removeprefix("cw/") for kind, typ in
               [*schema.STATEMENT_TYP.items(), (CHECKPOINT_KIND, CHECKPOINT_TYP),
                (BELOW_KIND, "interval-below"), (CURTAILMENT_KIND, CURTAILMENT_TYP),
                (trust.PARTY_CREDENTIAL, trust.TYP[trust.PARTY_CREDENTIAL])]}


def export(ledger: Ledger, bare: TrustRoot, folder: Path, site: Path | None = None) -> int:
    """Write every statement of a ledger and the trust root to folder; returns their count.

    site: the folder of the site's authority, whose roots and revocation lists go with it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with (folder / STATEMENTS_FILE).open("wb") as file:
        for kind, _, _, number, statement in ledger.statements():
            file.write(cbor2.dumps([kind, number, statement], canonical=True))
            count += 1
    bare.save(folder / TRUST_FILE)
    for name in (ROOTS_FOLDER, REVOCATIONS_FOLDER) if site else ():
        if site and (site / name).is_dir():
            shutil.copytree(site / name, folder / name, dirs_exist_ok=True)
    return count


@dataclass(frozen=True)
class Failure:
    """One statement that does not hold: its place in the file, what it claims to be, why not."""

    index: int
    what: str
    why: str


@dataclass
class Verification:
    """The outcome: counts by kind, every failure, and what bare keys can not tell."""

    verified: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many statements do not hold."""
        return len(self.failures)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "verified": self.verified, "failed": self.failed,
            "by_kind": dict(sorted(self.by_kind.items())),
            "failures": [{"index": one.index, "what": one.what, "why": one.why}
                         for one in self.failures],
        }


def read_entries(path: Path) -> list[tuple[int, int | None, bytes]]:
    """Return the entries of a statements file.

    Raises DecodeError when the file cannot be read or is not such a sequence.
    """
    try:
        if path.stat().st_size > FILE_SIZE_MAX:
            raise DecodeError("statements_size", str(path))
        entries: list[tuple[int, int | None, bytes]] = []
        with path.open("rb") as file:
            size = path.stat().st_size
            while file.tell() < size:
                entry = cbor2.load(file)
                if not (isinstance(entry, list) and len(entry) == 3
                        and isinstance(entry[0], int) and isinstance(entry[2], bytes)
                        and (entry[1] is None or isinstance(entry[1], int))):
                    raise DecodeError("entry", len(entries))
                entries.append((entry[0], entry[1], entry[2]))
    except (OSError, cbor2.CBORError, ValueError) as error:
        raise DecodeError("statements_file", f"{path}: {error}") from error
    return entries


def _ends_unix_ms(numbered: list[tuple[int, tuple[int, int | None, bytes]]]
                  ) -> dict[int | None, int]:
    """Return when each interval ended, as its commitment says; whether that holds is asked later.
    """
    ends: dict[int | None, int] = {}
    for _, (kind, _, statement) in numbered:
        if kind == schema.INTERVAL_COMMITMENT:
            with contextlib.suppress(DecodeError, SignatureError):  # it fails on its own
                fields = codec.decode_statement(kind, codec.peek(statement)[2])
                ends[fields["number"]] = fields["end_unix_ms"]
    return ends


class Verifier:
    """Check entries in order of dependence: credentials, elements' chains, orders, intervals."""

    def __init__(self, trusted: TrustRoot | Trust) -> None:
        """trusted: roots with revocations, or the bare keys of a bench."""
        self._trust = trusted
        self._standing = trusted if isinstance(trusted, Trust) else Trust(
            {key_id(trusted.issuer): trusted.issuer},
            {key_id(trusted.aggregator): trusted.aggregator})
        self._known: dict[bytes, list[Credential]] = {}
        self._parties: dict[bytes, list[Credential]] = {}
        self._leaves: dict[int | None, list[Leaf]] = {}
        self._ends_unix_ms: dict[int | None, int] = {}
        self.outcome = Verification()

    def run(self, entries: list[tuple[int, int | None, bytes]]) -> Verification:
        """Return the verification of all entries."""
        numbered = list(enumerate(entries))
        parties = [one for one in entries if one[0] == trust.PARTY_CREDENTIAL]
        if not self._standing.roots:
            self.outcome.not_checked.append(
                f"who could speak when, and {len(parties)} party credentials: bare keys know no "
                "rotation, no validity of the aggregator and no revocation; give --trust roots/")
        for kind, check in (
            (schema.CREDENTIAL, self._credential), (trust.PARTY_CREDENTIAL, self._party),
            (schema.ANNOUNCEMENT, self._announcement), (schema.RELEASE_ORDER, self._release),
        ):
            for index, (claimed, _, statement) in numbered:
                if claimed == kind and (kind != trust.PARTY_CREDENTIAL or self._standing.roots):
                    self._try(index, kind, partial(check, statement))
        self._chains(numbered)
        self._below(numbered)
        self._intervals(numbered)
        self._curtailments(numbered)
        commitments = [one[2] for _, one in numbered if one[0] == schema.INTERVAL_COMMITMENT]
        for index, (claimed, _, statement) in numbered:
            if claimed == CHECKPOINT_KIND:
                self._try(index, claimed, partial(self._checkpoint, statement, commitments))
        known = (schema.CREDENTIAL, trust.PARTY_CREDENTIAL, schema.ANNOUNCEMENT,
                 schema.RELEASE_ORDER,
                 schema.EXECUTION_RECORD, schema.SAFETY_EVENT, schema.INTERVAL_COMMITMENT,
                 CHECKPOINT_KIND, BELOW_KIND, CURTAILMENT_KIND)
        for index, (claimed, _, _) in numbered:
            if claimed not in known:
                self._fail(index, str(claimed), "unknown kind of statement")
        return self.outcome

    def _try(self, index: int, kind: int, check: Any) -> bool:
        """Run one check and count its outcome."""
        name = _KIND_NAMES.get(kind, str(kind))
        try:
            check()
        except (DecodeError, SignatureError, Refused) as error:
            detail = "" if error.value is None else f" ({_shown(error.value)})"
            self._fail(index, name, f"{error.code}{detail}")
            return False
        self.outcome.verified += 1
        self.outcome.by_kind[name] = self.outcome.by_kind.get(name, 0) + 1
        return True

    def _fail(self, index: int, what: str, why: str) -> None:
        self.outcome.failures.append(Failure(index, what, why))

    def _open(self, kind: int, statement: bytes, key: bytes) -> dict[str, Any]:
        payload = codec.verify1(statement, key, schema.STATEMENT_TYP[kind])
        return codec.decode_statement(kind, payload)

    def _credential(self, statement: bytes) -> None:
        self._keep(schema.CREDENTIAL, statement, self._known)

    def _party(self, statement: bytes) -> None:
        self._keep(trust.PARTY_CREDENTIAL, statement, self._parties)

    def _keep(self, kind: int, statement: bytes, known: dict[bytes, list[Credential]]) -> None:
        """Keep a credential by the id of its key; renewals stand beside the ones before."""
        one = self._standing.credential(statement, codec.typ_of(kind))
        codec.decode_statement(kind, codec.peek(statement)[2])  # every range of the contract
        known.setdefault(one.key_id, []).append(one)

    def _signed_by_element(self, kind: int, statement: bytes, number: int | None = None
                           ) -> tuple[bytes, dict[str, Any]]:
        """Return (id, fields) of a statement whose signer held a credential when it was made.

        An event of a clock that was never set has no time: it is asked for as of the end of the
        interval `number` that commits it, and where none does as of the first credential.
        """
        kid = codec.peek(statement)[1]
        known = self._known.get(kid)
        if known is None:
            raise SignatureError("no valid credential for element", kid)
        fields = self._open(kind, statement, known[0].key)
        if fields["element_id"] != kid:
            raise SignatureError("signed for another element", fields["element_id"])
        committed_ms = 0
        if kind == schema.SAFETY_EVENT:
            committed_ms = self._ends_unix_ms.get(number) or 1000 * min(
                one.claims[5] for one in known)
        start_ms, end_ms = span_unix_ms(fields, committed_ms)
        self._standing.check(known, start_ms // 1000, end_ms // 1000)
        return kid, fields

    def _announcement(self, statement: bytes) -> None:
        self._signed_by_element(schema.ANNOUNCEMENT, statement)

    def _release(self, statement: bytes) -> None:
        _, kid, payload = codec.peek(statement)
        fields = codec.decode_statement(schema.RELEASE_ORDER, payload)
        key = self._trust.life_safety if isinstance(self._trust, TrustRoot) else \
            self._standing.root_key("life_safety", kid, fields["issued_unix_ms"] // 1000)
        self._open(schema.RELEASE_ORDER, statement, key)

    def _aggregator_key(self, statement: bytes, at_unix_ms: int) -> bytes:
        """Return the key of the aggregator that claims to have signed, if it could speak then."""
        typ, kid, _ = codec.peek(statement)
        if not self._standing.roots:
            if kid not in self._standing.aggregators:
                raise SignatureError(f"signer of {typ} is not trusted", kid)
            return self._standing.aggregators[kid]
        if kid not in self._parties:
            raise SignatureError("no valid party credential of", kid)
        one = self._standing.check(self._parties[kid], at_unix_ms // 1000, at_unix_ms // 1000)
        if one.claims[PARTY] != AGGREGATOR:
            raise SignatureError("party is no aggregator", PARTIES.get(one.claims[PARTY]))
        return one.key

    def _chains(self, numbered: list[tuple[int, tuple[int, int | None, bytes]]]) -> None:
        """Check every element's records and events, and that each continues its chain."""
        self._ends_unix_ms = _ends_unix_ms(numbered)
        opened: dict[bytes, list[tuple[int, int | None, Leaf]]] = {}
        for index, (kind, number, statement) in numbered:
            if kind not in (schema.EXECUTION_RECORD, schema.SAFETY_EVENT):
                continue
            holder: list[Leaf] = []

            def check(k: int = kind, s: bytes = statement, h: list[Leaf] = holder,
                      n: int | None = number) -> None:
                element_id, fields = self._signed_by_element(k, s, n)
                h.append(Leaf(element_id, k, fields, s))

            if self._try(index, kind, check):
                opened.setdefault(holder[0].element_id, []).append((index, number, holder[0]))
        for chain in opened.values():
            chain.sort(key=lambda one: one[2].order)
            counter, previous = 0, bytes(32)
            for index, number, leaf in chain:
                if leaf.fields["counter"] != counter + 1:
                    self._break(index, leaf, f"counter {leaf.fields['counter']} after {counter}")
                elif leaf.fields["previous_hash"] != previous:
                    self._break(index, leaf, f"does not continue statement {counter}")
                counter = leaf.fields["counter"]
                previous = hashlib.sha256(leaf.statement).digest()
                self._leaves.setdefault(number, []).append(leaf)

    def _break(self, index: int, leaf: Leaf, why: str) -> None:
        """Turn a statement whose signature holds into a failure of its chain."""
        name = _KIND_NAMES[leaf.kind]
        self.outcome.verified -= 1
        self.outcome.by_kind[name] -= 1
        if not self.outcome.by_kind[name]:
            del self.outcome.by_kind[name]
        self._fail(index, f"{name} of {leaf.element_id.hex()}", why)

    def _below(self, numbered: list[tuple[int, tuple[int, int | None, bytes]]]) -> None:
        """Check the commitments of aggregators below: signed by the key that their credential
        here vouches for, in a chain, and what their records here are made of."""
        records = {(leaf.element_id, leaf.fields["end_unix_ms"]): leaf.fields
                   for leaves in self._leaves.values() for leaf in leaves
                   if leaf.kind == schema.EXECUTION_RECORD}
        heads: dict[bytes, tuple[int, bytes]] = {}

        def check(statement: bytes) -> None:
            kid = codec.peek(statement)[1]
            known = self._known.get(kid)
            if known is None:
                raise SignatureError("no valid credential for aggregate", kid)
            fields = self._open(schema.INTERVAL_COMMITMENT, statement, known[0].key)
            at_s = fields["end_unix_ms"] // 1000
            self._standing.check(known, at_s, at_s)
            number, digest = heads.get(kid, (0, b""))
            if number and fields["number"] == number + 1 and fields["previous_hash"] != digest:
                raise SignatureError("does not continue the interval before", number)
            heads[kid] = fields["number"], hashlib.sha256(statement).digest()
            record = records.get((kid, fields["end_unix_ms"]))
            if record is not None:
                check_made_of(record, fields)

        for index, (kind, _, statement) in numbered:
            if kind == BELOW_KIND:
                self._try(index, kind, partial(check, statement))

    def _intervals(self, numbered: list[tuple[int, tuple[int, int | None, bytes]]]) -> None:
        """Check the aggregator's commitments: signature, chain, root, count and totals."""
        previous = bytes(32)
        expected = 1
        for index, (kind, _, statement) in numbered:
            if kind != schema.INTERVAL_COMMITMENT:
                continue
            after, wanted = previous, expected

            def check(s: bytes = statement, p: bytes = after, n: int = wanted) -> None:
                end_ms = codec.decode_statement(
                    schema.INTERVAL_COMMITMENT, codec.peek(s)[2])["end_unix_ms"]
                self._interval(self._open(schema.INTERVAL_COMMITMENT, s,
                                          self._aggregator_key(s, end_ms)), p, n)

            self._try(index, kind, check)
            previous = hashlib.sha256(statement).digest()
            expected += 1
        committed = set(range(1, expected))
        for number in sorted(key for key in self._leaves if key is not None):
            if number not in committed:
                self._fail(-1, f"interval {number}", "its commitment is missing")

    def _curtailments(self, numbered: list[tuple[int, tuple[int, int | None, bytes]]]) -> None:
        """Check that curtailments are signed, and that none is missing between them."""
        chains: dict[bytes, list[bytes]] = {}
        for index, (kind, _, statement) in numbered:
            if kind != CURTAILMENT_KIND:
                continue

            def check(statement: bytes = statement) -> None:
                kid, _, at_ms = order_of(statement)
                chain = chains.setdefault(kid, [])
                check_next(statement, self._aggregator_key(statement, at_ms), chain)
                chain.append(statement)

            self._try(index, kind, check)

    def _checkpoint(self, statement: bytes, commitments: list[bytes]) -> None:
        """Check that a checkpoint of the log is one of these commitments."""
        kid, fields = peek(statement, CHECKPOINT_TYP, CHECKPOINT_SHAPE)
        open_signed(statement, CHECKPOINT_TYP, {kid: self._aggregator_key(statement, fields[4])},
                    CHECKPOINT_SHAPE)
        size = fields[2]
        if not 0 < size <= len(commitments):
            raise SignatureError("checkpoint of intervals that are not here", size)
        if fields[3] != merkle.root(commitments[:size]):
            raise SignatureError("checkpoint does not match the commitments", size)

    def _interval(self, fields: dict[str, Any], previous: bytes, number: int) -> None:
        if fields["number"] != number:
            raise SignatureError("interval out of order", fields["number"])
        if fields["previous_hash"] != previous:
            raise SignatureError("does not continue the interval before", number)
        leaves = sorted(self._leaves.get(number, []), key=lambda leaf: leaf.order)
        if fields["leaf_count"] != len(leaves):
            raise SignatureError("leaf count", f"{fields['leaf_count']}, found {len(leaves)}")
        if fields["root"] != merkle.root([leaf.statement for leaf in leaves]):
            raise SignatureError("root does not match the records of interval", number)
        if (fields["instructed_mwh"], fields["realized_mwh"],
                fields["flagged_count"]) != totals(leaves):
            raise SignatureError("totals do not match the records of interval", number)


def _shown(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def load_trust(path: Path, lists: Sequence[list[bytes]] = ()) -> TrustRoot | Trust:
    """Return roots with their lists and these, or the bare keys of a trust.json.

    Raises DecodeError for what is neither, or does not hold, or for lists beside bare keys.
    """
    try:
        inner = path / ROOTS_FOLDER if (path / ROOTS_FOLDER).is_dir() else path
        if not any((inner / f"{role}.json").is_file() for role in ROLES):
            if lists:
                raise DecodeError("a revocation list needs the roots", str(path))
            return TrustRoot.load(path / TRUST_FILE if path.is_dir() else path)
        believed = Trust.load(path)
        for one in lists:
            believed = believed.with_list(one)
        return believed
    except Refused as error:
        raise DecodeError(error.code, error.value) from error
    except OSError as error:
        raise DecodeError("trust_root", str(path)) from error


def verify_folder(folder: Path, trust_path: Path | None = None,
                  lists: Sequence[list[bytes]] = ()) -> Verification:
    """Return the verification of an exported folder.

    trust_path: roots or keys to trust instead of those in the folder. lists: revocation lists
    more. Raises DecodeError when a file is not what it should be.
    """
    believed = load_trust(trust_path or folder, lists)
    return Verifier(believed).run(read_entries(folder / STATEMENTS_FILE))
