"""What the element has said: its log, and the last lines and safety events for the console."""

LINES_MAX = 16
EVENTS_MAX = 8


class Journal:
    """Write log lines to the serial console and keep the last LINES_MAX of them.

    events: the last EVENTS_MAX safety events since the boot, oldest first, each (at_unix_ms,
    cause, value, limit, index, released). All of them are in the signed ledger too.
    """

    def __init__(self, hal):
        self._hal = hal
        self.lines = []
        self.events = []

    def log(self, text: str) -> None:
        """Write a line, with the time since the boot in ms before it."""
        line = "[%d] %s" % (self._hal.ticks_ms(), text)
        self._hal.log(line)
        if len(self.lines) >= LINES_MAX:
            self.lines.pop(0)
        self.lines.append(line)

    def note(self, event: dict) -> None:
        """Keep a safety event, from its fields."""
        if len(self.events) >= EVENTS_MAX:
            self.events.pop(0)
        self.events.append((event["at_unix_ms"], event["cause"], event["value"], event["limit"],
                            event["index"], event["released"]))
