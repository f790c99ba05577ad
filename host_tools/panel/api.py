"""The REST API: values, instructions, alarms and releases, with a token for each role.

Anyone with a token may put a zone into the safe state; only the life-safety token releases.
"""

import asyncio
import contextlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.metadata import version
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Path, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from element.protocol.errors import RangeError
from host_tools.envelope.capability import SERVICE_NUMBERS
from host_tools.panel import api_models as models
from host_tools.panel import metrics, views
from host_tools.panel.api_support import Needs, add_support
from host_tools.panel.building import Event
from host_tools.panel.service import Service, unix_ms

READ, DISPATCH, LIFE_SAFETY, ADMIN = "read", "dispatch", "life-safety", "admin"
# Who may do what a role is named for.
_MAY = {
    READ: {READ, DISPATCH, LIFE_SAFETY, ADMIN}, DISPATCH: {DISPATCH, ADMIN},
    LIFE_SAFETY: {LIFE_SAFETY}, ADMIN: {ADMIN},
}
LISTENERS_MAX = 32
QUEUE_MAX = 256
LIVE_S = 1.0
_DENIED: dict[int | str, dict[str, Any]] = {
    401: {"model": models.Problem, "description": "No token, or an unknown one"},
    403: {"model": models.Problem, "description": "The token's role may not do this"}}
_MISSING: dict[int | str, dict[str, Any]] = {
    404: {"model": models.Problem, "description": "Not here"}}
_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": models.Problem, "description": "Key of another instruction, or bad times"}}
ElementId = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


class Tokens:
    """The tokens of a service, by role. Compared in constant time."""

    def __init__(self, service: Service) -> None:
        loaded = service.loaded
        self._by_role = {
            role: loaded.at(path).read_text(encoding="utf-8").strip()
            for role, path in loaded.config.api.token_files.items()}

    def role(self, token: str) -> str | None:
        """Return the role of a token, None for an unknown one."""
        found = None
        for role, known in self._by_role.items():
            if hmac.compare_digest(known.encode(), token.encode()):
                found = role
        return found


def make_app(service: Service) -> FastAPI:
    """Return the API of a service."""
    # the usual pages for people fetch their scripts from the Internet, which a panel has not
    app = FastAPI(title="Cellwall aggregator", version=version("cellwall"), docs_url=None,
                  redoc_url=None,
                  description=f"The building {service.loaded.config.name} as one resource.")
    bearer = HTTPBearer(auto_error=False)
    tokens = Tokens(service)

    def needs(role: str) -> Callable[..., str]:
        def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> str:
            found = tokens.role(given.credentials) if given is not None else None
            if found is None:
                raise HTTPException(401, "send a token: Authorization: Bearer ...",
                                    {"WWW-Authenticate": "Bearer"})
            if found not in _MAY[role]:
                raise HTTPException(403, f"the {found} token may not do this; {role} may")
            return found

        return check

    _add_reading(app, service, needs)
    _add_dispatching(app, service, needs)
    _add_life_safety(app, service, needs)
    add_support(app, service, needs, _DENIED)
    return app


def _add_reading(app: FastAPI, service: Service, needs: Needs) -> None:
    reading = {"dependencies": [Depends(needs(READ))], "responses": _DENIED}

    @app.get("/healthz", responses={503: {"model": models.HealthReply,
                                          "description": "The service is failing"}})
    async def health(response: Response) -> models.HealthReply:
        """Is the service well? No token is needed."""
        reply = views.health_reply(service, unix_ms())
        if reply.status == "failing":
            response.status_code = 503
        return reply

    @app.get("/metrics", response_class=Response, **reading)  # type: ignore[arg-type]
    async def prometheus() -> Response:
        """Metrics for Prometheus."""
        return Response(metrics.render(service), media_type="text/plain; version=0.0.4")

    @app.get("/v1/capability", **reading)  # type: ignore[arg-type]
    async def capability() -> models.CapabilityReply:
        """What the building can do now, by class of service."""
        return views.capability_reply(service, unix_ms())

    @app.get("/v1/elements", **reading)  # type: ignore[arg-type]
    async def elements() -> list[models.ElementReply]:
        """Every element, in the order of ids."""
        now_ms = unix_ms()
        return [views.element_reply(service, view, now_ms)
                for view in service.aggregator.inventory.views()]

    @app.get("/v1/elements/{element_id}", dependencies=[Depends(needs(READ))],
             responses=_DENIED | _MISSING)
    async def element(element_id: ElementId) -> models.ElementReply:
        """One element."""
        view = service.aggregator.inventory.get(bytes.fromhex(element_id))
        if view is None:
            raise HTTPException(404, f"no element {element_id}; GET /v1/elements lists them")
        return views.element_reply(service, view, unix_ms())

    @app.get("/v1/inventory", **reading)  # type: ignore[arg-type]
    async def inventory() -> models.InventoryReply:
        """Who is in the building, and what changed last."""
        return views.inventory_reply(service, unix_ms())

    @app.get("/v1/quarantine", **reading)  # type: ignore[arg-type]
    async def quarantine() -> list[models.QuarantineReply]:
        """Who may not take part, and why."""
        return [models.QuarantineReply(what=one.what, why=one.why, since_unix_ms=one.since_ms)
                for one in service.aggregator.quarantine.entries()]

    @app.get("/v1/events", response_class=StreamingResponse,
             dependencies=[Depends(needs(READ))],
             responses=_DENIED | {
                 200: {"content": {"text/event-stream": {}}},
                 503: {"model": models.Problem, "description": "Too many listeners"}})
    async def events() -> StreamingResponse:
        """Events and live values, as server-sent events."""
        if len(service.listeners) >= LISTENERS_MAX:
            raise HTTPException(503, f"{LISTENERS_MAX} listen already")
        return StreamingResponse(_live(service), media_type="text/event-stream")


async def _live(service: Service) -> AsyncIterator[str]:
    """Yield events as they happen, and once a second what the building does."""
    queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_MAX)
    service.listeners.add(queue)
    try:
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), LIVE_S)
                body = {"at_unix_ms": event.at_unix_ms} | event.fields
                yield f"id: {event.number}\nevent: {event.kind}\ndata: {json.dumps(body)}\n\n"
            except TimeoutError:
                last = service.aggregator.last_split
                body = {"at_unix_ms": unix_ms(),
                        "asked_mw": last.asked_mw if last else 0,
                        "admitted_mw": last.admitted_mw if last else 0,
                        "elements_counted": service.aggregator.fleet.counted}
                yield f"event: live\ndata: {json.dumps(body)}\n\n"
    finally:
        service.listeners.discard(queue)


def _add_dispatching(app: FastAPI, service: Service, needs: Needs) -> None:
    building = service.building

    @app.get("/v1/dispatches", dependencies=[Depends(needs(READ))], responses=_DENIED)
    async def dispatches(count: Annotated[int, Query(ge=1, le=1000)] = 100
                         ) -> list[models.DispatchReply]:
        """The newest instructions, the newest first."""
        return [views.dispatch_reply(one) for one in building.dispatches.newest(count)]

    @app.post("/v1/dispatches", status_code=201, responses=_DENIED | _CONFLICT)
    async def submit(asked: models.DispatchRequest,
                     role: Annotated[str, Depends(needs(DISPATCH))]) -> models.DispatchReply:
        """Instruct the building. The reply says what was admitted, and why not all of it."""
        now_ms = unix_ms()
        known = building.dispatches.find(f"{role}:{asked.key}")
        start_ms = asked.start_unix_ms
        if start_ms is None:  # a repeated request begins when the first one did
            start_ms = known.start_unix_ms if known is not None else now_ms
        try:
            filed = building.submit(
                f"{role}:{asked.key}", "api", asked.power_mw, SERVICE_NUMBERS[asked.service],
                start_ms, start_ms + asked.duration_s * 1000, asked.partial, now_ms)
        except RangeError as error:
            raise HTTPException(409, f"{error.code}: {error.value}") from error
        service.wake()
        return views.dispatch_reply(filed)

    @app.get("/v1/dispatches/{number}", dependencies=[Depends(needs(READ))],
             responses=_DENIED | _MISSING)
    async def dispatch(number: Number) -> models.DispatchReply:
        """One instruction."""
        found = building.dispatches.get(number)
        if found is None:
            raise HTTPException(404, f"no instruction {number}")
        return views.dispatch_reply(found)

    @app.delete("/v1/dispatches/{number}", dependencies=[Depends(needs(DISPATCH))],
                responses=_DENIED | _MISSING)
    async def cancel(number: Number) -> models.DispatchReply:
        """End an instruction now."""
        found = building.cancel(number, unix_ms())
        if found is None:
            raise HTTPException(404, f"no instruction {number}")
        service.wake()
        return views.dispatch_reply(found)

    @app.post("/v1/inventory/enumerate", status_code=202, responses=_DENIED,
              dependencies=[Depends(needs(DISPATCH))])
    async def enumerate_now() -> models.InventoryReply:
        """Begin a full round of discovery now, as after a retrofit."""
        building.enumerate(unix_ms())
        service.wake()
        return views.inventory_reply(service, unix_ms())

    @app.delete("/v1/quarantine/{what}", dependencies=[Depends(needs(ADMIN))],
                responses=_DENIED | _MISSING)
    async def clear(what: Annotated[str, Path(max_length=256)]) -> list[models.QuarantineReply]:
        """Let an element or line take part again."""
        if not service.aggregator.clear_quarantine(what):
            raise HTTPException(404, f"{what} is not in quarantine")
        return [models.QuarantineReply(what=one.what, why=one.why, since_unix_ms=one.since_ms)
                for one in service.aggregator.quarantine.entries()]


def _add_life_safety(app: FastAPI, service: Service, needs: Needs) -> None:
    building = service.building

    @app.get("/v1/alarms", dependencies=[Depends(needs(READ))], responses=_DENIED)
    async def alarms() -> list[models.AlarmReply]:
        """The zones in alarm."""
        return views.alarm_replies(service)

    @app.post("/v1/alarms", status_code=201, responses=_DENIED)
    async def alarm(asked: models.AlarmRequest, role: Annotated[str, Depends(needs(READ))]
                    ) -> list[models.AlarmReply]:
        """Put a zone into the safe state. Any token may."""
        building.alarm(asked.zone, unix_ms(), f"{asked.source} ({role})")
        service.wake()
        return views.alarm_replies(service)

    @app.post("/v1/release", dependencies=[Depends(needs(LIFE_SAFETY))], responses=_DENIED)
    async def release(asked: models.ReleaseRequest) -> models.ReleaseReply:
        """Release elements with orders signed by the life-safety key."""
        orders = building.release(unix_ms(), asked.zone)
        service.wake()
        return models.ReleaseReply(orders=orders, still_in_alarm=[
            one.zone for one in service.aggregator.alarms.all()])

    @app.get("/v1/points", dependencies=[Depends(needs(READ))], responses=_DENIED)
    async def points() -> list[models.PointReply]:
        """The points that a building-management system writes."""
        return [service.points.reply(instance) for instance in sorted(service.points.by_instance)]

    @app.put("/v1/points/{instance}", dependencies=[Depends(needs(READ))],
             responses=_DENIED | _MISSING)
    async def write_point(instance: Annotated[int, Path(ge=0, le=4_194_302)],
                          value: models.PointValue) -> models.PointReply:
        """Write a point's present value: active is an alarm at once; inactive releases nothing."""
        if instance not in service.points.by_instance:
            raise HTTPException(404, f"no point {instance} in the configuration")
        service.points.write(instance, value.present_value == "active", unix_ms())
        service.wake()
        return service.points.reply(instance)


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the service has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def serve(service: Service) -> None:
    """Run a service with its API until it is stopped."""
    api = service.loaded.config.api
    server = _Server(uvicorn.Config(
        make_app(service), host=api.host, port=api.port, log_level="warning", access_log=False,
        timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    if serving.done():
        serving.result()
        return
    sockets = server.servers[0].sockets
    service.building.tell("api", unix_ms(), host=api.host, port=sockets[0].getsockname()[1],
                          roles=sorted(api.token_files))
    try:
        await service.run()
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
