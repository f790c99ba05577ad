"""Simulated elements on a real broker, on the topics of the firmware's element/link/mqtt_line.py.

One connection serves all of them; to a panel they look as if each had its own.
"""

import selectors
import socket
import threading

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

READ_SIZE = 16_384
KEEPALIVE_S = 10


class Bridge:
    """Sockets on one side, topics on the other. `attach` gives the element's end of its line."""

    def __init__(self, host: str, port: int, site: str) -> None:
        """Raises OSError when the broker is not there."""
        self._site = site
        self._ends: dict[str, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = self._connected
        self._client.on_message = self._message
        self._client.connect(host, port, KEEPALIVE_S)
        self._client.loop_start()
        threading.Thread(target=self._run, daemon=True).start()

    def attach(self, element_id: str) -> socket.socket:
        """Return a socket whose bytes go up and come down for an element."""
        theirs, ours = socket.socketpair()
        self._ends[element_id] = ours
        self._selector.register(ours, selectors.EVENT_READ, element_id)
        self._greet(element_id)
        return theirs

    def _topic(self, element_id: str, name: str) -> str:
        return f"cellwall/{self._site}/{element_id}/{name}"

    def _greet(self, element_id: str) -> None:
        self._client.subscribe(self._topic(element_id, "down"), 0)
        self._client.publish(self._topic(element_id, "state"), b"here", 0, True)

    def _connected(self, *_: object) -> None:
        for element_id in list(self._ends):
            self._greet(element_id)

    def _message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        end = self._ends.get(message.topic.split("/")[2])
        if end is not None and not message.retain:
            end.sendall(message.payload)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select(0.5):
                end = key.fileobj
                assert isinstance(end, socket.socket)
                self._client.publish(self._topic(key.data, "up"), end.recv(READ_SIZE), 0)
