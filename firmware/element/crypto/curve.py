"""The group of P-256 in slices: generators that yield between bounded pieces of work.

Points are Jacobian triples (x, y, z), affine x/z**2, y/z**3; z = 0 is infinity. Affine points are
pairs. Every generator's slice is at most about 6 point operations or 40 steps of Euclid: 30-70 us
on the unix port of a PC, a few ms on an RP2040.

The fixed base uses a signed comb: 48 columns, one table of 32 points of 64 bytes, 2 KB. Measured
on the unix port (1.25, one EPYC core), table size against the time of one base multiplication of
a blinded scalar: 0.5 KB 1.27 ms, 2 KB 0.84, 4 KB 0.65, 8 KB 0.55, 16 KB 0.48, 32 KB 0.42. 2 KB is
taken: on an RP2040 memory is scarcer than 50 ms of background.

Constant time: no. The pattern of additions and doublings does not depend on the scalar, scalars
are blinded by a multiple of the group order and coordinates by a random factor, but Python's big
integers and the garbage collector take data-dependent time and a table entry is looked up by a
secret index. This holds off an observer of the network; it does not hold off one with a probe.
Ref: NIST SP 800-186, section 3.2.1.3 (curve); Lim and Lee, CRYPTO '94 (comb); Coron, CHES '99
(blinding); Bernstein and Lange, Explicit-Formulas Database, shortw jacobian-3 (formulas).
"""

from . import p256_table as _table

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
INFINITY = (1, 1, 0)

# Bits of a blinded scalar: 256 and a 32-bit factor of the group order.
SCALAR_BITS = 288
BLIND_BITS = 32
EUCLID_STEPS_PER_SLICE = 40


def is_on_curve(x: int, y: int) -> bool:
    """Return True if 0 <= x, y < P and y**2 = x**3 - 3x + B; infinity has no such pair."""
    if not (0 <= x < P and 0 <= y < P):
        return False
    return (y * y - (x * x - 3) * x - B) % P == 0


def double(point):
    """Return 2 * point (Jacobian); infinity stays infinity."""
    p = P
    x, y, z = point
    zz = z * z % p
    yy = y * y % p
    s = 4 * x * yy % p
    m = 3 * (x - zz) * (x + zz) % p
    x3 = (m * m - s - s) % p
    return x3, (m * (s - x3) - 8 * yy * yy) % p, 2 * y * z % p


def add_affine(point, x2: int, y2: int):
    """Return point + (x2, y2), the second affine; equal and opposite points are handled."""
    p = P
    x1, y1, z1 = point
    zz = z1 * z1 % p
    h = (x2 * zz - x1) % p
    r = (y2 * (zz * z1 % p) - y1) % p
    if z1 == 0:
        return x2, y2, 1
    if h == 0:
        return double(point) if r == 0 else INFINITY
    hh = h * h % p
    v = x1 * hh % p
    hhh = h * hh % p
    x3 = (r * r - hhh - v - v) % p
    return x3, (r * (v - x3) - y1 * hhh) % p, z1 * h % p


def add(a, b):
    """Return a + b (both Jacobian); infinity, equal and opposite points are handled."""
    if a[2] == 0:
        return b
    if b[2] == 0:
        return a
    p = P
    x1, y1, z1 = a
    x2, y2, z2 = b
    zz1 = z1 * z1 % p
    zz2 = z2 * z2 % p
    u1 = x1 * zz2 % p
    s1 = y1 * (zz2 * z2 % p) % p
    h = (x2 * zz1 - u1) % p
    r = (y2 * (zz1 * z1 % p) - s1) % p
    if h == 0:
        return double(a) if r == 0 else INFINITY
    hh = h * h % p
    v = u1 * hh % p
    hhh = h * hh % p
    x3 = (r * r - hhh - v - v) % p
    return x3, (r * (v - x3) - s1 * hhh) % p, z1 * z2 % p * h % p


def inverse_steps(value: int, modulus: int):
    """Yield between slices and return the inverse of value; modulus prime, value not 0 mod it.

    Extended Euclid: its time depends on value, so a secret must come multiplied by a random
    factor. At most 1.44 * 256 steps, because the remainders fall at least like Fibonacci numbers.
    """
    r0, r1 = modulus, value % modulus
    t0, t1 = 0, 1
    while r1 > 1:
        for _ in range(EUCLID_STEPS_PER_SLICE):
            quotient = r0 // r1
            r0, r1 = r1, r0 - quotient * r1
            t0, t1 = t1, t0 - quotient * t1
            if r1 <= 1:
                break
        yield
    return t1 % modulus


def to_affine_steps(point):
    """Yield between slices and return the affine (x, y) of a Jacobian point, or None at infinity.

    The inversion sees z only; a caller with a secret scalar has randomized z.
    """
    x, y, z = point
    if z == 0:
        return None
    inverse = yield from inverse_steps(z, P)
    square = inverse * inverse % P
    return x * square % P, y * square * inverse % P


def _blinded(scalar: int, blind: int) -> int:
    """Return an odd number below 2**SCALAR_BITS that is scalar modulo N; blind is 32 bits.

    The recodings below need an odd number. N is odd, so the lowest bit of the factor decides.
    """
    factor = (blind & ((1 << BLIND_BITS) - 1)) | 1
    if scalar & 1:
        factor ^= 1
    return scalar + factor * N


def base_steps(scalar: int, blind: int, z: int):
    """Yield between slices and return scalar * G (Jacobian).

    scalar: 0..N-1. blind: 32 random bits. z: random, not 0 modulo P; the point's coordinates
    start scaled by it. Both may be 0 and 1 when the scalar is public.
    """
    points = _table.POINTS
    spacing = _table.SPACING_BITS
    half = spacing // _table.TABLE_COUNT
    sign_index = _table.TEETH - 1
    flip = (1 << sign_index) - 1
    # every bit of this number stands for +1 (set) or -1 (clear) at its place of the scalar
    signs = (_blinded(scalar, blind) + (1 << SCALAR_BITS) - 1) >> 1
    rows = [signs >> (spacing * j) & ((1 << spacing) - 1) for j in range(sign_index + 1)]
    point = None
    for column in range(half - 1, -1, -1):
        if point:
            point = double(point)
        for table_index in range(_table.TABLE_COUNT - 1, -1, -1):
            shift = column + table_index * half
            index = 0
            for j in range(sign_index):
                index |= (rows[j] >> shift & 1) << j
            negative = not rows[sign_index] >> shift & 1
            if negative:
                index ^= flip
            offset = (table_index << sign_index | index) * 64
            x = int.from_bytes(points[offset : offset + 32], "big")
            y = int.from_bytes(points[offset + 32 : offset + 64], "big")
            if negative:
                y = P - y
            if point:
                point = add_affine(point, x, y)
            else:
                zz = z * z % P
                point = (x * zz % P, y * zz * z % P, z)
        yield
    return point


def _odd_multiples_steps(x: int, y: int):
    """Yield between slices and return [1Q, 3Q, .. 15Q] as affine pairs, for a Q of order N."""
    twice = yield from to_affine_steps(double((x, y, 1)))
    multiples = [(x, y, 1)]
    products = [1]
    for _ in range(7):
        multiples.append(add_affine(multiples[-1], twice[0], twice[1]))
        products.append(products[-1] * multiples[-1][2] % P)
        yield
    # one inversion serves all eight points (Montgomery's trick)
    inverse = yield from inverse_steps(products[7], P)
    out = [None] * 8
    for index in range(7, -1, -1):
        x1, y1, z1 = multiples[index]
        own = inverse * products[index - 1] % P if index else inverse
        inverse = inverse * z1 % P
        square = own * own % P
        out[index] = (x1 * square % P, y1 * square * own % P)
    yield
    return out


def point_steps(x: int, y: int, scalar: int, blind: int, z: int):
    """Yield between slices and return scalar * (x, y) (Jacobian); as base_steps, any point.

    The caller has checked that (x, y) is on the curve; every such point has order N. The scalar
    is written as 72 odd digits of 4 bits, -15..15, so each costs 4 doublings and 1 addition.
    """
    multiples = yield from _odd_multiples_steps(x, y)
    signs = (_blinded(scalar, blind) + (1 << SCALAR_BITS) - 1) >> 1
    point = None
    for shift in range(SCALAR_BITS - 4, -1, -4):
        # four +1/-1 signs make the digit 2 * bits - 15
        digit = 2 * (signs >> shift & 15) - 15
        x, y = multiples[(digit if digit > 0 else -digit) >> 1]
        if digit < 0:
            y = P - y
        if point:
            point = add_affine(double(double(double(double(point)))), x, y)
        else:
            zz = z * z % P
            point = (x * zz % P, y * zz * z % P, z)
        yield
    return point
