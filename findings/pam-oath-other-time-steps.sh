#!/usr/bin/env bash
# Tried with: libpam-oath and liboath0 2.6.7-3.1+deb12u1, oathtool of the same source, pamtester 0.1.2-4,
# libpam-wrapper 1.1.4-1+b2 (Debian 12, amd64).
#
# Expected: a line of the users file has a time step in its type, `HOTP/T30` or `HOTP/T60`. oathtool of the same project
# computes codes for any step (-s), so a line with `HOTP/T120` for a token of two minutes works, or is refused as a type
# that is not known.
#
# Happens: a line whose step is neither 30 nor 60 is passed over, and its user does not exist: PAM says "User not known to
# the underlying authentication module", also for a right code. The log of the module names no line and no type. Tokens
# with other steps, which RFC 6238 allows, cannot be used, and the user looks like one who was forgotten in the file.
#
# Seen:
#   HOTP/T30: successfully authenticated
#   HOTP/T60: successfully authenticated
#   HOTP/T120: User not known to the underlying authentication module
#
# Way around: none with this module; check that every type of a users file is HOTP, HOTP/T30 or HOTP/T60.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
version=2.6.7-3.1+deb12u1
apt-get -q download "libpam-oath=$version" "liboath0=$version" "oathtool=$version" pamtester=0.1.2-4 \
    libpam-wrapper=1.1.4-1+b2 >/dev/null
for package in ./*.deb; do dpkg -x "$package" root; done
library=$(dirname "$(find "$dir/root" -name liboath.so.0)")
module=$(find "$dir/root" -name pam_oath.so)
wrapper=$(find "$dir/root" -name libpam_wrapper.so)
seed=3132333435363738393031323334353637383930
mkdir stacks

# login STEP: what PAM says of a login with the present code of that step.
login() {
    printf 'HOTP/T%s %s - %s\n' "$1" "$(id -un)" "$seed" >users
    chmod 600 users
    printf 'auth required %s usersfile=%s/users window=5 digits=6\n' "$module" "$dir" >stacks/svc
    LD_LIBRARY_PATH=$library root/usr/bin/oathtool --totp -s "$1s" "$seed" |
        LD_LIBRARY_PATH=$library LD_PRELOAD=$wrapper PAM_WRAPPER=1 PAM_WRAPPER_SERVICE_DIR=$dir/stacks \
            root/usr/bin/pamtester svc "$(id -un)" authenticate 2>&1 | sed -n 's/^.*pamtester: //p'
}

for step in 30 60 120; do
    said=$(login "$step" || true)
    echo "HOTP/T$step: $said"
    case $step:$said in
    30:*'successfully authenticated' | 60:*'successfully authenticated' | 120:'User not known'*) ;;
    *)
        echo 'it behaves otherwise now' >&2
        exit 1
        ;;
    esac
done
