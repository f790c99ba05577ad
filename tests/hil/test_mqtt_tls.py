"""MQTT over TLS at both ends: the pinned CA and the name are checked, nothing waits for it."""

import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from element.protocol.errors import BusError
from host_tools.links.mqtt_link import MQTTHub, Secrets
from tests.hil.line_process import ID_HEX, Broker, LineElement, until

LATE_MS_MAX = 500
SITE = "house"
NAME = "broker.house"
DAY = datetime.timedelta(days=1)


class Authority:
    """Who signs certificates. Its own is in `pem` and `der`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._signed(self._name, self._key, None)
        self.pem = folder / f"{name}.pem"
        self.der = folder / f"{name}.der"
        self.pem.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self.der.write_bytes(self._certificate.public_bytes(serialization.Encoding.DER))

    def _signed(self, subject: x509.Name, key: Any, names: list[x509.GeneralName] | None
                ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            self._name, subject, key.public_key(), x509.random_serial_number(), now - DAY,
            now + DAY).add_extension(
                x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
        if names is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def serve(self, name: str) -> str:
        """Return the lines of a broker's file with a certificate for this name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(subject, key, [
            x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        (self._folder / "broker.pem").write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM))
        (self._folder / "broker.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        return (f"allow_anonymous true\ncertfile {self._folder / 'broker.pem'}\n"
                f"keyfile {self._folder / 'broker.key'}\n")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The site's own CA."""
    return Authority(tmp_path, "site")


@pytest.fixture
def broker(tmp_path: Path, authority: Authority) -> Iterator[Broker]:
    """A broker with a certificate of the site's CA."""
    broker = Broker(tmp_path, authority.serve(NAME))
    yield broker
    broker.stop()


def settings(broker: Broker, ca: Path, name: str = NAME) -> dict[str, Any]:
    """Return the element's settings for a broker with TLS."""
    return {"broker": "127.0.0.1", "port": broker.port, "site": SITE, "ca": str(ca), "name": name}


def test_both_ends_trust_the_site_s_ca_and_a_broker_that_was_away_is_found_again(
        micropython: Path, tmp_path: Path, broker: Broker, authority: Authority) -> None:
    element = LineElement(micropython, tmp_path, "mqtt", settings(broker, authority.der))
    hub = MQTTHub("127.0.0.1", broker.port, SITE, Secrets(ca=str(authority.pem)), tls=True)
    until(lambda: hub.elements() == [ID_HEX])
    link = hub.link(ID_HEX)
    element("set_echo(True)")
    data = bytearray()

    def echoed(size: int) -> bool:
        data.extend(link.receive())
        return len(data) >= size

    every = bytes(range(256)) * 15
    link.send(every)
    until(lambda: echoed(len(every)))
    assert data == every
    element("settle()")
    broker.stop()
    until(lambda: not element.is_up() and not hub.is_up)
    broker.start()
    until(lambda: element.is_up() and hub.is_up and hub.elements() == [ID_HEX])
    late_ms, longest_us = element.number("late_ms"), element.number("look_us")
    print(f"mqtt tls again: tick late {late_ms} ms at most, look {longest_us} us")
    assert late_ms < LATE_MS_MAX
    data.clear()
    link.send(b"again")
    until(lambda: echoed(5))
    hub.close()
    element.end()


def test_a_handshake_waits_until_nothing_conducts(
        micropython: Path, tmp_path: Path, broker: Broker, authority: Authority) -> None:
    element = LineElement(micropython, tmp_path, "mqtt", settings(broker, authority.der))
    until(element.is_up)
    element("setattr(hal, 'enabled', True)")
    ticks = element.number("tick_count")
    until(lambda: element.number("tick_count") > ticks + 5)
    assert element.is_up()  # a line that is there stays
    broker.stop()
    until(lambda: not element.is_up())
    broker.start()
    tries = element("line.why")
    ticks = element.number("tick_count")
    until(lambda: element.number("tick_count") > ticks + 100)
    assert not element.is_up() and element("line.why") == tries
    element("setattr(hal, 'enabled', False)")
    until(element.is_up)
    element.end()


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_an_element_refuses_a_certificate_that_is_not_its_broker_s(
        micropython: Path, tmp_path: Path, broker: Broker, authority: Authority,
        wrong: str) -> None:
    other = Authority(tmp_path, "other")
    ca, name = (other.der, NAME) if wrong == "authority" else (authority.der, "other.house")
    element = LineElement(micropython, tmp_path, "mqtt", settings(broker, ca, name))
    until(lambda: "broker gone" in element("line.why"))
    print(element("line.why"))
    assert "certificate" in element("line.why").lower()
    assert element.number("line.made_count") == 0
    element.end()


def test_a_panel_refuses_a_certificate_of_another_ca(
        tmp_path: Path, broker: Broker) -> None:
    other = Authority(tmp_path, "other")
    hub = MQTTHub("127.0.0.1", broker.port, SITE, Secrets(ca=str(other.pem)), tls=True)
    with pytest.raises(BusError, match="certificate"):
        hub.wait_up(2)
    hub.close()
    with pytest.raises(BusError, match="CA"):
        MQTTHub("127.0.0.1", broker.port, SITE, Secrets(ca=str(tmp_path / "none")), tls=True)


def test_an_element_without_its_ca_connects_to_nobody(
        micropython: Path, tmp_path: Path, broker: Broker) -> None:
    element = LineElement(micropython, tmp_path, "mqtt",
                          settings(broker, tmp_path / "forgotten.der"))
    until(lambda: "no line" in element("line.why"))
    ticks = element.number("tick_count")
    until(lambda: element.number("tick_count") > ticks + 20)
    assert element.number("line.made_count") == 0 and element("line._socket") == "None"
    element.end()
