"""What several faults do to one thing at once: one that ends leaves the others in force."""

from collections import Counter
from collections.abc import Callable
from typing import Any

End = Callable[[], None]


def all_of(*ends: End) -> End:
    """Return what ends all of them, in order."""
    def end_all() -> None:
        for end in ends:
            end()

    return end_all


class Slots:
    """What faults have set, and what it is without them."""

    def __init__(self) -> None:
        self._set: dict[tuple[int, str], tuple[object, list[list[object]]]] = {}
        self._under_way: Counter[str] = Counter()

    def rest(self, target: object, name: str) -> Any:
        """Return what an attribute is without any fault."""
        slot = self._set.get((id(target), name))
        return getattr(target, name) if slot is None else slot[0]

    def until_end(self, target: object, name: str, value: object) -> End:
        """Set an attribute and return what ends that.

        Of several values the latest is in force that has not ended; with the last one the
        attribute is again what it was before the first.
        """
        key = (id(target), name)
        rest, values = self._set.setdefault(key, (getattr(target, name), []))
        entry = [value]
        values.append(entry)
        setattr(target, name, value)

        def end() -> None:
            # by identity: another fault may have set the same value
            values[:] = [one for one in values if one is not entry]
            setattr(target, name, values[-1][0] if values else rest)
            if not values:
                self._set.pop(key, None)

        return end

    def while_any(self, key: str, begin: End, end: End) -> End:
        """Begin something and return what ends it: with the last of several by this key."""
        self._under_way[key] += 1
        begin()

        def undo() -> None:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                end()

        return undo
