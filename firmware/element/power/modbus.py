"""A Modbus RTU client: one request, one reply, without I/O; and the exchange on a line.

Frames are address, function, data, CRC-16 with the low byte first. Functions 3 (read holding
registers), 6 (write one) and 16 (write several). A line that echoes what is sent is told from an
answer; noise before a frame is skipped; a frame of another address never fits.
Ref: Modbus Application Protocol V1.1b3, 6.3, 6.6, 6.12, 7; Modbus over Serial Line V1.02, 2.5.1.
"""

from ..protocol.errors import RangeError

READ = 3
WRITE_ONE = 6
WRITE = 16

REGISTERS_MAX = 64
_REPLY_MAX = 5 + 2 * REGISTERS_MAX
# A reply with noise and an echo before it still fits.
_RECEIVED_MAX = 2 * _REPLY_MAX

# What an exchange ended with.
DONE = 0
NO_ANSWER = 1
REFUSED = 2

EXCEPTION_NAMES = (
    "none", "illegal function", "illegal data address", "illegal data value",
    "server device failure", "acknowledge", "server device busy", "negative acknowledge",
    "memory parity error", "code 9", "gateway path unavailable",
    "gateway target failed to respond",
)

# Silence between frames is 3.5 characters; a device that answers slowly takes this long.
GAP_MS = 4
THINK_MS_MAX = 100
RETRIES_MAX = 2


def crc16(data, size: int) -> int:
    """Return the CRC of the first size bytes: polynomial 0xA001, start 0xFFFF."""
    crc = 0xFFFF
    for index in range(size):
        crc ^= data[index]
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def _append(out, words) -> None:
    """Append registers, high byte first. Raises RangeError for one that is none."""
    for word in words:
        if not 0 <= word <= 0xFFFF:
            raise RangeError("register", word)
        out.append(word >> 8)
        out.append(word & 0xFF)


def _word(data, index: int) -> int:
    return data[index] << 8 | data[index + 1]


def _whole(received: bytes, start: int, size: int) -> bool:
    """Return True when the size bytes from start end with their CRC."""
    crc = crc16(received[start:start + size - 2], size - 2)
    return received[start + size - 2] | received[start + size - 1] << 8 == crc


class Exchange:
    """One request to one device and the search for its reply in what the line brings.

    request: the frame to send. values: the registers of a read that was answered, unsigned.
    exception: the code of a refusal, 0 for none. echoed: this line returns what is sent.
    """

    def __init__(self, address: int):
        self._address = address
        self._function = 0
        self._reply_size = 0
        self._received = b""
        self._waits_for_echo = False
        self._heard_echo = False
        self.request = b""
        self.values = []
        self.exception = 0
        self.echoed = False
        self.skipped_count = 0

    def read(self, register: int, count: int) -> None:
        """Ask for count registers, 1 to REGISTERS_MAX."""
        self._begin(READ, (register, count), None, 5 + 2 * count)

    def write_one(self, register: int, value: int) -> None:
        """Write one register, 0..65535."""
        self._begin(WRITE_ONE, (register, value), None, 8)

    def write(self, register: int, values) -> None:
        """Write registers, each 0..65535."""
        self._begin(WRITE, (register, len(values)), values, 8)

    def _begin(self, function: int, head, values, reply_size: int) -> None:
        out = bytearray((self._address, function))
        _append(out, head)
        if values is not None:
            out.append(2 * len(values))
            _append(out, values)
        crc = crc16(out, len(out))
        out.append(crc & 0xFF)
        out.append(crc >> 8)
        self.request = bytes(out)
        self._function = function
        self._reply_size = reply_size
        self.again()

    def again(self) -> None:
        """Forget what was received: the request is sent now."""
        self._received = b""
        self.values = []
        self.exception = 0
        # the reply to a single write is the request itself: where the line echoes, two come
        self._waits_for_echo = self.echoed
        self._heard_echo = False

    def feed(self, data: bytes) -> bool:
        """Take bytes from the line; True when the reply, good or a refusal, is there."""
        self._received = (self._received + data)[-_RECEIVED_MAX:]
        self._drop_echo()
        received = self._received
        for start in range(len(received) - 4):
            if received[start] == self._address and self._fits(received, start):
                self.skipped_count += start
                if self._function == READ:
                    self.echoed = self._heard_echo
                return True
        return False

    def _drop_echo(self) -> None:
        """Take our own request out of what was received, where it is no reply."""
        if self._function == WRITE_ONE and not self._waits_for_echo:
            return
        at = self._received.find(self.request)
        if at >= 0:
            self._heard_echo = True
            self._waits_for_echo = False
            self._received = self._received[at + len(self.request):]

    def _fits(self, received: bytes, start: int) -> bool:
        """Return True when a whole reply to the request begins at start, and take it."""
        function = received[start + 1]
        if function == self._function | 0x80:
            if not _whole(received, start, 5):
                return False
            self.exception = received[start + 2]
            return True
        size = self._reply_size
        if function != self._function or len(received) - start < size:
            return False
        if function == READ:
            if received[start + 2] != size - 5 or not _whole(received, start, size):
                return False
            self.values = [_word(received, start + 3 + 2 * index)
                           for index in range((size - 5) // 2)]
            return True
        # the reply to a write repeats address, function and the four bytes after them
        if received[start + 2:start + 6] != self.request[2:6]:
            return False
        return _whole(received, start, size)


class Line:
    """The task's side: sends requests and waits for replies, in bounded time.

    baud: 10 or 11 bits a character are allowed for. answered_count, missed_count: exchanges.
    """

    def __init__(self, hal, uart, address: int, baud: int):
        self._hal = hal
        self._uart = uart
        self._baud = baud
        self.exchange = Exchange(address)
        self.answered_count = 0
        self.missed_count = 0
        self.refused_count = 0

    async def transact(self, tries: int = 1 + RETRIES_MAX, give_up=None,
                       quiet_ms: int = 0) -> int:
        """Send the prepared request until it is answered; DONE, NO_ANSWER or REFUSED.

        give_up(): True ends it after the try under way: something more urgent waits. A try is
        never cut short, as on a line with two wires the next frame would meet its reply.
        quiet_ms: how long to wait after a try without an answer. A reply says nothing of what it
        answers but its length: where two requests could be confused, a late one must have died.
        """
        exchange = self.exchange
        for _ in range(tries):
            if await self._once(exchange):
                self.answered_count += 1
                if exchange.exception:
                    self.refused_count += 1
                    return REFUSED
                return DONE
            self.missed_count += 1
            if quiet_ms:
                await self._hal.sleep_ms(quiet_ms)
            if give_up is not None and give_up():
                break
        return NO_ANSWER

    async def _once(self, exchange) -> bool:
        hal = self._hal
        uart = self._uart
        await hal.sleep_ms(GAP_MS)
        uart.read()  # nobody asked: noise or a late answer
        exchange.again()
        uart.write(exchange.request)
        characters = len(exchange.request) + exchange._reply_size
        wait_ms = THINK_MS_MAX + (characters * 11000 + self._baud - 1) // self._baud
        deadline = hal.ticks_add(hal.ticks_ms(), wait_ms)
        while True:
            left_ms = hal.ticks_diff(deadline, hal.ticks_ms())
            if left_ms <= 0:
                return False
            await uart.wait_rx(left_ms)
            if exchange.feed(uart.read()):
                return True
            await hal.sleep_ms(0)  # whatever the line does, the control tick gets its turn


def exception_name(code: int) -> str:
    """Return the name of a refusal's code."""
    return EXCEPTION_NAMES[code] if 0 <= code < len(EXCEPTION_NAMES) else "code %d" % code
