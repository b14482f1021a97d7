#!/usr/bin/env python3
"""Writes the seeds that are no plain text, and the certificates that a target trusts: `.venv/bin/python fuzz/seeds.py`.

It shares no code with the daemon. All keys in it are known to everybody; they are keys of nothing.
"""

import base64
import datetime
import hashlib
import json
import struct
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

HERE = Path(__file__).parent
SERIAL = 12_345_678
FIRMWARE = bytes([5, 7, 1])
RP_HASH = hashlib.sha256(b"example.org").digest()


def seed(target, name, data):
    place = HERE / "corpus" / target / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)


def short(*answers):
    """Answers, each behind a length of one byte."""
    return b"".join(bytes([len(answer)]) + answer for answer in answers)


def long(*answers):
    """Answers, each behind a length of two bytes."""
    return b"".join(struct.pack(">H", len(answer)) + answer for answer in answers)


def tlv(tag, value):
    size = len(value)
    if size < 0x80:
        length = bytes([size])
    elif size < 0x100:
        length = bytes([0x81, size])
    else:
        length = b"\x82" + struct.pack(">H", size)
    return bytes([tag]) + length + value


def p256(byte):
    return ec.derive_private_key(int.from_bytes(bytes([byte]) * 32, "big"), ec.SECP256R1())


def coordinates(byte):
    numbers = p256(byte).public_key().public_numbers()
    return numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")


# Certificates, as a maker of keys writes them (RFC 5280; Yubico's OID arc 1.3.6.1.4.1.41482.3).


def told(number, value):
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.3.6.1.4.1.41482.3.{number}"), value)


def certificate(subject, public, issuer, pen, number, extensions):
    def name(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(public)
        .serial_number(number)
        .not_valid_before(datetime.datetime(2016, 3, 14))
        .not_valid_after(datetime.datetime(2052, 4, 17))
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(pen, hashes.SHA256(), ecdsa_deterministic=True)


def authority(below):
    return x509.BasicConstraints(ca=True, path_length=below), True


def der(certificate):
    return certificate.public_bytes(serialization.Encoding.DER)


def certificates():
    root_pen, issuer_pen, attested = p256(9), p256(7), p256(5)
    root = certificate("Fuzz Root", root_pen.public_key(), "Fuzz Root", root_pen, 1, [authority(1)])
    issuer = certificate(
        "Fuzz Attestation", issuer_pen.public_key(), "Fuzz Root", root_pen, 2, [authority(0), (told(3, FIRMWARE), False)]
    )
    facts = [told(3, FIRMWARE), told(7, tlv(0x02, struct.pack(">I", SERIAL))), told(8, b"\x01\x01"), told(9, b"\x01")]
    statement = certificate(
        "Fuzz Attestation 9e",
        attested.public_key(),
        "Fuzz Attestation",
        issuer_pen,
        3,
        [(fact, False) for fact in facts],
    )
    return root, issuer, statement


def piv_chain(root, issuer, statement):
    pem = root.public_bytes(serialization.Encoding.PEM)
    attestation = struct.pack(">H", len(der(statement))) + der(statement) + der(issuer)
    data = HERE / "data"
    data.mkdir(exist_ok=True)
    (data / "piv_root.pem").write_bytes(pem)
    (data / "piv_issuer.der").write_bytes(der(issuer))
    (data / "piv_attestation.bin").write_bytes(attestation)
    seed("piv_chain", "genuine", b"D" + attestation)
    seed("piv_chain", "text_of_a_certificate", b"S" + statement.tbs_certificate_bytes)
    seed("piv_chain", "root", b"P" + pem)
    line = issuer.public_bytes(serialization.Encoding.PEM)
    seed("piv_chain", "root_and_one_between", b"P# Two of them\n" + line + pem)


# Cards: the OATH applet (YKOATH), who a key is, and its PIV applet.

OK = b"\x90\x00"


def oath(challenge=b""):
    return tlv(0x79, FIRMWARE) + tlv(0x71, b"saltsalt") + challenge + OK


def parts(data):
    """A long answer in parts of 200 bytes: each but the last says that there is more."""
    pieces = [data[at : at + 200] for at in range(0, len(data), 200)]
    return [piece + (OK if at == len(pieces) - 1 else b"\x61\xc8") for at, piece in enumerate(pieces)]


def apdu_answers(issuer, statement):
    def ask(name, steps, *answers):
        seed("apdu_answers", name, steps + b"\n" + short(*answers))

    names = [b"mfad:anna", b"60/mfad:ben", b"x" * 64]
    listed = b"".join(tlv(0x72, bytes([kind]) + name) for kind, name in zip((0x21, 0x22, 0x13), names))
    ask("list", b"l", oath(), listed + OK)
    ask("list_in_parts", b"l", oath(), *parts(listed * 3))
    shown = [tlv(0x76, b"\x06\x12\x34\x56\x78"), tlv(0x77, b"\x06"), tlv(0x7C, b"\x08")]
    ask("shown", b"s", oath(), b"".join(tlv(0x71, name) + what for name, what in zip(names, shown)) + OK)
    ask("codes", b"c", oath(), *(tlv(0x76, bytes([digits]) + b"\x7f\xff\xff\xff") + OK for digits in (6, 7, 8)))
    ask("whole_hmac", b"h", oath(), tlv(0x75, b"\x06" + bytes(range(20))) + OK)
    ask("write", b"w", oath(), OK, OK)
    ask("rename_delete_reset", b"rdz", oath(), OK, oath(), OK, oath(), OK)
    ask("set_and_remove_password", b"kn", oath(), OK, oath(), OK)
    locked = tlv(0x74, b"question") + tlv(0x7B, b"\x01")
    ask("unlock", b"u", oath(locked), tlv(0x75, bytes(20)) + OK)
    ask("full_locked_gone", b"wlc", oath(), b"\x6a\x84", oath(locked), b"\x69\x82", oath(), b"\x69\x84")
    config = (
        tlv(0x01, b"\x02\x3f")
        + tlv(0x02, struct.pack(">I", SERIAL))
        + tlv(0x03, b"\x02\x3f")
        + tlv(0x04, b"\x03")
        + tlv(0x05, FIRMWARE)
        + tlv(0x0D, b"\x02\x3f")
    )
    ask("identity", b"i", b"Virtual mgr - FW version 5.7.1" + OK, bytes([len(config)]) + config + OK)
    ask("identity_of_an_old_key", b"i", b"\x6a\x82", b"\x03\x04\x05\x01\x00\x00" + OK, struct.pack(">I", 7) + OK)
    slot_f9 = tlv(0x53, tlv(0x70, der(issuer)) + tlv(0x71, b"\x00") + tlv(0xFE, b""))
    ask("attestation", b"p", OK, *parts(der(statement)), *parts(slot_f9))


# Security keys: CTAP 2.1 over CBOR (RFC 8949), and the reports under it.


def cbor(value):
    def head(kind, number):
        if number < 24:
            return bytes([kind << 5 | number])
        if number < 0x100:
            return bytes([kind << 5 | 24, number])
        return bytes([kind << 5 | 25]) + struct.pack(">H", number)

    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    # Shorter keys first, as CTAP2 has it (section 8).
    members = sorted(((cbor(key), cbor(member)) for key, member in value.items()), key=lambda one: (len(one[0]), one[0]))
    return head(5, len(members)) + b"".join(key + member for key, member in members)


def done(members):
    return b"\x00" + cbor(members)


def cose(byte, algorithm):
    x, y = coordinates(byte)
    return {1: 2, 3: algorithm, -1: 1, -2: x, -3: y}


def info(**options):
    options = {"rk": False, "up": True, **options}
    return done({1: ["FIDO_2_0", "FIDO_2_1"], 3: b"a model of a key", 4: options, 5: 1200, 6: [2, 1], 7: 8, 8: 128})


def made(flags):
    credential = b"a credential's id"
    data = RP_HASH + bytes([flags]) + bytes(4) + b"a model of a key" + struct.pack(">H", len(credential)) + credential
    return done({1: "packed", 2: data + cbor(cose(5, -7)), 3: {}})


def asserted(flags):
    signature = tlv(0x30, tlv(0x02, b"\x01" * 32) + tlv(0x02, b"\x02" * 32))
    credential = {"id": b"a credential's id", "type": "public-key"}
    return done({1: credential, 2: RP_HASH + bytes([flags]) + bytes(4), 3: signature})


def security_keys():
    later = [info(), asserted(0x00), asserted(0x01)]
    seed("cbor", "register_and_answer", b"\x00" + long(info(), made(0x41), *later))
    no_credentials = b"\x2e"
    seed("cbor", "register_with_known", b"\x0a" + long(info(), no_credentials, no_credentials, made(0x41), *later))
    retries, agreement = done({3: 8}), done({1: cose(5, -25)})
    for name, protocol, sealed in [("protocol_two", 48, b"\x00"), ("protocol_one", 16, b"\x01")]:
        options = {"clientPin": True, "pinUvAuthToken": protocol == 48}
        told_options = info(**options)
        if protocol == 16:
            told_options = done({1: ["FIDO_2_0"], 3: b"a model of a key", 4: {"clientPin": True}})
        selected = [b"\x00"] if protocol == 48 else []
        token = done({2: sealed * protocol})
        with_pin = [told_options, *selected, retries, agreement, token, made(0x45)]
        seed("cbor", f"register_with_pin_{name}", b"\x05" + long(*with_pin))
    few = [info(clientPin=True, pinUvAuthToken=True), b"\x00", done({3: 2})]
    seed("cbor", "register_with_few_pins", b"\x05" + long(*few))
    wrong = [info(clientPin=True, pinUvAuthToken=True), b"\x00", retries, agreement, b"\x31", done({3: 7})]
    seed("cbor", "register_with_wrong_pin", b"\x05" + long(*wrong))
    questions = [info(uv=True), b"\x00", asserted(0x00), asserted(0x05), asserted(0x01)]
    seed("cbor", "bare_questions", b"\x80" + long(*questions))

    nonce, line = b"a nonce!", b"\x00\x00\x00\x01"
    opened = b"\xff\xff\xff\xff\x86\x00\x11" + nonce + line + bytes([2, 5, 7, 1, 0x05])
    others = b"\xff\xff\xff\xff\x86\x00\x11" + b"another!" + b"\x00\x00\x00\x02" + bytes([2, 5, 7, 1, 0x05])
    waits = line + b"\xbb\x00\x01\x02"
    seed("hid_reports", "short_answer", b"\x00" + short(opened, line + b"\x90\x00\x01\x00"))
    nothing = line + b"\x90\x00\x01\x2e"
    seed("hid_reports", "others_and_waiting", b"\x02" + short(b"", others, opened, waits, b"", waits, nothing))
    answer = info()
    first = line + b"\x90" + struct.pack(">H", len(answer)) + answer[:57]
    pieces = [answer[at : at + 59] for at in range(57, len(answer), 59)]
    rest = [line + bytes([number]) + piece for number, piece in enumerate(pieces)]
    seed("hid_reports", "long_answer", b"\x06" + short(opened, first, *rest))
    seed("hid_reports", "given_up", b"\x01" + short(opened, waits, line + b"\x90\x00\x01\x2d"))
    seed("hid_reports", "busy", b"\x00" + short(opened, line + b"\xbf\x00\x01\x06"))
    seed("hid_reports", "too_old", b"\x00" + short(opened[:-1] + b"\x01"))


# Tokens (RFC 7515, RFC 8037).


def token():
    pen = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
    public = pen.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    def text(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    kid = text(hashlib.sha256(public).digest()[:12]).decode()
    for kind, audience in [("ACCESS", "access"), ("CHALLENGE", "challenge"), ("ENROLL", "enroll")]:
        claims = {
            "iss": "mfad",
            "aud": f"mfad:{audience}",
            "sub": "018bcfe5-6800-7101-8101-010101010101",
            "iat": 1_700_000_000,
            "nbf": 1_700_000_000,
            "exp": 1_700_000_900,
            "jti": "018bcfe5-6800-7202-8202-020202020202",
            "typ": kind,
            "epoch": 3,
            "amr": ["pwd", "otp", "mfa"],
            "authTime": 1_700_000_000,
            "auth_time": 1_700_000_000,
            "peer": 1000,
            "roles": ["admin"],
        }
        if kind == "ACCESS":
            claims["sid"] = "018bcfe5-6800-7303-8303-030303030303"
        body = json.dumps(claims, separators=(",", ":")).encode()
        seed("token", f"claims_{audience}", body)
        header = json.dumps({"alg": "EdDSA", "kid": kid, "typ": kind}, separators=(",", ":")).encode()
        signed = text(header) + b"." + text(body)
        seed("token", f"token_{audience}", signed + b"." + text(pen.sign(signed)))
    seed("token", "changed_signature", struct.pack(">H", 600) + b"\x01admin")
    seed("token", "changed_header", struct.pack(">H", 3) + b"\x20admin")
    seed("token", "nothing_changed", struct.pack(">H", 0) + b"\x00" + bytes(8) + b"app")


# HTTP/1.1 (RFC 9112); the first line says how the rest is cut.


def http_bytes():
    def sent(name, lengths, text):
        seed("http_bytes", name, lengths + b"\n" + text)

    get = b"GET /v1/users?limit=5 HTTP/1.1\r\nHost: mfad\r\nAuthorization: Bearer a.b.c\r\n\r\n"
    post = b"POST /auth HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    chunked = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n"
    sent("get", b"\x07", get)
    sent("post", b"!\x01", post)
    sent("chunked", b"\x02\x03\x05", chunked)
    sent("one_after_another", b"A", get + post + chunked + get)
    sent("wrong_after_right", b"\x10", post + b"GET / HTTP/1.0\r\n\r\n")
    sent("both_framings", b"", b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
    sent("many_fields", b"\xff", b"GET / HTTP/1.1\r\n" + b"A:\tb\r\n" * 64 + b"\r\n")
    sent("every_kind_of_byte", b"\x04", b"M-SEARCH /~a;b=%20?c=d&e HTTP/1.1\r\nX!#$%&'*+-.^_`|~9: \xc3\xa4 (\x09)\r\n\r\n")


def backup():
    head = b"mfad backup 1\n" + bytes(16) + struct.pack(">q", 1) + bytes(16)
    seed("backup", "foreign", b"\x00SQLite format 3\x00" + bytes(100))
    seed("backup", "under_another_key", b"\x00" + head + bytes(32) + b"\x01" + struct.pack(">I", 40) + bytes(40))
    for what, name in enumerate(["byte", "cut", "inserted", "exchanged", "doubled", "left_out", "of_another"]):
        seed("backup", f"part_{name}", b"\x01" + bytes([what, 1, 0, 0, 7, 2]))
    seed("backup", "head_of_another", b"\x01" + bytes([6, 0, 0, 0, 0, 0]))
    seed("backup", "all_of_another", b"\x01" + b"".join(bytes([6, part, 0, 0, 0, 0]) for part in range(4)))


if __name__ == "__main__":
    attestation = certificates()
    piv_chain(*attestation)
    apdu_answers(*attestation[1:])
    security_keys()
    token()
    http_bytes()
    backup()
