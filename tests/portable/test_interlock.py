"""Check the latch: the first cause stays until a newer order names it and it is gone."""

from element import interlock as module
from element.interlock import Interlock, self_test
from element.protocol import codes


def facts(latch):
    return latch.cause, latch.value, latch.limit, latch.index


def test_a_new_latch_is_open_knows_of_nothing_and_has_seen_no_order():
    latch = Interlock()
    assert facts(latch) == (codes.TRIP_NONE, 0, 0, None)
    assert latch.tripped is False and latch.intact is True
    assert (latch.order_number, latch.trip_count) == (0, 0)


def test_a_trip_of_which_only_the_cause_is_known():
    latch = Interlock()
    assert latch.trip(codes.TRIP_FIRE) is True
    assert facts(latch) == (codes.TRIP_FIRE, 0, 0, None)
    assert latch.trip(codes.TRIP_FIRE) is False


def test_the_second_copy_has_every_bit_of_the_first_turned_round():
    latch = Interlock()
    assert latch._mirror == 0xFFFF
    for cause in (1, 2, 0x55, 0xAA, 255):
        latch = Interlock()
        latch.trip(cause)
        assert latch._mirror == 0xFFFF - cause
    # memory that is all zeros, or all ones, is not a latch that is open
    for word in (0, 0xFFFF):
        latch.cause = latch._mirror = word
        assert latch.tripped and not latch.intact


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
    latch.trip(codes.TRIP_FIRE, 1, 2, 3)
    assert latch.release(1, codes.TRIP_FIRE, False) is True
    assert not latch.tripped and latch.intact
    assert facts(latch) == (codes.TRIP_NONE, 0, 0, None)


def test_the_number_of_the_first_order_is_one():
    latch = Interlock()
    latch.trip(codes.TRIP_FIRE)
    assert latch.release(0, codes.TRIP_FIRE, False) is False
    assert latch.tripped
    assert latch.release(1, codes.TRIP_FIRE, False)


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


def test_the_first_causes_cell_is_kept_with_it():
    latch = Interlock()
    latch.trip(codes.TRIP_CELL_HIGH, 3710, 3700, 6)
    latch.trip(codes.TRIP_CELL_LOW, 2600, 2700, 1)
    assert (latch.value, latch.limit, latch.index) == (3710, 3700, 6)
    assert latch.release(1, codes.TRIP_CELL_HIGH, False)
    assert latch.index is None


def test_a_latch_whose_memory_changed_by_itself_is_tripped_and_stays_so():
    for bit in range(16):
        latch = Interlock()
        assert latch.intact
        latch.cause ^= 1 << bit
        assert not latch.intact and latch.tripped
        latch = Interlock()
        latch._mirror ^= 1 << bit
        assert not latch.intact and latch.tripped
        # a broken copy cannot be released away, and the next trip repairs it
        assert not latch.release(1, codes.TRIP_NONE, False) and latch.tripped
        assert latch.trip(codes.TRIP_SELF_TEST) and latch.intact
    latch = Interlock()
    latch.trip(codes.TRIP_FIRE)
    latch.cause = codes.TRIP_OPERATOR
    assert not latch.release(1, codes.TRIP_OPERATOR, False)
    assert latch.tripped and not latch.intact


def found(*broken_latches):
    """Assert that the self test finds each of some latches that do one thing wrong."""
    for broken in broken_latches:
        module.Interlock = broken
        try:
            assert self_test() is False, broken
        finally:
            module.Interlock = Interlock


def test_the_self_test_passes():
    assert self_test() is True


def test_the_self_test_finds_a_latch_that_does_not_trip():
    class Deaf(Interlock):
        def trip(self, cause, value=0, limit=0, index=None):
            return True

    class Forgetful(Interlock):
        def trip(self, cause, value=0, limit=0, index=None):
            self.cause = codes.TRIP_NONE
            return Interlock.trip(self, cause, value, limit, index)

    class Silent(Interlock):
        def trip(self, cause, value=0, limit=0, index=None):
            Interlock.trip(self, cause, value, limit, index)
            return False

    class Boastful(Interlock):
        def trip(self, cause, value=0, limit=0, index=None):
            Interlock.trip(self, cause, value, limit, index)
            return True

    class Unseen(Interlock):
        # latched, and shows it only from the first order on
        @property
        def tripped(self):
            return self.cause != codes.TRIP_NONE and self.order_number > 0

    class Renamed(Interlock):
        # shows another cause than it holds until it is asked to open
        def trip(self, cause, value=0, limit=0, index=None):
            taken = Interlock.trip(self, cause, value, limit, index)
            self.cause = codes.TRIP_FIRE
            self._mirror = 0xFFFF - codes.TRIP_FIRE
            return taken

        def release(self, order_number, cause, cause_persists):
            if cause == codes.TRIP_FIRE:
                self.order_number = order_number
                return False
            return Interlock.release(self, order_number, codes.TRIP_FIRE, cause_persists)

    found(Deaf, Forgetful, Silent, Boastful, Unseen, Renamed)


def test_the_self_test_finds_a_latch_that_is_not_open_at_birth():
    class Born(Interlock):
        def __init__(self):
            Interlock.__init__(self)
            Interlock.trip(self, codes.TRIP_FIRE)

    class BornAndOverwritten(Interlock):
        def __init__(self):
            Interlock.__init__(self)
            Interlock.trip(self, codes.TRIP_FIRE)

        def trip(self, cause, value=0, limit=0, index=None):
            if cause != codes.TRIP_FIRE:
                self.cause = codes.TRIP_NONE
            return Interlock.trip(self, cause, value, limit, index)

    class BornBroken(Interlock):
        # the copies differ, and only `intact` says so
        def __init__(self):
            Interlock.__init__(self)
            self._mirror = 0

        @property
        def tripped(self):
            return self.cause != codes.TRIP_NONE

    found(Born, BornAndOverwritten, BornBroken)


def test_the_self_test_finds_a_latch_whose_copies_differ():
    class Split(Interlock):
        def trip(self, cause, value=0, limit=0, index=None):
            taken = Interlock.trip(self, cause, value, limit, index)
            self._mirror = 0
            return taken

    class SplitAndIgnored(Interlock):
        def trip(self, cause, value=0, limit=0, index=None):
            taken = Interlock.trip(self, cause, value, limit, index)
            self._mirror = 0
            return taken

        def release(self, order_number, cause, cause_persists):
            self._mirror = 0xFFFF - self.cause
            return Interlock.release(self, order_number, cause, cause_persists)

    found(Split, SplitAndIgnored)


def test_the_self_test_finds_a_latch_that_loses_what_the_trip_was_about():
    for field in ("value", "limit", "index"):
        class Losing(Interlock):
            def trip(self, cause, value=0, limit=0, index=None, field=field):
                taken = Interlock.trip(self, cause, value, limit, index)
                setattr(self, field, 0)
                return taken

        class Overwriting(Interlock):
            def trip(self, cause, value=0, limit=0, index=None, field=field):
                taken = Interlock.trip(self, cause, value, limit, index)
                setattr(self, field, {"value": value, "limit": limit, "index": index}[field])
                return taken

        found(Losing, Overwriting)


def test_the_self_test_finds_a_latch_that_opens_wrong():
    class Open(Interlock):
        def release(self, order_number, cause, cause_persists):
            self.cause = codes.TRIP_NONE
            self._mirror = 0xFFFF
            return True

    class Careless(Interlock):
        def release(self, order_number, cause, cause_persists):
            return Interlock.release(self, order_number, cause, False)

    class Credulous(Interlock):
        def release(self, order_number, cause, cause_persists):
            return Interlock.release(self, order_number, self.cause, cause_persists)

    class MasterKey(Interlock):
        # an order that names fire opens it, whatever it has latched
        def release(self, order_number, cause, cause_persists):
            named = self.cause if cause == codes.TRIP_FIRE else cause
            return Interlock.release(self, order_number, named, cause_persists)

    class Repeating(Interlock):
        def release(self, order_number, cause, cause_persists):
            self.order_number = 0
            return Interlock.release(self, order_number, cause, cause_persists)

    class Melting(Interlock):
        # refuses while the cause persists, and opens all the same
        def release(self, order_number, cause, cause_persists):
            if cause_persists:
                self.cause = codes.TRIP_NONE
                self._mirror = 0xFFFF
                return False
            return Interlock.release(self, order_number, cause, cause_persists) \
                or order_number > 2

    found(Open, Careless, Credulous, MasterKey, Repeating, Melting)


def test_the_self_test_finds_a_latch_that_says_it_opened_where_it_must_not():
    for wrong_call in (1, 2, 3):
        class Liar(Interlock):
            calls = 0

            def release(self, order_number, cause, cause_persists, wrong_call=wrong_call):
                self.calls += 1
                opened = Interlock.release(self, order_number, cause, cause_persists)
                return True if self.calls == wrong_call else opened

        found(Liar)


def test_the_self_test_finds_a_latch_that_does_not_open_right():
    class Rusty(Interlock):
        def release(self, order_number, cause, cause_persists):
            return False

    class Stuck(Interlock):
        # says that it opened, and has not
        def release(self, order_number, cause, cause_persists):
            return order_number > 2

    class Shy(Interlock):
        # opened, and does not say so
        def release(self, order_number, cause, cause_persists):
            Interlock.release(self, order_number, cause, cause_persists)
            return False

    class Picky(Interlock):
        # an order whose number is the next one is not newer enough for it
        def release(self, order_number, cause, cause_persists):
            if order_number == self.order_number + 1 and order_number > 2:
                return False
            return Interlock.release(self, order_number, cause, cause_persists)

    found(Rusty, Stuck, Shy, Picky)
