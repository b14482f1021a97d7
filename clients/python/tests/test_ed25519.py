"""The verification in Python: the vectors of RFC 8032, signatures that must not verify, and `cryptography` beside it."""

import secrets
import unittest

from mfad_client._ed25519 import L, P, verify

# RFC 8032 section 7.1: public key, message, signature.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


class Verification(unittest.TestCase):
    def test_the_vectors_of_the_standard(self):
        for key, message, signature in VECTORS:
            self.assertTrue(verify(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature)))

    def test_any_changed_bit_is_refused(self):
        key, message, signature = (bytes.fromhex(part) for part in VECTORS[2])
        for at in range(0, 512, 7):
            changed = bytearray(signature)
            changed[at // 8] ^= 1 << at % 8
            self.assertFalse(verify(key, message, bytes(changed)), at)
        self.assertFalse(verify(key, message + b"x", signature))
        for at in range(0, 256, 7):
            changed = bytearray(key)
            changed[at // 8] ^= 1 << at % 8
            self.assertFalse(verify(bytes(changed), message, signature), at)

    def test_s_is_below_the_order(self):
        key, message, signature = (bytes.fromhex(part) for part in VECTORS[1])
        s = int.from_bytes(signature[32:], "little")

        self.assertFalse(verify(key, message, signature[:32] + (s + L).to_bytes(32, "little")))

    def test_lengths_and_points_that_are_none_are_refused(self):
        key, message, signature = (bytes.fromhex(part) for part in VECTORS[0])
        self.assertFalse(verify(key[:31], message, signature))
        self.assertFalse(verify(key, message, signature[:63]))
        self.assertFalse(verify(key, message, b""))
        self.assertFalse(verify((P + 1).to_bytes(32, "little"), message, signature))
        self.assertFalse(verify(bytes([2]) + bytes(31), message, signature))

    def test_it_agrees_with_cryptography(self):
        try:
            from cryptography.exceptions import InvalidSignature
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
            from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
        except ImportError:
            self.skipTest("cryptography is not installed for this Python")
        for length in range(40):
            private = Ed25519PrivateKey.generate()
            key = private.public_key()
            message = secrets.token_bytes(length * 7)
            signature = private.sign(message)
            flipped = bytearray(signature)
            flipped[secrets.randbelow(64)] ^= 1 << secrets.randbelow(8)
            for candidate in (signature, bytes(flipped)):
                try:
                    key.verify(candidate, message)
                    expected = True
                except InvalidSignature:
                    expected = False
                self.assertEqual(verify(key.public_bytes(Encoding.Raw, PublicFormat.Raw), message, candidate), expected)


if __name__ == "__main__":
    unittest.main()
