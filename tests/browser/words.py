"""The texts of the self-service page that a file of another language translates."""

import re
from html.parser import HTMLParser
from pathlib import Path

FILES = Path(__file__).resolve().parents[2] / "crates/mfad/src/http/ui"
# Of a secret, as the API names it.
STATES = {"active", "pending", "ended"}
LITERAL = re.compile(r"'((?:[^'\\]|\\.)*)'")


class Texts(HTMLParser):
    """The texts between the tags, and the descriptions of pictures."""

    def __init__(self):
        super().__init__()
        self.found = set()
        self.skipped = None

    def handle_starttag(self, tag, attrs):
        if tag in ("title", "script"):
            self.skipped = tag
        self.found |= {value for name, value in attrs if name == "alt"}

    def handle_endtag(self, tag):
        if tag == self.skipped:
            self.skipped = None

    def handle_data(self, data):
        if not self.skipped and data.strip():
            self.found.add(data.strip())


def first_argument(js, start):
    """The text of the argument that begins there."""
    depth, at = 0, start
    while at < len(js):
        letter = js[at]
        if letter == "'":
            at = LITERAL.match(js, at).end()
            continue
        if letter in "([{":
            depth += 1
        elif letter in ")]}":
            if depth == 0:
                break
            depth -= 1
        elif letter == "," and depth == 0:
            break
        at += 1
    return js[start:at]


def texts():
    """All of them."""
    js = (FILES / "ui.js").read_text(encoding="utf-8")
    page = Texts()
    page.feed((FILES / "index.html").read_text(encoding="utf-8"))
    found = set(page.found)
    for call in re.finditer(r"\bt\(", js):
        found |= set(LITERAL.findall(first_argument(js, call.end())))
    for noun in re.findall(r"\bcount\([^']*?, '(\w+)'\)", js):
        found |= {f"{{0}} {noun}", f"{{0}} {noun}s"}
    # The sentences of refusals are translated when they are said.
    tables = re.findall(r"^const (?:KEY_)?SENTENCES = \{\n(.*?)^\};", js, re.MULTILINE | re.DOTALL)
    for table in tables:
        found |= set(re.findall(r"^  '[\w-]+': '((?:[^'\\]|\\.)*)',$", table, re.MULTILINE))
    # Values of the API, and punctuation.
    return (found | STATES) - {"", ".", "s", "mfad", "fido2", "hotp"}
