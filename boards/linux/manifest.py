"""Freeze the firmware into an image for this board.

Not needed to run: Debian's interpreter takes the files. For an interpreter with everything in it:
make -C ports/unix FROZEN_MANIFEST=$PWD/boards/linux/manifest.py
Ref: MicroPython 1.25, docs/reference/manifest.rst.
"""
# ruff: noqa: F821 (the names are those of the tool that reads this)

include("$(PORT_DIR)/variants/manifest.py")
include("$(MPY_DIR)/extmod/asyncio")
package("element", base_path="../../firmware", opt=3)
module("board.py", base_path=".", opt=3)
module("main.py", base_path="../../firmware", opt=3)
module("slots.py", base_path="../../firmware", opt=3)
