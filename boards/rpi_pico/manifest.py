"""Freeze the firmware into an image for this board.

Not needed to run: `make flash` copies files. Frozen, the code lies in flash instead of RAM.
make -C ports/rp2 BOARD=RPI_PICO FROZEN_MANIFEST=$PWD/boards/rpi_pico/manifest.py
Ref: MicroPython 1.25, docs/reference/manifest.rst.
"""
# ruff: noqa: F821 (the names are those of the tool that reads this)

include("$(PORT_DIR)/boards/manifest.py")
include("$(MPY_DIR)/extmod/asyncio")
package("element", base_path="../../firmware", opt=3)
module("board.py", base_path=".", opt=3)
module("main.py", base_path="../../firmware", opt=3)
module("slots.py", base_path="../../firmware", opt=3)
