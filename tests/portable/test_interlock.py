"""Check the latch: the first cause stays until a newer order names it and it is gone."""

from element.interlock import Interlock
from element.protocol import codes


def test_the_first_cause_is_kept_and_the_others_counted():
    latch = Interlock()
    assert not latch.tripped
    assert latch.trip(codes.TRIP_FIRE, 2, 3)
    for cause in range(1, 256):
        assert not latch.trip(cause, 9, 9)
    assert (latch.cause, latch.value, latch.limit) == (codes.TRIP_FIRE, 2, 3)
    assert latch.tripped and latch.trip_count == 256


def test_a_trip_without_a_cause_is_a_trip():
    latch = Interlock()
    assert latch.trip(codes.TRIP_NONE)
    assert latch.tripped and latch.cause == codes.TRIP_OPERATOR


def test_release():
    latch = Interlock()
    latch.trip(codes.TRIP_FIRE, 1)
    assert latch.release(1, codes.TRIP_FIRE, False)
    assert not latch.tripped and latch.value == 0 and latch.limit == 0


def test_release_refuses_what_does_not_fit():
    for number, cause, persists in (
        (5, codes.TRIP_FIRE, False),      # not newer
        (4, codes.TRIP_FIRE, False),      # older
        (6, codes.TRIP_OPERATOR, False),  # another cause
        (6, codes.TRIP_NONE, False),
        (6, codes.TRIP_FIRE, True),       # still burning
    ):
        latch = Interlock()
        latch.order_number = 5
        latch.trip(codes.TRIP_FIRE)
        assert not latch.release(number, cause, persists)
        assert latch.tripped and latch.cause == codes.TRIP_FIRE


def test_release_of_what_is_not_tripped_is_refused():
    assert not Interlock().release(1, codes.TRIP_NONE, False)
    assert not Interlock().release(1, codes.TRIP_FIRE, False)


def test_an_order_works_once_for_one_trip():
    latch = Interlock()
    latch.trip(codes.TRIP_FIRE)
    assert latch.release(1, codes.TRIP_FIRE, False)
    latch.trip(codes.TRIP_FIRE)
    assert not latch.release(1, codes.TRIP_FIRE, False)
    assert latch.release(2, codes.TRIP_FIRE, False)


def test_a_refused_order_is_spent_and_cannot_be_kept_for_later():
    # refused because the cause persists: sent again when it is gone it must not open the latch
    latch = Interlock()
    latch.trip(codes.TRIP_FIRE)
    assert not latch.release(1, codes.TRIP_FIRE, True)
    assert not latch.release(1, codes.TRIP_FIRE, False)
    assert latch.release(2, codes.TRIP_FIRE, False)
    # seen while nothing was latched: no use for the next trip
    assert not latch.release(3, codes.TRIP_FIRE, False)
    latch.trip(codes.TRIP_FIRE)
    assert not latch.release(3, codes.TRIP_FIRE, False)
    assert latch.tripped
