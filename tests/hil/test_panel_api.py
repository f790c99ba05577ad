"""The API against its own schema (schemathesis), and who may do what."""

import asyncio
from collections.abc import Iterator

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from hil.swarm.population import Population
from hil.swarm.site import enrol_into
from host_tools.panel.api import make_app
from host_tools.panel.check import load_site
from host_tools.panel.service import Service, unix_ms

ROLES = ("read", "dispatch", "life-safety", "admin")
TOKENS = {role: f"{role}-" + "t" * 40 for role in ROLES}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that does not run: its building, its lines in no loop."""
    folder = tmp_path_factory.mktemp("api")
    enrol_into(folder / "site", [
        (one, f"tcp:127.0.0.1:{at + 1}")
        for at, one in enumerate(Population.make(2).elements.values())])
    for role, token in TOKENS.items():
        path = folder / f"{role}.token"
        path.write_text(token)
        path.chmod(0o600)
    config = folder / "site.yaml"
    config.write_text(
        "name: API house\nsite: site\nlines:\n  - line: tcp:127.0.0.1:1\n"
        "interlock:\n  points:\n    - {instance: 7, zone: 9, name: smoke 9}\n"
        "api:\n  token_files: {" + ", ".join(f"{role}: {role}.token" for role in ROLES) + "}\n")
    one = Service(load_site(config), lambda *_args, **_fields: None)
    yield one
    one.ledger.close()


# the stream of events has no end: it is tested with the running service
ENDLESS = "/v1/events"


@pytest.mark.parametrize("role", ["admin", "life-safety"])
def test_every_answer_is_as_the_schema_says(service: Service, role: str) -> None:
    """Schemathesis, by hand: its pytest plugin does not know this pytest."""
    service.turned_ms = unix_ms() + 3_600_000  # its loop does not run here
    document = schemathesis.openapi.from_asgi("/openapi.json", make_app(service))
    tried = set()
    for found in document.get_all_operations():
        operation = found.ok()
        if operation.path == ENDLESS:
            continue
        tried.add((operation.method, operation.path))

        @settings(max_examples=20, deadline=None, database=None,
                  suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(headers={"Authorization": f"Bearer {TOKENS[role]}"})

        check()
    assert len(tried) >= 17


@pytest.fixture
def client(service: Service) -> TestClient:
    """A client of the same application."""
    return TestClient(make_app(service))


def ask(client: TestClient, method: str, path: str, role: str | None, **body: object) -> int:
    """Return the status of a request with a role's token."""
    headers = {} if role is None else {"Authorization": f"Bearer {TOKENS[role]}"}
    return client.request(method, path, headers=headers, json=body or None).status_code


@pytest.mark.parametrize(("method", "path", "body", "may"), [
    ("GET", "/v1/capability", {}, set(ROLES)),
    ("GET", "/metrics", {}, set(ROLES)),
    ("POST", "/v1/dispatches", {"key": "role", "power_mw": 0, "duration_s": 5},
     {"dispatch", "admin"}),
    ("DELETE", "/v1/dispatches/999", {}, {"dispatch", "admin"}),
    ("POST", "/v1/inventory/enumerate", {}, {"dispatch", "admin"}),
    ("DELETE", "/v1/quarantine/nobody", {}, {"admin"}),
    ("POST", "/v1/alarms", {"zone": 5}, set(ROLES)),
    ("PUT", "/v1/points/7", {"present_value": "inactive"}, set(ROLES)),
    ("POST", "/v1/release", {"zone": 60_000}, {"life-safety"}),
])
def test_each_role_may_do_what_it_is_named_for(
    client: TestClient, method: str, path: str, body: dict[str, object], may: set[str],
) -> None:
    assert ask(client, method, path, None, **body) == 401
    for role in ROLES:
        status = ask(client, method, path, role, **body)
        assert (status != 403) is (role in may), (role, status)
    headers = {"Authorization": "Bearer " + TOKENS["admin"][:-1]}
    assert client.request(method, path, headers=headers, json=body or None).status_code == 401


def test_a_point_is_an_alarm_at_once_and_releases_nothing(client: TestClient, service: Service
                                                          ) -> None:
    assert ask(client, "PUT", "/v1/points/7", "read", present_value="active") == 200
    alarm = service.aggregator.alarms.of(9)
    assert alarm is not None and alarm.input_on and alarm.source == "smoke 9"
    release = client.post("/v1/release", headers={
        "Authorization": f"Bearer {TOKENS['life-safety']}"}, json={"zone": 9})
    assert release.json()["still_in_alarm"].count(9) == 1
    assert ask(client, "PUT", "/v1/points/7", "read", present_value="inactive") == 200
    assert service.aggregator.alarms.of(9) is not None
    release = client.post("/v1/release", headers={
        "Authorization": f"Bearer {TOKENS['life-safety']}"}, json={"zone": 9})
    assert 9 not in release.json()["still_in_alarm"]


def test_health_names_what_is_not_well_without_a_token(client: TestClient, service: Service
                                                       ) -> None:
    service.turned_ms = unix_ms()
    reply = client.get("/healthz")
    assert reply.status_code == 200 and reply.json()["status"] == "degraded"
    service.turned_ms = unix_ms() - 60_000
    reply = client.get("/healthz")
    assert reply.status_code == 503 and reply.json()["status"] == "failing"


def test_a_listener_gets_events_and_a_slow_one_loses_them(service: Service) -> None:
    async def listened() -> tuple[int, int]:
        queue: asyncio.Queue = asyncio.Queue(2)
        service.listeners.add(queue)
        for at in range(5):
            service.building.tell("test", at, number=at)
        service.listeners.discard(queue)
        return queue.qsize(), queue.get_nowait().fields["number"]

    assert asyncio.run(listened()) == (2, 0)
