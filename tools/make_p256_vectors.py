"""Write tests/vectors/p256_verify.json: signatures at the edges of ECDSA, good and bad.

Each case is [name, public key, digest, signature, valid], bytes in hex. Whether a case is valid
follows from how it was built; tests/host checks every one again with another library. The
arithmetic is that of make_p256_table.py, so nothing here comes from the code under test. Run it
from the root of the repository: python -m tools.make_p256_vectors.
Ref: FIPS 186-5, section 6.4.2 (what a verifier must check).
"""

import hashlib
import json
import pathlib
import sys
from collections.abc import Iterator

from tools.make_p256_table import G, P, Point, add

# Name, key point, digest as a number, r, s, whether it is valid.
Case = tuple[str, Point, int, int, int, bool]

N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
OUTPUT = pathlib.Path(__file__).parent.parent / "tests/vectors/p256_verify.json"


def multiply(scalar: int, point: Point = G) -> Point:
    """Return scalar * point, scalar not 0 modulo N."""
    total = point
    for bit in bin(scalar % N)[3:]:
        total = add(total, total)
        if bit == "1":
            total = add(total, point)
    return total


def lift(x: int) -> Point | None:
    """Return the point with this x and an even y, or None if there is none."""
    square = (x * x * x - 3 * x + B) % P
    y = pow(square, (P + 1) // 4, P)
    if y * y % P != square:
        return None
    return x, y if y % 2 == 0 else P - y


def b32(value: int) -> str:
    """Return 32 big-endian bytes in hex."""
    return value.to_bytes(32, "big").hex()


def number(text: str) -> int:
    """Return a repeatable number 1..N-1 made from text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big") % (N - 1) + 1


def signed(secret: int, hashed: int, nonce: int) -> tuple[int, int]:
    """Return (r, s) with a nonce of our choice."""
    r = multiply(nonce)[0] % N
    return r, pow(nonce, -1, N) * (hashed + r * secret) % N


def with_nonce_point(point: Point) -> tuple[Point, int, int, int]:
    """Return (key point, hashed, r, s): a valid signature whose nonce point is the given one.

    u1 and u2 are chosen first and the key follows: Q = (R - u1 G) / u2, s = r / u2, e = u1 s.
    """
    u1, u2 = number("u1"), number("u2")
    gx, gy = multiply(u1)
    key = multiply(pow(u2, -1, N), add(point, (gx, P - gy)))
    r = point[0] % N
    s = r * pow(u2, -1, N) % N
    return key, u1 * s % N, r, s


def edge_cases() -> Iterator[Case]:
    """Yield the cases whose keys, digests or nonces are extreme."""
    for label, secret in (("1", 1), ("2", 2), ("n-1", N - 1), ("n-2", N - 2)):
        for digest_label, hashed in (("random", number("d")), ("0", 0), ("ones", 2**256 - 1)):
            r, s = signed(secret, hashed, number("k" + label + digest_label))
            name = f"private key {label}, digest {digest_label}"
            yield name, multiply(secret), hashed, r, s, True
    small = next(point for x in range(1, 99) if (point := lift(x)))
    key, hashed, r, s = with_nonce_point(small)
    yield "r tiny", key, hashed, r, s, True
    yield "r tiny plus n", key, hashed, r + N, s, False
    yield "r tiny, wrong digest", key, hashed ^ 1, r, s, False
    large = next(point for x in range(P - 1, N, -1) if (point := lift(x)))
    key, hashed, r, s = with_nonce_point(large)
    yield "nonce point x above n", key, hashed, r, s, True
    yield "nonce point x above n, r not reduced", key, hashed, r + N, s, False
    yield "nonce point x above n, wrong digest", key, hashed ^ 1, r, s, False
    secret = number("secret")
    for label, s in (("1", 1), ("n-1", N - 1)):
        # the digest is what makes this s the right one: e = s k - r d
        r = multiply(number("ks"))[0] % N
        hashed = (s * number("ks") - r * secret) % N
        yield f"s = {label} and right", multiply(secret), hashed, r, s, True
    nonce = number("k2")
    # e = r d makes u1 G equal to u2 Q, so the last addition is a doubling
    r = multiply(nonce)[0] % N
    hashed = r * secret % N
    _, s = signed(secret, hashed, nonce)
    yield "last addition doubles", multiply(secret), hashed, r, s, True
    yield "last addition gives infinity", multiply(secret), N - hashed, r, s, False


def range_cases() -> Iterator[Case]:
    """Yield one good signature and every way to spoil it that a verifier must see."""
    secret, hashed = number("secret"), number("digest")
    key = multiply(secret)
    r, s = signed(secret, hashed, number("nonce"))
    yield "good", key, hashed, r, s, True
    yield "high or low s, the other one", key, hashed, r, N - s, True
    for label, value in (("0", 0), ("n", N), ("n+1", N + 1), ("p", P), ("2**256-1", 2**256 - 1)):
        yield f"r = {label}", key, hashed, value, s, False
        yield f"s = {label}", key, hashed, r, value, False
    for label, value in (("1", 1), ("n-1", N - 1)):
        yield f"r = {label}", key, hashed, value, s, False
        yield f"s = {label}", key, hashed, r, value, False
        yield f"r = s = {label}", key, hashed, value, value, False
    yield "r = s = 0", key, hashed, 0, 0, False
    yield "r negated", key, hashed, N - r, s, False
    yield "swapped", key, hashed, s, r, False
    yield "wrong digest", key, hashed ^ 1, r, s, False
    yield "other key", multiply(secret + 1), hashed, r, s, False
    yield "negated key", (key[0], P - key[1]), hashed, r, s, False
    yield "key off the curve", (key[0], key[1] ^ 1), hashed, r, s, False
    yield "key zero", (0, 0), hashed, r, s, False
    yield "key x above p", (key[0] % (2**256 - P) + P, key[1]), hashed, r, s, False
    yield "key y is p", (key[0], P), hashed, r, s, False
    twist = next(x for x in range(1, 99) if lift(x) is None)
    yield "key on the twist", (twist, 1), hashed, r, s, False
    for bit in range(0, 256, 15):
        yield f"r bit {bit} flipped", key, hashed, r ^ 1 << bit, s, False
        yield f"s bit {bit} flipped", key, hashed, r, s ^ 1 << bit, False
        yield f"digest bit {bit} flipped", key, hashed ^ 1 << bit, r, s, False


def render() -> str:
    """Return the text of the file, one case a line."""
    rows = []
    for name, key, hashed, r, s, valid in [*range_cases(), *edge_cases()]:
        rows.append(
            json.dumps([name, b32(key[0]) + b32(key[1]), b32(hashed), b32(r) + b32(s), valid])
        )
    return "[\n" + ",\n".join(rows) + "\n]\n"


def main() -> int:
    """Write the file."""
    OUTPUT.write_text(render(), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
