"""A whole element in memory: the agent with all its tasks, a BMS, a plant and its panel."""

from fakes import FakeHAL, Loop
from jbd_script import Script
from panel import NOW_MS, Host, grant_for

from element import agent as agent_module
from element.agent import Agent
from element.bms import jbd
from element.protocol import codes, schema


class Board:
    """What board.py gives the agent."""

    NAME = "memory"
    PORT = "memory"
    STAGE = "converter"
    BMS = "jbd"
    DUTY_FULL_MA = 60000
    LOSS_STANDING_MW = 12000
    LOSS_BP = 300
    STEP_MW = 0
    CURRENT_MA_MAX = 84000
    ON_MS_MIN = 3000
    OFF_MS_MIN = 2000
    DC_LINK = False
    PRECHARGE_MS_MAX = 1000
    DIRECTIONS = 3
    SWITCHES_PER_HOUR_MAX = 240
    START_MS = 300
    STAGE_ADDRESS = 1
    STAGE_BAUD = 19200


class FetsBoard(Board):
    """A board with an on/off stage."""

    STAGE = "bms_fets"
    STEP_MW = 500_000
    LOSS_STANDING_MW = 0
    LOSS_BP = 600


class LoopAsyncio:
    """What the agent uses of asyncio, on our loop."""

    def __init__(self, loop):
        self._loop = loop

    def create_task(self, coroutine):
        """Add a task to the loop."""
        return self._loop.add(coroutine)


class Element:
    """One element from power-on; `restart` makes the next life on the same flash."""

    def __init__(self, now_ms=100_000, entropy_from=0, board=Board, slots=None):
        self.board = board
        self.slots = slots
        self.hal = FakeHAL(now_ms)
        self.hal.entropy_count = entropy_from
        self.bms = Script(self.hal)
        self.gain_pct = 100
        self.bms_follows = True
        self.loop = Loop(self.hal)
        self.agent = Agent(board, self.hal, slots)
        self.lines = []
        self.agent.log = self.lines.append
        self.agent.boot()
        agent_module.asyncio = LoopAsyncio(self.loop)
        # the panel's clock, at the moment of this start
        self.unix_at_zero = NOW_MS - self.hal.now_ms
        self.host = Host(self.hal.link_uart)
        self.inbox = []
        self.sequence = 0
        self.loop.add(self.agent.run())

    def restart(self):
        """Return the element after a reset: RAM is gone, flash stays, time goes on."""
        again = Element(self.hal.now_ms + 1500, self.hal.entropy_count + 100, self.board,
                        self.slots)
        again.unix_at_zero = self.unix_at_zero
        again.bms.mask = self.bms.mask
        return again

    @property
    def unix_ms(self):
        """The panel's time."""
        return self.unix_at_zero + self.hal.now_ms

    def _plant(self, _now_ms):
        hal = self.hal
        hal.ma = 0
        if self.board.STEP_MW:
            level = (0, -1, 1, 0)[self.bms.fets]
            if hal.enabled:
                hal.ma = level * (10_350 if level > 0 else 9_180)
        elif hal.enabled and self.bms.fets == 3:
            hal.ma = hal.duty * Board.DUTY_FULL_MA // 1000 * self.gain_pct // 100
        if self.bms_follows:
            # the BMS measures the same current, counts charge as positive, in 10 mA
            self.bms.basic["raw_10ma"] = (-hal.ma // 10) & 0xFFFF

    def run(self, duration_ms):
        """Let time pass and collect what the element says."""
        self.loop.run_until(self.hal.now_ms + duration_ms, self._plant)
        self.inbox += self.host.received()

    def last(self, kind):
        """Return the fields of the newest message of a kind, or None."""
        found = [fields for one, fields in self.inbox if one == kind]
        return found[-1] if found else None

    def all(self, kind):
        """Return the fields of every message of a kind."""
        return [fields for one, fields in self.inbox if one == kind]

    def enrol(self, **changes):
        """Enrol with a test credential."""
        self.host.plain(schema.ENROL_OFFER, {"challenge": b"c" * 16})
        self.run(200)
        assert self.last(schema.ENROL_REPLY) is not None
        self.host.plain(schema.ENROL_GRANT, grant_for(self.agent.enrolment, **changes))
        self.run(200)
        assert self.last(schema.ENROL_RESULT) == {"accepted": True, "code": ""}
        return self

    def open(self, sync=True):
        """Open a session as a handshake would leave it, and set the clock.

        A handshake costs a small board seconds, so tests of other things do without; the real one
        is in test_greeting.py.
        """
        self.run(250)
        self.host.open_session(self.agent.port, self.agent.enrolment.element_id)
        self.run(50)
        self.sequence = 0
        if sync:
            self.sync()
        return self

    def sync(self, unix_ms=None):
        """Send a TimeSync."""
        self.host.send(schema.TIME_SYNC, {
            "unix_ms": self.unix_ms if unix_ms is None else unix_ms,
            "record_interval_ms": 10_000})
        self.run(20)

    def setpoint(self, power_mw, lease_ms=1500, start_ms=0, sequence=None, service=1):
        """Send a setpoint and return its Ack."""
        self.sequence += 1
        self.host.send(schema.SETPOINT, {
            "dispatch_id": 7, "sequence": self.sequence if sequence is None else sequence,
            "power_mw": power_mw, "service": service, "start_unix_ms": self.unix_ms + start_ms,
            "lease_ms": lease_ms})
        self.inbox = [one for one in self.inbox if one[0] != schema.ACK]
        self.run(20)
        return self.last(schema.ACK)

    def ready(self):
        """Enrol, open a session, and wait for the first readings."""
        self.enrol()
        self.open()
        self.run(2500)
        return self

    def at_power(self, power_mw=1_000_000, seconds=3):
        """Run at power with a lease renewed every second."""
        for _ in range(seconds):
            ack = self.setpoint(power_mw)
            assert ack["accepted"], ack
            self.run(980)
        assert self.hal.enabled and self.agent.control.state == codes.STATE_ACTIVE
        return self

    def bms_opened(self):
        """Return True when the BMS was told to open the FETs."""
        return self.bms.mask == 3 or jbd.fets_request(0) in self.hal.bms_uart.sent[-1]
