#!/usr/bin/env bash
# Tried with: secrets-app 0.16.0 (the OTP applet of the Nitrokey 3, applet version 4.16.0), trussed 0.2.1 with `virt`,
# trussed-auth-backend 0.2.0; built with Rust and libclang.
#
# Expected: the applet takes a TOTP account with HMAC-SHA-512 (kind 0x23, as RFC 6238 allows and Yubico's protocol codes
# it) and gives codes for it, or it refuses the account.
#
# Happens: PUT answers 9000 and LIST shows the account, with SHA-512. CALCULATE answers 6a81 (function not supported), at
# every time. The account takes up one of 50 places and never gives a code. Whoever moves a token with SHA-512 onto such a
# key learns it at the first login, when the other copy of the seed may be gone.
#
# Seen:
#   PUT with SHA-512: 9000
#   LIST: 72 07 23 ... (the account, kind 23)
#   CALCULATE: 6a81
#   the same with SHA-1: 9000, 9000
#
# Way around: refuse SHA-512 before the seed is written to such a key; use SHA-1 or SHA-256.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp "$(dirname "$0")"/nitrokey-applet/* "$dir"
mkdir "$dir/src" && mv "$dir/main.rs" "$dir/src/"
CARGO_TARGET_DIR=$dir/target cargo build --quiet --manifest-path "$dir/Cargo.toml"

# account KIND: PUT of the account "abc" with six digits and a seed of 20 bytes, LIST, and CALCULATE for step 1.
account() {
    "$dir/target/debug/nitrokey-applet" <<END
00 01 00 00 1d 71 03 616263 73 16 $1 06 3132333435363738393031323334353637383930 00
00 a1 00 00 00
00 a2 00 01 0f 71 03 616263 74 08 0000000000000001 00
END
}

for kind in 21 23; do
    readarray -t said < <(account "$kind")
    printf 'kind %s: PUT%s, LIST %s, CALCULATE %s\n' "$kind" "${said[0]}" "${said[1]}" "${said[2]}"
    case $kind,${said[0]},${said[1]},${said[2]} in
    21,' 9000','720421616263 9000',*' 9000') ;;
    23,' 9000','720423616263 9000',' 6a81') ;;
    *)
        echo 'it behaves otherwise now' >&2
        exit 1
        ;;
    esac
done
