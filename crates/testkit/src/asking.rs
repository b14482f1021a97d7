//! Calls of users on the service in this process, at moments that the test chooses.

use std::cell::Cell;
use std::sync::Arc;

use mfad_core::model::{Moment, OtpKind, Profile, SecretId, Sensitive, TokenInput, UserId, UserRef};
use mfad_service::error::Error;
use mfad_service::{
    AuthView, Call, Caller, FirstCode, MfaOrder, Proof, Reply, RequestContext, SecretOrder, SecretRef, SessionAfter,
};

use crate::fixture::{HardwareFixture, totp};
use crate::otp;

/// The password of every test user.
pub const PASSWORD: &str = "correct horse battery staple";

pub fn ask_with(shop: &HardwareFixture, now: Moment, token: &Sensitive<String>, call: Call) -> Result<Reply, Error> {
    let caller =
        Caller { token: Some(Arc::new(Sensitive::new(token.expose().clone()))), reason: None, ..shop.context().caller };
    shop.service.handle(&RequestContext { now, caller, ..shop.context() }, call)
}

/// Creates a pending factor of a user. Returns its id and seed.
pub fn pending_at(shop: &HardwareFixture, now: Moment, user: UserId, profile: Profile) -> (SecretId, Vec<u8>) {
    let order = MfaOrder { name: None, profile, issuer: None, account: None };
    let made = shop.ask_at(now, Call::CreateSecret(UserRef::Id(user), SecretOrder::Mfa(order)));
    let Ok(Reply::FactorCreated { secret, base32, .. }) = made else { panic!("no factor") };
    (secret.id, otp::seed_of(base32.expose()))
}

pub fn code_of(seed: &[u8], moving: u64) -> TokenInput {
    TokenInput::from_text(&digits_of(seed, moving)).unwrap()
}

fn digits_of(seed: &[u8], moving: u64) -> String {
    otp::code(seed, otp::Hash::Sha1, 6, moving)
}

pub fn step_at(now: Moment) -> u64 {
    u64::try_from(now.unix_seconds() / 30).unwrap()
}

pub fn enrol_at(
    shop: &HardwareFixture,
    now: Moment,
    user: UserId,
    secret: SecretId,
    code: TokenInput,
) -> Result<Reply, Error> {
    shop.ask_at(
        now,
        Call::Enroll(UserRef::Id(user), SecretRef::Id(secret), FirstCode::Token(code), SessionAfter::Ended),
    )
}

/// A user with a password and an active HOTP factor, and the next counter of that factor.
pub struct Person<'a> {
    shop: &'a HardwareFixture,
    pub user: UserId,
    seed: Vec<u8>,
    counter: Cell<u64>,
}

impl<'a> Person<'a> {
    pub fn at(shop: &'a HardwareFixture, now: Moment) -> Self {
        let user = shop.make_user("berta", Some(PASSWORD));
        let (secret, seed) = pending_at(shop, now, user, Profile { moving: OtpKind::Hotp, ..totp() });
        assert!(enrol_at(shop, now, user, secret, code_of(&seed, 0)).is_ok());
        Self { shop, user, seed, counter: Cell::new(1) }
    }

    pub fn proof(&self) -> Proof {
        let counter = self.counter.replace(self.counter.get() + 1);
        Proof::Token(code_of(&self.seed, counter))
    }

    /// Returns a code that matches none of the next 100 counters.
    pub fn wrong(&self) -> Proof {
        let near = (0..100).map(|ahead| digits_of(&self.seed, self.counter.get() + ahead)).collect();
        Proof::Token(TokenInput::from_text(&otp::codes_but(near, 6).next().unwrap()).unwrap())
    }

    pub fn challenge(&self, now: Moment) -> Sensitive<String> {
        let password = Sensitive::new(PASSWORD.to_owned());
        granted(self.shop.ask_at(now, Call::LogIn { login: "berta".to_owned(), password })).token
    }

    pub fn log_in(&self, now: Moment) -> AuthView {
        let challenge = self.challenge(now);
        granted(ask_with(self.shop, now, &challenge, Call::AnswerChallenge(self.proof())))
    }
}

pub fn granted(reply: Result<Reply, Error>) -> AuthView {
    match reply {
        Ok(Reply::Auth(view)) => view,
        Ok(_) => panic!("another reply"),
        Err(error) => panic!("{error}"),
    }
}
