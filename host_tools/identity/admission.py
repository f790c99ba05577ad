"""The three steps of an aggregator into the site of the one above, with the sites' folders.

The child's folder keeps a key more, `parent_agree`; the parent's keeps the child as it keeps any
element. `grant.cbor` is public but for what it says of the site.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from element.protocol import schema
from element.protocol.errors import SignatureError
from host_tools.identity import aggregate
from host_tools.identity.issuer import Issuer
from host_tools.identity.keys import KeyPair
from host_tools.identity.pki import write_whole
from host_tools.identity.site import ElementEntry, Site
from host_tools.inventory.elements import depth_of
from host_tools.links.element_identity import ElementIdentity

AGREE_KEY = "parent_agree"
GRANT_FILE = "grant.cbor"


@dataclass(frozen=True)
class Requested:
    """A request that was made. levels: how many levels of aggregators it is."""

    data: bytes
    element_id: bytes
    profile: dict[str, Any]
    levels: int


@dataclass(frozen=True)
class Admitted:
    """An aggregator that is an element now."""

    name: str
    element_id: bytes
    grant: bytes


def agree_key(site: Site) -> KeyPair:
    """Return the key with which this site's aggregator agrees on sessions with its parent."""
    keys = site.keys
    return keys.get(AGREE_KEY) if keys.has(AGREE_KEY) else keys.create(AGREE_KEY)


def request(site: Site, name: str) -> Requested:
    """Return this site's request to the one above. Raises RangeError without any element."""
    profile = aggregate.profile_of(
        [one.claims["profile"] for one in site.keyring().known.values()])
    sign = site.authorities().aggregator
    return Requested(aggregate.make_request(name, sign, agree_key(site), profile), sign.key_id,
                     profile, depth_of(profile))


def admit_into(site: Site, data: bytes, line: str, zone: int, tenant: str,
               power_mw: int | None = None, energy_mwh: int | None = None) -> Admitted:
    """Credential an aggregator in this site, and remember it as an element on a line.

    Raises DecodeError or SignatureError for a request that is none, RangeError for limits beyond
    it, BusError for a site without keys.
    """
    asked = aggregate.read_request(data)
    authorities = site.authorities()
    if asked.element_id == authorities.aggregator.key_id:
        raise SignatureError("an aggregator cannot be its own parent", asked.element_id.hex())
    enrolled, grant = aggregate.admit(asked, Issuer(authorities, "site issuer"), zone, tenant,
                                      int(time.time()), power_mw, energy_mwh)
    site.save(ElementEntry(
        enrolled.element_id.hex(), line, "aggregate", zone, tenant,
        enrolled.claims["profile"]["role"], enrolled.credential.hex()))
    site.pki.keep(schema.CREDENTIAL, enrolled.credential)
    return Admitted(asked.name, enrolled.element_id, grant)


def keep_grant(site: Site, data: bytes, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Check that a grant is for this site's aggregator and keep it; returns where, and its claims.

    Raises DecodeError or SignatureError otherwise.
    """
    fields = aggregate.read_grant(data)
    identity = ElementIdentity(site.authorities().aggregator, agree_key(site))
    code = identity.grant(fields)
    if code:
        raise SignatureError("the grant is not for this aggregator", code)
    path = folder / GRANT_FILE
    write_whole(path, data)
    return path, identity.claims


def kept_grant(folder: Path) -> dict[str, Any] | None:
    """Return the grant that was kept, None without one. Raises DecodeError for a damaged one."""
    path = folder / GRANT_FILE
    return aggregate.read_grant(path.read_bytes()) if path.is_file() else None
