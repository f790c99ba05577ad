"""The keys and elements of one site as files in a folder, for the tools of the command line.

`keys/*.pem` are private (PKCS #8, mode 0600, folder 0700); `elements/<id>.json` says what each
element is and where it was enrolled; `releases.cborseq` has every release order (RFC 8742). What
pki.py keeps is beside them. `trust.json` is public, the bare keys that `cellwall verify` may take.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from element.protocol import schema
from element.protocol.errors import BusError, DecodeError
from host_tools import codec
from host_tools.identity.issuer import Authorities
from host_tools.identity.keyring import Enrolled, Keyring, Party
from host_tools.identity.keys import key_id
from host_tools.identity.keystore import FileKeys
from host_tools.identity.pki import Pki
from host_tools.links.open_line import SCHEMES

TRUST_FILE = "trust.json"
AGGREGATOR = "aggregator"
KEY_NAMES = ("issuer", "aggregator", "aggregator_agree", "life_safety")


def default_folder() -> Path:
    """Return where a user's site is kept: XDG_DATA_HOME or ~/.local/share, then cellwall/site."""
    data = os.environ.get("XDG_DATA_HOME")
    return Path(data or Path.home() / ".local" / "share") / "cellwall" / "site"


def is_port(name: str) -> bool:
    """Return True for what names a line, and not an element."""
    return name.startswith(SCHEMES) or "/" in name or name.upper().startswith("COM")


@dataclass(frozen=True)
class ElementEntry:
    """What the site knows of one element. port: where it was last reached."""

    element_id: str
    port: str
    board: str
    zone: int
    tenant: str
    role: str
    credential: str


class Site:
    """A folder with the site's keys and elements."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def exists(self) -> bool:
        """True when the folder holds all keys."""
        return all(map(self.keys.has, KEY_NAMES))

    @property
    def keys(self) -> FileKeys:
        """The site's private keys."""
        return FileKeys(self.folder / "keys")

    def create(self) -> None:
        """Make roots and keys where there are none; existing ones are never replaced.

        Raises BusError when roots are here and a key that goes with them is not: another one
        in its place would sign what nobody believes.
        """
        pki = self.pki
        missing = [name for name in KEY_NAMES if not self.keys.has(name)]
        if pki.exists and missing:
            raise BusError("keys of this site are gone", f"{', '.join(missing)} in {self.folder}"
                           "\n  next: bring them back from where you keep them; a root that is "
                           "lost: cellwall pki rotate ROLE")
        # keys first: roots say that all of them were made
        for name in missing:
            self.keys.create(name)
        pki.init()
        if not any(one.claims.get("name") == AGGREGATOR for one in pki.issued()):
            pki.issue_party(AGGREGATOR, AGGREGATOR)
        self.authorities().trust_root.save(self.folder / TRUST_FILE)

    @property
    def pki(self) -> Pki:
        """The site's authority: roots, credentials, revocations."""
        return Pki(self.folder, self.keys, lambda: int(time.time()))

    def authorities(self) -> Authorities:
        """Return the site's key pairs. Raises BusError when there are none, or not ours alone."""
        if not self.exists:
            raise BusError("no site keys", f"{self.folder}\n  next: cellwall enrol makes them, or "
                                           "name the folder with --site")
        issuer, aggregator, agree, life_safety = (self.keys.get(name) for name in KEY_NAMES)
        return Authorities(issuer, aggregator, agree, life_safety, self.pki.roots(),
                           self._credential())

    def _credential(self) -> bytes:
        """Return the credential of the aggregator's key. Raises BusError when there is none."""
        subject = key_id(self.keys.get(AGGREGATOR).public)
        return self.pki.find(subject.hex()).credential

    # elements

    def elements(self) -> list[ElementEntry]:
        """Return every element of the site, by id. Raises BusError for a damaged entry."""
        entries = []
        for path in sorted((self.folder / "elements").glob("*.json")):
            try:
                fields = json.loads(path.read_text(encoding="utf-8"))
                wrong = [name for name, value in fields.items()
                         if type(value) is not (int if name == "zone" else str)]
                if wrong:
                    raise ValueError(f"{wrong[0]} has a wrong type")
                entries.append(ElementEntry(**fields))
            except (ValueError, TypeError, AttributeError) as error:
                raise BusError("damaged element entry", f"{path}: {error}") from error
        return entries

    def element(self, name: str) -> ElementEntry:
        """Return the element whose id begins with name. Raises BusError for none or several."""
        found = [entry for entry in self.elements() if entry.element_id.startswith(name.lower())]
        if len(found) != 1:
            known = ", ".join(entry.element_id for entry in found or self.elements()) or "none"
            raise BusError("no such element" if not found else "several elements",
                           f"{name}; here: {known}")
        return found[0]

    def port_of(self, name: str) -> str:
        """Return the port that is named, or where the element was whose id begins with name."""
        return name if is_port(name) else self.element(name).port

    def file_release(self, order: bytes) -> None:
        """Keep a signed release order, on the medium before it goes out: a CBOR sequence."""
        with (self.folder / "releases.cborseq").open("ab") as file:
            file.write(order)
            file.flush()
            os.fsync(file.fileno())

    def save(self, entry: ElementEntry) -> None:
        """Keep an element's entry, replacing the one before."""
        folder = self.folder / "elements"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{entry.element_id}.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(entry.__dict__, indent=1) + "\n", encoding="utf-8")
        new.replace(path)

    def keyring(self) -> Keyring:
        """Return what sessions with the site's elements need. Raises BusError for what is damaged.

        An element's credential is the newest that was issued: one that was renewed is brought to
        the element before the next session.
        """
        pki = self.pki
        try:
            issued = {one.subject: one for one in pki.issued() if one.kind == schema.CREDENTIAL}
        except DecodeError as error:
            raise BusError("damaged credential", str(error.value)) from error
        known = {}
        for entry in self.elements():
            try:
                element_id = bytes.fromhex(entry.element_id)
                credential = bytes.fromhex(entry.credential)
                claims: dict[str, Any] = codec.decode_statement(
                    schema.CREDENTIAL, codec.peek(credential)[2])
            except (ValueError, DecodeError) as error:
                raise BusError("damaged element entry", entry.element_id) from error
            newest = issued.get(entry.element_id)
            if newest is not None:
                credential, claims = newest.credential, newest.claims
            known[element_id] = Enrolled(
                element_id, schema.raw_key(claims["cnf"]["cose_key"]), credential, claims)
        trust = pki.trust()
        return Keyring(Party(self.authorities().aggregator_agree, self._credential()), known,
                       lambda: trust, pki.operator_list)
