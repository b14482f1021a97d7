#!/usr/bin/env bash
# Tried with: privacyIDEA 3.14, python-pskc 1.4 (PyPI), Python 3.11.
#
# Expected: `pi-tokenjanitor find export --format pskc` writes a PSKC file of RFC 6030, which other programs read with the
# key that it prints.
#
# Happens: all names of elements and attributes of the file are in lower case (<keycontainer version=...>), while XML and
# the schema of PSKC know <KeyContainer Version=...> alone. python-pskc finds no container in it. The file looks right at a
# glance, the log and the exit code say nothing, and privacyIDEA itself reads it back.
#
# Seen:
#   root element: keycontainer
#   as exported: ParseError: Missing KeyContainer
#   with the names of RFC 6030: HOTP0001, 3132333435363738393031323334353637383930
#
# Way around: put the names right before the file is handed on, as below.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q --disable-pip-version-check install privacyidea==3.14
python3 -m venv reader
reader/bin/pip -q --disable-pip-version-check install python-pskc==1.4 cryptography==50.0.2
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
# A token by way of a PSKC file that python-pskc writes.
reader/bin/python - <<'PYTHON'
from pskc import PSKC

container = PSKC()
container.add_key(
    id="HOTP0001",
    serial="HOTP0001",
    algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp",
    response_encoding="DECIMAL",
    response_length=6,
    secret=b"12345678901234567890",
    counter=0,
)
container.write("in.xml")
PYTHON
venv/bin/pi-tokenjanitor import pskc in.xml >/dev/null 2>&1
venv/bin/pi-tokenjanitor find export --format pskc --file out.xml >/dev/null 2>key
reader/bin/python - <<'PYTHON'
import re
from xml.etree import ElementTree

from pskc import PSKC
from pskc.exceptions import ParseError


def read(path: str) -> str:
    try:
        container = PSKC(path)
        container.encryption.key = bytes.fromhex(re.search(r"\b[0-9a-f]{32}\b", open("key").read())[0])
        return ", ".join(f"{key.serial}, {key.secret.hex()}" for key in container.keys)
    except ParseError as error:
        return f"ParseError: {error}"


NAMES = (
    "KeyContainer EncryptionKey KeyName MACMethod MACKey EncryptionMethod CipherData CipherValue KeyPackage DeviceInfo "
    "Manufacturer SerialNo Key Issuer AlgorithmParameters ResponseFormat Suite Data Secret EncryptedValue ValueMAC Time "
    "TimeInterval Counter TimeDrift PlainValue"
).split()
ATTRIBUTES = "Version Algorithm Id Encoding Length".split()

text = open("out.xml").read()
root = ElementTree.fromstring(text).tag.split("}")[1]
right = text
for name in NAMES:
    right = re.sub(rf"(</?(?:\w+:)?){name.lower()}(?=[\s>])", rf"\g<1>{name}", right)
for name in ATTRIBUTES:
    right = right.replace(f" {name.lower()}=", f" {name}=")
open("right.xml", "w").write(right)
found = (root, read("out.xml"), read("right.xml"))
print(f"root element: {found[0]}\nas exported: {found[1]}\nwith the names of RFC 6030: {found[2]}")
assert found == (
    "keycontainer",
    "ParseError: Missing KeyContainer",
    f"HOTP0001, {b'12345678901234567890'.hex()}",
), "it behaves otherwise now"
PYTHON
