#!/usr/bin/env bash
# Tried with: secrets-app 0.16.0 (the OTP applet of the Nitrokey 3, applet version 4.16.0), trussed 0.2.1 with `virt`,
# trussed-auth-backend 0.2.0; built with Rust and libclang.
#
# Expected: the salt in the answer to SELECT (tag 71) stays the same until a reset. Clients of this protocol take its
# digest as the "device id" of the key, to recognise the key and to notice a reset. The comment at the applet's own answer
# says that the salt is stable and rotated on device reset.
#
# Happens: each SELECT answers another salt, also after an account was stored: the salt is made anew because nothing ever
# writes it. A client that keeps the device id takes the key for a new one each time, or for one that was reset.
#
# Seen:
#   four SELECTs, a PUT between the second and the third: four different salts, one serial number (tag 8f)
#
# Way around: recognise such a key by the serial number in tag 8f, and a reset by the accounts that are missing in LIST.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp "$(dirname "$0")"/nitrokey-applet/* "$dir"
mkdir "$dir/src" && mv "$dir/main.rs" "$dir/src/"
CARGO_TARGET_DIR=$dir/target cargo build --quiet --manifest-path "$dir/Cargo.toml"

select='00 a4 04 00 07 a0000005272101 00'
answers=$("$dir/target/debug/nitrokey-applet" <<END
$select
$select
00 01 00 00 1d 71 03 616263 73 16 21 06 3132333435363738393031323334353637383930 00
$select
$select
END
)
echo "$answers"
salts=$(sed -n 's/^7903[0-9a-f]\{6\}7108\([0-9a-f]\{16\}\)8f04.* 9000$/\1/p' <<<"$answers")
numbers=$(sed -n 's/^.*8f04\([0-9a-f]\{8\}\) 9000$/\1/p' <<<"$answers")
echo "salts: $(sort -u <<<"$salts" | wc -l) different of $(wc -l <<<"$salts"); numbers: $(sort -u <<<"$numbers" | wc -l)"
if [ "$(sort -u <<<"$salts" | wc -l)" != 4 ] || [ "$(sort -u <<<"$numbers" | wc -l)" != 1 ]; then
    echo 'it behaves otherwise now' >&2
    exit 1
fi
