"""Emulate the two gates of JBD devices: the password of the UART, and access over Bluetooth.

UART password (firmware 0x16 to 0x20): register 0x06 uses, 0x07 sets, 0x09 clears it; without
it factory mode is refused with status 0x81. Firmware 0x21 has none and answers 0x06 with 0x80.
Ref: Overkill Solar's JBD register map, "Passwords"; exchanges captured in fl4p/batmon-ha
issue 4 and smagicld/xiaoxiangBMS issue 195. What a wrong password is answered with, and when
an opened lock closes again, is not documented: here 0x81, and at the next wrong password.

Bluetooth module, two generations. One wants FF AA frames first: 15 app key, 17 a random byte,
18 the password, 17, 1D the root password; the passwords are masked with the module's MAC and
the random byte. Ref: syssi/esphome-jbd-bms docs/ffaa-auth-flow (captures). The newer one wants
a paired link (passkey), and until then echoes every write. Ref: the same, issue 245.
"""

from enum import Enum
from random import Random

from .jbd_frames import STATUS_ERROR, STATUS_GOOD, STATUS_LOCKED

REGISTER_USE_PASSWORD = 0x06
REGISTER_SET_PASSWORD = 0x07
REGISTER_CLEAR_PASSWORD = 0x09
PASSWORD_SIZE = 6
CLEAR_PASSWORD = b"J1B2D4"

AUTH_START = b"\xff\xaa"
AUTH_APP_KEY = 0x15
AUTH_CHANGE_PASSWORD = 0x16
AUTH_RANDOM = 0x17
AUTH_PASSWORD = 0x18
AUTH_ROOT_PASSWORD = 0x1D
AUTH_GOOD = 0x00
AUTH_BAD = 0x01
AUTH_NO_PASSWORD = 0x02
AUTH_OVERHEAD_BYTES = 5
ROOT_PASSWORD = b"JBDbtpwd!@#2023"
MAC_SIZE = 6
NOTIFICATION_SIZE = 20


class PasswordLock:
    """Guard factory mode with a password, or be a firmware that knows none (password None)."""

    def __init__(self, password: bytes | None) -> None:
        """Start locked. Raises ValueError unless password has six bytes."""
        if password is not None and len(password) != PASSWORD_SIZE:
            raise ValueError(f"password of {len(password)} bytes")
        self._password = password
        self._opened = False

    @property
    def is_open(self) -> bool:
        """Return True while nothing is guarded, or the right password was heard."""
        return self._opened or self._password is None

    def write(self, register: int, data: bytes) -> int | None:
        """Return the status of a write to a password register, None for any other register."""
        if register not in (REGISTER_USE_PASSWORD, REGISTER_SET_PASSWORD, REGISTER_CLEAR_PASSWORD):
            return None
        if self._password is None or not data or data[0] != len(data) - 1:
            return STATUS_ERROR
        text = data[1:]
        if register == REGISTER_USE_PASSWORD:
            self._opened = text == self._password
            return STATUS_GOOD if self._opened else STATUS_LOCKED
        if register == REGISTER_CLEAR_PASSWORD:
            if text != CLEAR_PASSWORD:
                return STATUS_ERROR
            self._password = None
            return STATUS_GOOD
        if len(text) != 2 * PASSWORD_SIZE or text[:PASSWORD_SIZE] != self._password:
            return STATUS_LOCKED
        self._password = text[PASSWORD_SIZE:]
        return STATUS_GOOD


def auth_frame(command: int, data: bytes = b"") -> bytes:
    """Return an FF AA frame: command, length, data, low byte of the sum of these."""
    body = bytes((command, len(data))) + data
    return AUTH_START + body + bytes((sum(body) & 0xFF,))


def mask(secret: bytes, mac: bytes, random_byte: int) -> bytes:
    """Return a password as it goes over the air: (MAC byte xor character) plus random_byte.

    mac in the order it is written, zeros beyond its six bytes.
    """
    pads = mac[:MAC_SIZE] + bytes(max(0, len(secret) - MAC_SIZE))
    pairs = zip(pads, secret, strict=False)
    return bytes(((pad ^ character) + random_byte) & 0xFF for pad, character in pairs)


def notifications(data: bytes) -> list[bytes]:
    """Return data cut as the module notifies it: pieces of 20 bytes, the last one shorter."""
    return [data[at : at + NOTIFICATION_SIZE] for at in range(0, len(data), NOTIFICATION_SIZE)]


class _Step(Enum):
    CLOSED = 0
    APP_KEY = 1
    PASSWORD = 2
    OPEN = 3


class BLEGate:
    """Stand between a Bluetooth client and the BMS until it has shown who it is.

    `paired` tells whether the radio link is paired with a passkey; the bench sets it.
    """

    def __init__(
        self,
        rng: Random,
        mac: bytes,
        pin: bytes | None = b"123456",
        app_key: bytes = b"000000",
        needs_pairing: bool = False,
    ) -> None:
        """Start closed. needs_pairing: the newer generation, without FF AA frames.

        pin None: no password is set, the app key opens. Raises ValueError for a wrong size.
        """
        if len(mac) != MAC_SIZE or (pin is not None and len(pin) != PASSWORD_SIZE):
            raise ValueError(f"mac of {len(mac)} bytes, pin {pin!r}")
        self.paired = False
        self._rng = rng
        self._mac = mac
        self._pin = pin
        self._app_key = app_key
        self._needs_pairing = needs_pairing
        self._random: int | None = None
        self._step = _Step.CLOSED

    def hear(self, data: bytes) -> bytes | None:
        """Return None when data may pass to the BMS, else the module's answer, b"" for silence.

        data is one write to the characteristic.
        """
        if self._needs_pairing:
            return None if self.paired else data
        if data.startswith(AUTH_START):
            return self._answer(data)
        return None if self._step is _Step.OPEN else b""

    def _answer(self, data: bytes) -> bytes:
        if len(data) < AUTH_OVERHEAD_BYTES or len(data) != AUTH_OVERHEAD_BYTES + data[3]:
            return b""
        command, secret = data[2], data[4:-1]
        if data != auth_frame(command, secret):
            return b""
        if command == AUTH_RANDOM:
            self._random = self._rng.randrange(0x100)
            return auth_frame(command, bytes((self._random,)))
        if command == AUTH_APP_KEY:
            return auth_frame(command, bytes((self._hear_app_key(secret),)))
        if command == AUTH_PASSWORD:
            good = self._step is _Step.APP_KEY and self._is(self._pin, secret)
            return self._go(command, good, _Step.PASSWORD)
        if command == AUTH_ROOT_PASSWORD:
            good = self._step is _Step.PASSWORD and self._is(ROOT_PASSWORD, secret)
            return self._go(command, good, _Step.OPEN)
        if command == AUTH_CHANGE_PASSWORD:
            good = self._step is _Step.OPEN and len(secret) == PASSWORD_SIZE
            if good:
                self._pin = secret
            return self._go(command, good, _Step.OPEN)
        return b""

    def _hear_app_key(self, secret: bytes) -> int:
        if secret != self._app_key:
            self._step = _Step.CLOSED
            return AUTH_BAD
        self._step = _Step.OPEN if self._pin is None else _Step.APP_KEY
        return AUTH_NO_PASSWORD if self._pin is None else AUTH_GOOD

    def _is(self, secret: bytes | None, masked: bytes) -> bool:
        """Compare with the last random byte, which stays valid until the next one is asked."""
        if secret is None or self._random is None:
            return False
        return mask(secret, self._mac, self._random) == masked

    def _go(self, command: int, good: bool, step: _Step) -> bytes:
        """Take a step when good; a bad password closes nothing that is open."""
        if good:
            self._step = step
        return auth_frame(command, bytes((AUTH_GOOD if good else AUTH_BAD,)))
