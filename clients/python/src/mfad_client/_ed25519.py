"""Verification of Ed25519 signatures (RFC 8032 section 5.1.7), for hosts without the package `cryptography`.

Everything here is public, so time that depends on values gives nothing away. One verification takes some milliseconds.
"""

from __future__ import annotations

import hashlib

P = 2**255 - 19
# The order of the base point.
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_MINUS_1 = pow(2, (P - 1) // 4, P)

# Extended coordinates (X, Y, Z, T) of a point: x = X/Z, y = Y/Z, x*y = T/Z.
Point = tuple[int, int, int, int]
NEUTRAL: Point = (0, 1, 1, 0)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature (64 bytes) of the message is valid under the public key (32 bytes)."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    key = _decode(public_key)
    s = int.from_bytes(signature[32:], "little")
    # Without this bound, s + L would be a second valid signature.
    if key is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % L
    x, y, z, t = key
    expected = _double_product(s, BASE, k, (P - x, y, z, P - t))
    return _encode(expected) == signature[:32]


def _add(a: Point, b: Point) -> Point:
    """RFC 8032 section 5.1.4; complete, so it holds for equal points too."""
    left = (a[1] - a[0]) * (b[1] - b[0]) % P
    right = (a[1] + a[0]) * (b[1] + b[0]) % P
    c = 2 * a[3] * b[3] * D % P
    d = 2 * a[2] * b[2] % P
    e, f, g, h = right - left, d - c, d + c, right + left
    return e * f % P, g * h % P, f * g % P, e * h % P


def _double_product(a: int, first: Point, b: int, second: Point) -> Point:
    """a times the first point plus b times the second one."""
    table = (NEUTRAL, first, second, _add(first, second))
    product = NEUTRAL
    for bit in range(max(a.bit_length(), b.bit_length()) - 1, -1, -1):
        product = _add(product, product)
        choice = (a >> bit & 1) | (b >> bit & 1) << 1
        if choice:
            product = _add(product, table[choice])
    return product


def _recover_x(y: int, sign: int) -> int | None:
    """RFC 8032 section 5.1.3, steps 2 to 4."""
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * SQRT_MINUS_1 % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def _decode(encoded: bytes) -> Point | None:
    number = int.from_bytes(encoded, "little")
    y, sign = number & (1 << 255) - 1, number >> 255
    if y >= P:
        return None
    x = _recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def _encode(point: Point) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _base() -> Point:
    y = 4 * pow(5, P - 2, P) % P
    x = _recover_x(y, 0)
    if x is None:
        raise ArithmeticError("the base point is not on the curve")
    return x, y, 1, x * y % P


BASE = _base()
