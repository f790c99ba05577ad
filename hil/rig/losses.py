"""What of a rig is gone, since when, and whether that stops it. Pure: time is handed in."""

from dataclasses import dataclass


@dataclass
class Loss:
    """One loss. back_ms: None while it lasts. stopped: it ended the run."""

    name: str
    why: str
    lost_ms: int
    back_ms: int | None = None
    stopped: bool = False


@dataclass(frozen=True)
class Rule:
    """How much of a loss is borne."""

    critical: bool
    grace_ms: int


class Losses:
    """All losses of a run, in order."""

    def __init__(self, rules: dict[str, Rule]) -> None:
        self.all: list[Loss] = []
        self._rules = rules
        self._open: dict[str, Loss] = {}

    def gone(self, name: str, why: str, now_ms: int) -> Loss | None:
        """Take note that something does not answer; returns the loss when it is a new one."""
        if name in self._open:
            return None
        loss = self._open[name] = Loss(name, why, now_ms)
        self.all.append(loss)
        return loss

    def back(self, name: str, now_ms: int) -> Loss | None:
        """Take note that something answers; returns its loss when that has ended now."""
        loss = self._open.pop(name, None)
        if loss is not None:
            loss.back_ms = now_ms
        return loss

    def fatal(self, now_ms: int) -> Loss | None:
        """Return a critical loss that has lasted longer than its grace, None for none."""
        for loss in self._open.values():
            rule = self._rules[loss.name]
            if rule.critical and now_ms - loss.lost_ms > rule.grace_ms:
                loss.stopped = True
                return loss
        return None
