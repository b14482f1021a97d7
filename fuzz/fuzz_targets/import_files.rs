//! Files of other programs, in the format that the first byte names or in the one that they show. What can be kept is
//! within bounds, and no message repeats a seed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mfad_import::{Format, OtpKind, Secrets, read};

fuzz_target!(|data: &[u8]| {
    let Some((first, file)) = data.split_first() else { return };
    // Without a password: key derivations are slow by design.
    let format = Format::ALL.get(usize::from(*first)).copied();
    let secrets = Secrets { key: Some(&[0; 32]), ..Secrets::default() };
    let document = match read(file, format, &secrets) {
        Ok(document) => document,
        Err(fault) => {
            assert!(fault.to_string().len() < 400);
            return;
        }
    };
    for entry in &document.entries {
        match &entry.factor {
            Ok(factor) => {
                assert!((10..=64).contains(&factor.seed.expose().len()));
                assert!(factor.counter <= 1 << 62 && (factor.profile.moving == OtpKind::Hotp || factor.counter == 0));
            }
            Err(refusal) => assert!(refusal.to_string().len() < 200),
        }
        assert!(entry.notes.iter().all(|note| note.len() < 400));
    }
});
