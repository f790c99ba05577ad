"""A Shelly switch over HTTP: each call is a GET of /rpc/METHOD."""

from typing import Any

import httpx

from .base import Setup
from .shelly import Shelly


class ShellyHTTP(Shelly):
    """One output of a Shelly. address: HOST or HOST:PORT."""

    def __init__(self, setup: Setup, output: int = 0) -> None:
        super().__init__(setup, output)
        self._client = httpx.Client(base_url=f"http://{setup.address}", timeout=setup.timeout_s,
                                    trust_env=False)

    def close(self) -> None:
        with self.lock:
            self._client.close()
            self._client = httpx.Client(base_url=f"http://{self.setup.address}",
                                        timeout=self.setup.timeout_s, trust_env=False)

    def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            try:
                # in a query a switch is "true" or "false", and a time without needless digits
                answer = self._client.get(f"/rpc/{method}", params={
                    name: f"{value:g}" if isinstance(value, float) else value
                    for name, value in params.items()})
                fields = answer.json()
            except (httpx.HTTPError, ValueError) as error:
                raise self.gone(str(error) or type(error).__name__) from error
            self.tap(self.name, "rpc", [method, params, fields])
        if answer.status_code != httpx.codes.OK or not isinstance(fields, dict):
            raise self.wrong(f"{method}: {answer.status_code} {answer.text[:80]}")
        return fields
