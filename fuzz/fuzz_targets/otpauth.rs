//! otpauth URIs of other programs. An accepted URI is within bounds, and a URI written from it is read back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mfad_core::model::{AccountName, OtpKind, Text};
use mfad_core::oath::{OtpauthUri, hotp, otpauth_uri, step_at};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(uri) = OtpauthUri::parse(text) else { return };
    assert!((16..=64).contains(&uri.seed.expose().len()));
    check_code(&uri);
    if let (Ok(issuer), Ok(account)) = (part(uri.issuer.as_deref()), part(Some(&uri.account))) {
        check_print(&uri, &issuer, &account);
    }
});

/// The daemon writes only such texts into a URI.
fn part(text: Option<&str>) -> Result<Text, &'static str> {
    Text::parse_label_part(text.unwrap_or_default())
}

fn check_code(uri: &OtpauthUri) {
    let counter = match uri.profile.moving {
        OtpKind::Totp(period) => step_at(i64::MAX, period),
        OtpKind::Hotp => uri.counter,
    };
    assert!(i64::try_from(counter).is_ok());
    let code = hotp(uri.seed.expose(), uri.profile.algorithm, counter, uri.profile.digits);
    assert!(code < uri.profile.digits.modulus());
}

fn check_print(uri: &OtpauthUri, issuer: &Text, account: &Text) {
    let printed = otpauth_uri(&uri.profile, uri.seed.expose(), issuer, account);
    let back = OtpauthUri::parse(printed.expose()).expect("what is written here can be read here");
    assert_eq!((back.profile, back.seed.expose()), (uri.profile, uri.seed.expose()));
    assert_eq!((back.issuer.as_deref(), back.account.as_str()), (Some(issuer.as_str()), account.as_str()));
    // The daemon writes URIs only for new factors, which begin at the first counter.
    assert_eq!(back.counter, 0);
    if let Ok(name) = AccountName::of(&uri.profile, issuer.as_str(), account.as_str()) {
        assert!((1..=64).contains(&name.as_bytes().len()));
    }
}
