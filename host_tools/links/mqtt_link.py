"""Lines to elements through an MQTT broker: one connection for all elements of a site.

The topics are those of the element's `link/mqtt_line.py`, QoS 0: the session numbers and repeats
what matters, and a frame that a broker delivers later is one that nobody wants any more.
"""

import asyncio
import os
import secrets
import ssl
import threading
from collections import deque
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt

from element.protocol.errors import BusError
from host_tools.links.background import Background, Mailbox
from host_tools.links.base import Link

KEEPALIVE_S = 10
CONNECT_S_MAX = 5.0
RETRY_S_MIN = 0.25
RETRY_S_MAX = 10.0
# What may wait to be published, over all elements, and what may wait to be read.
OUT_SIZE_MAX = 262_144
INCOMING_MAX = 1024
PAYLOAD_SIZE_MAX = 16_384
# How many elements a broker may tell of: who may publish there could invent any number.
ELEMENTS_MAX = 4096


@dataclass(frozen=True)
class Secrets:
    """What a broker asks for. ca: who signs its certificate; empty: whom this machine trusts."""

    user: str = ""
    password: str = ""
    ca: str = ""

    @classmethod
    def of_environment(cls) -> "Secrets":
        """Read CELLWALL_MQTT_USER, CELLWALL_MQTT_PASSWORD_FILE and CELLWALL_MQTT_CA.

        Raises BusError when the password's file cannot be read.
        """
        path = os.environ.get("CELLWALL_MQTT_PASSWORD_FILE", "")
        password = ""
        if path:
            try:
                password = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise BusError("the broker's password", f"{path}: {error.strerror}") from error
        return cls(os.environ.get("CELLWALL_MQTT_USER", ""), password,
                   os.environ.get("CELLWALL_MQTT_CA", ""))


class MQTTLink(Link):
    """The line to one element; made by `MQTTHub.link`."""

    def __init__(self, hub: "MQTTHub", element: str, owns_hub: bool) -> None:
        self.name = f"{hub.name}/{element}"
        self.lost = 0
        self.box = Mailbox()
        self._hub = hub
        self._element = element
        self._owns_hub = owns_hub

    def fileno(self) -> int:
        """Return a descriptor that is readable when something has come."""
        return self.box.fileno()

    def send(self, data: bytes) -> None:
        if not self._hub.publish(self._element, data):
            self.lost += len(data)

    def receive(self) -> bytes:
        return self.box.take()

    def close(self) -> None:
        self._hub.forget(self._element)
        self.box.close()
        if self._owns_hub:
            self._hub.close()


class MQTTHub:
    """One connection to a broker, made again by itself with pauses of 0.25 s to 10 s.

    why: what ended the last try or connection. lost: bytes that were dropped, over all links.
    """

    def __init__(self, host: str, port: int, site: str, known: Secrets | None = None,
                 tls: bool = False) -> None:
        """tls: the broker's certificate must name host and be signed by the CA.

        Returns at once; `wait_up` waits. Raises BusError for a CA file that is none.
        """
        self.name = f"{'mqtts' if tls else 'mqtt'}:{host}:{port}/{site}"
        self.why = "not connected yet"
        self.lost = 0
        self._host, self._port, self._site = host, port, site
        self._secrets = known or Secrets()
        self._context = self._trusting(self._secrets.ca) if tls else None
        self._links: dict[str, MQTTLink] = {}
        self._here: set[str] = set()
        self._out: deque[tuple[str, bytes]] = deque()
        self._out_size = 0
        self._lock = threading.Lock()
        self._up = threading.Event()
        self._wake: asyncio.Event | None = None
        self._background = Background("mqtt", self._serve)

    @staticmethod
    def _trusting(ca: str) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=ca or None)
        except (OSError, ssl.SSLError) as error:
            raise BusError("the broker's CA", f"{ca}: {error}") from error

    @property
    def is_up(self) -> bool:
        """True while the broker is reached."""
        return self._up.is_set()

    def wait_up(self, limit_s: float = CONNECT_S_MAX) -> None:
        """Wait until the broker is reached. Raises BusError when it is not within limit_s."""
        if not self._up.wait(limit_s):
            raise BusError("no broker", f"{self.name}: {self.why}")

    def elements(self) -> list[str]:
        """Return the ids of the elements that say they are here, in hexadecimal."""
        with self._lock:
            return sorted(self._here)

    def link(self, element: str, owns_hub: bool = False) -> MQTTLink:
        """Return the line to an element by its id in hexadecimal, whether it is here or not."""
        link = MQTTLink(self, element, owns_hub)
        with self._lock:
            self._links[element] = link
        return link

    def forget(self, element: str) -> None:
        """Take no more for this element."""
        with self._lock:
            self._links.pop(element, None)

    def publish(self, element: str, data: bytes) -> bool:
        """Queue bytes for an element; False when they are dropped. Never waits."""
        with self._lock:
            if not self._up.is_set() or self._out_size + len(data) > OUT_SIZE_MAX:
                self.lost += len(data)
                return False
            self._out.append((self._topic(element, "down"), data))
            self._out_size += len(data)
        wake = self._wake
        return wake is not None and self._background.call(wake.set)

    def close(self) -> None:
        """Leave the broker."""
        self._background.stop()

    def _topic(self, element: str, name: str) -> str:
        return f"cellwall/{self._site}/{element}/{name}"

    # in the loop's thread

    async def _serve(self) -> None:
        """Be connected, for ever."""
        self._wake = asyncio.Event()
        pause_s = RETRY_S_MIN
        while True:
            try:
                async with self._client() as client:
                    for name in ("up", "state"):
                        await client.subscribe(self._topic("+", name), qos=0)
                    pause_s = RETRY_S_MIN
                    self.why = ""
                    self._up.set()
                    await self._both(self._receive(client), self._send(client))
            except (aiomqtt.MqttError, OSError, ssl.SSLError) as error:
                self.why = str(error) or type(error).__name__
            finally:
                self._gone()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RETRY_S_MAX)

    def _client(self) -> aiomqtt.Client:
        known = self._secrets
        return aiomqtt.Client(
            self._host, self._port, username=known.user or None,
            password=known.password or None, identifier=f"panel-{secrets.token_hex(6)}",
            timeout=CONNECT_S_MAX, keepalive=KEEPALIVE_S, tls_context=self._context,
            max_queued_incoming_messages=INCOMING_MAX)

    async def _both(self, *parts: Coroutine[Any, Any, None]) -> None:
        """Run the parts until the first one fails, and end the others."""
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _gone(self) -> None:
        """Drop what was to be sent: nobody wants it later. Nobody is known to be here."""
        self._up.clear()
        with self._lock:
            self.lost += self._out_size
            self._out.clear()
            self._out_size = 0
            self._here.clear()

    async def _send(self, client: aiomqtt.Client) -> None:
        assert self._wake is not None
        while True:
            await self._wake.wait()
            self._wake.clear()
            for topic, data in self._taken():
                await client.publish(topic, data, qos=0)

    def _taken(self) -> Iterable[tuple[str, bytes]]:
        with self._lock:
            taken = list(self._out)
            self._out.clear()
            self._out_size = 0
        return taken

    async def _receive(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            parts = message.topic.value.split("/")
            payload = message.payload
            if len(parts) != 4 or not isinstance(payload, bytes) \
                    or len(payload) > PAYLOAD_SIZE_MAX:
                continue
            self._take(parts[2], parts[3], payload, message.retain)

    def _take(self, element: str, name: str, payload: bytes, retained: bool) -> None:
        with self._lock:
            if name == "state":
                self._here.discard(element)
                if payload == b"here" and len(self._here) < ELEMENTS_MAX:
                    self._here.add(element)
                return
            link = self._links.get(element)
        # what a broker has retained was said some time ago
        if link is not None and not retained:
            link.box.put(payload)
