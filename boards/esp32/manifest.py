"""Freeze the firmware into an image for this board.

Not needed to run: `make flash` copies files. Frozen, the code lies in flash instead of RAM.
make -C ports/esp32 BOARD=ESP32_GENERIC FROZEN_MANIFEST=$PWD/boards/esp32/manifest.py
Ref: MicroPython 1.25, docs/reference/manifest.rst.
"""
# ruff: noqa: F821 (the names are those of the tool that reads this)

include("$(PORT_DIR)/boards/manifest.py")
include("$(MPY_DIR)/extmod/asyncio")
package("element", base_path="../../firmware", opt=3)
module("board.py", base_path=".", opt=3)
module("main.py", base_path="../../firmware", opt=3)
module("slots.py", base_path="../../firmware", opt=3)
