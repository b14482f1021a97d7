//! A defect on purpose, of the kind that is looked for: a text taken for UTF-8 because it begins like a URI. What runs the
//! targets has to find it, or what it says of the others means nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if data.starts_with(b"otpauth:") {
        let text = str::from_utf8(data).expect("it begins well");
        let _ = mfad_core::oath::OtpauthUri::parse(text);
    }
});
