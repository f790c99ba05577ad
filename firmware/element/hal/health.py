"""Health tests of a random generator: no key is made from one that is stuck or biased. Pure.

The repetition count and the adaptive proportion test of NIST SP 800-90B, 4.4.1 and 4.4.2, with
a false-alarm rate of 2**-20 a window for a source of the stated min-entropy H:

- repetition, bytes at H = 4: cutoff 1 + ceil(20 / 4) = 6
- proportion, 512 bytes at H = 4: cutoff 1 + critbinom(512, 2**-4, 1 - 2**-20) = 62
- proportion, 1024 bits at H = 0.5: cutoff 1 + critbinom(1024, 2**-0.5, 1 - 2**-20) = 793

and one more for what they cannot see, a generator that goes round in a ring: eight bytes that
come again within one draw. The RP2040's os.urandom is such a one when its oscillator is stuck: a
shift register with a period of at most 255 bytes (MicroPython 1.25, ports/rp2/main.c,
rosc_random_u8). A generator with full entropy fails a start less than once in 2**29 starts.
"""

from ..protocol.errors import SignatureError

START_SIZE = 1024
REPEAT_MAX = 6
WINDOW_SIZE = 512
PROPORTION_MAX = 62
WINDOW_BITS = 1024
PROPORTION_BITS_MAX = 793
BLOCK_SIZE = 8


class Entropy:
    """A generator under test: `start` once at boot, then `draw`."""

    def __init__(self, read):
        """read(size): the generator."""
        self._read = read
        self._last = -1
        self._run_count = 0

    def start(self) -> None:
        """Test START_SIZE bytes, which are used for nothing. Raises SignatureError."""
        data = self.draw(START_SIZE)
        for at in range(0, START_SIZE, WINDOW_SIZE):
            first = data[at]
            count = 0
            for index in range(at, at + WINDOW_SIZE):
                if data[index] == first:
                    count += 1
            if count >= PROPORTION_MAX:
                raise SignatureError("entropy", "proportion")
        for at in range(0, START_SIZE, WINDOW_BITS // 8):
            if _same_bits(data, at, at + WINDOW_BITS // 8) >= PROPORTION_BITS_MAX:
                raise SignatureError("entropy", "bits")

    def draw(self, size: int) -> bytes:
        """Return size bytes that passed the repetition test. Raises SignatureError."""
        data = self._read(size)
        if len(data) != size:
            raise SignatureError("entropy", "size")
        last = self._last
        run_count = self._run_count
        for byte in data:
            if byte == last:
                run_count += 1
                if run_count >= REPEAT_MAX:
                    raise SignatureError("entropy", "repetition")
            else:
                last = byte
                run_count = 1
        self._last = last
        self._run_count = run_count
        if size > BLOCK_SIZE and data.find(data[:BLOCK_SIZE], 1) >= 0:
            raise SignatureError("entropy", "ring")
        return data


def _same_bits(data: bytes, start: int, end: int) -> int:
    """Return how many bits of data[start:end] are as its first one."""
    ones = 0
    for index in range(start, end):
        byte = data[index]
        while byte:
            byte &= byte - 1
            ones += 1
    return ones if data[start] & 0x80 else (end - start) * 8 - ones
