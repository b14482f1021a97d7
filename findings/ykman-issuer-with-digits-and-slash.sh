#!/usr/bin/env bash
# Tried with: yubikey-manager 5.9.2 (PyPI), Python 3.11.
#
# Expected: an OATH credential id that yubikey-manager makes of issuer, name and period is read back as the same three. The
# key stores nothing of the period but what stands in the id, as PERIOD/ISSUER:NAME, where the period is left out if it is 30.
#
# Happens: an issuer that begins with digits and a slash, at the period of 30 seconds, is written without the period. The id
# is read back with the digits as the period and without them in the issuer: "24/7 Bank" becomes "7 Bank" at 24 seconds. The
# key is right; whatever reads the id computes the time step with the wrong period, so every code shown is wrong.
#
# Seen:
#   24/7 Bank, alice, 30 -> b'24/7 Bank:alice' -> 7 Bank, alice, 24
#   7/11, bob, 30 -> b'7/11:bob' -> 11, bob, 7
#   Bank, alice, 60 -> b'60/Bank:alice' -> Bank, alice, 60
#
# Way around: write the period out (30/24/7 Bank:alice), which is read back as it was meant.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
# Without its dependencies for readers, which this needs none of.
"$dir/venv/bin/pip" -q --disable-pip-version-check install --no-deps yubikey-manager==5.9.2 2>/dev/null
"$dir/venv/bin/pip" -q --disable-pip-version-check install cryptography==50.0.2 2>/dev/null
"$dir/venv/bin/python" - <<'PYTHON'
from urllib.parse import quote

from yubikit.oath import OATH_TYPE, CredentialData, _parse_cred_id

seen = {
    ("24/7 Bank", "alice", 30): ("7 Bank", "alice", 24),
    ("7/11", "bob", 30): ("11", "bob", 7),
    ("Bank", "alice", 60): ("Bank", "alice", 60),
}
for (issuer, name, period), expected in seen.items():
    uri = f"otpauth://totp/{quote(issuer)}:{name}?secret=GEZDGNBVGY3TQOJQ&issuer={quote(issuer)}&period={period}"
    data = CredentialData.parse_uri(uri)
    assert (data.issuer, data.name, data.period) == (issuer, name, period), data
    read = _parse_cred_id(data.get_id(), OATH_TYPE.TOTP)
    print(f"{issuer}, {name}, {period} -> {data.get_id()} -> {', '.join(map(str, read))}")
    assert read == expected, "it behaves otherwise now"
assert _parse_cred_id(b"30/24/7 Bank:alice", OATH_TYPE.TOTP) == ("24/7 Bank", "alice", 30)
PYTHON
