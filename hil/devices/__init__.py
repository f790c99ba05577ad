"""Emulated devices: they speak the genuine protocol, and can be damaged at every byte."""

from collections.abc import Callable

from .base import EmulatedBMS
from .daly import DalyEmulator
from .jbd import JBDEmulator
from .jk import JKEmulator
from .pylontech import PylontechEmulator

# Every family by the name that boards and scenarios use.
BMS_FAMILIES: dict[str, Callable[..., EmulatedBMS]] = {
    "jbd": JBDEmulator, "daly": DalyEmulator, "jk": JKEmulator, "pylontech": PylontechEmulator,
}
