#!/usr/bin/env bash
# Tried with: keepassxc 2.7.4+dfsg.1-2 (Debian 12, amd64), keepassxc-minimal 2.7.10+dfsg1-1 (Debian 13, amd64).
#
# Expected: an entry whose `otp` field is an otpauth URI of HOTP, as other programs write it into the database, keeps that
# kind in the CSV export, or has no code there, since KeePassXC computes only TOTP.
#
# Happens: the CSV has a TOTP URI with the same secret and 30 seconds. The counter is gone, issuer and account are made of
# title and user name, and nothing tells it from a true TOTP entry. A program that imports the CSV shows codes that are never
# right. The XML export of the same database keeps the URI as it is.
#
# Seen:
#   stored: otpauth://hotp/Example:ann?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Example&digits=6&counter=42
#   XML: the same
#   CSV: otpauth://totp/Work:ann?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&period=30&digits=6&issuer=Work
#
# Way around: export as XML.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
case $(. /etc/os-release && echo "$VERSION_ID") in
12) package=keepassxc=2.7.4+dfsg.1-2 ;;
*) package=keepassxc-minimal=2.7.10+dfsg1-1 ;;
esac
# With the libraries that are not installed here.
apt-get -qq -s --no-install-recommends install "$package" | sed -n 's/^Inst \([^ ]*\) .*(\([^ ]*\) .*/\1=\2/p' >list
grep -qxF "$package" list || echo "$package" >>list
mapfile -t packages <list
apt-get -q download "${packages[@]}" >/dev/null 2>&1
for package in ./*.deb; do dpkg -x "$package" root; done
LD_LIBRARY_PATH=$(find "$dir/root" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)

# keepass COMMAND...: keepassxc-cli with the password.
keepass() {
    printf '%s\n' "$password" "$password" |
        HOME=$dir LC_ALL=C.UTF-8 LD_LIBRARY_PATH=$LD_LIBRARY_PATH root/usr/bin/keepassxc-cli "$@" 2>>log
}

password='made up'
uri='otpauth://hotp/Example:ann?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Example&digits=6&counter=42'
cat >in.xml <<XML
<?xml version="1.0" encoding="UTF-8"?>
<KeePassFile>
 <Meta/>
 <Root><Group><UUID>AAAAAAAAAAAAAAAAAAAAAQ==</UUID><Name>Root</Name>
  <Entry><UUID>AAAAAAAAAAAAAAAAAAAAAg==</UUID>
   <String><Key>Title</Key><Value>Work</Value></String>
   <String><Key>UserName</Key><Value>ann</Value></String>
   <String><Key>otp</Key><Value>$(echo "$uri" | sed 's/&/\&amp;/g')</Value></String>
  </Entry>
 </Group></Root>
</KeePassFile>
XML
keepass import -p in.xml test.kdbx >>log
xml=$(keepass export -f xml test.kdbx | grep -o 'otpauth:[^<]*' | sed 's/&amp;/\&/g')
csv=$(keepass export -f csv test.kdbx | grep -o 'otpauth:[^"]*')
printf 'stored: %s\nXML: %s\nCSV: %s\n' "$uri" "$xml" "$csv"
expected='otpauth://totp/Work:ann?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&period=30&digits=6&issuer=Work'
if [ "$xml" != "$uri" ] || [ "$csv" != "$expected" ]; then
    echo 'it behaves otherwise now' >&2
    exit 1
fi
