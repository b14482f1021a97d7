"""Checks access tokens on the app's own side, by the public keys of the daemon (`docs/clients.md`)."""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from ._client import Client
from ._errors import TokenError
from ._model import Claims, Json, Reader

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    from ._ed25519 import verify as _verify
else:

    def _verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
        except InvalidSignature:
            return False
        return True


# RFC 7515 section 2: without padding, and nothing else in it.
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
# The longest header field that the daemon takes.
_LONGEST = 16 * 1024
# Somebody who sends made-up tokens must not make the app ask the daemon each time.
_PAUSE = 10.0


class TokenVerifier:
    """Checks access tokens. One serves all threads of an app.

    A valid token shows that the user logged in and when. It does not show that the session still runs: ask
    `Client.user(session)` where a logout or a change of a factor within the last 15 minutes matters.
    """

    def __init__(
        self,
        client: Client,
        *,
        issuer: str = "mfad",
        type: str = "ACCESS",
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`issuer` and `type` are those of the daemon's configuration (`issuer`, and `type` of `[token]`)."""
        self._client = Client(client.socket, patience=0)
        self._issuer = issuer
        self._type = type
        self._now = now
        self._clock = clock
        self._keys: dict[str, bytes] = {}
        self._fetched: float | None = None
        self._lock = threading.Lock()

    def claims(self, token: str) -> Claims:
        """The claims of a valid access token; `TokenError` for anything else."""
        if len(token) > _LONGEST:
            raise TokenError("too long")
        parts = token.split(".")
        if len(parts) != 3:
            raise TokenError("not a signed token")
        header, claims = _object(parts[0]), _object(parts[1])
        if header.get("alg") not in ("EdDSA", "Ed25519") or "crit" in header:
            raise TokenError("signed in a way that the daemon does not use")
        key = self._key(header.get("kid"))
        if not _verify(key, f"{parts[0]}.{parts[1]}".encode("ascii"), _bytes(parts[2])):
            raise TokenError("the signature is wrong")
        # A challenge is signed with the same key, and proves only the password.
        if header.get("typ") != self._type or claims.get("typ") != "ACCESS" or claims.get("aud") != "mfad:access":
            raise TokenError("not an access token")
        if claims.get("iss") != self._issuer:
            raise TokenError("issued by another daemon")
        return self._read(claims)

    def _read(self, claims: Json) -> Claims:
        expires = claims.get("exp")
        if not isinstance(expires, int) or isinstance(expires, bool):
            raise TokenError("has no end")
        if expires <= self._now():
            raise TokenError("expired")
        user_id, auth_time = claims.get("sub"), claims.get("auth_time")
        if not isinstance(user_id, str) or not user_id:
            raise TokenError("names no user")
        return Claims(
            user_id=user_id,
            amr=_texts(claims.get("amr")),
            auth_time=auth_time if isinstance(auth_time, int) else None,
            expires=expires,
            roles=_texts(claims.get("roles")),
            all=claims,
        )

    def _key(self, kid: object) -> bytes:
        if not isinstance(kid, str):
            raise TokenError("names no key")
        key = self._keys.get(kid)
        if key is None:
            self._fetch()
            key = self._keys.get(kid)
        if key is None:
            raise TokenError("signed with a key that the daemon does not have")
        return key

    def _fetch(self) -> None:
        with self._lock:
            now = self._clock()
            if self._fetched is not None and now - self._fetched < _PAUSE:
                return
            # Also after a failure: made-up tokens must not make every thread wait for a daemon that is away.
            self._fetched = now
            listed = Reader(self._client.request("GET", "/.well-known/jwks.json")).parts("keys")
            fits = [key for key in listed if (key.text("kty"), key.text("crv")) == ("OKP", "Ed25519")]
            self._keys = {key.text("kid"): _bytes(key.text("x")) for key in fits}


def _bytes(text: str) -> bytes:
    if not _BASE64URL.fullmatch(text):
        raise TokenError("not Base64url")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise TokenError("not Base64url") from None


def _object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_bytes(part))
    except (ValueError, RecursionError):
        raise TokenError("not JSON") from None
    if not isinstance(value, dict):
        raise TokenError("not a JSON object")
    return value


def _texts(value: object) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) and all(isinstance(text, str) for text in value) else ()
