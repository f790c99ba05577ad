"""A JBD BMS in memory, built from the protocol's text alone: nothing of the driver is used."""


def reply(register, data, status=0):
    """Return a reply of a register with its checksum."""
    total = status + len(data)
    for byte in data:
        total += byte
    check = (~total + 1) & 0xFFFF
    head = bytes((0xDD, register, status, len(data)))
    return head + bytes(data) + bytes((check >> 8, check & 255, 0x77))


def basic_data(raw_10mv=5120, raw_10ma=0, soc=50, fets=3, cells=16, ntcs=(2981,), errors=0,
               balance=(0, 0), extra=b""):
    out = bytearray()
    for word in (raw_10mv, raw_10ma, 5000, 10000, 7, 0x2A5B, balance[0], balance[1], errors):
        out += bytes((word >> 8, word & 255))
    out += bytes((0x21, soc, fets, cells, len(ntcs)))
    for word in ntcs:
        out += bytes((word >> 8, word & 255))
    return bytes(out) + extra


def cells_data(cells):
    out = bytearray()
    for mv in cells:
        out += bytes((mv >> 8, mv & 255))
    return bytes(out)


class Script:
    """A BMS that answers the driver's requests at once.

    silent: nothing is answered; mute: these registers are not; refused: status by register;
    echo: what comes is sent back first; before: sent in front of each answer.
    """

    def __init__(self, hal):
        self.hal = hal
        self.mask = 3
        self.silent = False
        self.deaf_writes = 0
        self.stuck_fets = None
        self.basic = {}
        self.cells = [3200] * 16
        self.name = b"JBD-SP16S"
        self.mute = ()
        self.refused = {}
        self.echo = False
        self.before = b""
        self.requests = []
        hal.bms_uart.on_write = self.take

    @property
    def fets(self):
        return ~self.mask & 3 if self.stuck_fets is None else self.stuck_fets

    def asked(self, register):
        """Return how often a register was read or written."""
        return len([one for one in self.requests if one[2] == register])

    def take(self, data):
        while data:
            size = 7 + data[3]
            frame, data = data[:size], data[size:]
            self.requests.append((self.hal.now_ms, frame[1], frame[2]))
            if self.echo:
                self.hal.bms_uart.rx += frame
            if self.silent or frame[2] in self.mute:
                continue
            answer = self.answer(frame)
            if answer is not None:
                self.hal.bms_uart.rx += self.before + answer

    def answer(self, frame):
        register = frame[2]
        if register in self.refused:
            return reply(register, b"", self.refused[register])
        if frame[1] == 0x5A:
            if self.deaf_writes:
                self.deaf_writes -= 1
                return None
            if register == 0xE1:
                self.mask = frame[5]
            return reply(register, b"")
        if register == 3:
            changes = {"fets": self.fets}
            changes.update(self.basic)
            return reply(3, basic_data(**changes))
        if register == 5:
            return reply(5, self.name)
        return reply(4, cells_data(self.cells))
