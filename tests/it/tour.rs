//! A tour of the whole interface: every operation as it succeeds and as it is refused, so that the answers
//! can be counted against the document.

use serde_json::{Value, json};

use crate::host::Host;
use crate::people::{Factor, PASSWORD, Person, codes_of, text};
use crate::wire::{Answer, Request};

/// A random id that is nobody's.
pub const RANDOM: &str = "0190f3c2-6a4e-7000-8000-000000000000";

/// Counts the idempotency keys given out.
#[derive(Default)]
struct Keys(u32);

impl Keys {
    /// Does it once, and shows that its key is not good for another body (409).
    #[track_caller]
    fn once(&mut self, host: &Host, request: Request) -> Answer {
        self.0 += 1;
        let keyed = request.header("Idempotency-Key", &format!("tour-{}", self.0));
        let other = match keyed.body.clone() {
            Some(body) => Request { body: Some([body.as_slice(), b" "].concat()), ..keyed.clone() },
            None => keyed.clone().text("{}"),
        };
        let answer = host.ask(&keyed);
        assert!(answer.status < 300, "{} {}: {}", keyed.method, keyed.target, answer.text());
        host.ask(&other).refused(409, "idempotency-conflict");
        answer
    }
}

/// Everything that succeeds, and what is refused for reasons of its own.
pub fn scripted(host: &Host) {
    let mut keys = Keys::default();
    let person = users(host, &mut keys);
    let (person, factor, codes) = secrets(host, &mut keys, person);
    let person = authentication(host, &mut keys, person, factor, &codes);
    passwords_and_removal(host, &mut keys, &person);
    running(host, &mut keys);
}

fn users(host: &Host, keys: &mut Keys) -> Person {
    let order = json!({"name": "anna", "password": PASSWORD});
    let made = keys.once(host, Request::post("/users", &order)).ok();
    host.ask(&Request::post("/users", &order)).refused(409, "name-taken");
    let person = Person {
        id: text(&made["user"]["uid"]),
        name: "anna".to_owned(),
        password: PASSWORD.to_owned(),
        token: text(&made["token"]),
        refresh: text(&made["refresh"]),
    };
    host.ask(&Request::get("/users")).ok();
    let version = host.ask(&Request::get(person.path())).ok()["version"].clone();
    keys.once(
        host,
        Request::put(person.path(), &json!({"version": version, "displayName": "Anna"})).token(&person.token),
    );
    host.ask(&Request::put(person.path(), &json!({"version": version, "displayName": "late"}))).refused(409, "version");
    host.ask(&Request::put(person.path(), &json!({"version": version, "roles": ["admin"]})).token(&person.token))
        .refused(403, "forbidden");
    keys.once(host, Request::new("POST", format!("{}/unlock", person.path())).reason()).done();
    host.ask(&Request::new("POST", format!("{}/unlock", person.path()))).refused(403, "fresh-proof-required");
    person
}

fn secrets(host: &Host, keys: &mut Keys, person: Person) -> (Person, Factor, Vec<String>) {
    let enrol = |factor: &Factor, code: &str| Request::put(format!("{}/enroll", factor.path), &json!({"token": code}));
    let prose = |factor: &Factor, code: &str| Request::put(&factor.path, &json!({"token": code}));

    // Two pending ones that end: replaced, and guessed at too often.
    let replaced = host.pending(&person, &json!({}));
    let guessed = host.pending(&person, &json!({"digits": 8}));
    for door in [enrol, prose] {
        host.ask(&door(&replaced, &replaced.wrong()));
        host.ask(&door(&guessed, &guessed.wrong())).refused(422, "wrong-code");
    }
    for _ in 0..3 {
        host.ask(&enrol(&guessed, &guessed.wrong()));
    }
    for door in [enrol, prose] {
        host.ask(&door(&guessed, &guessed.code(guessed.step())));
    }

    let uri = json!({"otpauth_url": "otpauth://totp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "name": "old phone"});
    let import = Request::post(format!("{}/import", person.secrets()), &uri).reason();
    keys.once(host, import).ok();
    let order = json!({"type": "mfa", "name": "phone", "kind": "hotp", "digits": 8});
    let mut factor = Factor::of(&keys.once(host, Request::post(person.secrets(), &order).token(&person.token)).ok());
    host.ask(&Request::get(person.secrets())).ok();
    let version = host.ask(&Request::get(&factor.path)).ok()["version"].clone();
    keys.once(host, Request::put(&factor.path, &json!({"version": version, "description": "blue"})));
    host.ask(&Request::put(&factor.path, &json!({"version": version, "name": "late"}))).refused(409, "version");
    let codes = codes_of(&keys.once(host, enrol(&factor, &factor.clone().next())).ok());
    let used = factor.next();
    host.ask(&enrol(&factor, &used).reason()).refused(409, "already-active");
    host.ask(&prose(&factor, &used).reason()).refused(409, "already-active");
    host.ask(&Request::post(person.secrets(), &json!({"type": "apikey", "name": "phone"})).reason())
        .refused(409, "secret-name-taken");
    host.ask(&Request::post(person.secrets(), &json!({"type": "apikey"}))).refused(403, "fresh-proof-required");
    for request in [
        Request::delete(&factor.path),
        Request::new("POST", format!("{}/codes", person.path())),
        Request::put(&factor.path, &json!({"token": used})),
    ] {
        host.ask(&request);
    }
    (person, factor, codes)
}

fn authentication(host: &Host, keys: &mut Keys, mut person: Person, mut factor: Factor, codes: &[String]) -> Person {
    let login = Request::post("/auth/password", &json!({"id": person.name, "password": person.password}));
    keys.once(host, login).ok();
    host.ask(&Request::post("/auth/password", &json!({"id": person.name, "password": "not the password"})))
        .refused(401, "wrong-credentials");
    let basic = |password: &str| {
        let pair = data_encoding::BASE64.encode(format!("{}:{password}", person.name).as_bytes());
        Request::get("/auth/password").header("Authorization", &format!("Basic {pair}"))
    };
    host.ask(&basic(&person.password)).ok();
    host.ask(&basic("not the password")).refused(401, "wrong-credentials");

    // This host has no security keys.
    let nothing = json!({"credential": {"id": "AA", "rawId": "AA", "type": "public-key", "response": {}}});
    host.ask(&Request::post("/auth/fido2", &nothing).token(&host.challenge(&person))).refused(409, "unsupported");
    host.ask(&Request::new("POST", "/auth/fido2/options").token(&host.challenge(&person))).refused(409, "unsupported");

    for (path, proof) in [
        ("/auth/totp", json!({"token": factor.next()})),
        ("/auth/recovery", json!({"code": codes[0]})),
        ("/auth/mfa", json!({"token": factor.next()})),
        ("/auth/mfa", json!({"code": codes[1]})),
    ] {
        let access = keys.once(host, Request::post(path, &proof).token(&host.challenge(&person))).ok();
        person.token = text(&access["token"]);
        person.refresh = text(&access["refresh"]);
    }
    let wrong = [
        ("/auth/totp", json!({"token": factor.wrong()})),
        ("/auth/recovery", json!({"code": codes[0]})),
        ("/auth/mfa", json!({"code": codes[0]})),
    ];
    for (path, proof) in wrong {
        host.ask(&Request::post(path, &proof).token(&host.challenge(&person))).refused(401, "wrong-code");
    }
    keys.once(host, Request::post(format!("{}/verify", person.path()), &json!({"token": factor.next()}))).ok();
    host.verify(&person.id, &json!({"token": factor.wrong()})).refused(401, "wrong-code");
    let (_, mut counter, _) = host.account("account");
    let login = |token: String| Request::post("/verify", &json!({"name": "account", "token": token, "service": "su"}));
    keys.once(host, login(counter.next())).ok();
    host.ask(&login(counter.wrong())).refused(401, "wrong-code");
    host.ask(&Request::get("/preflight?name=account")).ok();
    let login = json!({"name": "account", "time": "2026-11-30T12:00:00Z", "service": "sshd", "rhost": "192.0.2.7"});
    keys.once(host, Request::post("/break-glass", &login)).done();
    let moved = json!({"user": "moved", "kind": "hotp", "counter": 3, "secret": "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"});
    let import = json!({"createUsers": true, "factors": [moved, {"user": "moved", "kind": "totp", "digits": 5, "secret": "A".repeat(32)}]});
    host.ask(&Request::post("/imports", &import).reason()).refused(400, "malformed");
    let import = json!({"createUsers": true, "factors": [moved]});
    keys.once(host, Request::post("/imports", &import).reason()).ok();
    let confirm = |proof: Value| Request::post("/auth/stepup", &proof).token(&person.token);
    let stepped = keys.once(host, confirm(json!({"token": factor.next(), "action": "pay"}))).ok();
    host.ask(&confirm(json!({"token": factor.wrong(), "action": "pay"}))).refused(401, "wrong-code");
    let redeem = Request::post("/auth/receipt", &json!({"receipt": stepped["receipt"], "action": "pay"}));
    keys.once(host, redeem.clone()).ok();
    host.ask(&redeem).refused(401, "receipt-refused");
    let renewed = host.ask(&Request::get("/auth/refresh").token(&person.refresh)).ok();
    let renewed = keys.once(host, Request::new("POST", "/auth/refresh").token(&text(&renewed["refresh"]))).ok();
    keys.once(host, Request::new("POST", "/auth/logout").token(&text(&renewed["token"]))).done();
    host.log_in(&mut person, &mut factor);
    keys.once(host, Request::new("POST", format!("{}/codes", person.path())).reason()).ok();
    host.ask(&Request::delete(&factor.path).reason()).done();
    host.ask(&Request::new("POST", format!("{}/codes", person.path())).reason()).refused(409, "no-factor");
    person.token = text(&host.password(&person).ok()["token"]);
    person
}

fn passwords_and_removal(host: &Host, keys: &mut Keys, person: &Person) {
    let path = format!("{}/password", person.secrets());
    let change = |current: &str| {
        Request::put(&path, &json!({"secret": "another password", "current": current})).token(&person.token)
    };
    host.ask(&change("not the password")).refused(401, "wrong-credentials");
    keys.once(host, change(PASSWORD)).ok();
    host.ask(&Request::delete(person.path())).done();
}

/// An age recipient of whom nobody here has the identity.
pub const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";

fn running(host: &Host, keys: &mut Keys) {
    host.ask(&Request::get("/key")).ok();
    keys.once(host, Request::new("POST", "/key/rotation").reason()).ok();
    assert_eq!(host.ask(&Request::new("POST", "/backup").reason()).status, 200);
    let recipient = json!({"recipient": RECIPIENT});
    assert_eq!(host.ask(&Request::post("/exports", &recipient).reason()).status, 200);
    host.ask(&Request::post("/exports", &recipient)).refused(403, "fresh-proof-required");
    host.ask(&Request::post("/exports", &recipient).token("no.such.token")).refused(401, "unauthenticated");
    for target in [
        "/auth",
        "/.well-known/jwks.json",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/audit",
        "/audit/events",
        "/openapi.json",
        "/version",
    ] {
        assert_eq!(host.ask(&Request::get(target)).status, 200, "{target}");
    }
}

/// Every door that checks a second factor, with wrong codes, until it answers `status`.
pub fn second_factor_doors(host: &Host, status: u16) {
    let (person, factor, _) = host.guarded("anna");
    let wrong = factor.wrong();
    insist(host, status, || Request::post(format!("{}/verify", person.path()), &json!({"token": wrong})));
    let (_, account, _) = host.account("account");
    let wrong_here = account.wrong();
    insist(host, status, || {
        Request::post("/verify", &json!({"name": "account", "token": wrong_here, "service": "su"}))
    });
    insist(host, status, || Request::post("/auth/totp", &json!({"token": wrong})).token(&host.challenge(&person)));
    insist(host, status, || {
        Request::post("/auth/recovery", &json!({"code": "0000-0000-0000-0000"})).token(&host.challenge(&person))
    });
    insist(host, status, || Request::post("/auth/mfa", &json!({"token": wrong})).token(&host.challenge(&person)));
    insist(host, status, || {
        let nothing = json!({"id": "AA", "rawId": "AA", "type": "public-key", "response": {}});
        Request::post("/auth/fido2", &json!({"credential": nothing})).token(&host.challenge(&person))
    });
    insist(host, status, || {
        Request::post("/auth/stepup", &json!({"token": wrong, "action": "x"})).token(&person.token)
    });
}

/// Every door that checks a password, with wrong ones, until it answers 429.
pub fn password_doors(host: &Host) {
    let person = host.person("boris");
    let change = json!({"secret": "another password", "current": "not the password"});
    insist(host, 429, || Request::put(format!("{}/password", person.secrets()), &change).token(&person.token));
    insist(host, 429, || Request::post("/auth/password", &json!({"id": "boris", "password": "not the password"})));
    let basic = data_encoding::BASE64.encode(b"boris:not the password");
    insist(host, 429, || Request::get("/auth/password").header("Authorization", &format!("Basic {basic}")));
}

/// Asks again until the answer has this status. A delay may end between two requests, hence more than two.
fn insist(host: &Host, status: u16, request: impl Fn() -> Request) {
    let reached = (0..20).any(|_| host.ask(&request()).status == status);
    assert!(reached, "{} {} never answers {status}", request().method, request().target);
}
