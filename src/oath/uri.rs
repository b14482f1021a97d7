//! The otpauth URI that authenticator apps read from a QR code.

use data_encoding::BASE32_NOPAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::{Moving, Profile, Sensitive, Text};

/// Everything but the unreserved characters of RFC 3986 section 2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `otpauth://TYPE/ISSUER:ACCOUNT?secret=…&issuer=…&algorithm=…&digits=…` and `period` (TOTP) or
/// `counter=0` (HOTP), as the "Key URI Format" of the authenticator apps has it. The seed is Base32
/// without padding (RFC 4648 section 6).
pub fn otpauth_uri(profile: &Profile, seed: &[u8], issuer: &Text, account: &Text) -> Sensitive<String> {
    let issuer = utf8_percent_encode(issuer.as_str(), ESCAPED).to_string();
    let account = utf8_percent_encode(account.as_str(), ESCAPED);
    let moving = match profile.moving {
        Moving::Time(period) => format!("period={}", period.seconds()),
        Moving::Counter => "counter=0".to_owned(),
    };
    Sensitive::new(format!(
        "otpauth://{}/{issuer}:{account}?secret={}&issuer={issuer}&algorithm={}&digits={}&{moving}",
        profile.kind(),
        Sensitive::new(BASE32_NOPAD.encode(seed)).expose(),
        profile.algorithm.name(),
        profile.digits.count(),
    ))
}
