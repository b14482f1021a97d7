//! Users and their authenticators, as the tests play them.

use serde_json::{Value, json};

use crate::host::Host;
use crate::otp::{self, OtpKind, Profile};
use crate::wire::{Answer, Request};

pub use crate::asking::PASSWORD;

/// A user with a password, and the tokens it holds at the moment.
#[derive(Clone, Debug)]
pub struct Person {
    pub id: String,
    pub name: String,
    pub password: String,
    pub token: String,
    pub refresh: String,
}

impl Person {
    /// Somebody of that name, made if there is none yet.
    pub fn named(name: &str, host: &Host) -> Self {
        host.ask(&Request::post("/users", &json!({"name": name, "password": PASSWORD})));
        let empty = String::new;
        let (name, password) = (name.to_owned(), PASSWORD.to_owned());
        Self { id: empty(), name, password, token: empty(), refresh: empty() }
    }

    pub fn path(&self) -> String {
        format!("/users/{}", self.id)
    }

    pub fn secrets(&self) -> String {
        format!("/users/{}/secrets", self.id)
    }
}

/// An authenticator that knows a seed and never shows a code twice.
#[derive(Clone, Debug)]
pub struct Factor {
    pub id: String,
    pub path: String,
    pub base32: String,
    pub url: String,
    pub seed: Vec<u8>,
    pub profile: Profile,
    shown: Option<u64>,
}

impl Factor {
    /// From the answer that created it.
    #[track_caller]
    pub fn of(secret: &Value) -> Self {
        let (user, id) = (text(&secret["userId"]), text(&secret["uid"]));
        let base32 = text(&secret["secret"]["secret"]);
        Self {
            path: format!("/users/{user}/secrets/{id}"),
            url: text(&secret["secret"]["otpauth_url"]),
            seed: otp::seed_of(&base32),
            profile: Profile::of(secret),
            shown: None,
            base32,
            id,
        }
    }

    pub fn code(&self, moving: u64) -> String {
        self.profile.code(&self.seed, moving)
    }

    pub fn period(&self) -> u64 {
        match self.profile.moving {
            OtpKind::Totp(period) => period,
            OtpKind::Hotp => panic!("a counter has no period"),
        }
    }

    pub fn step(&self) -> u64 {
        otp::step(self.period())
    }

    /// The next code that the daemon must take: above the last one shown and inside the window, also if a step
    /// ends between here and there. A time-based factor has at most two before time moves on.
    #[track_caller]
    pub fn next(&mut self) -> String {
        let after = self.shown.map_or(0, |shown| shown + 1);
        let moving = match self.profile.moving {
            OtpKind::Hotp => after,
            OtpKind::Totp(period) => {
                let current = otp::step(period);
                assert!(after <= current + 1, "more codes than the window has: use a counter for this test");
                after.max(current)
            }
        };
        self.shown = Some(moving);
        self.code(moving)
    }

    /// The step or counter of the last code shown.
    pub fn shown(&self) -> u64 {
        self.shown.expect("a code was shown")
    }

    /// Says that the code of this step or counter was shown.
    pub fn show(&mut self, moving: u64) -> String {
        self.shown = Some(moving);
        self.code(moving)
    }

    /// Every code that is right, or may become so within a test.
    pub fn near(&self) -> Vec<String> {
        match self.profile.moving {
            OtpKind::Hotp => (0..=self.shown.unwrap_or(0) + 250).map(|counter| self.code(counter)).collect(),
            OtpKind::Totp(period) => {
                (otp::step(period) - 20..otp::step(period) + 20).map(|step| self.code(step)).collect()
            }
        }
    }

    /// Different codes that are wrong now and stay so for the length of a test.
    pub fn wrong_codes(&self) -> impl Iterator<Item = String> + use<> {
        otp::codes_but(self.near(), self.profile.digits)
    }

    pub fn wrong(&self) -> String {
        self.wrong_codes().next().unwrap()
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// `base` with the members of `more` put in.
pub fn with(mut base: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().expect("an object") {
        base[name] = value.clone();
    }
    base
}

pub fn codes_of(answer: &Value) -> Vec<String> {
    answer["codes"].as_array().expect("codes").iter().map(text).collect()
}

impl Host {
    /// A user with a password, logged in.
    #[track_caller]
    pub fn person(&self, name: &str) -> Person {
        let made = self.ask(&Request::post("/users", &json!({"name": name, "password": PASSWORD}))).ok();
        Person {
            id: text(&made["user"]["uid"]),
            name: name.to_owned(),
            password: PASSWORD.to_owned(),
            token: text(&made["token"]),
            refresh: made["refresh"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// A user without a password; yields its id.
    #[track_caller]
    pub fn nobody(&self, name: &str) -> String {
        text(&self.ask(&Request::post("/users", &json!({"name": name}))).ok()["user"]["uid"])
    }

    /// A pending factor made by the user's own token.
    #[track_caller]
    pub fn pending(&self, person: &Person, more: &Value) -> Factor {
        let order = with(json!({"type": "mfa"}), more);
        Factor::of(&self.ask(&Request::post(person.secrets(), &order).token(&person.token)).ok())
    }

    /// A pending factor made by the administrator, for a user in any state.
    #[track_caller]
    pub fn pending_for(&self, user: &str, more: &Value) -> Factor {
        let order = with(json!({"type": "mfa"}), more);
        Factor::of(&self.ask(&Request::post(format!("/users/{user}/secrets"), &order).reason()).ok())
    }

    /// Confirms a pending factor as the administrator.
    #[track_caller]
    pub fn confirm(&self, factor: &mut Factor) -> Value {
        self.ask(&Request::put(format!("{}/enroll", factor.path), &json!({"token": factor.next()})).reason()).ok()
    }

    /// The first factor of a person, and the backup codes. The person's tokens are dead afterwards.
    #[track_caller]
    pub fn enrol(&self, person: &Person, more: &Value) -> (Factor, Vec<String>) {
        let mut factor = self.pending(person, more);
        let enrol = Request::put(format!("{}/enroll", factor.path), &json!({"token": factor.next()}));
        let codes = codes_of(&self.ask(&enrol.token(&person.token)).ok());
        assert_eq!(codes.len(), 10);
        (factor, codes)
    }

    /// Changes a user as the administrator.
    #[track_caller]
    pub fn change(&self, user: &str, change: &Value) {
        let version = self.ask(&Request::get(format!("/users/{user}"))).ok()["version"].clone();
        let change = with(json!({"version": version}), change);
        self.ask(&Request::put(format!("/users/{user}"), &change).reason()).ok();
    }

    /// Lets a user stand for the account of the same name in logins to the host.
    #[track_caller]
    pub fn give_account(&self, user: &str) {
        self.change(user, &json!({"roles": ["host"]}));
    }

    /// How many wrong answers of a user are counted.
    #[track_caller]
    pub fn failures(&self, user: &str) -> u64 {
        self.ask(&Request::get(format!("/users/{user}"))).ok()["lock"]["failures"].as_u64().unwrap_or(0)
    }

    /// As [`Host::counted`], for an account of the host.
    #[track_caller]
    pub fn account(&self, name: &str) -> (String, Factor, Vec<String>) {
        let made = self.counted(name);
        self.give_account(&made.0);
        made
    }

    /// A user without a password, with an active factor that counts, and the backup codes.
    #[track_caller]
    pub fn counted(&self, name: &str) -> (String, Factor, Vec<String>) {
        let user = self.nobody(name);
        let mut factor = self.pending_for(&user, &json!({"kind": "hotp", "digits": 8}));
        let codes = codes_of(&self.confirm(&mut factor));
        (user, factor, codes)
    }

    /// Whether the next code is taken, by a daemon that may be gone.
    pub fn takes_next(&self, user: &str, factor: &mut Factor) -> bool {
        let request = Request::post(format!("/users/{user}/verify"), &json!({"token": factor.next()}));
        let answer = self.try_connect().and_then(|mut line| line.try_ask(&request));
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// A person with an active counter-based factor, logged in with it a moment ago. Eight digits, so that no
    /// wrong code is right by chance within the look-ahead.
    #[track_caller]
    pub fn guarded(&self, name: &str) -> (Person, Factor, Vec<String>) {
        let mut person = self.person(name);
        let (mut factor, codes) = self.enrol(&person, &json!({"kind": "hotp", "digits": 8}));
        self.log_in(&mut person, &mut factor);
        (person, factor, codes)
    }

    #[track_caller]
    pub fn password(&self, person: &Person) -> Answer {
        self.ask(&Request::post("/auth/password", &json!({"id": person.name, "password": person.password})))
    }

    #[track_caller]
    pub fn challenge(&self, person: &Person) -> String {
        let answer = self.password(person).ok();
        assert_eq!(answer["type"], "CHALLENGE", "{answer}");
        text(&answer["token"])
    }

    pub fn answer_totp(&self, challenge: &str, code: &str) -> Answer {
        self.ask(&Request::post("/auth/totp", &json!({"token": code})).token(challenge))
    }

    pub fn answer_recovery(&self, challenge: &str, code: &str) -> Answer {
        self.ask(&Request::post("/auth/recovery", &json!({"code": code})).token(challenge))
    }

    /// Both steps of a login; the person holds the new tokens.
    #[track_caller]
    pub fn log_in(&self, person: &mut Person, factor: &mut Factor) {
        let challenge = self.challenge(person);
        let answer = self.answer_totp(&challenge, &factor.next()).ok();
        person.token = text(&answer["token"]);
        person.refresh = text(&answer["refresh"]);
    }

    /// A code shown at the app's door.
    pub fn verify(&self, user: &str, proof: &Value) -> Answer {
        self.ask(&Request::post(format!("/users/{user}/verify"), proof))
    }

    /// The status with which the token is met where its user may look.
    pub fn token_status(&self, person: &Person, token: &str) -> u16 {
        self.ask(&Request::get(person.path()).token(token)).status
    }

    #[track_caller]
    pub fn unlock(&self, user: &str) {
        self.ask(&Request::new("POST", format!("/users/{user}/unlock")).reason()).done();
    }
}
