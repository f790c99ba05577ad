"""Rounds of discovery: who is asked when, who is given up, how old the population is."""

from typing import Any

from host_tools.identity.keyring import Enrolled
from host_tools.inventory.discovery import Discovery, difference, document
from host_tools.inventory.elements import ElementView, Inventory

from .peer import plain_profile

FULL_MS, DELTA_MS, ANSWER_MS = 100_000, 10_000, 3000


def view(number: int, confirmed_ms: int = 0, announced: bool = True, **changes: Any
         ) -> ElementView:
    """Return an element that was last confirmed at a time."""
    claims = {"profile": plain_profile(), "zone": number, "tenant": "t", "manufacturer": "m"}
    one = ElementView(Enrolled(bytes([number]) * 8, bytes(64), b"c%d" % number, claims | changes))
    one.confirmed_ms, one.announced = confirmed_ms, announced
    if announced:
        one.announcement = {"board": "b", "firmware": "1", "soh_bp": None, "counter": 0}
    return one


def rounds(**changes: int) -> Discovery:
    """Return a schedule with short periods."""
    return Discovery(**({"full_period_ms": FULL_MS, "delta_period_ms": DELTA_MS,
                         "answer_ms": ANSWER_MS, "at_dispatch_count_max": 2} | changes))


def test_everybody_at_first_then_the_silent_and_the_new_then_everybody_again() -> None:
    discovery = rounds()
    views = [view(1, 500), view(2, 500), view(3, 0, announced=False)]
    assert discovery.due(views, 1000) == views
    assert discovery.due(views, 1000 + DELTA_MS - 1) == []
    views[0].confirmed_ms = 9000
    assert discovery.due(views, 1000 + DELTA_MS) == views[1:]
    assert discovery.due(views, 1000 + FULL_MS) == views


def test_who_does_not_answer_a_full_round_is_given_up_when_others_do() -> None:
    discovery = rounds()
    views = [view(1), view(2)]
    discovery.due(views, 1000)
    views[0].confirmed_ms = 1500
    assert discovery.ended(views, 1000 + ANSWER_MS - 1) is None
    assert discovery.ended(views, 1000 + ANSWER_MS) == [views[1]]
    assert discovery.ended(views, 1000 + ANSWER_MS) is None and discovery.full_count == 1


def test_when_nobody_answers_it_is_the_bus_and_nobody_is_given_up() -> None:
    discovery = rounds()
    views = [view(1, 900), view(2, 900)]
    discovery.due(views, 1000)
    assert discovery.ended(views, 1000 + ANSWER_MS) == []
    assert discovery.is_stale(views, 1000 + DELTA_MS + ANSWER_MS)
    assert discovery.age_ms(views, 5900) == 5000


def test_the_first_round_has_its_whole_time_and_an_empty_one_counts_nothing() -> None:
    discovery = rounds()
    assert discovery.due([], 1000) == [] and discovery.ended([], 1500) is None
    assert discovery.ended([], 1000 + ANSWER_MS) == [] and discovery.full_count == 0
    views = [view(1, 200_000)]
    discovery.begin_full(150_000)
    assert discovery.ended(views, 150_001) is None
    assert discovery.ended(views, 150_000 + ANSWER_MS) == [] and discovery.full_count == 1
    discovery.begin_full(199_000)
    assert discovery.ended(views, 199_001) == []  # all have answered: a later round is short


def test_a_small_population_is_asked_at_every_dispatch() -> None:
    views = [view(1), view(2), view(3)]
    assert rounds().at_dispatch(views[:2]) == views[:2] and rounds().at_dispatch(views) == []


def test_a_difference_names_who_and_what() -> None:
    before = {"a": {"zone": 1, "firmware": "1"}, "b": {"zone": 2}}
    after = {"a": {"zone": 1, "firmware": "2"}, "c": {"zone": 3}}
    delta = difference(before, after)
    assert (delta.added, delta.removed, delta.changed) == (("c",), ("b",), {"a": ("firmware",)})
    assert difference(after, after).is_empty


def test_a_document_has_nothing_that_moves_by_itself() -> None:
    first = [view(2, 5), view(1, 9)]
    again = [view(1, 77), view(2, 78)]
    again[0].telemetry = {"soc_bp": 1}
    again[1].sequence = 99
    assert document(first) == document(again)
    assert document([view(1), view(2, announced=False)]) == document([view(1)])
    assert document([view(1), view(2, zone=9)]) != document(again)


def test_the_inventorys_version_rises_with_what_it_says() -> None:
    inventory = Inventory()
    one = view(1)
    seen = [inventory.version]
    known = inventory.add(one.enrolled)
    inventory.announce(known, {"board": "b", "firmware": "1"})
    seen.append(inventory.version)
    inventory.announce(known, {"board": "b", "firmware": "1", "counter": 7})
    assert inventory.version == seen[-1]
    inventory.announce(known, {"board": "b", "firmware": "2"})
    seen.append(inventory.version)
    inventory.add(Enrolled(one.element_id, bytes(64), b"renewed", one.enrolled.claims))
    seen.append(inventory.version)
    inventory.remove([one.element_id, b"nobody--"])
    seen.append(inventory.version)
    assert seen == sorted(set(seen))
