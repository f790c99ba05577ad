"""The safe-state latch. Pure: it decides nothing about outputs, it only remembers.

Anyone credentialed may trip it; the first cause stays until a release order signed by the
life-safety key, with a number higher than any before, names that cause.
"""

from .protocol import codes


class Interlock:
    """One latch an element. `tripped` is the whole state that control looks at."""

    def __init__(self):
        self.cause = codes.TRIP_NONE
        self.value = 0
        self.limit = 0
        self.order_number = 0
        self.trip_count = 0

    @property
    def tripped(self) -> bool:
        """True from the first trip to its release."""
        return self.cause != codes.TRIP_NONE

    def trip(self, cause: int, value: int = 0, limit: int = 0) -> bool:
        """Latch a cause; True when it is the first one. A later cause is counted, not kept."""
        self.trip_count += 1
        if self.cause != codes.TRIP_NONE:
            return False
        # an unknown cause is still a cause: zero would read as 'not tripped'
        self.cause = cause if cause != codes.TRIP_NONE else codes.TRIP_OPERATOR
        self.value = value
        self.limit = limit
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
        self.cause = codes.TRIP_NONE
        self.value = 0
        self.limit = 0
        return True
