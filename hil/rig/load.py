"""Load rig.yaml; whatever is wrong with it is one error that names the line."""

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from element.protocol.errors import RangeError
from hil.rig.model import (
    LoadModel,
    MeterModel,
    PlaceModel,
    RatedModel,
    RegistersModel,
    RigModel,
    SwitchModel,
    WatchdogModel,
)
from hil.scenarios.model import ElementModel, ScenarioModel
from host_tools.yaml_model import FileError, line_of, load_model

_PARTS = (LoadModel, MeterModel, PlaceModel, RatedModel, RegistersModel, SwitchModel,
          WatchdogModel)


class RigError(FileError):
    """A rig that cannot be used, or that cannot do what a scenario asks."""


@dataclass(frozen=True)
class Seat:
    """A scenario's element at its place."""

    name: str
    place: PlaceModel
    model: ElementModel
    zone: int


def load_rig(path: Path) -> RigModel:
    """Return the checked rig in a YAML file. Raises RigError."""
    try:
        rig, document = load_model(path, RigModel, "a rig", _PARTS)
    except FileError as error:
        raise RigError(error.path, error.line, error.problem) from error
    _check_names(path, document, rig)
    _check_references(path, document, rig)
    return rig


def _check_names(path: Path, document: Any, rig: RigModel) -> None:
    """Every name, and every line to the outside, is there once."""
    names = Counter([one.name for one in rig.instruments()]
                    + [one.name for one in rig.places])
    lines = Counter([one.port for one in rig.places]
                    + [one.address for one in rig.instruments()
                       if not isinstance(one, MeterModel) and not hasattr(one, "output")])
    rooms: tuple[tuple[str, Sequence[Any]], ...] = (
        ("places", rig.places), ("meters", rig.meters), ("switches", rig.switches),
        ("loads", rig.loads))
    for room, ones in rooms:
        for index, one in enumerate(ones):
            if names[one.name] > 1:
                raise RigError(path, line_of(document, (room, index, "name")),
                               f"the name {one.name!r} appears twice")
            key = "port" if isinstance(one, PlaceModel) else "address"
            if lines[getattr(one, key)] > 1:
                raise RigError(path, line_of(document, (room, index, key)),
                               f"{getattr(one, key)!r} is used twice")


def _check_references(path: Path, document: Any, rig: RigModel) -> None:
    """What a place or the rig names is there."""
    meters, switches = [[one.name for one in ones] for ones in (rig.meters, rig.switches)]
    wanted: list[tuple[tuple[int | str, ...], str | None, list[str], str]] = [
        (("meter",), rig.meter, meters, "meter")]
    for index, place in enumerate(rig.places):
        wanted += [(("places", index, "power"), place.power, switches, "switch"),
                   (("places", index, "bms_break"), place.bms_break, switches, "switch"),
                   (("places", index, "meter"), place.meter, meters, "meter")]
        if place.meter == rig.meter:
            raise RigError(path, line_of(document, ("places", index, "meter")),
                           f"{rig.meter!r} is the rig's own meter: a place needs its own")
    for at, name, known, what in wanted:
        if name is not None and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise RigError(path, line_of(document, at), f"no {what} is called {name!r}{hint}")
    used = [place.power for place in rig.places] + [place.bms_break for place in rig.places]
    for index, place in enumerate(rig.places):
        if place.power is not None and used.count(place.power) > 1:
            raise RigError(path, line_of(document, ("places", index, "power")),
                           f"the switch {place.power!r} is used twice")


def seats_of(path: Path, rig: RigModel, scenario: ScenarioModel) -> list[Seat]:
    """Return each element of the scenario at its place, in the scenario's order.

    Raises RigError when there are too few places, or an element asks for more than its place, or
    all of them for more than the rig, is rated for.
    """
    models = [(name, model, model.zone_of(index)) for model in scenario.elements
              for index, name in enumerate(model.names())]
    named = {place.element: place for place in rig.places if place.element is not None}
    free = [place for place in rig.places if place.element is None]
    seats = []
    for name, model, zone in models:
        place = named.get(name) or (free.pop(0) if free else None)
        if place is None:
            raise RigError(path, None, f"no place for element {name!r}: the scenario has "
                           f"{len(models)} elements, the rig {len(rig.places)} places")
        seats.append(Seat(name, place, model, zone))
    for seat in seats:
        problem = over_rating(seat.place.rated, seat.model.rating_w, seat.model.current_a_max)
        if problem:
            raise RigError(path, None, f"element {seat.name!r} of the scenario asks {problem} of "
                           f"place {seat.place.name!r}")
    peak_w = max((phase.power_kw * 1000 for phase in scenario.phases), default=0.0)
    if peak_w > rig.rated.power_w:
        raise RigError(path, None, f"the scenario asks {peak_w:g} W of the rig, which is rated "
                                   f"for {rig.rated.power_w:g} W")
    return seats


def over_rating(rated: RatedModel, power_w: float, current_a: float) -> str:
    """Return in words what is beyond a place's rating, "" for nothing."""
    if power_w > rated.power_w:
        return f"{power_w:g} W, more than the {rated.power_w:g} W"
    if rated.current_a is not None and current_a > rated.current_a:
        return f"{current_a:g} A, more than the {rated.current_a:g} A"
    return ""


def check_loads(path: Path, rig: RigModel, scenario: ScenarioModel) -> dict[str, float]:
    """Return what each load shall draw, W. Raises RigError for more than they are rated for."""
    following = [one for one in rig.loads if one.follows == "building"]
    left_w = scenario.building.load_w if following else 0.0
    powers = {one.name: 0.0 for one in rig.loads}
    for one in following:
        powers[one.name] = min(left_w, one.rated.power_w)
        left_w -= powers[one.name]
    if left_w > 0:
        raise RigError(path, None, f"the scenario's building draws {scenario.building.load_w:g} "
                       f"W, {left_w:g} W more than the loads are rated for")
    return powers


def check_events(path: Path, rig: RigModel, scenario: ScenarioModel, seats: list[Seat]) -> None:
    """Raise RigError for an event that this rig cannot make happen, with the reason."""
    places = {seat.name: seat.place for seat in seats}
    for event in scenario.events:
        if event.kind == "bms_silent" and places[str(event.element)].bms_break is None:
            raise RigError(path, None, f"event {event.name!r} silences a BMS: place "
                           f"{places[str(event.element)].name!r} has no switch in its BMS line "
                           "(bms_break)")


def check_profile(seat: Seat, profile: dict[str, Any]) -> None:
    """Raise RangeError when a credential permits more than a place is rated for."""
    for way in ("discharge", "charge"):
        problem = over_rating(seat.place.rated, profile[f"power_mw_{way}_max"] / 1000,
                              profile[f"current_ma_{way}_max"] / 1000)
        if problem:
            raise RangeError(
                f"the credential of the element at place {seat.place.name} permits {problem}"
                f" its place is rated for ({way})", None)
