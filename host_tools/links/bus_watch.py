"""Who speaks on a bus without being asked. Pure: what was heard in, findings out.

Three ways to a name. A frame out of turn carries its sender's address or id. An answer longer than
its permission names whom it was given to. Noise carries no name: there whoever alone stays silent
when polled in the pauses of the noise is named; if all answer, each is told to be quiet for a
while, and the one whose silence ends the noise is named.
"""

from dataclasses import dataclass

WINDOW_MS = 2000
# So many in a window, and it was disturbed; fewer happen on any line.
STRAYS = 3
NOISE = 3
# Disturbed windows in a row before anybody is suspected.
WINDOWS = 2
QUIET_S = 3
# How long one that was caught stays muted, before it may try again.
MUTE_S = 30

OUT_OF_TURN = "speaks out of turn"
TOO_LONG = "answers beyond its budget"
ALONE_SILENT = "alone silent while the line is noisy"
NOISE_ENDS = "noise ends while it is quiet"


@dataclass(frozen=True)
class Finding:
    """One culprit: whose, why, since when, and whether the line itself has named it."""

    element_id: bytes
    why: str
    at_ms: int

    @property
    def certain(self) -> bool:
        """False for a finding by elimination."""
        return self.why != ALONE_SILENT


class Watch:
    """Windows of what was heard. findings: by element id, the newest of each."""

    def __init__(self) -> None:
        self.findings: dict[bytes, Finding] = {}
        self.noise_count = 0  # damaged frames, since the beginning
        self.is_disturbed = False
        self._began_ms: int | None = None
        self._strays: dict[bytes, int] = {}
        self._over: dict[bytes, int] = {}
        self._level = 0  # damaged frames in this window
        self._before = 0  # and in the one before a trial
        self._rest = 0  # windows to let pass
        self._twice: bytes | None = None
        self._noise_idle = 0
        self._noise_of: set[bytes] = set()
        self._polled: set[bytes] = set()
        self._good: set[bytes] = set()
        self._run = 0
        self._suspect: bytes | None = None
        self._trials: list[bytes] | None = None
        self._tried: bytes | None = None

    def polled(self, element_id: bytes) -> None:
        """Note a turn."""
        self._polled.add(element_id)

    def good(self, element_id: bytes) -> None:
        """Note a good answer."""
        self._good.add(element_id)

    def stray(self, element_id: bytes, now_ms: int) -> bool:
        """Note a frame out of turn; True when it makes its sender a culprit."""
        self._strays[element_id] = self._strays.get(element_id, 0) + 1
        return self._strays[element_id] == STRAYS and self._name(element_id, OUT_OF_TURN, now_ms)

    def over(self, element_id: bytes) -> None:
        """Note an answer longer than its permission."""
        self._over[element_id] = self._over.get(element_id, 0) + 1

    def noise(self, count: int, turn_of: bytes | None) -> None:
        """Note damaged frames, in somebody's turn or in nobody's."""
        self.noise_count += count
        self._level += count
        if turn_of is None:
            self._noise_idle += count
        else:
            self._noise_of.add(turn_of)

    def is_noisy_without(self, element_id: bytes) -> bool:
        """Return True when there is noise that this element's own turns do not explain."""
        return self.is_disturbed or self._noise_idle + len(self._noise_of - {element_id}) >= 2

    def _name(self, element_id: bytes, why: str, now_ms: int) -> bool:
        self.findings[element_id] = Finding(element_id, why, now_ms)
        return True

    def close_window(self, now_ms: int) -> tuple[bytes, int] | None:
        """Judge a window that is over; return (element id, seconds) of one to be silenced.

        Call it now and then; while a window lasts it does nothing.
        """
        if self._began_ms is None:
            self._began_ms = now_ms
        if now_ms - self._began_ms < WINDOW_MS:
            return None
        self.is_disturbed = self._noise_idle >= NOISE or len(self._noise_of) >= NOISE
        out = self._too_long(now_ms) or self._judge(now_ms)
        self._began_ms = now_ms
        self._strays, self._over, self._polled = {}, {}, set()
        self._level = self._noise_idle = 0
        self._noise_of, self._good = set(), set()
        return out

    def _too_long(self, now_ms: int) -> tuple[bytes, int] | None:
        """Name the one whose answers do not end; noise would make that of several."""
        if len(self._over) != 1 or max(self._over.values()) < STRAYS:
            return None
        element_id = next(iter(self._over))
        self._name(element_id, TOO_LONG, now_ms)
        return element_id, MUTE_S

    def _judge(self, now_ms: int) -> tuple[bytes, int] | None:
        """Go on with the elimination."""
        if self._tried is not None:
            named = self._tried_over(now_ms)
            if named is not None:
                return named
        if self._rest:
            self._rest -= 1
            return None
        if not self.is_disturbed:
            self._run, self._trials, self._suspect, self._twice = 0, None, None, None
            return None
        self._run += 1
        if self._twice is not None:
            return self._try(self._twice)
        if self._trials is None:
            silent = [one for one in self._polled if one not in self._good]
            if len(silent) == 1 and self._good:
                if self._suspect == silent[0] and self._run >= WINDOWS:
                    self._name(silent[0], ALONE_SILENT, now_ms)
                self._suspect = silent[0]
                return None
            self._suspect = None
            if silent or not self._good or self._run < WINDOWS:
                return None  # nobody is understood, or it will pass
            self._trials = sorted(self._good)
        if not self._trials:
            # all have been quiet once and the noise went on: it is none of them
            self._trials, self._run = None, -4 * WINDOWS
            return None
        return self._try(self._trials.pop(0))

    def _try(self, element_id: bytes) -> tuple[bytes, int]:
        """Tell an element to be quiet for the window that begins."""
        self._tried, self._before = element_id, self._level
        return element_id, QUIET_S

    def _tried_over(self, now_ms: int) -> tuple[bytes, int] | None:
        """Judge a window in which one was quiet. Noise that ends twice with it is its own."""
        tried, self._tried = self._tried, None
        assert tried is not None
        if self._level * 4 > self._before or not self._good:
            self._twice = None if self._twice == tried else self._twice
            return None
        if self._twice != tried:
            # by chance, perhaps: let it speak again, and try it once more if the noise is back
            self._twice, self._rest = tried, 1
            return None
        self._twice = self._trials = None
        self._name(tried, NOISE_ENDS, now_ms)
        return tried, MUTE_S
