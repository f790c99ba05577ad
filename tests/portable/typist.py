"""A person at the element's cable: types text beside the frames, reads what is no frame."""

from element.protocol import texts
from element.protocol.wire import Wire


class Typist:
    """Stand between an element's line and its host: frames go on to the host, text stays here."""

    def __init__(self, one):
        self._one = one
        self._wire = Wire()
        self._frames = one.host.decoder
        one.host.decoder = self
        self.text = b""

    def feed(self, data):
        """Decode what the element sent, as the host's decoder does."""
        out = []
        for start in range(0, len(data), 64):
            out += self._frames.feed(self._wire.feed(data[start:start + 64]))
            self.text += bytes(self._wire.text)
            self._wire.text = bytearray()
        return out

    def put(self, keys, run_ms=20):
        """Press keys."""
        self._one.host.uart.put(keys)
        self._one.run(run_ms)

    def say(self, line, run_ms=50):
        """Send a whole line and return the lines of the reply."""
        self.take()
        self.put(b"\x00" + line.encode() + b"\r\x00", run_ms)
        return self.take()

    def take(self):
        """Return the lines that have come."""
        text, self.text = self.text, b""
        return [line for line in text.replace(b"\n", b"").decode().split("\r") if line]

    def events(self):
        """Return the events that `trips` shows."""
        return ["%d %s%s" % (event[0], "released: " if event[5] else "",
                             texts.cause_text(*event[1:5]))
                for event in self._one.agent.journal.events]
