"""The TCP end on which the aggregator above is awaited: one connection, the newest.

Nobody is believed for having connected: the session's handshake says who speaks. Whoever can
reach the port can cut the line for a moment, so it belongs on the building's own network.
"""

import asyncio
import contextlib
from collections.abc import Callable

from element.protocol.errors import BusError

READ_SIZE_MAX = 4096
# What may wait to be sent: more is a peer that does not read.
OUT_SIZE_MAX = 65536


def split_listen(listen: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT; brackets around an IPv6 address are taken off."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


class ParentLine:
    """Listens until it is cancelled. on_data(data), on_state(peer, "" or why it has ended)."""

    def __init__(self, listen: str, on_data: Callable[[bytes], None],
                 on_state: Callable[[str, str], None]) -> None:
        self.listen = listen
        self._on_data = on_data
        self._on_state = on_state
        self._writer: asyncio.StreamWriter | None = None

    @property
    def is_connected(self) -> bool:
        """True while somebody is there."""
        return self._writer is not None

    def send(self, data: bytes) -> None:
        """Send; what nobody takes is lost, as on a cut line."""
        writer = self._writer
        if writer is not None and not writer.is_closing() \
                and writer.transport.get_write_buffer_size() <= OUT_SIZE_MAX:
            writer.write(data)

    async def run(self) -> None:
        """Listen until cancelled. Raises BusError when the port cannot be had."""
        host, port = split_listen(self.listen)
        try:
            server = await asyncio.start_server(self._serve, host, port)
        except OSError as error:
            raise BusError("parent line", f"{self.listen}: {error.strerror or error}\n  next: "
                                          "name a free port under parent: listen") from error
        async with server:
            try:
                await server.serve_forever()
            finally:
                self._end()

    def _end(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._end()
        self._writer = writer
        address = writer.get_extra_info("peername")
        peer = f"{address[0]}:{address[1]}" if address else "?"
        self._on_state(peer, "")
        why = "closed by the peer"
        try:
            while self._writer is writer:
                data = await reader.read(READ_SIZE_MAX)
                if not data or self._writer is not writer:
                    break
                self._on_data(data)
        except OSError as error:
            why = error.strerror or "connection lost"
        finally:
            if self._writer is writer:
                self._writer = None
                self._on_state(peer, why)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
