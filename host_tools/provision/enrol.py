"""Give an element its credential over the cable: who it is, what it may do, where it belongs.

The element makes its keys itself and signs a request with them; what leaves it is public. The
profile is a YAML file with the fields of `schema.PROFILE`, names in place of numbers for `kind`
and `services`.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from element.protocol import codes, schema
from element.protocol.errors import BusError, RangeError
from host_tools.identity.issuer import Enrolled, Issuer
from host_tools.identity.site import ElementEntry, Site
from host_tools.provision.cable import Cable

PROFILES = Path(__file__).with_name("profiles")
ENROL_S_MAX = 30.0
SERVICES = {
    "regulation": codes.SERVICE_REGULATION, "energy": codes.SERVICE_ENERGY,
    "test": codes.SERVICE_TEST, "frequency": codes.SERVICE_FREQUENCY,
    "backup": codes.SERVICE_BACKUP, "capacity": codes.SERVICE_CAPACITY,
}


def load_profile(name: str, role: str) -> dict[str, Any]:
    """Return the fields of a profile: a file, or the name of one that comes with Cellwall.

    Raises BusError for a file that cannot be read and RangeError for a field that does not fit.
    """
    path = Path(name)
    if not path.suffix:
        path = PROFILES / f"{name}.yaml"
    try:
        fields = dict(YAML(typ="safe").load(path.read_text(encoding="utf-8")))
    except OSError as error:
        ours = ", ".join(sorted(found.stem for found in PROFILES.glob("*.yaml")))
        raise BusError("no such profile", f"{path}; there are {ours}") from error
    except (YAMLError, TypeError, ValueError) as error:
        raise BusError("profile is not YAML", f"{path}: {error}") from error
    fields["role"] = role
    if fields.get("kind") in codes.KIND_NAMES:
        fields["kind"] = codes.KIND_NAMES.index(fields["kind"])
    services = fields.get("services")
    if isinstance(services, list):
        unknown = [one for one in services if one not in SERVICES]
        if unknown:
            raise RangeError("services", unknown[0])
        fields["services"] = sum(SERVICES[one] for one in set(services))
    schema.statement_to_wire(schema.PROFILE, fields)
    return fields


def enrol(port: str, site: Site, profile: dict[str, Any], zone: int, tenant: str,
          progress: Callable[[str], None]) -> ElementEntry:
    """Enrol the element at port with the site's issuer and keep its entry.

    Raises BusError when it does not answer, refuses, or is enrolled already.
    """
    site.create()
    issuer = Issuer(site.authorities(), "site issuer")

    def grant(request: bytes, challenge: bytes) -> tuple[Enrolled, dict[str, Any]]:
        progress("the element checks its credential")
        enrolled, fields = issuer.enrol(
            request, challenge, profile, zone, tenant, int(time.time()))
        # kept before the element may take it: once it has, no other credential will do
        site.save(ElementEntry(
            enrolled.element_id.hex(), port, board, zone, tenant, profile["role"],
            enrolled.credential.hex()))
        return enrolled, fields

    board = ""
    known = site.known()
    with Cable(port, known, grant) as cable:
        status = cable.status()
        if status.get("enrolled", "no") != "no":
            ours = bytes.fromhex(status["element"]) in known
            raise BusError("already enrolled", f"element {status['element']}, "
                           f"{status['enrolled']}, {'by this site' if ours else 'elsewhere'}")
        board = status["board"].partition(",")[0]
        progress("the element signs its request")
        element_id = cable.session(ENROL_S_MAX)
    return site.element(element_id.hex())
