"""Switch every output off, whatever the process before has left: the unit's ExecStopPost."""

import board

from element.hal import linux

linux.outputs_off(board)
