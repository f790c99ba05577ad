"""A Shelly switch of the second generation and later, whatever carries its RPC.

Ref: Shelly API documentation, Gen2, `Switch.Set`, `Switch.GetStatus`, `Shelly.GetDeviceInfo`.
"""

from typing import Any

from .base import Identity, Setup
from .switch import Switch, SwitchState


class Shelly(Switch):
    """One output of a Shelly; a subclass carries its calls."""

    def __init__(self, setup: Setup, output: int = 0) -> None:
        super().__init__(setup)
        self._output = output

    def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Ask, and return the answer to this very question. Raises BusError."""
        raise NotImplementedError

    def identify(self) -> Identity:
        info = self._call("Shelly.GetDeviceInfo", {})
        return Identity("Shelly", str(info.get("model", "")), str(info.get("id", "")),
                        str(info.get("ver", "")))

    def set(self, on: bool, off_after_s: float | None = None) -> None:
        params: dict[str, Any] = {"id": self._output, "on": on}
        if off_after_s is not None:
            params["toggle_after"] = off_after_s
        self._call("Switch.Set", params)

    def state(self) -> SwitchState:
        status = self._call("Switch.GetStatus", {"id": self._output})
        try:
            power = status.get("apower")
            return SwitchState(bool(status["output"]), None if power is None else float(power))
        except (KeyError, TypeError, ValueError) as error:
            raise self.wrong(f"no state of a switch: {status}") from error
