"""A whole element and its site: roots rotated, parties revoked, and nobody visits the element."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from element.protocol import codes, schema
from element.protocol.errors import BusError
from host_tools.identity.keyring import Keyring, Party
from host_tools.identity.site import Site
from host_tools.interlock.panel import ReleaseDesk
from host_tools.links.element_port import ElementPort
from host_tools.links.serial_link import SerialLink
from host_tools.provision.cable import Cable

from .memory_element import MemoryElement, on_a_pty
from .test_cable import run

ROLES = ("issuer", "operator", "life_safety")
WAIT_S_MAX = 20.0


@pytest.fixture
def element(tmp_path: Path) -> Iterator[MemoryElement]:
    folder = tmp_path / "flash"
    folder.mkdir()
    with on_a_pty(folder) as served:
        assert served.happens(lambda: served.element.hal.now_ms > 101_500)
        yield served


@pytest.fixture
def site(element: MemoryElement, tmp_path: Path) -> Site:
    """The site with which the element is enrolled."""
    made = Site(tmp_path / "site")
    done("enrol", element.port, "--zone", "2", "--site", str(made.folder))
    return made


def done(*arguments: str) -> str:
    """Run a command that must succeed; return what it prints."""
    code, out, err = run(*arguments)
    assert code == 0, out + err
    return out


def pki(site: Site, *words: str) -> Any:
    """Run `cellwall pki` and return what it says."""
    return json.loads(done("pki", *words, "--site", str(site.folder), "--json"))


def enrolment(element: MemoryElement) -> Any:
    """Return who the element believes it is."""
    return element.element.agent.enrolment


def restart(element: MemoryElement) -> None:
    """Cut the element's power and start it on what is on its flash."""
    with element.lock:
        element.element = element.element.restart()
        element._quiet()
    assert element.happens(lambda: enrolment(element).proven)


def follows(element: MemoryElement, site: Site) -> bool:
    """Return True when the element believes what the site's authority has signed last."""
    with element.lock:
        one = enrolment(element)
        roots = site.pki.roots()
        return bool(one.enrolled and one.pins == [roots[role].pin() for role in ROLES]
                    and one.credential == site.keyring().known[one.element_id].credential
                    and one.revocation_number == site.pki.operator_list()[0])


def contact(element: MemoryElement, site: Site) -> None:
    """Open a session as every tool does, and leave again."""
    with Cable(element.port, site.keyring()) as cable:
        cable.session(WAIT_S_MAX)


def refused(element: MemoryElement, keyring: Keyring) -> str:
    """Return why a party gets no session."""
    with Cable(element.port, keyring) as cable, pytest.raises(BusError) as caught:
        cable.session(WAIT_S_MAX)
    return str(caught.value.value)


def test_an_element_follows_every_root_and_is_not_visited(element: MemoryElement,
                                                          site: Site) -> None:
    first = enrolment(element).credential
    key = enrolment(element).sign_public
    assert follows(element, site)
    for role in ROLES:
        said = pki(site, "rotate", role)
        assert said["role"] == role and said["before"] != said["after"]
    assert not follows(element, site)
    done("doctor", element.port, "--site", str(site.folder))
    assert follows(element, site)
    assert enrolment(element).credential != first and enrolment(element).sign_public == key
    restart(element)
    assert follows(element, site)
    # power, a trip, and its release by the new key
    done("doctor", element.port, "--power", "--site", str(site.folder))
    with element.lock:
        element.element.agent.interlock.trip(codes.TRIP_FIRE)
    done("release", element.port, "--yes", "--site", str(site.folder))
    assert element.element.agent.interlock.cause == codes.TRIP_NONE


def test_several_rotations_are_caught_up_with_in_one_contact(element: MemoryElement,
                                                             site: Site) -> None:
    for role in (*ROLES, "issuer", "operator", "meter", "issuer"):
        pki(site, "rotate", role)
    pki(site, "renew", enrolment(element).element_id.hex(), "--days", "30")
    contact(element, site)
    assert follows(element, site)
    assert [int.from_bytes(pin[:4], "big") for pin in enrolment(element).pins] == [4, 3, 2]
    # without any time between: what was issued last is the newer one
    pki(site, "renew", enrolment(element).element_id.hex(), "--days", "40")
    contact(element, site)
    assert follows(element, site)
    restart(element)
    assert follows(element, site)


def test_keys_of_before_have_nothing_to_say(element: MemoryElement, site: Site) -> None:
    keyring = site.keyring()
    life_safety = site.keys.get("life_safety")
    for role in ROLES[1:]:
        pki(site, "rotate", role)
    contact(element, site)
    assert "party credential not the operator's" in refused(element, keyring)
    with element.lock:
        element.element.agent.interlock.trip(codes.TRIP_FIRE)
    with Cable(element.port, site.keyring()) as cable:
        element_id = cable.session(WAIT_S_MAX)
        cable.set_clock()
        order = ReleaseDesk(life_safety).order(
            element_id, codes.TRIP_FIRE, time.time_ns() // 1_000_000, lambda _, order: None)
        cable.send(schema.RELEASE, {"order": order})
        assert cable.until(lambda: any("release refused" in line for line in cable.log),
                           WAIT_S_MAX)
    assert element.element.agent.interlock.cause == codes.TRIP_FIRE


class Shared:
    """One line on which several parties listen to everything and each says its own."""

    def __init__(self, port: str) -> None:
        self._link = SerialLink(port)
        self.ports: list[ElementPort] = []
        self.heard: list[list[tuple[int, dict[str, Any]]]] = []

    def add(self, keyring: Keyring) -> ElementPort:
        """Return the port of one more party."""
        heard: list[tuple[int, dict[str, Any]]] = []
        self.ports.append(ElementPort(
            str(len(self.ports)), self._link.send, keyring, None, os.urandom,
            lambda kind, fields: heard.append((kind, fields)), lambda element_id: None))
        self.heard.append(heard)
        return self.ports[-1]

    def until(self, what: Callable[[], Any], limit_s: float = WAIT_S_MAX) -> bool:
        """Let everybody work until what() is true; False when limit_s are over before."""
        end_s = time.monotonic() + limit_s
        while not what():
            if time.monotonic() > end_s:
                return False
            data, now_ms = self._link.receive(), time.time_ns() // 1_000_000
            for port in self.ports:
                port.receive(data, now_ms)
                port.tick(now_ms)
            time.sleep(0.01)
        return True

    def close(self) -> None:
        """Give the line back."""
        self._link.close()


@pytest.fixture
def shared(element: MemoryElement) -> Iterator[Shared]:
    made = Shared(element.port)
    yield made
    made.close()


def keyring_of(site: Site, name: str) -> Keyring:
    """Return what a party of its own needs: its key and credential, and the public rest."""
    ours = site.keyring()
    return Keyring(Party(site.keys.get(f"{name}_agree"), site.pki.find(name).credential),
                   ours.known, ours.trust)


def test_an_alarm_trips_and_does_nothing_else(element: MemoryElement, site: Site,
                                              shared: Shared) -> None:
    assert pki(site, "issue", "roof", "--party", "alarm")["kind"] == "alarm"
    panel = shared.add(site.keyring())
    assert shared.until(lambda: panel.has_session)
    panel.send(schema.TIME_SYNC, {"unix_ms": time.time_ns() // 1_000_000,
                                  "record_interval_ms": 10_000})
    assert shared.until(lambda: element.element.agent.clock.is_set)
    roof = shared.add(keyring_of(site, "roof"))
    assert shared.until(lambda: roof.has_session), roof.enrol_error
    agent = element.element.agent
    count = agent.port.session_count
    dropped, steps = agent.port.dropped_count, agent.clock.step_count
    for kind, fields in (
            (schema.SETPOINT, {
                "dispatch_id": 1, "sequence": 1, "power_mw": 50_000, "lease_ms": 5000,
                "service": codes.SERVICE_TEST, "start_unix_ms": time.time_ns() // 1_000_000}),
            (schema.TIME_SYNC, {"unix_ms": time.time_ns() // 1_000_000 - 60_000,
                                "record_interval_ms": 20_000}),
            (schema.OWNER_LIMIT, {"owner": "x", "sequence": 1, "power_mw_discharge_max": 0,
                                  "power_mw_charge_max": 0, "lease_ms": 1000})):
        assert roof.send(kind, fields)
    assert shared.until(lambda: agent.port.dropped_count >= dropped + 3)
    assert agent.clock.step_count == steps and not agent.lease.live
    assert agent.recorder.interval_ms == 10_000 and agent.interlock.cause == codes.TRIP_NONE
    assert roof.send(schema.TRIP, {"cause": codes.TRIP_FIRE, "zone": 2})
    assert shared.until(lambda: agent.interlock.cause == codes.TRIP_FIRE)
    # both hear of it, and the aggregator's session is the one of before
    for heard in shared.heard:
        heard.clear()
    assert shared.until(lambda: all(
        fields["trip_cause"] == codes.TRIP_FIRE for heard in shared.heard
        for kind, fields in heard[-1:] if kind == schema.TELEMETRY)
        and all(schema.TELEMETRY in [kind for kind, _ in heard] for heard in shared.heard))
    assert agent.port.session_count == count and len(agent.port.peers) == 2
    panel.send(schema.INTERROGATE, {"challenge": b"c" * 16})
    assert shared.until(lambda: schema.STATEMENT in [kind for kind, _ in shared.heard[0]])
    assert schema.STATEMENT not in [kind for kind, _ in shared.heard[1]]


def test_a_revoked_alarm_is_refused_by_name(element: MemoryElement, site: Site,
                                            shared: Shared) -> None:
    pki(site, "issue", "roof", "--party", "alarm")
    keyring = keyring_of(site, "roof")
    roof = shared.add(keyring)
    assert shared.until(lambda: roof.has_session), roof.enrol_error
    pki(site, "revoke", "roof", "--reason", "key-compromised")
    port = element.element.agent.port
    assert codes.PARTY_ALARM in [peer.party for peer in port.peers]  # it has not been told yet
    # the aggregator's next contact brings the list; with it the session ends
    panel = shared.add(site.keyring())
    assert shared.until(lambda: panel.has_session), panel.enrol_error
    assert [peer.party for peer in port.peers] == [codes.PARTY_AGGREGATOR]
    shared.ports.remove(roof)
    restart(element)
    assert enrolment(element).revocation_number == 1
    shared.close()
    assert "party credential revoked" in refused(element, keyring)
    contact(element, site)


def test_an_aggregator_that_is_revoked_is_followed_by_another(element: MemoryElement,
                                                              site: Site) -> None:
    stolen = site.keyring()
    contact(element, site)
    before = stolen.party.agree.public
    pki(site, "revoke", "aggregator", "--reason", "key-compromised")
    assert "party credential revoked" in refused(element, site.keyring())
    pki(site, "issue", "aggregator", "--party", "aggregator")
    assert site.keyring().party.agree.public != before
    contact(element, site)
    assert "party credential revoked" in refused(element, stolen)
    done("doctor", element.port, "--site", str(site.folder))
    # it goes on as any other: its name is its own again, and the roots go on too
    pki(site, "renew", "aggregator", "--days", "90")
    pki(site, "rotate", "operator")
    contact(element, site)
    assert follows(element, site)


@pytest.mark.parametrize("name", ["issuer", "operator", "life_safety", "meter", "issuer.next"])
def test_no_party_gets_a_roots_key(tmp_path: Path, name: str) -> None:
    site = Site(tmp_path)
    site.create()
    code, _, err = run("pki", "issue", name, "--party", "alarm", "--site", str(site.folder))
    assert code == 3 and "name of a root's key" in err and "another name" in err
    assert not site.keys.has(f"{name}_agree")
