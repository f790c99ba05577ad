"""What a board runs: the firmware of the active slot, with this board's pins."""

# There is no boot.py: a Ctrl-C while it runs would keep this file from running. The panel's frames
# hold such bytes, and one that comes while a board starts must not end in a REPL. One that came
# before the first line is raised within the first `try`.
try:
    import sys

    import micropython

    if sys.platform != "linux":
        micropython.kbd_intr(-1)
except KeyboardInterrupt:
    import micropython

    micropython.kbd_intr(-1)

import slots

slots.start()
