//! A deliberate defect: it takes bytes for UTF-8 because they begin like a URI. A run must find it. Otherwise the
//! results of the other targets mean nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if data.starts_with(b"otpauth:") {
        let text = str::from_utf8(data).expect("it begins well");
        let _ = mfad_core::oath::OtpauthUri::parse(text);
    }
});
