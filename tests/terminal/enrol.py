"""What a person sees of `mfactl enroll` in a terminal of 80 columns and 24 rows, and what QR readers see in it.

enrol.py MFACTL SOCKET USER: runs the command on a terminal of its own until it asks for the code, draws the screen as
a dark and as a light theme would, and has two independent readers (OpenCV, ZXing) read the pictures. Prints one JSON
document: {"screen": [24 lines], "read": {"dark": [URI, URI], "light": [URI, URI]}}.
"""

import json
import sys

import cv2
import numpy
import pyte
import zxingcpp

from screen import COLUMNS, ROWS, screen_at

CELL = (8, 16)
THEMES = {"dark": {"fg": 0xD0, "bg": 0x10}, "light": {"fg": 0x10, "bg": 0xF8}}
# The part of a cell that a block character fills, as (from, to) in halves from the top.
BLOCKS = {"█": (0, 2), "▀": (0, 1), "▄": (1, 2)}


def shade(colour: str, default: int) -> int:
    """The brightness of a colour that pyte reports: a name of the theme's own, or six hexadecimal digits."""
    return default if colour == "default" else sum(bytes.fromhex(colour)) // 3


def drawn(screen: pyte.Screen, theme: dict[str, int]) -> numpy.ndarray:
    """The screen as a picture. Letters are left out, since no reader needs them."""
    width, height = CELL
    picture = numpy.full((ROWS * height, COLUMNS * width), theme["bg"], numpy.uint8)
    for row in range(ROWS):
        for column in range(COLUMNS):
            cell = screen.buffer[row][column]
            left, top = column * width, row * height
            picture[top : top + height, left : left + width] = shade(cell.bg, theme["bg"])
            if cell.data in BLOCKS:
                start, end = (half * height // 2 for half in BLOCKS[cell.data])
                picture[top + start : top + end, left : left + width] = shade(cell.fg, theme["fg"])
    return picture


def read(picture: numpy.ndarray) -> list[str]:
    """What each reader finds in the picture; an empty text for nothing. ZXing must not look for inverted codes."""
    # OpenCV's other detector misses some clean codes, whatever the quiet zone.
    by_opencv, *_ = cv2.QRCodeDetectorAruco().detectAndDecode(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
    by_zxing = zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormat.QRCode, try_invert=False)
    return [by_opencv, by_zxing[0].text if by_zxing else ""]


def main() -> None:
    mfactl, socket, user = sys.argv[1:]
    screen = screen_at("code: ", [mfactl, "--socket", socket, "enroll", user, "--reason", "a test"])
    found = {name: read(drawn(screen, theme)) for name, theme in THEMES.items()}
    json.dump({"screen": screen.display, "read": found}, sys.stdout)


main()
