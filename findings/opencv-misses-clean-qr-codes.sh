#!/usr/bin/env bash
# Tried with: opencv-python-headless 5.0.0.93, zxing-cpp 3.1.1 (PyPI).
#
# Expected: a QR code of an otpauth URI, drawn pixel by pixel with a full quiet zone, is read by each of OpenCV's
# detectors. Tests of enrolment pages and terminals often use cv2.QRCodeDetector for that.
#
# Happens: cv2.QRCodeDetector does not read one code in a hundred of them. It depends on the modules: the same codes are
# not read at other sizes either, and at some sizes a few more are missed. cv2.QRCodeDetectorAruco and ZXing read all of them.
# A test with a random seed then fails now and then, and a retry with the same picture does not help.
#
# Seen: of 200 codes, cv2.QRCodeDetector does not read 2 at 4 and at 8 pixels for a module, and these and one more at 12;
#       cv2.QRCodeDetectorAruco and ZXing read all 200.
#
# Way around: cv2.QRCodeDetectorAruco, or a second reader.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" -q --disable-pip-version-check install opencv-python-headless==5.0.0.93 zxing-cpp==3.1.1
"$dir/venv/bin/python" - <<'PYTHON'
import base64
import hashlib

import cv2
import numpy
import zxingcpp


def uri(number: int) -> str:
    seed = base64.b32encode(hashlib.sha1(b"seed %d" % number).digest()).decode()
    return f"otpauth://totp/Example:ann?secret={seed}&issuer=Example"


def picture(text: str, scale: int) -> numpy.ndarray:
    code = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode, ec_level="L")
    return numpy.array(zxingcpp.write_barcode_to_image(code, scale=scale, add_quiet_zones=True))


def by_zxing(grey: numpy.ndarray) -> str:
    found = zxingcpp.read_barcodes(grey)
    return found[0].text if found else ""


def by_opencv(detector) -> object:
    return lambda grey: detector.detectAndDecode(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))[0]


readers = {
    "QRCodeDetector": by_opencv(cv2.QRCodeDetector()),
    "QRCodeDetectorAruco": by_opencv(cv2.QRCodeDetectorAruco()),
    "ZXing": by_zxing,
}
for scale, unread in {4: [124, 169], 8: [124, 169], 12: [111, 124, 169]}.items():
    missed = {
        name: [number for number in range(200) if read(picture(uri(number), scale)) != uri(number)]
        for name, read in readers.items()
    }
    print(f"{scale} pixels for a module: {missed}")
    assert missed == {"QRCodeDetector": unread, "QRCodeDetectorAruco": [], "ZXing": []}, "it behaves otherwise now"
PYTHON
