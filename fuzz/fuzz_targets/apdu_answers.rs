//! Responses of a smart card. The first line of an input lists the operations, one letter each; a capital letter says
//! whose key the card is from there on. The rest are the responses, each behind a length of one byte. No response leads to a value out of bounds, and no card proves a
//! password that it does not know.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mfad_core::model::{AccountName, Algorithm, Digits, OtpKind, Period, Profile, Sensitive};
use mfad_fuzz::ScriptedCard;
use mfad_hardware::card::{CardFault, CardSession, Maker, identify};
use mfad_hardware::oath::{AccessKey, Applet, NewAccount, Touch, dialect_of};
use mfad_hardware::piv::{Slot, attestation_chain};

/// Longer than any script takes.
const PATIENCE: Duration = Duration::from_secs(60);
const MOST_STEPS: usize = 16;
/// The longest response after its parts are joined, in bytes.
const LONGEST: usize = 32 * 1024;
const CHALLENGE: [u8; 8] = [0, 0, 0, 0, 3, 0x60, 0x21, 0x35];

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let mut card = ScriptedCard::new(&data[end + 1..]);
    let mut session = CardSession::new(&mut card, PATIENCE);
    let mut maker = Maker::Yubico;
    for step in data[..end].iter().take(MOST_STEPS) {
        maker = maker_of(*step).unwrap_or(maker);
        if let Err(fault) = take(&mut session, maker, *step) {
            assert!(!fault.to_string().is_empty());
        }
    }
});

fn maker_of(step: u8) -> Option<Maker> {
    match step {
        b'Y' => Some(Maker::Yubico),
        b'C' => Some(Maker::CanoKey),
        b'N' => Some(Maker::Nitrokey),
        b'P' => Some(Maker::Pico),
        b'M' => Some(Maker::Compatible),
        b'U' => Some(Maker::Unknown),
        _ => None,
    }
}

fn take(session: &mut CardSession<'_>, maker: Maker, step: u8) -> Result<(), CardFault> {
    match step {
        b'i' => {
            let found = identify(session)?;
            assert!(!found.model.is_empty() && found.id.is_none_or(|id| !id.to_string().is_empty()));
        }
        b'p' => {
            let chain = attestation_chain(session, Slot::CARD_AUTHENTICATION)?;
            assert!(chain.statement.len() <= LONGEST && chain.issuer.len() <= LONGEST);
        }
        _ => ask(Applet::select(session, dialect_of(maker))?, step)?,
    }
    Ok(())
}

fn ask(mut applet: Applet<'_, '_>, step: u8) -> Result<(), CardFault> {
    assert_eq!(applet.is_locked(), applet.has_password());
    // 16 bytes in Base64 without padding, as other clients of these keys show them.
    assert_eq!(applet.device_id()?.as_str().len(), 22);
    let name = AccountName::from_bytes(b"mfad:anna").expect("a name that fits");
    match step {
        b'u' => check_unlock(&mut applet),
        b'k' => applet.set_password(Some(&access_key()))?,
        b'n' => applet.set_password(None)?,
        b'l' => assert!(applet.list()?.iter().map(|account| account.name.as_bytes().len()).sum::<usize>() <= LONGEST),
        b's' => assert!(applet.shown()?.iter().map(|(name, _)| name.as_bytes().len()).sum::<usize>() <= LONGEST),
        b'h' => assert!(applet.calculate(&name, &CHALLENGE, Touch::NotNeeded)?.expose().len() <= LONGEST),
        b'c' => {
            for digits in Digits::ALL {
                assert!(applet.code(&name, &CHALLENGE, digits, Touch::Needed)? < digits.modulus());
            }
        }
        b'w' => write(&mut applet, &name)?,
        b'r' => applet.rename(&name, &AccountName::from_bytes(&[b'x'; 64]).expect("a name that fits"))?,
        b'd' => applet.delete(&name)?,
        b'z' => drop(applet.reset()?),
        _ => {}
    }
    Ok(())
}

fn access_key() -> AccessKey {
    AccessKey::from_bytes(&[7; AccessKey::LENGTH]).expect("a key of that length")
}

/// The challenge is random, so no script can answer it.
fn check_unlock(applet: &mut Applet<'_, '_>) {
    let was_locked = applet.is_locked();
    assert_eq!(applet.unlock(&access_key()).is_err(), was_locked);
    assert_eq!(applet.is_locked(), was_locked);
}

/// Writes the largest possible account.
fn write(applet: &mut Applet<'_, '_>, name: &AccountName) -> Result<(), CardFault> {
    for moving in [OtpKind::Totp(Period::THIRTY), OtpKind::Hotp] {
        let profile = Profile { algorithm: Algorithm::Sha512, digits: Digits::SIX, moving };
        let seed = Sensitive::new(vec![7; 200]);
        applet.put(&NewAccount { name, profile: &profile, seed: &seed, touch: true, counter: u32::MAX })?;
    }
    Ok(())
}
