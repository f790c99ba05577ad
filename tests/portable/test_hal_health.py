"""Health tests of the generator: what is stuck or biased makes no key, what is sound passes."""

import hashlib

from element.hal.health import (
    BLOCK_SIZE,
    PROPORTION_MAX,
    REPEAT_MAX,
    START_SIZE,
    WINDOW_SIZE,
    Entropy,
)
from element.protocol.errors import SignatureError


def stream(seed, transform=None):
    """Return a generator's read: SHA-256 in counter mode, each byte transformed."""
    state = {"count": 0, "held": b""}

    def read(size):
        while len(state["held"]) < size:
            block = hashlib.sha256(b"%s %d" % (seed, state["count"])).digest()
            state["count"] += 1
            state["held"] += bytes([transform(one) for one in block]) if transform else block
        out = state["held"][:size]
        state["held"] = state["held"][size:]
        return out

    return read


def repeated(block):
    """Return a read that goes round in a ring."""
    state = {"at": 0}

    def read(size):
        out = bytes([block[(state["at"] + index) % len(block)] for index in range(size)])
        state["at"] += size
        return out

    return read


def refused(read):
    """Return what the start says about a generator, None when it is content."""
    try:
        Entropy(read).start()
    except SignatureError as error:
        assert error.code == "entropy"
        return error.value
    return None


def test_a_sound_generator_passes():
    for seed in range(200):
        assert refused(stream(b"sound %d" % seed)) is None


def test_a_constant_is_refused():
    for value in (0, 1, 0x55, 0xAA, 0xFF):
        assert refused(lambda size, value=value: bytes([value]) * size) == "repetition"


def test_two_values_are_refused():
    low = stream(b"two", lambda one: 0x13 if one < 128 else 0xC4)
    assert refused(low) is not None
    assert refused(repeated(b"\x00\xff")) is not None


def test_alternating_blocks_are_refused():
    for size in (2, 3, 16, 31, 64, 255, 500):
        first = stream(b"a")(size)
        second = stream(b"b")(size)
        assert refused(repeated(first + second)) is not None, size


def test_the_rp2040_s_shift_register_with_a_stuck_oscillator_is_refused():
    """rosc_random_u8 of MicroPython 1.25, ports/rp2/main.c, with its random bit constant."""
    for bit in (0, 1):
        for start in (0, 1, 0x5A, 0xFF):
            state = {"r": start}

            def read(size, bit=bit, state=state):
                out = bytearray()
                for _ in range(size):
                    r = state["r"]
                    for _ in range(8):
                        r = ((r << 1 | bit) & 0xFF) ^ (0xD5 if r & 0x80 else 0)
                    state["r"] = r
                    out.append(r)
                return bytes(out)

            assert refused(read) in ("ring", "repetition"), (bit, start)


def bits(seed, ones_of_256):
    """Return a read whose bits are one with a probability of ones_of_256 / 256."""
    source = stream(seed)

    def read(size):
        out = bytearray()
        for _ in range(size):
            byte = 0
            for one in source(8):
                byte = byte << 1 | (one < ones_of_256)
            out.append(byte)
        return bytes(out)

    return read


def test_a_heavy_bias_is_refused_and_a_slight_one_is_not():
    for seed in range(5):
        assert refused(bits(b"heavy %d" % seed, 210)) is not None  # 82 %
        assert refused(bits(b"rare %d" % seed, 46)) is not None  # 18 %
        assert refused(bits(b"slight %d" % seed, 140)) is None  # 55 %


def test_few_values_are_refused():
    assert refused(stream(b"few", lambda one: one & 0x07)) is not None


def test_the_first_run_that_is_too_long_is_refused_and_not_one_before():
    """Across draws, too: the count goes on."""
    for count in (REPEAT_MAX - 1, REPEAT_MAX):
        chunks = [b"\x01\x02" + b"\x77" * (count - 2), b"\x77\x77\x03\x04"]
        source = Entropy(lambda size, chunks=chunks: chunks.pop(0))
        source.draw(count)
        try:
            source.draw(4)
            assert count < REPEAT_MAX
        except SignatureError as error:
            assert count == REPEAT_MAX and error.value == "repetition"


def test_one_value_too_often_in_a_window_is_refused_and_one_less_is_not():
    for count in (PROPORTION_MAX - 1, PROPORTION_MAX):
        data = bytearray(stream(b"window")(START_SIZE))
        first = data[0]
        for index in range(START_SIZE):
            if index and data[index] == first:
                data[index] ^= 1
        for index in range(1, count):
            data[index * WINDOW_SIZE // (count + 1)] = first
        assert refused(lambda size, data=data: bytes(data)) == (
            "proportion" if count == PROPORTION_MAX else None)


def test_a_block_that_comes_again_in_a_draw_is_refused():
    block = stream(b"block")(BLOCK_SIZE)
    other = stream(b"other")(40)
    good = Entropy(lambda size: (block + other)[:size])
    assert good.draw(48) == block + other
    bad = Entropy(lambda size: (block + other + block)[:size])
    try:
        bad.draw(56)
        raise AssertionError
    except SignatureError as error:
        assert error.value == "ring"


def test_a_short_answer_is_refused():
    try:
        Entropy(lambda size: b"x").draw(2)
        raise AssertionError
    except SignatureError as error:
        assert error.value == "size"
