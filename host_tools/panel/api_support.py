"""The API of grid support: measurements in, the mode out, a black start step by step."""

from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI, HTTPException

from host_tools.panel import api_models as models
from host_tools.panel import views
from host_tools.panel.service import Service, unix_ms
from host_tools.support.modes import Measurement

Needs = Callable[[str], Callable[..., str]]
Responses = dict[int | str, dict[str, Any]]


def add_support(app: FastAPI, service: Service, needs: Needs, denied: Responses) -> None:
    """Add the routes. denied: the answers of those who may not."""
    may_dispatch = [Depends(needs("dispatch"))]
    no_such: Responses = {409: {"model": models.Problem, "description": "Not now"}}

    @app.get("/v1/support", dependencies=[Depends(needs("read"))], responses=denied)
    async def support() -> models.SupportReply:
        """The mode, why, and what the grid asks for."""
        return views.support_reply(service, unix_ms())

    @app.post("/v1/measurements", status_code=202, dependencies=may_dispatch, responses=denied)
    async def measurement(given: models.MeasurementRequest) -> models.SupportReply:
        """Take a measurement at the PCC; send one a second at least, or support ends."""
        now_ms = unix_ms()
        # nobody measures in the future: a clock that is ahead would keep an old one fresh
        at_ms = min(now_ms, now_ms if given.at_unix_ms is None else given.at_unix_ms)
        service.support.measure(Measurement(at_ms, given.frequency_mhz, given.voltage_mv,
                                            given.demand_mw, given.place))
        service.step_support(now_ms)
        service.wake()
        return views.support_reply(service, now_ms)

    @app.post("/v1/black-start", dependencies=may_dispatch, responses=denied)
    async def black_start() -> models.SupportReply:
        """Begin a black start; the reply says what is asked for first, or why not."""
        service.support.begin_black_start(unix_ms())
        return views.support_reply(service, unix_ms())

    @app.put("/v1/black-start/facts", dependencies=may_dispatch, responses=denied | no_such)
    async def fact(given: models.FactRequest) -> models.SupportReply:
        """Confirm what a person has seen, or withdraw it, which ends the black start."""
        now_ms = unix_ms()
        if not given.holds:
            service.support.withdraw(given.fact)
        elif not service.support.confirm(given.fact, now_ms):
            raise HTTPException(409, "no person is asked for that now; GET /v1/support says what")
        service.wake()
        return views.support_reply(service, now_ms)
