"""Bring the checkout's firmware onto the boards of a rig before anything is on, and prove it."""

from collections.abc import Callable
from pathlib import Path

from element.protocol.errors import BusError
from hil.bench.site import Paths
from hil.rig.boards import BoardIdentity
from hil.rig.load import RigError, Seat
from hil.rig.model import PlaceModel
from host_tools.provision.flash import CHIPS, Flashed, flash


def check_can_flash(rig: Path, seats: list[Seat]) -> None:
    """Check that every place says which board is to be flashed. Raises RigError naming one."""
    for seat in seats:
        board = seat.place.board
        if board not in CHIPS:
            said = "has no `board`" if board is None else f"is a {board}, which has no REPL"
            raise RigError(rig, None, f"place {seat.place.name} {said}: --flash knows "
                           f"{', '.join(CHIPS)}")


def flash_place(place: PlaceModel, say: Callable[[str], None]) -> Flashed:
    """Bring the firmware onto the board at a place; nothing of the rig is on yet.

    Raises BusError as `cellwall flash` does, and for a board that then stays in maintenance.
    """
    say(f"place {place.name}: flashing {place.board}, which takes a minute or two")
    done = flash(place.port, str(place.board), Paths.of_checkout(Path()).firmware.parent,
                 lambda done, total, what: None)
    if done.maintenance:
        raise BusError("the board was in maintenance, and still is", f"place {place.name}"
                       f"\n  next: cellwall console {place.port} -c 'maintenance off'")
    say(f"place {place.name}: firmware {done.version}, {len(done.copied)} files copied, "
        f"{done.unchanged_count} were the same, {len(done.removed)} removed; every SHA-256 "
        "verified on the board")
    return done


def check_flashed(place: PlaceModel, found: BoardIdentity, flashed: Flashed) -> None:
    """Check that the board that answers is the one that was flashed, running what it was given.

    Raises BusError naming what differs.
    """
    pairs = (("firmware", found.firmware, flashed.version),
             ("chip", found.hardware, flashed.hardware_id),
             ("element", found.element_id, flashed.element_id))
    for what, said, given in pairs:
        if said != given:
            raise BusError("the board runs something else", f"place {place.name}: {what} {said}, "
                           f"flashed {given}\n  next: cellwall flash {place.port} --board "
                           f"{place.board}")
