"""A SunSpec inverter of a few lines on a fake line; it answers at once, through `on_write`."""

from element.power import sunspec_map as at
from element.power.modbus import crc16


def sealed(frame):
    """Return a frame with its CRC."""
    crc = crc16(frame, len(frame))
    return bytes(frame) + bytes((crc & 0xFF, crc >> 8))


class Script:
    """Registers behind functions 3, 6 and 16, with what a test wants to be wrong.

    power_w follows the setpoint at once while `runs`. The reversion timer is counted and not
    acted on: `armed_s` is what it was set to.
    """

    MODELS = ((1, 66), (701, 153), (702, 50), (703, 17), (704, 65), (713, 7), (802, 62))

    def __init__(self, hal, base=40000, models=MODELS, address=1):
        self.hal = hal
        self.uart = hal.stage_uart
        self.uart.on_write = self.heard
        self.address = address
        self.base = base
        self.registers = {base: 0x5375, base + 1: 0x6E53}
        self.at = {}
        register = base + 2
        for number, length in models:
            self.at[number] = register
            for index in range(length + 2):
                self.registers[register + index] = 0xFFFF
            self.registers[register] = number
            self.registers[register + 1] = length
            register += 2 + length
        self.registers[register] = 0xFFFF
        self.registers[register + 1] = 0
        self.silent = False
        self.echo = False
        self.noise = b""
        self.lost = 0  # so many replies are lost
        self.refused = {}  # function or (function, register): exception code
        self.requests = []
        self.writes = []  # (time, register, values)
        self.runs = True
        self.power_share_pct = 100
        self.defaults()

    def defaults(self):
        """Set what an inverter of 2.5 kW has."""
        self.put(1, at.MANUFACTURER, (0x4D4E, 0x0000))
        self.put(1, at.PRODUCT, (0x4D44, 0x2031, 0))
        self.put(1, at.SERIAL, (0x01FF, 0x3100))
        self.put(701, at.W_SF_701, (0,))
        self.put(701, at.ALRM, (0, 0))
        self.put(702, at.W_MAX_RTG, (2600,))
        self.put(702, at.W_MAX, (2500,))
        self.put(702, at.W_SF_702, (0,))
        self.put(704, at.WSET_ENA, (0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
        self.put(704, at.WSET_SF, (0,))
        self.put(704, at.WSET_PCT_SF, (0xFFFF,))  # -1
        self.put(713, at.SOC, (615,))
        self.put(713, at.PCT_SF, (0xFFFF,))

    def put(self, model, offset, values):
        """Set registers of a model, where this inverter has it."""
        if model in self.at:
            for index in range(len(values)):
                self.registers[self.at[model] + offset + index] = values[index]

    def get(self, model, offset):
        """Return one register."""
        return self.registers[self.at[model] + offset]

    def signed(self, model, offset, count=1):
        """Return a signed value of one or two registers."""
        value = self.get(model, offset)
        if count == 2:
            value = value << 16 | self.get(model, offset + 1)
        bits = 16 * count
        return value - (1 << bits) if value >> (bits - 1) else value

    @property
    def setpoint_w(self):
        """What model 704 asks for at this moment."""
        if self.get(704, at.WSET_ENA) != 1:
            return 0
        if self.get(704, at.WSET_MOD) == 1:
            return self.signed(704, at.WSET, 2)
        return self.signed(704, at.WSET_PCT) * 2500 // 1000

    def measure(self):
        """Let model 701 say what runs."""
        if 701 not in self.at or 704 not in self.at:
            return
        running = self.runs and (703 not in self.at or self.get(703, at.ES) == 1)
        if self.get(701, at.INV_ST) != at.INV_FAULT:
            self.put(701, at.ST, (int(running), at.INV_RUNNING if running else at.INV_STANDBY, 1))
        power_w = self.setpoint_w * self.power_share_pct // 100 if running else 0
        self.put(701, at.W, (power_w & 0xFFFF,))

    def heard(self, frame):
        """Answer a request; called by the line with every write."""
        if self.echo:
            self.uart.put(frame)
        self.requests.append(frame)
        if self.silent or frame[0] != self.address:
            return
        assert sealed(frame[:-2]) == frame, "bad CRC"
        if self.lost:
            self.lost -= 1
            return
        reply = self.answer(frame)
        if reply is not None:
            self.uart.put(self.noise + reply)

    def answer(self, frame):
        """Return the reply to a request."""
        function = frame[1]
        register = frame[2] << 8 | frame[3]
        count = frame[4] << 8 | frame[5]
        code = self.refused.get(function, self.refused.get((function, register), 0))
        last = register if function == 6 else register + count - 1
        if not code and (register not in self.registers or last not in self.registers):
            code = 2
        if code:
            return sealed(bytearray((self.address, function | 0x80, code)))
        if function == 3:
            self.measure()
            out = bytearray((self.address, 3, 2 * count))
            for index in range(register, register + count):
                out.append(self.registers[index] >> 8)
                out.append(self.registers[index] & 0xFF)
            return sealed(out)
        if function == 6:
            values = [count]
        else:
            values = [frame[7 + 2 * index] << 8 | frame[8 + 2 * index] for index in range(count)]
        for index in range(len(values)):
            self.registers[register + index] = values[index]
        self.writes.append((self.hal.now_ms, register, values))
        return sealed(bytearray(frame[:6]))

    def written(self, model, offset):
        """Return (time, values) of every write that began at a point."""
        register = self.at[model] + offset
        return [(when, values) for when, where, values in self.writes if where == register]
