"""A line to an element by its name: a serial port, TCP, a broker or Bluetooth LE.

    tcp:HOST:PORT                   an element that listens, or a serial server
    mqtt:HOST[:PORT]/SITE/ELEMENT   through a broker; mqtts: with TLS
    ble:ADDRESS                     over the radio
    anything else                   a serial port
"""

import ipaddress

from element.protocol.errors import BusError
from host_tools.links.base import Link
from host_tools.links.ports import open_port

SCHEMES = ("tcp:", "mqtt:", "mqtts:", "ble:")
TCP_FORM = "tcp:HOST:PORT"
MQTT_FORM = "mqtt:HOST[:PORT]/SITE/ELEMENT"


def is_line(name: str) -> bool:
    """Return True for the name of a line that is no serial port."""
    return name.startswith(SCHEMES)


def is_cable(name: str) -> bool:
    """Return True for a line that only somebody at the element, or on this machine, holds."""
    if not is_line(name):
        return True
    if not name.startswith("tcp:"):
        return False
    host = _host_and_port(name.removeprefix("tcp:"), None, TCP_FORM)[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_line(name: str) -> Link:
    """Return the line of this name, open. Raises BusError, saying what to do, when it is not."""
    if name.startswith("tcp:"):
        from host_tools.links.tcp_link import TCPLink

        host, port = _host_and_port(name.removeprefix("tcp:"), None, TCP_FORM)
        return TCPLink(host, port)
    if name.startswith(("mqtt:", "mqtts:")):
        return _mqtt(name)
    if name.startswith("ble:"):
        from host_tools.links.ble_link import BLELink

        return BLELink(name.removeprefix("ble:"))
    return open_port(name)


def _host_and_port(text: str, port: int | None, form: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`; port: what it is when none is named."""
    host, colon, number = text.rpartition(":")
    if not colon or "]" in number:
        host, number = text, ""
    if number.isdecimal() and 0 < int(number) < 65536:
        port = int(number)
    elif number or port is None:
        raise BusError("not a line", f"{text}\n  next: write {form}")
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        raise BusError("not a line", f"{text}\n  next: write {form}")
    return host, port


def _mqtt(name: str) -> Link:
    """Return the line through a broker. Its user, password and CA come from the environment."""
    from host_tools.links.mqtt_link import MQTTHub, Secrets

    scheme, _, rest = name.partition(":")
    place, slash, path = rest.partition("/")
    site, _, element = path.partition("/")
    if not slash or not site or len(element) != 16 or element.strip("0123456789abcdef"):
        raise BusError("not a line", f"{name}\n  next: write {MQTT_FORM}, the element's id in "
                                     "full, 16 hexadecimal digits")
    tls = scheme == "mqtts"
    host, port = _host_and_port(place, 8883 if tls else 1883, MQTT_FORM)
    hub = MQTTHub(host, port, site, Secrets.of_environment(), tls)
    try:
        hub.wait_up()
    except BusError:
        hub.close()
        raise
    return hub.link(element, owns_hub=True)
