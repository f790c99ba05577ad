"""Run under MicroPython: one network line of the element, a ticker, and a port that answers.

argv: the line's kind, its settings as a dict. stdin: one expression a line, answered with
`= repr`. What the line receives is counted in `got` and kept in `kept`, its end at least.
`echo`: what comes goes back. The loop waits as hal/linux.py does.
"""

# ruff: noqa: PLW0603 (a test evaluates these names)
import asyncio
import select
import sys
import time

from element.hal.scheduler import LoopWaiter, install
from element.link.lines import open_line

TICK_MS = 20
KEPT = 8192


class Board:
    """What the line asks of board.py."""

    LINK = sys.argv[1]
    NETWORK = eval(sys.argv[2])


class HAL:
    """What the line asks of a port."""

    def __init__(self):
        self.enabled = False
        self.lines = []

    def ticks_ms(self):
        return time.ticks_ms()

    def ticks_diff(self, later, earlier):
        return time.ticks_diff(later, earlier)

    def waiter(self):
        return LoopWaiter()

    def enable_is(self):
        return self.enabled

    def log(self, line):
        self.lines.append(line)
        del self.lines[:-20]


hal = HAL()
poll = select.poll()
poll.register(sys.stdin, select.POLLIN)
line = open_line(Board, hal, poll)
line.begin(bytes.fromhex("0011223344556677") if len(sys.argv) < 4 else eval(sys.argv[3]))
got = 0
kept = b""
echo = False
late_ms = 0
look_us = 0
tick_count = 0
heap_max = 0


def look():
    """Look at the line and keep the longest look, in microseconds."""
    global look_us
    began = time.ticks_us()
    came = line.look()
    look_us = max(look_us, time.ticks_diff(time.ticks_us(), began))
    return came


def wait(dt_ms):
    """Wait as the linux port does."""
    if look():
        dt_ms = 0
    if line.busy and not 0 <= dt_ms <= 5:
        dt_ms = 5
    for event in poll.poll(dt_ms):
        if event[0] is sys.stdin:
            answer()
    look()


def answer():
    """Evaluate one expression from the test."""
    text = sys.stdin.readline()
    if not text:
        raise SystemExit(0)
    try:
        said = repr(eval(text))
    except Exception as error:
        said = "! " + repr(error)
    sys.stdout.write("= " + said + "\n")


def settle():
    """Forget what was measured so far."""
    global late_ms, look_us, got, kept, tick_count, heap_max
    late_ms = look_us = got = tick_count = heap_max = 0
    kept = b""


def set_echo(on):
    """Send back what comes."""
    global echo
    echo = on


async def ticker():
    """Tick every TICK_MS and keep by how much the latest tick came."""
    global late_ms, tick_count, heap_max
    import gc

    due = time.ticks_ms()
    while True:
        late_ms = max(late_ms, time.ticks_diff(time.ticks_ms(), due))
        tick_count += 1
        if tick_count % 50 == 0:
            gc.collect()
            heap_max = max(heap_max, gc.mem_alloc())
            due = time.ticks_ms()
        due = time.ticks_add(due, TICK_MS)
        await asyncio.sleep_ms(max(0, time.ticks_diff(due, time.ticks_ms())))


async def receive():
    """Take what comes, as the agent's link task does."""
    global got, kept
    while True:
        await line.wait_rx(1000)
        data = line.read()
        got += len(data)
        kept = (kept + data)[-KEPT:]
        if echo and data:
            line.write(data)
        await asyncio.sleep_ms(0)


async def main():
    """Run both for ever."""
    tasks = [asyncio.create_task(ticker()), asyncio.create_task(receive())]
    await asyncio.gather(*tasks)


install(wait)
sys.stdout.write("= ready\n")
asyncio.run(main())
