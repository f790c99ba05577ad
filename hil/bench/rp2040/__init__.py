"""A Raspberry Pi Pico on the bench: the real image in an emulator, in the bench's time.

`pico.Pico` is the board, `board.PicoBoard` puts it in the place of a MicroPython process in the
virtual bench, `served.ServedPico` and `serve` put it behind a serial port for mpremote and our own
tools, `portable` runs the portable tests on it. The image and the emulator come from
tools/get_rp2040.sh.

What is ours (the .mjs files): the CPU, as Thumb code translated to JavaScript; UARTs with FIFOs
and time on the line; USB packets; flash with its times and power cuts; pads with pulls; ring
oscillator, serial flash interface, divider; the lockstep with Python. The rest is rp2040js:
timers, PWM and ADC registers, clocks, watchdog, exceptions, GPIO interrupts.

What is not modelled: the second core (`_thread`), the XIP cache (code in flash runs as fast as in
RAM, so the board is faster than a real one at cold code), the boot ROM's start (a few ms), bus
contention, PWM waves on pins (duty is read from registers), analogue noise (the plant's own is
used), temperature and supply of the chip. USB resets do not show at the host.
"""
