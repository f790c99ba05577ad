"""The contract of a line to an element: bytes out, bytes in, nothing blocks."""


class Link:
    """One line. Losing it is not an error: `receive` returns nothing until it is back."""

    name = ""

    def send(self, data: bytes) -> None:
        """Queue data. What a dead or full line cannot take is dropped and counted in `lost`."""
        raise NotImplementedError

    def receive(self) -> bytes:
        """Return what has come since the last call; empty when nothing has."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the line up."""
        raise NotImplementedError
