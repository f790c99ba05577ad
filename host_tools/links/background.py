"""What asynchronous lines share: a loop in a thread of its own, and a bounded box of bytes.

Links are used from plain code that waits on descriptors; brokers and radios are served by asyncio.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

BOX_SIZE_MAX = 65536
STOP_S_MAX = 5.0


class Mailbox:
    """Bytes from another thread. What does not fit is dropped whole and counted in `lost`."""

    def __init__(self) -> None:
        self.lost = 0
        self._data = bytearray()
        self._lock = threading.Lock()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._closed = False

    def fileno(self) -> int:
        """Return a descriptor that is readable while something is here; -1 when closed."""
        return -1 if self._closed else self._reader

    def put(self, data: bytes) -> None:
        """Put bytes in. Any thread."""
        with self._lock:
            if self._closed or len(self._data) + len(data) > BOX_SIZE_MAX:
                self.lost += len(data)
                return
            if not self._data and data:
                os.write(self._writer, b"\0")
            self._data += data

    def take(self) -> bytes:
        """Take out all that is here."""
        with self._lock:
            if not self._data or self._closed:
                return b""
            data = bytes(self._data)
            self._data.clear()
            os.read(self._reader, 1)
            return data

    def close(self) -> None:
        """Give the descriptors back; twice is fine."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._reader)
                os.close(self._writer)


class Background:
    """A thread with an asyncio loop that runs one coroutine until `stop`."""

    def __init__(self, name: str, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._serve = serve
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._serve())
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def call(self, function: Callable[..., object], *arguments: Any) -> bool:
        """Run a function in the loop soon, from any thread; False when the loop has ended."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return False
        return True

    def stop(self) -> None:
        """Cancel the coroutine and wait until its clean-up is done, STOP_S_MAX at most."""
        self.call(lambda: self._task and self._task.cancel())
        self._thread.join(STOP_S_MAX)
