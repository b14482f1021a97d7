#!/usr/bin/env bash
# Tried with: pyotp 2.12.1 (PyPI).
#
# Expected: `counter=5` in an otpauth URI is the counter of the next code. A HOTP object made of the URI gives that code
# for at(5), as an object made of the secret does, and verify() takes it for the counter 5.
#
# Happens: the counter of the URI becomes an offset that is added to the argument of every call. at(5) gives the code of
# the counter 10, and verify(code, 5) refuses the right one. A server that keeps the counter of each user and hands it to
# at() or verify() refuses every user whose URI did not begin at 0, and no error tells why.
#
# Seen:
#   parsed with counter=5: at(0) = 254676, at(5) = 403154, verify(254676, 5) = False
#   of the secret:         at(5) = 254676, at(10) = 403154, verify(254676, 5) = True
#
# Way around: take `initial_count` of the parsed object, and make a new object of its secret.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" -q --disable-pip-version-check install pyotp==2.12.1
"$dir/venv/bin/python" - <<'PYTHON'
import pyotp

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
parsed = pyotp.parse_uri(f"otpauth://hotp/alice?secret={SECRET}&counter=5")
plain = pyotp.HOTP(SECRET)
right = plain.at(5)
print(f"parsed with counter=5: at(0) = {parsed.at(0)}, at(5) = {parsed.at(5)}, verify = {parsed.verify(right, 5)}")
print(f"of the secret: at(5) = {right}, at(10) = {plain.at(10)}, verify = {plain.verify(right, 5)}")
# RFC 4226 appendix D: the code of the counter 5.
assert right == "254676" and plain.verify(right, 5)
assert parsed.at(5) == plain.at(10) and parsed.at(0) == right and not parsed.verify(right, 5), "it behaves otherwise now"
PYTHON
