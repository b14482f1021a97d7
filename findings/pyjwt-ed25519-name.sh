#!/usr/bin/env bash
# Tried with: PyJWT 2.15.1 (PyPI), cryptography 50.0.2.
#
# Expected: RFC 9864 gives Ed25519 signatures in JOSE a name of their own, alg "Ed25519", and deprecates the polymorphic
# "EdDSA". A verifier that is told to take both names takes a token under either, and a JWK with either alg.
#
# Happens: PyJWT knows "EdDSA" alone. The same claims with the same key under alg "Ed25519" are refused, also where
# "Ed25519" is in the list of allowed algorithms, and a JWK that says alg "Ed25519" cannot be loaded at all, so one such
# key makes the whole key set of an issuer that follows the newer standard fail for that client.
#
# Seen:
#   EdDSA: token taken, key loaded
#   Ed25519: InvalidAlgorithmError (Algorithm not supported), PyJWKError (Unable to find an algorithm for key)
#
# Way around: issue under "EdDSA" while clients use this library, or leave alg out of the JWK.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" -q --disable-pip-version-check install PyJWT==2.15.1 cryptography==50.0.2
"$dir/venv/bin/python" - <<'PYTHON'
import base64
import json

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

key = Ed25519PrivateKey.generate()


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def token(alg: str) -> str:
    signed = f"{encoded(json.dumps({'alg': alg, 'typ': 'JWT'}).encode())}.{encoded(json.dumps({'sub': 'alice'}).encode())}"
    return f"{signed}.{encoded(key.sign(signed.encode()))}"


def outcome(work) -> str:
    try:
        work()
        return "ok"
    except jwt.PyJWTError as error:
        return type(error).__name__


seen = {"EdDSA": ("ok", "ok"), "Ed25519": ("InvalidAlgorithmError", "PyJWKError")}
for alg, expected in seen.items():
    jwk = {"kty": "OKP", "crv": "Ed25519", "alg": alg, "x": encoded(key.public_key().public_bytes_raw())}
    found = (
        outcome(lambda: jwt.decode(token(alg), key.public_key(), algorithms=["EdDSA", "Ed25519"])),
        outcome(lambda: jwt.PyJWK(jwk)),
    )
    print(f"{alg}: token {found[0]}, key {found[1]}")
    assert found == expected, "it behaves otherwise now"
PYTHON
