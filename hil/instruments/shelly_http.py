"""A Shelly switch of the second generation and later over HTTP.

Ref: Shelly API documentation, Gen2, `Switch.Set`, `Switch.GetStatus`, `Shelly.GetDeviceInfo`.
"""

from typing import Any

import httpx

from .base import Identity, Setup
from .switch import Switch, SwitchState


def identity_of(info: dict[str, Any]) -> Identity:
    """Return the identity in an answer of `Shelly.GetDeviceInfo`."""
    return Identity("Shelly", str(info.get("model", "")), str(info.get("id", "")),
                    str(info.get("ver", "")))


def state_of(status: dict[str, Any]) -> SwitchState:
    """Return the state in an answer of `Switch.GetStatus`. Raises KeyError, TypeError."""
    power = status.get("apower")
    return SwitchState(bool(status["output"]), None if power is None else float(power))


class ShellyHTTP(Switch):
    """One output of a Shelly. address: HOST or HOST:PORT."""

    def __init__(self, setup: Setup, output: int = 0) -> None:
        super().__init__(setup)
        self._output = output
        self._client = httpx.Client(base_url=f"http://{setup.address}", timeout=setup.timeout_s,
                                    trust_env=False)

    def identify(self) -> Identity:
        return identity_of(self._call("Shelly.GetDeviceInfo"))

    def set(self, on: bool, off_after_s: float | None = None) -> None:
        params: dict[str, Any] = {"id": self._output, "on": "true" if on else "false"}
        if off_after_s is not None:
            params["toggle_after"] = f"{off_after_s:g}"
        self._call("Switch.Set", params)

    def state(self) -> SwitchState:
        status = self._call("Switch.GetStatus", {"id": self._output})
        try:
            return state_of(status)
        except (KeyError, TypeError, ValueError) as error:
            raise self.wrong(f"no state of a switch: {status}") from error

    def close(self) -> None:
        with self.lock:
            self._client.close()
            self._client = httpx.Client(base_url=f"http://{self.setup.address}",
                                        timeout=self.setup.timeout_s, trust_env=False)

    def _call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        with self.lock:
            try:
                answer = self._client.get(f"/rpc/{method}", params=params or {})
                fields = answer.json()
            except (httpx.HTTPError, ValueError) as error:
                raise self.gone(str(error) or type(error).__name__) from error
            self.tap(self.name, "rpc", [method, params or {}, fields])
        if answer.status_code != httpx.codes.OK or not isinstance(fields, dict):
            raise self.wrong(f"{method}: {answer.status_code} {answer.text[:80]}")
        return fields
