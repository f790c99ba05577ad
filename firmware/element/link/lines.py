"""Choose the line of a board on a network or a bus. Loaded by such boards alone."""

from ..protocol.errors import RangeError


def open_line(board, hal, poll=None):
    """Return the line that board.LINK names: "tcp", "mqtt" or "ble". Raises RangeError.

    poll: the loop's, when it has one that sockets can wake; else the port calls `look` often.
    """
    kind = board.LINK
    if kind == "tcp":
        from .tcp_line import TCPLine

        return TCPLine(hal, board.NETWORK, poll)
    if kind == "mqtt":
        from .mqtt_line import MQTTLine

        return MQTTLine(hal, board.NETWORK, poll)
    if kind == "ble":
        from .ble_line import BLELine

        return BLELine(hal)
    raise RangeError("LINK", kind)


def open_bus(hal, uart, baud: int):
    """Return the line of a board with LINK = "bus" on its UART, an RS-485 transceiver behind."""
    from .bus_line import BusLine

    return BusLine(hal, uart, baud)
