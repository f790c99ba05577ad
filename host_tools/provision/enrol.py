"""Give an element its credential over the cable: who it is, what it may do, where it belongs.

The element makes its keys itself and signs a request with them; what leaves it is public. The
profile is a YAML file with the fields of `rare.PROFILE`, names in place of numbers for `kind`
and `services`.
"""

import errno
import os
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from element.protocol import codes, rare, schema
from element.protocol.errors import BusError, RangeError
from host_tools.identity.issuer import Issuer
from host_tools.identity.keyring import Enrolled
from host_tools.identity.site import ElementEntry, Site
from host_tools.links.open_line import is_cable
from host_tools.provision.cable import Cable, RefusedError
from host_tools.provision.stopped import stoppable

PROFILES = Path(__file__).with_name("profiles")
ENROL_S_MAX = 30.0
AGAIN = "enrol again"
SERVICES = {
    "regulation": codes.SERVICE_REGULATION, "energy": codes.SERVICE_ENERGY,
    "test": codes.SERVICE_TEST, "frequency": codes.SERVICE_FREQUENCY,
    "backup": codes.SERVICE_BACKUP, "capacity": codes.SERVICE_CAPACITY,
}


class Role(StrEnum):
    """What part of a building an element is in."""

    WALL = "wall"
    COLUMN = "column"
    FLOOR = "floor"
    CABINET = "cabinet"


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
    schema.statement_to_wire(rare.PROFILE, fields)
    return fields


def enrol(port: str, site: Site, profile: dict[str, Any], zone: int, tenant: str,
          progress: Callable[[str], None], manufacturer: str = "") -> ElementEntry:
    """Enrol the element at port with the site's issuer and keep its entry.

    A site that has no keys gets them when an element has answered. Raises BusError when it does
    not answer, refuses, or is enrolled already, StoppedError after Ctrl-C.
    """
    made: list[Issuer] = []

    def grant(request: bytes, challenge: bytes) -> tuple[Enrolled, dict[str, Any]]:
        progress("the element checks its credential")
        enrolled, fields = made[0].enrol(
            request, challenge, profile, zone, tenant, int(time.time()), manufacturer)
        # kept before the element may take it: once it has, no other credential will do
        site.save(ElementEntry(
            enrolled.element_id.hex(), port, board, zone, tenant, profile["role"],
            enrolled.credential.hex()))
        site.pki.keep(schema.CREDENTIAL, enrolled.credential)
        return enrolled, fields

    _at_a_cable(port)
    board = ""
    keyring = site.keyring() if site.exists else None
    with stoppable("the element is not enrolled", AGAIN), Cable(port, keyring, grant) as cable:
        status = cable.status()
        if status.get("enrolled", "no") != "no":
            raise _enrolled_already(port, status, cable.knows(bytes.fromhex(status["element"])))
        board = status["board"].partition(",")[0]
        _make(site)
        cable.element.keyring = site.keyring()
        made.append(Issuer(site.authorities(), "site issuer"))
        progress("the element signs its request")
        with stoppable("the element is enrolled, or not: its credential was on the way",
                       f"{AGAIN}: it says which"):
            element_id = cable.session(ENROL_S_MAX)
    return site.element(element_id.hex())


def _at_a_cable(port: str) -> None:
    """Raise BusError for a line that others may hold too.

    An element takes the keys of whoever enrols it: it must be the one who stands before it.
    """
    if not is_cable(port):
        raise BusError("elements are enrolled over a cable", f"{port} can be reached by others\n"
                       "  next: connect the element's USB or serial port and name that; over its "
                       "network it takes no enrolment either")


def _make(site: Site) -> None:
    """Make what the site's folder lacks. Raises BusError where that cannot be written."""
    try:
        site.create()
        (site.folder / "elements").mkdir(exist_ok=True)
        if not os.access(site.folder / "elements", os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise BusError("the site's folder cannot be written", f"{site.folder}: {error.strerror}\n"
                       "  next: name another folder with --site") from error


def _enrolled_already(port: str, status: dict[str, str], by_us: bool) -> RefusedError:
    """Return the refusal for an element that has its credential."""
    return RefusedError("already enrolled", (
        f"element {status['element']}, {status['enrolled']}, "
        + (f"by this site\n  next: nothing is missing; cellwall doctor {port} checks it, and "
           "the console's `set-zone N` adds a zone" if by_us else
           "elsewhere\n  next: name that site's folder with --site; a board whose flash is erased "
           "(mpremote, esptool) is a new element")))
