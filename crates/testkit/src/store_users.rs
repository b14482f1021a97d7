//! Inserts users into a store directly, which is much faster than through the API.

use mfad_core::model::{Algorithm, Digits, Label, OtpKind, Profile, SecretId, Sensitive, UserId, UserName};
use mfad_store::{Fault, NewSecret, NewUser, SecretType, Tx};

const EIGHT: u64 = 8;
/// When the first user was created, in milliseconds since 1970. Each further one is a second later.
const MADE: i64 = 1_500_000_000_000;
const APART: i64 = 1_000;

/// An inserted user: its id, the id of its factor, and the seed.
pub type Put = (UserId, SecretId, [u8; 20]);

pub fn name(number: usize) -> String {
    format!("user {number}")
}

/// Inserts a user with an active factor of eight digits, and with these other secrets.
pub fn put(tx: &Tx<'_>, number: usize, moving: OtpKind, others: &[(SecretType, &[u8])]) -> Result<Put, Fault> {
    let random = || -> [u8; 10] {
        let mut bytes = [0; 10];
        getrandom::fill(&mut bytes).unwrap();
        bytes
    };
    let made = MADE + APART * i64::try_from(number).unwrap();
    let user = UserId::at(made, &random());
    let new = NewUser {
        id: user,
        name: UserName::parse(&name(number)).unwrap(),
        display_name: None,
        email: None,
        created: 0,
    };
    tx.insert_user(&new)?.expect("a free name");
    let mut seed = [0; 20];
    getrandom::fill(&mut seed).unwrap();
    let factor = SecretId::at(made, &random());
    let profile = Profile { algorithm: Algorithm::Sha1, digits: Digits::new(EIGHT).unwrap(), moving };
    let insert = |id: SecretId, kind: SecretType, name: &str, profile: Option<Profile>, value: &[u8]| {
        let new = NewSecret {
            id,
            user,
            kind,
            name: Label::parse(name).unwrap(),
            created: 0,
            expires: None,
            profile,
            is_guarded: false,
            is_unproved: false,
            first_counter: 0,
            ahead: 0,
            spare_of: None,
            value: Sensitive::new(value.to_vec()),
        };
        tx.insert_secret(&new).map(|is_new| assert!(is_new))
    };
    insert(factor, SecretType::Mfa, "fob", Some(profile), &seed)?;
    for (kind, value) in others {
        insert(SecretId::at(made, &random()), *kind, &format!("{kind:?}"), None, value)?;
    }
    Ok((user, factor, seed))
}
