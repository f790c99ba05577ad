"""Modules that are needed for a moment: loaded between two ticks, forgotten afterwards.

A small board has 100 KB of heap: what a handshake needs, for seconds in a day, is not there at
other times. Elsewhere modules stay where they are.
"""

import sys


class LoadJob:
    """Load modules, one a step. `failed` is True when there was no memory for them.

    Reading one takes an RP2040 as long as writing to flash: it is done right after a tick.
    """

    writes = True
    reads = True  # at rest no tick has to be waited for

    def __init__(self, names: tuple):
        """names: of modules of this package, without it, those that others need first."""
        self._names = names
        self._index = 0
        self.failed = False

    def step(self) -> bool:
        """Load the next module; True when that was the last, or when it failed."""
        try:
            __import__(_full(self._names[self._index]))
        except MemoryError:
            self.failed = True
            return True
        self._index += 1
        return self._index == len(self._names)


def loaded(name: str):
    """Return a module of this package that a LoadJob has loaded."""
    return sys.modules[_full(name)]


def load(hal, worker, names: tuple, done) -> bool:
    """Load modules now, or on a small board between ticks; `done(failed)` when they are there.

    False when the worker has no room for it.
    """
    if hal.tight_heap:
        return worker.submit(LoadJob(names), lambda job: done(job.failed))
    for name in names:
        __import__(_full(name))
    done(False)
    return True


def forget(hal, names: tuple) -> None:
    """Let a small board have the memory of modules back, once nobody uses them."""
    if not hal.tight_heap:
        return
    for name in names:
        if sys.modules.pop(_full(name), None) is not None:
            above, _, last = _full(name).rpartition(".")
            package = sys.modules[above]
            if hasattr(package, last):
                delattr(package, last)


def _full(name: str) -> str:
    return __name__.rpartition(".")[0] + "." + name
