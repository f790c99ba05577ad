"""Run under MicroPython: open the board's HAL, then evaluate one expression a line from stdin."""

import sys

import board

port = __import__("element.hal." + board.PORT, None, None, ("open_board",))
try:
    hal = port.open_board(board)
    print("= ready")
    for line in sys.stdin:
        try:
            print("=", repr(eval(line)))
        except Exception as error:
            print("= !", repr(error))
except Exception as error:
    print("= !", repr(error))
