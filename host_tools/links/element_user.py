"""What is asked of whoever is an element to a panel: a contract, no logic."""

from typing import Any

# (codes.REASON_*, the limit behind it)
Answer = tuple[int, int | None]


class ElementUser:
    """What stands behind an element's end. Everything here has passed the session's checks."""

    __slots__ = ()

    def on_setpoint(self, fields: dict[str, Any]) -> Answer | None:
        """Return (codes.REASON_*, limit), or None to answer later by `ElementEnd.acknowledge`.

        The sequence number has risen and our clock is set; all else is ours to check.
        """
        raise NotImplementedError

    def on_owner_limit(self, fields: dict[str, Any]) -> Answer | None:
        """Return as `on_setpoint` does."""
        raise NotImplementedError

    def on_trip(self, fields: dict[str, Any]) -> None:
        """Obey a trip, of whatever zone: which are ours is ours to say."""
        raise NotImplementedError

    def on_release(self, order: dict[str, Any]) -> bool:
        """Take an order that the life-safety root signed for us, newer than any before.

        False when it does not fit. It is spent either way.
        """
        raise NotImplementedError

    def on_time_sync(self, fields: dict[str, Any]) -> None:
        """Take the interval of records; our clock has been set."""
        raise NotImplementedError

    def announcement(self) -> dict[str, Any]:
        """Return state, soc_bp and soh_bp for an announcement."""
        raise NotImplementedError

    def telemetry(self) -> dict[str, Any]:
        """Return the fields of a Telemetry now: the first word of every session."""
        raise NotImplementedError

    def on_enrolled(self) -> None:
        """Take up the profile that has just been granted."""
        raise NotImplementedError
