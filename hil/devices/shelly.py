"""Emulate a Shelly Plus switch: RPC over HTTP and over MQTT, with `toggle_after` in the switch.

The timer is in `Contact` and asks nobody: it ends whoever started it. Ref: Shelly API
documentation, Gen2: `Switch.Set`, `Switch.GetStatus`, `Shelly.GetDeviceInfo`, MQTT topics.
"""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from .endpoint import HOST, JOIN_S_MAX, Endpoint

UNKNOWN_METHOD, BAD_ARGUMENT = 404, -103


class Contact:
    """The relay inside: state, timer, power through it. power_w: what flows while it is on."""

    def __init__(self, serial: str, power_w: Callable[[], float] = lambda: 0.0) -> None:
        self.serial = serial
        self.sets_count = 0
        self._power_w = power_w
        self._on = False
        self._turn: tuple[bool, float] | None = None  # (state after it, when, monotonic s)
        self._began_unix_s = 0.0
        self._lock = threading.Lock()

    @property
    def on(self) -> bool:
        """The contact now; the timer counts though nobody talks to the switch."""
        with self._lock:
            if self._turn is not None and time.monotonic() >= self._turn[1]:
                self._on, self._turn = self._turn[0], None
            return self._on

    def power_off(self) -> None:
        """Lose the supply: the relay drops, and stays so after it is back."""
        with self._lock:
            self._on, self._turn = False, None

    def rpc(self, method: str, params: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """Return (result, error text) of a call."""
        if method == "Shelly.GetDeviceInfo":
            return {"name": None, "id": self.serial, "mac": "A8032ABE54DC", "slot": 0,
                    "model": "SNSW-001P16EU", "gen": 2, "fw_id": "20230913-112234/1.0.0",
                    "ver": "1.0.0", "app": "Plus1PM", "auth_en": False, "auth_domain": None}, ""
        if params.get("id") != 0:
            return {}, "Argument 'id', value is out of range!"
        if method == "Switch.GetStatus":
            return self._status(), ""
        if method != "Switch.Set":
            return {}, f"No handler for {method}"
        wanted, after_s = params.get("on"), params.get("toggle_after")
        if not isinstance(wanted, bool):
            return {}, "Missing or bad argument 'on'!"
        was_on = self.on
        with self._lock:
            self.sets_count += 1
            self._on = wanted
            self._began_unix_s = time.time()
            self._turn = None if after_s is None else (
                not wanted, time.monotonic() + float(after_s))
        return {"was_on": was_on}, ""

    def _status(self) -> dict[str, Any]:
        on = self.on
        status: dict[str, Any] = {
            "id": 0, "source": "HTTP_in", "output": on,
            "apower": round(self._power_w(), 1) if on else 0.0, "voltage": 230.1,
            "current": 0.0, "aenergy": {"total": 0.0}, "temperature": {"tC": 41.2}}
        with self._lock:
            if self._turn is not None:
                status["timer_started_at"] = round(self._began_unix_s, 2)
                status["timer_duration"] = round(self._turn[1] - time.monotonic(), 2)
        return status


class HTTPShelly(Endpoint):
    """A contact at http://127.0.0.1:PORT/rpc/METHOD?name=value."""

    def __init__(self, contact: Contact, port: int = 0) -> None:
        self.contact = contact
        self._port = port
        self._server: ThreadingHTTPServer | None = None

    def replug(self) -> None:
        if self.plugged:
            return
        contact = self.contact

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                params = {name: _value(text) for name, text in parse_qsl(parts.query)}
                result, error = contact.rpc(parts.path.removeprefix("/rpc/"), params)
                found = not error
                body = json.dumps(result if found else {
                    "code": BAD_ARGUMENT, "message": error}).encode()
                self.send_response(200 if found else 500)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing: stderr belongs to whoever runs the rig."""

        self._server = ThreadingHTTPServer((HOST, self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        self.address = f"{HOST}:{self._port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.plugged = True

    def unplug(self) -> None:
        if self._server is not None and self.plugged:
            self.plugged = False
            self._server.shutdown()
            self._server.server_close()


def _value(text: str) -> Any:
    """Return a query's value as the switch understands it."""
    try:
        return json.loads(text)
    except ValueError:
        return text


class MQTTShelly(Endpoint):
    """A contact behind a broker: PREFIX/rpc, PREFIX/status/switch:0, PREFIX/online."""

    def __init__(self, contact: Contact, host: str, port: int, prefix: str) -> None:
        self.contact = contact
        self._broker = (host, port)
        self._prefix = prefix
        self.address = f"{host}:{port}/{prefix}"
        self._client: mqtt.Client | None = None
        self._timer: threading.Timer | None = None

    def replug(self) -> None:
        if self.plugged:
            return
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self._prefix)
        up = threading.Event()
        client.will_set(f"{self._prefix}/online", "false", retain=True)

        def connected(*_: Any) -> None:
            client.subscribe(f"{self._prefix}/rpc")

        def subscribed(*_: Any) -> None:
            client.publish(f"{self._prefix}/online", "true", retain=True)
            up.set()

        client.on_connect, client.on_subscribe = connected, subscribed
        client.on_message = self._take
        client.connect_async(*self._broker, 5)
        client.loop_start()
        self._client = client
        self.plugged = True
        if not up.wait(JOIN_S_MAX):
            self.unplug()
            raise OSError(f"no broker at {self._broker}")

    def unplug(self) -> None:
        client, self._client = self._client, None
        self.plugged = False
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _take(self, client: mqtt.Client, data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            asked = json.loads(message.payload)
            source, number = asked["src"], asked["id"]
            result, error = self.contact.rpc(asked["method"], asked.get("params", {}))
        except (ValueError, KeyError, TypeError):
            return  # a real one answers nothing to what is no request
        answer: dict[str, Any] = {"id": number, "src": self._prefix, "dst": source}
        answer |= {"error": {"code": BAD_ARGUMENT, "message": error}} if error else {
            "result": result}
        client.publish(f"{source}/rpc", json.dumps(answer))
        if asked["method"] == "Switch.Set":
            self._notify()
            after_s = asked.get("params", {}).get("toggle_after")
            if self._timer is not None:
                self._timer.cancel()
            if after_s is not None:
                self._timer = threading.Timer(float(after_s) + 0.01, self._notify)
                self._timer.daemon = True
                self._timer.start()

    def _notify(self) -> None:
        client = self._client
        if client is not None:
            client.publish(f"{self._prefix}/status/switch:0", json.dumps(
                self.contact.rpc("Switch.GetStatus", {"id": 0})[0]))
