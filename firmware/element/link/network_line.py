"""What the lines over TCP, MQTT and Bluetooth share: bounds, back-off, one look at a time.

A line keeps the contract `hal.base.UART`. The port calls `look` whenever its loop is idle, every
few milliseconds; a look does the next small piece of work and returns. Nothing here waits. A line
that is away loses what is written to it, and says how much: a panel must not get later what was
news now. Nothing is tripped or reset because a line is away; the lease ends by itself.
"""

RX_BYTES_MAX = 4096
TX_BYTES_MAX = 8192
READ_SIZE_MAX = 256
# What one read or write moves, and how many of them one look makes: bounds the time of a look.
PIECE_SIZE = 512
PIECES_MAX = 4
# A peer that takes nothing for this long is gone.
STALL_MS_MAX = 3000
# The first try after a loss comes at once or after BACKOFF_MS_MIN, each further one after twice
# the time, up to BACKOFF_MS_MAX; a connection that held for STEADY_MS begins anew.
BACKOFF_MS_MIN = 500
BACKOFF_MS_MAX = 15_000
STEADY_MS = 5000


class Backoff:
    """When the next try is due. Elements that were cut off together do not come back together."""

    def __init__(self, hal, spread: int):
        """spread: 0..255, what sets this element apart from its neighbours; up to 25 % later."""
        self._hal = hal
        self.spread = spread
        self._wait_ms = 0
        self._from = hal.ticks_ms()

    @property
    def wait_ms(self) -> int:
        """The pause before the next try."""
        return self._wait_ms

    def due(self) -> bool:
        """Return True when the pause is over."""
        return self._hal.ticks_diff(self._hal.ticks_ms(), self._from) >= self._wait_ms

    def failed(self) -> None:
        """Begin the next pause, twice as long as the last one."""
        base_ms = min(max(self._wait_ms * 2, BACKOFF_MS_MIN), BACKOFF_MS_MAX)
        if base_ms < BACKOFF_MS_MAX:
            self._wait_ms = base_ms
        else:
            self._wait_ms = base_ms + base_ms * self.spread // 1024
        self._from = self._hal.ticks_ms()

    def lost(self, held_ms: int) -> None:
        """Begin a pause after a connection that held for held_ms."""
        if held_ms >= STEADY_MS:
            self._wait_ms = 0
        self.failed()


class NetworkLine:
    """A line whose other end comes and goes.

    lost_count: bytes dropped in either direction. made_count: connections since boot. why: what
    ended the last try or connection, in words.
    """

    is_cable = False  # whoever reaches it need not stand before the element

    def __init__(self, hal, spread: int = 0):
        self.rx = bytearray()
        self.tx = bytearray()
        self.lost_count = 0
        self.made_count = 0
        self.why = ""
        self._hal = hal
        self._backoff = Backoff(hal, spread)
        self._waiter = hal.waiter()
        self.kick = self._waiter.kick
        self._up_at = None
        self._moved_at = self._heard_at = hal.ticks_ms()

    # ---- what a port and its tasks use ----

    @property
    def is_up(self) -> bool:
        """True while bytes can travel."""
        return self._up_at is not None

    @property
    def busy(self) -> bool:
        """True when the next look should be soon: something waits to be sent."""
        return len(self.tx) > 0

    def begin(self, element_id: bytes) -> None:
        """Start: the element has read from flash who it is."""

    def look(self) -> bool:
        """Do the next piece of work; True when bytes came. Never waits."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Queue data whole. What a line that is away or full cannot take is counted, lost."""
        if self._up_at is None or len(self.tx) + len(data) > TX_BYTES_MAX:
            self.lost_count += len(data)
            return
        if not self.tx:
            self._moved_at = self._hal.ticks_ms()  # a stall begins with something to send
        self.tx += data

    def read(self) -> bytes:
        """Return and remove what was received, READ_SIZE_MAX bytes at a time.

        A network is fast: what may be a hundred forged frames is checked in portions, and between
        two of them the other tasks run.
        """
        data = bytes(self.rx[:READ_SIZE_MAX])
        if data:
            self.rx = self.rx[READ_SIZE_MAX:]
        return data

    async def wait_rx(self, timeout_ms: int) -> bool:
        """Wait for bytes, a kick or the end of timeout_ms. One task at a time may wait."""
        if not self.rx:
            await self._waiter.wait(timeout_ms)
        return len(self.rx) > 0

    # ---- what a line uses ----

    def _received(self, data: bytes) -> None:
        """Store bytes and wake the waiter; over the limit they are counted."""
        self._heard_at = self._hal.ticks_ms()
        if len(self.rx) + len(data) > RX_BYTES_MAX:
            self.lost_count += len(data)
            return
        self.rx += data
        self.kick()

    def _since(self, ticks: int) -> int:
        return self._hal.ticks_diff(self._hal.ticks_ms(), ticks)

    def _is_up_now(self) -> None:
        """Note that bytes can travel from here on."""
        self.made_count += 1
        self._up_at = self._moved_at = self._heard_at = self._hal.ticks_ms()
        self._say("up")

    def _is_gone(self, why: str) -> None:
        """Forget what was to be sent, and begin the pause before the next try."""
        if self._up_at is None:
            self._backoff.failed()
        else:
            self._backoff.lost(self._since(self._up_at))
            self._up_at = None
        self.lost_count += len(self.tx)
        self.tx = bytearray()
        self._say(why)

    def _say(self, why: str) -> None:
        """Log what has changed, and nothing twice: a broker may be away for days."""
        if why != self.why:
            self.why = why
            self._hal.log("link: " + why)
