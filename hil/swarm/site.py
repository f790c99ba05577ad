"""Put simulated elements into a site's folder, as `cellwall enrol` puts real ones at a cable."""

import time
from pathlib import Path

from element.protocol import schema
from element.protocol.errors import SignatureError
from hil.swarm.element import SimulatedElement
from host_tools.identity.issuer import Issuer
from host_tools.identity.site import ElementEntry, Site

_CHALLENGE = bytes(16)


def enrol_into(folder: Path, lines: list[tuple[SimulatedElement, str]]) -> Site:
    """Enrol those that are not enrolled, make the site where there is none, and note the lines.

    Raises SignatureError for an element that refuses its credential, BusError for a folder that
    cannot be used.
    """
    site = Site(folder)
    folder.mkdir(parents=True, exist_ok=True)
    site.create()
    authorities = site.authorities()
    issuer = Issuer(authorities, "site issuer")
    for element, line in lines:
        spec = element.spec
        if not element.end.identity.enrolled:
            enrolled, grant = issuer.enrol(
                element.end.identity.request(_CHALLENGE, b"simulated", "simulated", "0"),
                _CHALLENGE, spec.profile, spec.zone, spec.tenant, int(time.time()))
            refused = element.end.identity.grant(grant)
            if refused:
                raise SignatureError("the simulated element refused its credential", refused)
            element.on_enrolled()
            site.save(ElementEntry(
                enrolled.element_id.hex(), line, "simulated", spec.zone, spec.tenant,
                spec.profile["role"], enrolled.credential.hex()))
            site.pki.keep(schema.CREDENTIAL, enrolled.credential)
    return site
