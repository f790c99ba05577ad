"""A building's own authority in one folder: root keys, what they issued, whom they revoked.

`roots/` is public, and all that a verifier needs; `revocations/` are the signed lists; `issued/`
has every credential; `keys/` is private, or a PKCS #11 token takes its place. Of each root the key
in force and the one promised to follow it exist: keep the second, `<role>.next`, elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cbor2

from element.protocol import schema, trust
from element.protocol.errors import BusError, DecodeError
from host_tools import codec
from host_tools.identity.credentials import (
    ELEMENT_VALID_S,
    PARTIES,
    PARTY_VALID_S,
    ROLE_OF_KIND,
    Trust,
    party_credential,
    renewed,
    sign_credential,
)
from host_tools.identity.keys import key_id
from host_tools.identity.keystore import KeyStore
from host_tools.identity.revocation import Revocation, Revocations, open_list, sign_list
from host_tools.identity.roots import ROLES, Root, Roots, key_hash, rotation

ISSUED_MAX = 100_000
# What fits the message that brings a list to an element, 100 entries and the envelope.
ELEMENT_LIST_SIZE_MAX = 1500
_SUFFIX = {schema.CREDENTIAL: "element", trust.PARTY_CREDENTIAL: "party"}


@dataclass(frozen=True)
class Issued:
    """One issued credential."""

    kind: int
    credential: bytes
    claims: dict[str, Any]

    @property
    def subject(self) -> str:
        """The key id of the subject, in hexadecimal digits."""
        return str(self.claims["subject"])

    @property
    def role(self) -> str:
        """The root that signed it."""
        return ROLE_OF_KIND[self.kind]


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file by another whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.replace(path)


class Pki:
    """The authority of one building. now(): Unix s."""

    def __init__(self, folder: Path, keys: KeyStore, now: Callable[[], int],
                 name: str = "cellwall site") -> None:
        self.folder = folder
        self.keys = keys
        self.name = name
        self._now = now

    # roots

    def init(self) -> Roots:
        """Make the roots that are missing, each with its successor; existing ones stay."""
        known = Roots.load(self.folder / "roots").by_role if self.exists else {}
        for role in ROLES:
            if role in known:
                continue
            for name in (role, f"{role}.next"):
                if not self.keys.has(name):
                    self.keys.create(name)
            known[role] = Root(role, self.keys.get(role).public,
                               key_hash(self.keys.get(f"{role}.next").public), self._now() - 3600)
        roots = Roots(known)
        roots.save(self.folder / "roots")
        return roots

    @property
    def exists(self) -> bool:
        """True when there are roots."""
        return any((self.folder / "roots" / f"{role}.json").exists() for role in ROLES)

    def roots(self) -> Roots:
        """Return the roots, and finish a rotation that was interrupted."""
        roots = Roots.load(self.folder / "roots")
        for role, root in roots.by_role.items():
            self._settle(role, root)
        return roots

    def rotate(self, role: str, revoked_unix_s: int | None = None) -> bytes:
        """Let a root's promised key take over now, and promise another one.

        revoked_unix_s: since when nothing signed by the key before counts; now unless given.
        Returns the signed rotation, which every element and verifier may get from anybody.
        """
        roots = self.roots()
        root = roots[role]
        after = f"{role}.after"
        if not self.keys.has(after):
            self.keys.create(after)
        now = max(self._now(), root.current.from_unix_s)
        statement = rotation(
            role, root.current.number + 1, self.keys.get(f"{role}.next"),
            key_hash(self.keys.get(after).public), now,
            now if revoked_unix_s is None else revoked_unix_s)
        lists = self.revocations()
        root.apply(statement)
        roots.save(self.folder / "roots")
        self._settle(role, root)
        if role in lists:
            if lists[role].number:
                self._sign_list(role, lists[role], lists[role].entries)
            self._sign_anew(role, lists[role], now)
        return statement

    def _sign_anew(self, role: str, revoked: Revocations, now_unix_s: int) -> None:
        """Sign what a root has issued with its new key: elements know no other then.

        What is revoked or has expired stays as it is; nothing gets a longer life.
        """
        for one in self.issued():
            left_s = one.claims["expires_unix_s"] - now_unix_s
            is_revoked = revoked.find(bytes.fromhex(one.subject)) is not None
            if one.role == role and left_s > 0 and not is_revoked:
                self.keep(one.kind, renewed(one.kind, one.credential, self.keys.get(role),
                                            now_unix_s, left_s))

    def _settle(self, role: str, root: Root) -> None:
        """Name the keys by what the roots say, after a rotation and after an interrupted one."""
        keys, current = self.keys, root.current
        following, after = f"{role}.next", f"{role}.after"
        if keys.has(role):
            public = keys.get(role).public
            number = next((one.number for one in root.keys if one.key == public), 0)
            if public != current.key:
                keys.rename(role, f"{role}.{number}")
        if not keys.has(role) and keys.has(following) \
                and keys.get(following).public == current.key:
            keys.rename(following, role)
        if not keys.has(following) and keys.has(after) \
                and key_hash(keys.get(after).public) == current.next_hash:
            keys.rename(after, following)

    # credentials

    def issue_party(self, name: str, party: str, valid_s: int = PARTY_VALID_S) -> Issued:
        """Make a party's two keys where they are missing, and its credential.

        A party that was revoked gets new keys; the old ones are kept under another name. Raises
        BusError for a party that has a credential in force: renew or revoke that one.
        """
        if party not in PARTIES:
            raise BusError("no such kind of party", f"{party}; there are {', '.join(PARTIES)}")
        if name.partition(".")[0] in ROLES:
            raise BusError("that is the name of a root's key",
                           f"{name}\n  next: give the party another name")
        self._retire(name)
        for key_name in (name, f"{name}_agree"):
            if not self.keys.has(key_name):
                self.keys.create(key_name)
        sign, agree = self.keys.get(name).public, self.keys.get(f"{name}_agree").public
        if self._path(trust.PARTY_CREDENTIAL, key_id(sign).hex()).exists():
            raise BusError("it has a credential",
                           f"{name}, {key_id(sign).hex()}\n  next: cellwall pki renew {name}")
        self.roots()
        return self.keep(trust.PARTY_CREDENTIAL, party_credential(
            name, party, sign, agree, self.keys.get("operator"), self.name, self._now(), valid_s))

    def _retire(self, name: str) -> None:
        """Put a party's keys aside when they are revoked."""
        if not self.keys.has(name):
            return
        subject = key_id(self.keys.get(name).public)
        if self.revocations()["operator"].find(subject) is None:
            return
        # the first last: it says whether this is done
        for key_name in (f"{name}_agree", name):
            if self.keys.has(key_name):
                self.keys.rename(key_name, f"{key_name}.{subject.hex()}")

    def issue_element(self, claims: dict[str, Any]) -> Issued:
        """Sign an element's claims with the issuer's root and keep the credential."""
        self.roots()
        return self.keep(schema.CREDENTIAL,
                         sign_credential(schema.CREDENTIAL, claims, self.keys.get("issuer")))

    def keep(self, kind: int, credential: bytes) -> Issued:
        """Keep a credential by its subject, in place of the one before."""
        claims = codec.decode_statement(kind, codec.peek(credential)[2])
        write_whole(self._path(kind, claims["subject"]), credential)
        return Issued(kind, credential, claims)

    def _path(self, kind: int, subject: str) -> Path:
        return self.folder / "issued" / f"{subject}.{_SUFFIX[kind]}"

    def issued(self) -> list[Issued]:
        """Return every credential by subject. Raises DecodeError for a damaged one."""
        found = []
        for kind, suffix in _SUFFIX.items():
            for path in sorted((self.folder / "issued").glob(f"*.{suffix}"))[:ISSUED_MAX]:
                data = path.read_bytes()
                try:
                    claims = codec.decode_statement(kind, codec.peek(data)[2])
                except DecodeError as error:
                    raise DecodeError("issued credential", str(path)) from error
                found.append(Issued(kind, data, claims))
        return sorted(found, key=lambda one: one.subject)

    def find(self, subject: str) -> Issued:
        """Return the credential whose subject begins so, or that has this party name.

        Of several the one that is not revoked. Raises BusError for none, and for several.
        """
        found = [one for one in self.issued() if one.subject.startswith(subject.lower())
                 or one.claims.get("name") == subject]
        if len(found) > 1:
            lists = self.revocations()
            found = [one for one in found
                     if lists[one.role].find(bytes.fromhex(one.subject)) is None] or found
        if len(found) != 1:
            known = ", ".join(one.subject for one in found or self.issued()) or "none"
            raise BusError("no such credential" if not found else "several credentials",
                           f"{subject}; here: {known}\n  next: cellwall pki show")
        return found[0]

    def renew(self, subject: str, valid_s: int | None = None) -> Issued:
        """Issue a credential anew with a new time. Raises BusError for one that is revoked."""
        one = self.find(subject)
        if self.revocations()[one.role].find(bytes.fromhex(one.subject)) is not None:
            raise BusError("it is revoked",
                           f"{one.subject}\n  next: enrol it again, with new keys")
        self.roots()
        if valid_s is None:
            valid_s = ELEMENT_VALID_S if one.kind == schema.CREDENTIAL else PARTY_VALID_S
        return self.keep(one.kind, renewed(one.kind, one.credential, self.keys.get(one.role),
                                           self._now(), valid_s))

    # revocation

    def revoke(self, subject: str, reason: int, at_unix_s: int | None = None) -> Revocation:
        """Put a subject's key on its root's list, signed anew. Twice changes nothing."""
        one = self.find(subject)
        lists = self.revocations()
        before = lists[one.role]
        known = before.find(bytes.fromhex(one.subject))
        if known is not None:
            return known
        entry = Revocation(bytes.fromhex(one.subject),
                           self._now() if at_unix_s is None else at_unix_s, reason)
        self._sign_list(one.role, before, (*before.entries, entry))
        return entry

    def sign_lists(self) -> None:
        """Sign both lists anew with today's date, and leave out what has expired."""
        expires = {one.subject: one.claims["expires_unix_s"] for one in self.issued()}
        for role, before in self.revocations().items():
            self._sign_list(role, before, tuple(
                one for one in before.entries
                if expires.get(one.key_id.hex(), self._now()) >= self._now()))

    def _sign_list(self, role: str, before: Revocations,
                   entries: tuple[Revocation, ...]) -> None:
        self.roots()
        parts = sign_list(self.keys.get(role), before.number + 1, entries, self._now())
        path = self.folder / "revocations" / f"{role}.cborseq"
        if path.exists() and before.issued_unix_s < self._now():
            # what has expired leaves the list; who checks old records wants it all the same
            write_whole(path.with_suffix(f".{before.number}.cborseq"), path.read_bytes())
        write_whole(path, b"".join(parts))

    def revocations(self) -> dict[str, Revocations]:
        """Return the lists of both roots that issue, empty ones where none was ever signed."""
        roots = Roots.load(self.folder / "roots")
        return {role: load_list(self.folder / "revocations", roots[role])
                for role in ("issuer", "operator")}

    def operator_list(self) -> tuple[int, bytes]:
        """Return the number and the signed list of revoked parties, (0, b"") without one.

        Elements take a list of one part only; a longer one is not for them.
        """
        path = self.folder / "revocations" / "operator.cborseq"
        number = self.revocations()["operator"].number
        if not number:
            return 0, b""
        signed = path.read_bytes()
        return (number, signed) if len(signed) <= ELEMENT_LIST_SIZE_MAX else (0, b"")

    def trust(self) -> Trust:
        """Return what a verifier of this building believes."""
        return Trust(self.roots(), self.revocations())


def load_list(folder: Path, root: Root) -> Revocations:
    """Return the list of a root in a folder of lists, an empty one when there is none.

    It is signed by the key that spoke for the root at its date. Raises DecodeError or
    SignatureError for a damaged or foreign one.
    """
    path = folder / f"{root.role}.cborseq"
    if not path.exists():
        return Revocations()
    parts = []
    try:
        with path.open("rb") as file:
            while file.peek(1):
                parts.append(cbor2.dumps(cbor2.load(file), canonical=True))
    except (cbor2.CBORDecodeError, ValueError) as error:
        raise DecodeError("revocation list", str(path)) from error
    if not parts:
        raise DecodeError("revocation list", str(path))
    fields = codec.decode_statement(trust.REVOCATION_LIST, codec.peek(parts[0])[2])
    return open_list(parts, root.key_at(fields["issued_unix_s"]))
