"""Emulate Daly's Bluetooth module: Modbus RTU over GATT, one block of registers, no I/O.

Ref: patman15/aiobmsble, daly_bms.py and its captured frames. Registers not read by any client we
know of are zero. The vendor counts charge as positive here, unlike on the wire: the sign flips
once, in `block`.
"""

from hil.devices.device import BMSDevice
from hil.devices.measurement import Values

ADDRESS = 0xD2
READ = 0x03
REGISTER_COUNT = 62
EXCEPTION_ILLEGAL_ADDRESS = 2


def crc16(data: bytes) -> bytes:
    """Return the Modbus CRC-16, low byte first. Ref: Modbus over serial line V1.02, 6.2.2."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            carry = crc & 1
            crc >>= 1
            if carry:
                crc ^= 0xA001
    return crc.to_bytes(2, "little")


def block(values: Values) -> bytes:
    """Return the 62 registers, big-endian."""
    registers = [0] * REGISTER_COUNT
    for index, cell_v in enumerate(values.cells_v):
        registers[index] = round(cell_v * 1000)
    for index, celsius in enumerate(values.temperatures_c):
        registers[0x20 + index] = round(celsius) + 40
    registers[0x28] = round(values.pack_v * 10)
    registers[0x29] = 30000 - round(values.current_a * 10)
    registers[0x2A] = round(values.soc * 1000)
    registers[0x30] = round(values.charge_as / 360)
    registers[0x31] = len(values.cells_v)
    registers[0x32] = len(values.temperatures_c)
    registers[0x33] = round(values.cycles_count)
    registers[0x35] = int(values.fet_charge)
    registers[0x36] = int(values.fet_discharge)
    return b"".join(value.to_bytes(2, "big") for value in registers)


def answer(device: BMSDevice, request: bytes) -> bytes:
    """Return the notification that answers a write to the module; empty for a bad request."""
    if len(request) != 8 or request[0] != ADDRESS or request[-2:] != crc16(request[:-2]):
        return b""
    first = int.from_bytes(request[2:4], "big")
    count = int.from_bytes(request[4:6], "big")
    if request[1] != READ or first + count > REGISTER_COUNT or not count:
        body = bytes((ADDRESS, request[1] | 0x80, EXCEPTION_ILLEGAL_ADDRESS))
        return body + crc16(body)
    data = block(device.values())[2 * first:2 * (first + count)]
    body = bytes((ADDRESS, READ, len(data))) + data
    return body + crc16(body)
