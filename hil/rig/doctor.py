"""Check every port of a rig: there by its stable name, both ways, who it is, how fast it answers.

Nothing is switched on: boards are asked over their console, instruments for their identity. A
USB relay has no answer of its own; that its port takes bytes is all that can be said of it.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from element.protocol.errors import BusError
from hil.instruments.base import Instrument
from hil.rig.boards import check_latch, identify
from hil.rig.equipment import Equipment
from hil.rig.locks import Locks
from hil.rig.model import InstrumentModel, PlaceModel, RigModel, WatchdogModel
from host_tools.identity.site import Site
from host_tools.provision.cable import Cable
from host_tools.provision.doctor import FAILED, PASSED, Doctor


@dataclass(frozen=True)
class PortCheck:
    """One port. both_ways: proven, or None where the instrument cannot answer."""

    name: str
    kind: str
    port: str
    verdict: str
    both_ways: bool | None
    identity: str
    round_trip_ms: int | None
    detail: str
    next_step: str = ""


def check_rig(rig: RigModel, site: Site) -> Iterator[PortCheck]:
    """Yield a check for every port of a rig. Raises BusError when somebody else uses it."""
    locks = Locks()
    locks.take([*(one.port for one in rig.places), *(one.address for one in rig.instruments())],
               "hil doctor")
    equipment = Equipment(rig)
    try:
        for left in locks.taken_over:
            yield PortCheck("locks", "lock", left.partition(":")[0], PASSED, None, "", None,
                            f"taken over: {left}")
        for place in rig.places:
            yield _board(place, site)
        for model, one in equipment.all():
            yield _instrument(model, one)
    finally:
        equipment.close()
        locks.release()


def _board(place: PlaceModel, site: Site) -> PortCheck:
    """Check a board: console text and frames both ways, who it is, and what its doctor says."""
    identity, took_ms = "", None

    def failed(detail: str, next_step: str) -> PortCheck:
        return PortCheck(place.name, "board", place.port, FAILED, False, identity, took_ms,
                         detail, next_step)

    try:
        found = identify(place)
        took_ms = found.round_trip_ms
        identity = (f"element {found.element_id}" if found.enrolled else "not enrolled"
                    ) + f", {found.board}, firmware {found.firmware}, chip {found.hardware}"
        with Cable(place.port, site.keyring() if site.exists else None) as cable:
            bad = []
            for check in Doctor(cable, site, False, 0.0, lambda line: None).run():
                # before its first run on the rig a board is not enrolled, and that is fine
                if check.verdict == FAILED and not (
                        check.name == "enrolled with this site" and not found.enrolled):
                    bad.append(check)
        if not bad:
            check_latch(place, found, site)
    except BusError as error:
        text, _, step = str(error.value).partition("\n  next: ")
        return failed(f"{error.code}: {text}", step or "check the cable, then run again")
    if bad:
        return failed("; ".join(f"{one.name}: {one.detail}" for one in bad),
                      bad[0].next_step)
    return PortCheck(place.name, "board", place.port, PASSED, True, identity, took_ms,
                     "text and frames both ways")


def _instrument(model: InstrumentModel, one: Instrument) -> PortCheck:
    try:
        identity = one.identify()
        began_s = time.monotonic()
        one.identify()
        took_ms = round((time.monotonic() - began_s) * 1000)
    except BusError as error:
        text, _, step = str(error.value).partition("\n  next: ")
        return PortCheck(model.name, one.kind, model.address, FAILED, False, "", None,
                         f"{error.code}: {text}", step)
    if isinstance(model, WatchdogModel) and model.kind == "usb_relay":
        return PortCheck(model.name, one.kind, model.address, PASSED, None, identity.text(),
                         None, "its port takes bytes; it has no answer: listen for its click")
    return PortCheck(model.name, one.kind, model.address, PASSED, True, identity.text(),
                     took_ms, "question and answer")
