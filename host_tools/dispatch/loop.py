"""The closed loop at the PCC: feed-forward of the target, integral trim on the meter. Pure."""


class MeterLoop:
    """Turn a target at the meter into the power to ask of the elements.

    The response is the metered export plus the declared baseline; the trim learns, cycle by
    cycle, what the load and the losses take away from what was asked.
    """

    GAIN_PCT = 50

    def __init__(self, trim_mw_max: int) -> None:
        """trim_mw_max: the most that feedback may add or take, mW."""
        self._trim_max = trim_mw_max
        self.trim_mw = 0
        self._target_mw: int | None = None

    def ask(self, target_mw: int, response_mw: int | None, saturated: bool) -> int:
        """Return the power to ask for in this cycle, mW, positive discharges.

        target_mw: wanted at the meter until the next call. response_mw: metered mean over the
        last cycle, relative to the baseline; None without a meter. saturated: the elements
        could not do all that was asked, so the error teaches nothing.
        """
        if response_mw is not None and self._target_mw is not None and not saturated:
            error_mw = self._target_mw - response_mw
            trim_mw = self.trim_mw + error_mw * self.GAIN_PCT // 100
            self.trim_mw = max(-self._trim_max, min(self._trim_max, trim_mw))
        self._target_mw = target_mw
        return target_mw + self.trim_mw

    def reset(self) -> None:
        """Forget the last target: a new service begins."""
        self._target_mw = None
