"""The contract between the firmware and a board: what every port in this room provides.

Times are milliseconds of a wrapping counter (`ticks_ms`); compare them with `ticks_diff` only.
"""


class Waiter:
    """One task's way to sleep until another one, or the time, wakes it."""

    async def wait(self, timeout_ms: int) -> None:
        """Wait for a kick or the end of timeout_ms. One task at a time may wait."""
        raise NotImplementedError

    def kick(self) -> None:
        """Wake the waiting task; nothing happens when none waits."""
        raise NotImplementedError


class UART:
    """A serial line. Bytes are buffered in both directions; nothing here blocks."""

    def write(self, data: bytes) -> None:
        """Queue data for transmission. Bytes that do not fit a bounded queue are counted, lost."""
        raise NotImplementedError

    def read(self) -> bytes:
        """Return and remove what was received so far; empty when there is nothing.

        A line through a network gives much of it in portions: the next call has the rest.
        """
        raise NotImplementedError

    async def wait_rx(self, timeout_ms: int) -> bool:
        """Wait until bytes are there, the time is over or `kick` is called; True with bytes."""
        raise NotImplementedError

    def kick(self) -> None:
        """End a `wait_rx` now: the waiting task has something else to do."""
        raise NotImplementedError


class HAL:
    """What the agent asks of a board. One object a board, made by the port's `open_board`."""

    bms_uart = None
    link_uart = None
    stage_uart = None  # the line of a power stage that has one (an inverter on RS-485)
    slow_flash = False  # an erase stops the processor: docs/memory.md
    paced = True  # time that collecting takes is time: between two ticks, not in one
    tight_heap = False  # 100 KB free or less: collecting must not wait until it is full
    console_uart = None  # where a person may type while the link is elsewhere

    def ticks_ms(self) -> int:
        """Return the wrapping millisecond counter."""
        raise NotImplementedError

    def ticks_diff(self, later: int, earlier: int) -> int:
        """Return later - earlier in ms across a wrap of the counter."""
        raise NotImplementedError

    def ticks_add(self, ticks: int, delta_ms: int) -> int:
        """Return the counter value delta_ms after ticks, wrapped."""
        raise NotImplementedError

    async def sleep_ms(self, duration_ms: int) -> None:
        """Let the other tasks run for duration_ms."""
        raise NotImplementedError

    async def relax(self) -> None:
        """Give way between two slices of long work (signing), so that a due control tick runs."""
        raise NotImplementedError

    def waiter(self) -> Waiter:
        """Return a new waiter."""
        raise NotImplementedError

    def enable_set(self, on: bool) -> None:
        """Drive the power stage's enable line: the second way to zero, independent of the BMS."""
        raise NotImplementedError

    def enable_is(self) -> bool:
        """Return the enable line as it is, read back from the pin where the port can."""
        raise NotImplementedError

    def duty_set(self, duty_permille: int) -> None:
        """Set the converter's signed duty, -1000..1000; positive discharges."""
        raise NotImplementedError

    def precharge_set(self, on: bool) -> None:
        """Close the pre-charge path: pack to DC link through a resistor."""
        raise NotImplementedError

    def dc_link_mv(self) -> int:
        """Return the voltage of the power stage's DC link in mV, -1 where no sensor is."""
        raise NotImplementedError

    def sense_ma(self) -> int:
        """Return the latest reading of the pack-current sensor in mA, positive discharge."""
        raise NotImplementedError

    def sense_age_ms(self) -> int:
        """Return how old the reading of `sense_ma` is."""
        raise NotImplementedError

    def interlock_ok(self) -> bool:
        """Return the state of the hardware interlock input; False demands the safe state."""
        raise NotImplementedError

    def watchdog_start(self) -> None:
        """Start the hardware watchdog, once; it can not be stopped.

        The first feed starts it, and so does the first `enable_set(True)`: nothing conducts
        without it, and a long boot needs no feed.
        """

    def watchdog_feed(self) -> None:
        """Feed the hardware watchdog. The control task alone may call this."""
        raise NotImplementedError

    def repl_on(self) -> None:
        """Give the console back to people: Ctrl-C interrupts again."""

    def repl_off(self) -> None:
        """Make 0x03 on the console a byte like any other; boards start like this."""

    def unique_id(self) -> bytes:
        """Return the chip's identity, 1 to 16 bytes."""
        raise NotImplementedError

    def entropy(self, size: int) -> bytes:
        """Return size bytes from the board's generator, fit for key making.

        Raises SignatureError("entropy", test) when the generator fails a health test.
        """
        raise NotImplementedError

    def reset_cause(self) -> int:
        """Return why the board started: codes.RESET_*."""
        raise NotImplementedError

    def log(self, line: str) -> None:
        """Write a line of the log to the serial console: what the port prints on."""
        print(line)

    def reset(self) -> None:
        """Restart the board with every output off. Does not return."""
        raise NotImplementedError
