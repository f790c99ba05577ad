"""Does an element answer? Retries with growing pauses, then a circuit that opens. Pure.

A setpoint that brings no answer in its class's time is sent again, ATTEMPTS_MAX times in all, the
time doubling. Then the circuit opens: the element is planned without, and from time to time it is
asked for zero, which is safe whatever it does, until it answers.
"""

from functools import lru_cache

from element.protocol import codes

ATTEMPTS_MAX = 3
# In how many ms an answer is due, by class of service; a slow line's own time goes before.
ANSWER_MS = (
    (codes.SERVICE_FREQUENCY, 200), (codes.SERVICE_BACKUP, 300), (codes.SERVICE_REGULATION, 400),
    (codes.SERVICE_ENERGY, 5000), (codes.SERVICE_CAPACITY, 5000), (codes.SERVICE_TEST, 5000),
)
OPEN_MS_MIN = 5000
OPEN_MS_MAX = 300_000
# Refused so many times in a row, it is left alone as if it did not answer.
REFUSALS_MAX = 3
# An answer takes longer than this on a late link: it is given long leases and left to itself.
LATE_MS = 800

CLOSED = "closed"
OPEN = "open"
TRIAL = "trial"

# What `due` asks for.
NOTHING = ""
RETRY = "retry"
OPENED = "opened"
PROBE = "probe"


@lru_cache(maxsize=64)
def answer_ms(service: int) -> int:
    """Return in how many ms an answer is due."""
    return min((limit for known, limit in ANSWER_MS if service & known), default=5000)


class Circuit:
    """One element's. state: CLOSED, OPEN or TRIAL. why: what opened it. opened_count: how often.

    deadline_ms: when `due` should be asked again, None for never.
    """

    def __init__(self) -> None:
        self.state = CLOSED
        self.why = ""
        self.opened_count = 0
        self.retry_count = 0
        self.answer_ms_mean: int | None = None
        self.deadline_ms: int | None = None
        self._attempt = 0
        self._limit_ms = 0
        self._sent: dict[int, int] = {}  # sequence -> when, of what is unanswered
        self._refusals = 0
        self._open_ms = OPEN_MS_MIN

    @property
    def is_closed(self) -> bool:
        """True while the element may be planned with."""
        return self.state == CLOSED

    @property
    def is_late(self) -> bool:
        """True for a link whose answers take too long for commands in time."""
        return self.answer_ms_mean is not None and self.answer_ms_mean > LATE_MS

    def sent(self, sequence: int, service: int, now_ms: int) -> None:
        """Count a setpoint that went out."""
        if len(self._sent) >= 2 * ATTEMPTS_MAX:
            self._sent.pop(next(iter(self._sent)))
        self._sent[sequence] = now_ms
        if self.deadline_ms is None:
            usual_ms = 0 if self.answer_ms_mean is None else 4 * self.answer_ms_mean
            self._limit_ms = max(answer_ms(service), usual_ms)
            self.deadline_ms = now_ms + self._limit_ms

    def answered(self, sequence: int, accepted: bool, now_ms: int) -> None:
        """Take an answer. One to something that was not asked changes nothing."""
        sent_ms = self._sent.pop(sequence, None)
        if sent_ms is None:
            return
        for older in [one for one in self._sent if one < sequence]:
            del self._sent[older]
        spent_ms = now_ms - sent_ms
        mean = self.answer_ms_mean
        self.answer_ms_mean = spent_ms if mean is None else (7 * mean + spent_ms) // 8
        if not accepted:
            self._refusals += 1
            if self._refusals >= REFUSALS_MAX:
                self._open("refuses", now_ms)
                return
        else:
            self._refusals = 0
        if self.state != OPEN:
            self.state, self.why, self._open_ms = CLOSED, "", OPEN_MS_MIN
            self._attempt = 0
            self.deadline_ms = None

    def due(self, now_ms: int) -> str:
        """Return what is to be done now: RETRY, PROBE, OPENED (it just has) or NOTHING."""
        if self.deadline_ms is None or now_ms < self.deadline_ms:
            return NOTHING
        if self.state == OPEN:
            self.state = TRIAL
            self._sent.clear()
            self.deadline_ms = None
            return PROBE
        self._attempt += 1
        if self.state == TRIAL or self._attempt >= ATTEMPTS_MAX:
            self._open("does not answer", now_ms)
            return OPENED
        self.retry_count += 1
        self.deadline_ms = now_ms + (self._limit_ms << self._attempt)
        return RETRY

    def wait(self, now_ms: int) -> None:
        """Give it more time: what does not answer now is the line, and not the element."""
        if self.state == CLOSED and self.deadline_ms is not None:
            self._attempt = 0
            self.deadline_ms = now_ms + self._limit_ms

    def reset(self) -> None:
        """Begin anew: a new session has proven that both directions work."""
        self.state, self.why, self._open_ms = CLOSED, "", OPEN_MS_MIN
        self._attempt = self._refusals = 0
        self._sent.clear()
        self.deadline_ms = None

    def _open(self, why: str, now_ms: int) -> None:
        self.state, self.why = OPEN, why
        self.opened_count += 1
        self._attempt = self._refusals = 0
        self._sent.clear()
        self.deadline_ms = now_ms + self._open_ms
        self._open_ms = min(self._open_ms * 2, OPEN_MS_MAX)
