"""The contract of a line to an element: bytes out, bytes in, nothing blocks."""


class Link:
    """One line. Losing it is not an error: `receive` returns nothing until it is back.

    name: as a person names it. lost: bytes that were to be sent and were not.
    """

    name = ""
    lost = 0

    def send(self, data: bytes) -> None:
        """Queue data. What a dead or full line cannot take is dropped and counted in `lost`."""
        raise NotImplementedError

    def receive(self) -> bytes:
        """Return what has come since the last call; empty when nothing has."""
        raise NotImplementedError

    def fileno(self) -> int:
        """Return a descriptor that is readable when something may have come; -1 without one."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the line up."""
        raise NotImplementedError
