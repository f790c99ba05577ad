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
               extra=b""):
    out = bytearray()
    for word in (raw_10mv, raw_10ma, 5000, 10000, 7, 0x2A5B, 0, 0, errors):
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
    """A BMS that answers the driver's requests at once."""

    def __init__(self, hal):
        self.hal = hal
        self.mask = 3
        self.silent = False
        self.deaf_writes = 0
        self.stuck_fets = None
        self.basic = {}
        self.cells = [3200] * 16
        self.requests = []
        hal.bms_uart.on_write = self.take

    @property
    def fets(self):
        return ~self.mask & 3 if self.stuck_fets is None else self.stuck_fets

    def take(self, data):
        while data:
            size = 7 + data[3]
            frame, data = data[:size], data[size:]
            self.requests.append((self.hal.now_ms, frame[1], frame[2]))
            if self.silent:
                continue
            if frame[1] == 0x5A:
                if self.deaf_writes:
                    self.deaf_writes -= 1
                    continue
                self.mask = frame[5]
                self.hal.bms_uart.rx += reply(0xE1, b"")
            elif frame[2] == 3:
                changes = {"fets": self.fets}
                changes.update(self.basic)
                self.hal.bms_uart.rx += reply(3, basic_data(**changes))
            else:
                self.hal.bms_uart.rx += reply(4, cells_data(self.cells))
