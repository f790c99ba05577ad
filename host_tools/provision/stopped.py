"""Ctrl-C while a tool works on an element: what state that leaves, and what to do next."""

from collections.abc import Iterator
from contextlib import contextmanager

from element.protocol.errors import Error


class StoppedError(Error):
    """A person stopped a tool. code: the state that this leaves; value: the next step."""

    def __init__(self, state: str = "", next_step: str = "") -> None:
        super().__init__(state, next_step)


@contextmanager
def stoppable(state: str, next_step: str) -> Iterator[None]:
    """Turn Ctrl-C in the block into a StoppedError. The innermost block has the word."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise StoppedError(state, next_step) from error
