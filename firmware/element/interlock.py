"""The safe-state latch. Pure: it decides nothing about outputs, it only remembers.

Anyone credentialed may trip it; the first cause stays until a release order signed by the
life-safety key, with a number higher than any before, names that cause.
"""

from .protocol import codes

# The cause is held twice, the second time with every bit turned round: see `intact`.
_MASK = 0xFFFF


class Interlock:
    """One latch an element. `tripped` is the whole state that control looks at.

    index: the cell or thermometer that the cause is about, None when it is about none.
    """

    def __init__(self):
        self.cause = codes.TRIP_NONE
        self._mirror = _MASK
        self.value = 0
        self.limit = 0
        self.index = None
        self.order_number = 0
        self.trip_count = 0

    @property
    def tripped(self) -> bool:
        """True from the first trip to its release, and whenever the latch is not intact."""
        return self.cause != codes.TRIP_NONE or self._mirror != _MASK

    @property
    def intact(self) -> bool:
        """False when the two copies of the cause contradict each other: memory is not sound."""
        return self.cause ^ self._mirror == _MASK

    def trip(self, cause: int, value: int = 0, limit: int = 0, index=None) -> bool:
        """Latch a cause; True when it is the first one. A later cause is counted, not kept."""
        self.trip_count += 1
        if self.cause != codes.TRIP_NONE:
            return False
        # an unknown cause is still a cause: zero would read as 'not tripped'
        self.cause = cause if cause != codes.TRIP_NONE else codes.TRIP_OPERATOR
        self._mirror = self.cause ^ _MASK
        self.value = value
        self.limit = limit
        self.index = index
        return True

    def release(self, order_number: int, cause: int, cause_persists: bool) -> bool:
        """Open the latch for a verified order; False, and no change, when it does not fit.

        The signature has been verified by the caller; this checks that the order is newer than
        any before, names the latched cause, and that the cause is gone. An order is spent when
        it has been looked at, whatever the answer: nobody can keep one for a later trip.
        """
        if order_number <= self.order_number:
            return False
        self.order_number = order_number
        if self.cause == codes.TRIP_NONE or cause != self.cause or cause_persists:
            return False
        if not self.intact:
            return False
        self.cause = codes.TRIP_NONE
        self._mirror = _MASK
        self.value = 0
        self.limit = 0
        self.index = None
        return True


def self_test() -> bool:
    """Return True when a latch of this code latches, keeps its first cause and opens only right.

    Run at every boot, on a latch of its own: code and memory that do not is no latch at all.
    """
    latch = Interlock()
    if latch.tripped or not latch.intact:
        return False
    if not latch.trip(codes.TRIP_SELF_TEST, 1, 2, 3) or latch.trip(codes.TRIP_FIRE):
        return False
    if not latch.tripped or latch.cause != codes.TRIP_SELF_TEST or not latch.intact:
        return False
    if latch.value != 1 or latch.limit != 2 or latch.index != 3:
        return False
    if latch.release(1, codes.TRIP_FIRE, False) or latch.release(1, codes.TRIP_SELF_TEST, False):
        return False
    if latch.release(2, codes.TRIP_SELF_TEST, True) or not latch.tripped:
        return False
    return latch.release(3, codes.TRIP_SELF_TEST, False) and not latch.tripped
