"""Ctrl-C and SIGTERM as a request: whoever runs is asked to stop, and ends in his own way."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console


@contextmanager
def safe_stop(stop: Callable[[], None], console: Console,
              words: str = "stopping: elements go to zero first") -> Iterator[None]:
    """Call stop at every Ctrl-C and SIGTERM in the block, and say so on the console."""
    def ask(number: int, frame: FrameType | None) -> None:
        console.print(words)
        stop()

    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, ask) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
