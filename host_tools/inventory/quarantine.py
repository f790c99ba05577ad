"""Who may not take part, and why: clones, strangers, damaged credentials. Pure.

An element is quarantined by its id, a line by its name. It is named until somebody who may clears
it: an identity that was in two places at once does not become good by waiting.
"""

from dataclasses import dataclass

# How many may be named; an attacker could invent any number of identities.
NAMES_MAX = 1024


@dataclass(frozen=True)
class Quarantined:
    """One of them. what: the element's id in hexadecimal, or a line."""

    what: str
    why: str
    since_ms: int


class Quarantine:
    """A list that is only added to, and cleared one by one."""

    def __init__(self) -> None:
        self._entries: dict[str, Quarantined] = {}

    def add(self, what: str, why: str, now_ms: int) -> bool:
        """Name one; the first reason is kept. True when it is new."""
        if what in self._entries or len(self._entries) >= NAMES_MAX:
            return False
        self._entries[what] = Quarantined(what, why, now_ms)
        return True

    def why(self, what: str) -> str:
        """Return why one is quarantined, "" when it is not."""
        entry = self._entries.get(what)
        return "" if entry is None else entry.why

    def clear(self, what: str) -> bool:
        """Let one take part again; False when it was not here."""
        return self._entries.pop(what, None) is not None

    def entries(self) -> list[Quarantined]:
        """Return all, in the order of their names."""
        return [self._entries[what] for what in sorted(self._entries)]
