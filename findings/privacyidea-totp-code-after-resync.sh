#!/usr/bin/env bash
# Tried with: privacyIDEA 3.14 (PyPI), Python 3.11.
#
# Expected: a user gives two codes that follow each other to bring a TOTP token back in step. The two are used up then, and
# the next code that the token shows is accepted.
#
# Happens: the next code is refused. The resync stores the step of the second code plus one, as is right for HOTP, whose
# counter is the next one; for TOTP it is the last used step. A user who tries the token at once, as one does after a
# resync, sees that it still fails, and resyncs again. The code after that one works. Whoever moves the tokens elsewhere
# finds a last used step that was not used.
#
# Seen (steps counted from that of the second code):
#   two codes accepted: last used step 0, code of step 1 True, code of step 2 True
#   two codes to resync: last used step 1, code of step 1 False, code of step 2 True
#
# Way around: tell users to wait for one more code after a resync.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q --disable-pip-version-check install privacyidea==3.14
cat >pi.cfg <<CONFIG
SECRET_KEY = PI_PEPPER = "made up"
SQLALCHEMY_DATABASE_URI = "sqlite:///$dir/pi.sqlite"
PI_ENCFILE = "$dir/enckey"
PI_LOGFILE = "$dir/pi.log"
PI_AUDIT_NO_SIGN = True
CONFIG
export PRIVACYIDEA_CONFIGFILE=$dir/pi.cfg
venv/bin/pi-manage setup create_enckey >/dev/null 2>&1
venv/bin/pi-manage setup create_tables >/dev/null 2>&1
venv/bin/python - 2>/dev/null <<'PYTHON'
import hashlib
import hmac
import os
import time

from privacyidea.app import create_app

KEY = b"12345678901234567890"


def code(step: int) -> str:
    digest = hmac.new(KEY, step.to_bytes(8, "big"), hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start:start + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"


app = create_app("production", os.environ["PRIVACYIDEA_CONFIGFILE"], silent=True)
with app.app_context(), app.test_request_context():
    from privacyidea.lib.token import check_serial_pass, get_tokens, init_token, resync_token

    second = int(time.time()) // 30

    def accepted(step: int) -> bool:
        return check_serial_pass("TOTP0001", code(second + step))[0]

    ways = {
        "two codes accepted": (lambda: accepted(-1) and accepted(0), (0, True, True)),
        "two codes to resync": (lambda: resync_token("TOTP0001", code(second - 1), code(second)), (1, False, True)),
    }
    for way, (first_two, expected) in ways.items():
        token = init_token({"serial": "TOTP0001", "type": "totp", "otpkey": KEY.hex(), "otplen": 6, "timeStep": 30})
        assert first_two()
        found = (get_tokens(serial="TOTP0001")[0].token.count - second, accepted(1), accepted(2))
        print(f"{way}: last used step {found[0]}, code of step 1 {found[1]}, code of step 2 {found[2]}")
        assert found == expected, "it behaves otherwise now"
        token.delete_token()
PYTHON
