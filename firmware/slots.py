"""Choose which firmware a board starts: slot `a` or `b`, the one before when a new one fails.

Each slot is a folder with a whole `element` package. The file `slots` holds four letters, replaced
by a rename, so that a power cut leaves the old ones or the new ones:

    active      a, b, or - : nothing whole is there, start nothing
    candidate   a, b, or - : this slot is on trial
    tries       how often the candidate was started, 0..9
    note        . nothing; u the active slot is new; r the candidate failed and was given up

A candidate is started TRIES_MAX times. It becomes the active slot when its agent says that the
control loop is healthy (`confirm`); until then each start, whatever ended the last one, counts.
Without a file `slots` the firmware is beside this file or frozen: bench, Raspberry Pi, own images.

This file stays when the firmware is updated; only `cellwall flash` replaces it.
"""

import gc
import os
import sys
import time

STATE_FILE = "slots"
# The console writes this file and resets: the next start leaves the board to its REPL.
REPL_FILE = "repl"
TRIES_MAX = 2
# The longest that the RP2040's watchdog can count; start-up takes a quarter of it.
TRIAL_WATCHDOG_MS = 8000
RETRY_S = 5
# Garbage is collected so often while the firmware is loaded; the agent does it its own way.
LOAD_GARBAGE_MAX = 48_000


def read():
    """Return (active, candidate, tries, note), or None where there are no slots.

    A file that is not one of ours is as good as none whole: active is '-'.
    """
    try:
        with open(STATE_FILE, "rb") as file:
            data = file.read(8)
    except OSError:
        return None
    text = "".join([chr(byte) for byte in data])  # torn bytes may be no text
    if len(text) != 4 or text[0] not in "ab-" or text[1] not in "ab-" \
            or text[2] not in "0123456789" or text[3] not in ".ur":
        return "-", "-", 0, "."
    return text[0], text[1], int(text[2]), text[3]


def write(active, candidate, tries, note):
    """Replace the state; raises OSError when the flash does not take it: the old one stays."""
    with open(STATE_FILE + ".new", "w") as file:
        file.write(active + candidate + str(tries) + note)
    os.rename(STATE_FILE + ".new", STATE_FILE)


def other(slot):
    """Return the slot that is not this one."""
    return "b" if slot == "a" else "a"


def choose():
    """Return (slot to start or '-' for none, whether it is on trial), counting the trial."""
    active, candidate, tries, note = read()
    if candidate == "-":
        return active, False
    spent = tries >= TRIES_MAX
    try:
        if spent:
            write(active, "-", 0, "r")
        else:
            write(active, candidate, tries + 1, note)
    except OSError:
        spent = True  # a trial that cannot be counted would never end
    return (active, False) if spent else (candidate, True)


def confirm():
    """Make the slot on trial the active one: its control loop is healthy."""
    state = read()
    if state is not None and state[1] != "-":
        write(state[1], "-", 0, "u")


def taken_note():
    """Return what the element has to tell of the last update (u, r or .), and forget it."""
    state = read()
    if state is None or state[3] == "." or state[1] != "-":
        return "."
    write(state[0], "-", 0, ".")
    return state[3]


def repl_wanted():
    """Return True once after the console asked for the REPL: only this start is without agent."""
    try:
        os.remove(REPL_FILE)
    except OSError:
        return False
    return True


def start():
    """Start the firmware; returns only for the REPL, with every output as reset left it."""
    if repl_wanted():
        print("maintenance: the agent is not running; a reset starts it")
        return
    trial = False
    if read() is not None:
        slot, trial = choose()
        if slot == "-":
            print("no whole firmware here: run `cellwall flash` again")
            return
        sys.path.insert(0, slot)
    supervise(trial)


def supervise(trial):
    """Run the agent; when it cannot run, say why and start again: a candidate's trial counts."""
    try:
        if trial:
            _watchdog()
        # what loading a file leaves behind would keep the heap in pieces of a kilobyte for ever
        gc.threshold(LOAD_GARBAGE_MAX)
        import board

        from element import agent

        agent.main(board, sys.modules[__name__])
    except Exception as error:
        sys.print_exception(error)
    _restart()


def _watchdog():
    """Start the hardware watchdog, where there is one: a candidate may hang on its way up."""
    try:
        from machine import WDT
    except ImportError:
        return
    WDT(timeout=TRIAL_WATCHDOG_MS)


def _restart():
    """Restart the board; a process ends, and its service starts it again."""
    try:
        from machine import reset
    except ImportError:
        raise SystemExit(3)
    # time to read, and for Ctrl-C: a board that fails at every start must stay reachable
    from micropython import kbd_intr

    kbd_intr(3)
    time.sleep(RETRY_S)
    reset()
