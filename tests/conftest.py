"""Give the firmware's files under CPython the one library of MicroPython that it lacks."""

from hil.cryptolib_shim import install

install()
