#!/usr/bin/env bash
# Tried with: privacyIDEA 3.14 (PyPI), Python 3.11.
#
# Expected: `pi-tokenjanitor import pskc` reads the hash of a token from <Suite>, whose form RFC 6030 leaves open. A token
# with <Suite>HMAC-SHA256</Suite> is imported as one of SHA256, or refused as one whose hash is not known.
#
# Happens: the token is imported without a complaint and shows "hashlib: hmac-sha256", but the check of codes does not know
# that name and takes SHA1 for it. So the token looks right in every list, and each code of the device is refused as wrong.
# <Suite>SHA256</Suite> works.
#
# Seen (the code of RFC 6238 appendix B for SHA256 at 59 seconds, and that of SHA1 with the same key):
#   HMAC-SHA256: hashlib hmac-sha256, SHA256 code False, SHA1 code True
#   SHA256: hashlib sha256, SHA256 code True, SHA1 code False
#
# Way around: take HMAC- out of every <Suite> before the import.
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
seed=$(printf '12345678901234567890123456789012' | base64)
# Two of each, since a code that is accepted moves the counter on.
{
    echo '<?xml version="1.0"?>'
    echo '<KeyContainer xmlns="urn:ietf:params:xml:ns:keyprov:pskc" Version="1.0">'
    for suite in HMAC-SHA256 SHA256; do
        for number in 1 2; do
            cat <<XML
<KeyPackage>
 <DeviceInfo><Manufacturer>oath.example</Manufacturer><SerialNo>$suite-$number</SerialNo></DeviceInfo>
 <Key Id="$suite-$number" Algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp">
  <AlgorithmParameters><Suite>$suite</Suite><ResponseFormat Length="8" Encoding="DECIMAL"/></AlgorithmParameters>
  <Data><Secret><PlainValue>$seed</PlainValue></Secret><Counter><PlainValue>1</PlainValue></Counter></Data>
 </Key>
</KeyPackage>
XML
        done
    done
    echo '</KeyContainer>'
} >tokens.xml
venv/bin/pi-tokenjanitor import pskc tokens.xml 2>/dev/null | grep '^Successfully imported 4 ' >/dev/null
venv/bin/python - 2>/dev/null <<'PYTHON'
import os

from privacyidea.app import create_app

app = create_app("production", os.environ["PRIVACYIDEA_CONFIGFILE"], silent=True)
with app.app_context(), app.test_request_context():
    from privacyidea.lib.token import check_serial_pass, get_tokens

    seen = {"HMAC-SHA256": ("hmac-sha256", False, True), "SHA256": ("sha256", True, False)}
    for suite, expected in seen.items():
        found = (
            get_tokens(serial=f"{suite}-1")[0].get_tokeninfo("hashlib"),
            check_serial_pass(f"{suite}-1", "46119246")[0],
            check_serial_pass(f"{suite}-2", "97599872")[0],
        )
        print(f"{suite}: hashlib {found[0]}, SHA256 code {found[1]}, SHA1 code {found[2]}")
        assert found == expected, "it behaves otherwise now"
PYTHON
