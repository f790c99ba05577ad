"""The closed loop at the PCC: feed-forward of the target, integral trim on the meter. Pure."""


class MeterLoop:
    """Turn a target at the meter into the power to ask of the elements.

    The response is the metered export plus the declared baseline; the trim learns, cycle by
    cycle, what the load and the losses take away from what was asked. It learns from settled
    cycles alone: in the first one after a step the error is the elements' way to the new value,
    a fraction of the step, and no disturbance.

    The gain is that of a Kalman filter for a disturbance that wanders, by one cycle's step,
    some three times as far as the meter's noise: close to one.
    """

    GAIN_PCT = 85
    # A target that moves by less than this share of trim_mw_max counts as standing still.
    SETTLED_SHARE = 40

    def __init__(self, trim_mw_max: int) -> None:
        """trim_mw_max: the most that feedback may add or take, mW."""
        self._trim_max = trim_mw_max
        self._settled_max = trim_mw_max // self.SETTLED_SHARE
        self.trim_mw = 0
        self._target_mw: int | None = None
        self._settled = False

    def ask(self, target_mw: int, response_mw: int | None, disturbed: bool) -> int:
        """Return the power to ask for in this cycle, mW, positive discharges.

        target_mw: wanted at the meter until the next call. response_mw: metered mean over the
        last cycle, relative to the baseline; None without a meter. disturbed: in that cycle the
        elements could not do all that was asked, or an on/off one was switched, so its error
        teaches nothing.
        """
        learns = self._settled and not disturbed
        if response_mw is not None and self._target_mw is not None and learns:
            error_mw = self._target_mw - response_mw
            trim_mw = self.trim_mw + error_mw * self.GAIN_PCT // 100
            self.trim_mw = max(-self._trim_max, min(self._trim_max, trim_mw))
        before_mw = self._target_mw
        self._settled = before_mw is not None and abs(target_mw - before_mw) <= self._settled_max
        self._target_mw = target_mw
        return target_mw + self.trim_mw

    def reset(self) -> None:
        """Forget the last target: a new service begins."""
        self._target_mw = None
        self._settled = False
