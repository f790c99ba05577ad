"""A Shelly switch of the second generation and later through an MQTT broker.

A request goes to PREFIX/rpc with our own topic as `src`; the answer comes to SRC/rpc.
Ref: Shelly API documentation, Gen2, MQTT.
"""

import json
import os
import queue
import threading
import time
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from .base import Setup
from .shelly import Shelly

CONNECT_S_MAX = 3.0
KEEPALIVE_S = 5


class ShellyMQTT(Shelly):
    """One output of a Shelly. address: HOST:PORT/PREFIX of the broker and the switch's topic."""

    def __init__(self, setup: Setup, output: int = 0) -> None:
        super().__init__(setup, output)
        place, _, self._prefix = setup.address.partition("/")
        self._host, _, port = place.rpartition(":")
        self._port = int(port)
        self._source = f"cellwall-{os.getpid()}-{os.urandom(4).hex()}"
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue(64)
        self._up = threading.Event()
        self._number = 0
        self._client: mqtt.Client | None = None

    def close(self) -> None:
        with self.lock:
            client, self._client = self._client, None
            self._up.clear()
            if client is not None:
                client.disconnect()
                client.loop_stop()

    def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            client = self._connected()
            self._number += 1
            number = self._number
            client.publish(f"{self._prefix}/rpc", json.dumps(
                {"id": number, "src": self._source, "method": method, "params": params}), qos=0)
            end_s = time.monotonic() + self.setup.timeout_s
            while True:
                try:
                    answer = self._answers.get(timeout=max(0.0, end_s - time.monotonic()))
                except queue.Empty:
                    raise self.gone(f"no answer to {method} in {self.setup.timeout_s:g} s") \
                        from None
                if answer.get("id") == number:
                    break
            self.tap(self.name, "rpc", [method, params, answer])
        if not isinstance(answer.get("result"), dict):
            raise self.wrong(f"{method}: {answer.get('error', answer)}")
        return dict(answer["result"])

    def _connected(self) -> mqtt.Client:
        """Return the client, connected to the broker. Raises BusError."""
        if self._client is None:
            client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self._source)
            client.reconnect_delay_set(1, 2)
            client.on_connect = self._on_connect
            client.on_disconnect = self._on_disconnect
            client.on_message = self._on_message
            try:
                client.connect_async(self._host, self._port, KEEPALIVE_S)
                client.loop_start()
            except (OSError, ValueError) as error:
                raise self.gone(error) from error
            self._client = client
        if not self._up.wait(CONNECT_S_MAX):
            raise self.gone("the broker does not answer")
        return self._client

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(f"{self._source}/rpc")
        self._up.set()

    def _on_disconnect(self, *_: Any) -> None:
        self._up.clear()

    def _on_message(self, client: mqtt.Client, data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            answer = json.loads(message.payload)
        except ValueError:
            return  # not ours: the next question has its own number
        if isinstance(answer, dict) and not self._answers.full():
            self._answers.put(answer)
