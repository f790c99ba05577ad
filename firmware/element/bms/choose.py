"""The BMS family that a board names. A small board forgets this when it has its driver."""

from ..protocol.errors import RangeError


def _family(name: str):
    """Import and return the module of a family; raises RangeError for an unknown name."""
    # one import each: a board must not pay for families it has not got
    if name == "jbd":
        from . import jbd as family
    elif name == "daly":
        from . import daly as family
    elif name == "jk":
        from . import jk as family
    elif name == "pylontech":
        from . import pylontech as family
    else:
        raise RangeError("bms family", name)
    return family


def make_protocol(name: str):
    """Return the `BMSProtocol` of a family, without a line: for a command on the host."""
    return _family(name).PROTOCOL()


def make_driver(name: str, hal, uart):
    """Return the driver of a family on a UART."""
    return _family(name).DRIVER(hal, uart)
