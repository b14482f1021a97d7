//! Security keys through the real daemon: a key played by this test at the bytes of WebAuthn, a browser played too.

mod answers;

use data_encoding::BASE64URL_NOPAD;
use mfad_service::fido::{AuthenticationAnswer, RegistrationAnswer};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::elliptic_curve::Generate;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::host::Host;
use crate::people::{Person, codes_of, text};
use crate::wire::{Answer, Request};

const ORIGIN: &str = "https://login.example.org";
pub const CONFIG: &str = "[fido2]\nrpId = \"example.org\"\norigins = [\"https://login.example.org\"]\n";

const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const ATTESTED: u8 = 0x40;
/// `{"fmt": "none", "attStmt": {}, "authData": ` in CBOR, up to the two bytes of its length.
const ATTESTATION_HEAD: &[u8] = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59";
/// Public keys in COSE that no signature is verified with: Ed25519, RS256 (as far as its number), ES384.
const ED25519: &[u8] = b"\xa4\x01\x01\x03\x27\x20\x06\x21\x58\x20xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
const RS256: &[u8] = b"\xa4\x01\x03\x03\x39\x01\x00\x20\x41n\x21\x43\x01\x00\x01";
const ES384: &[u8] = b"\xa5\x01\x02\x03\x38\x22\x20\x02\x21\x41x\x22\x41y";
/// `{"a": true}` in CBOR.
const EXTENSIONS: &[u8] = b"\xa1\x61a\xf5";
const EXTENDED: u8 = 0x80;

/// A security key with one credential.
#[derive(Clone)]
pub struct Token {
    key: SigningKey,
    id: Vec<u8>,
    counter: u32,
    flags: u8,
}

/// What a browser and a key get wrong on purpose.
#[derive(Clone, Copy, Default)]
pub struct Wrong {
    origin: Option<&'static str>,
    challenge: bool,
    kind: Option<&'static str>,
    rp: Option<&'static str>,
    /// What `crossOrigin` says.
    cross_origin: bool,
    top_origin: Option<&'static str>,
    /// Flags beside the right ones, and bytes behind the authenticator data.
    flags: u8,
    behind: &'static [u8],
    /// A public key in the place of the right one.
    public_key: Option<&'static [u8]>,
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

fn encode(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

impl Token {
    pub fn new() -> Self {
        let key = SigningKey::generate();
        let id = hash(&key.verifying_key().to_sec1_point(false).as_bytes()[1..]);
        Self { key, id, counter: 0, flags: PRESENT | VERIFIED }
    }

    fn without_verification(self) -> Self {
        Self { flags: PRESENT, ..self }
    }

    fn client_data(options: &Value, kind: &str, wrong: Wrong) -> String {
        let challenge = if wrong.challenge { encode(&[7; 32]) } else { text(&options["challenge"]) };
        let (kind, origin) = (wrong.kind.unwrap_or(kind), wrong.origin.unwrap_or(ORIGIN));
        let mut data =
            json!({"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": wrong.cross_origin});
        if let Some(top) = wrong.top_origin {
            data["topOrigin"] = json!(top);
        }
        data.to_string()
    }

    fn authenticator_data(&self, rp: &str, flags: u8) -> Vec<u8> {
        [hash(rp.as_bytes()).as_slice(), &[flags], &self.counter.to_be_bytes()].concat()
    }

    /// `navigator.credentials.create()`.
    fn make(&mut self, options: &Value, wrong: Wrong) -> Value {
        self.counter += 1;
        let point = self.key.verifying_key().to_sec1_point(false);
        let (x, y) = point.as_bytes()[1..].split_at(32);
        let own = [&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32][..], x, &[0x22, 0x58, 32], y].concat();
        let cose = wrong.public_key.unwrap_or(&own);
        let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
        let rp = wrong.rp.map_or_else(|| text(&options["rp"]["id"]), str::to_owned);
        let head = self.authenticator_data(&rp, self.flags | ATTESTED | wrong.flags);
        let data = [&head[..], &[0; 16], &length, &self.id, cose, wrong.behind].concat();
        let size = u16::try_from(data.len()).unwrap().to_be_bytes();
        let object = [ATTESTATION_HEAD, &size, &data].concat();
        let client = Self::client_data(options, "webauthn.create", wrong);
        json!({
            "id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key", "clientExtensionResults": {},
            "response": {"clientDataJSON": encode(client.as_bytes()), "attestationObject": encode(&object)},
        })
    }

    /// `navigator.credentials.get()`.
    pub fn answer(&mut self, options: &Value, wrong: Wrong) -> Value {
        self.counter += 1;
        let rp = wrong.rp.map_or_else(|| text(&options["rpId"]), str::to_owned);
        let data = [self.authenticator_data(&rp, self.flags | wrong.flags).as_slice(), wrong.behind].concat();
        let client = Self::client_data(options, "webauthn.get", wrong);
        let signature: Signature = self.key.sign(&[data.as_slice(), &hash(client.as_bytes())].concat());
        json!({
            "id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key", "clientExtensionResults": {},
            "response": {
                "clientDataJSON": encode(client.as_bytes()), "authenticatorData": encode(&data),
                "signature": encode(signature.to_der().as_bytes()), "userHandle": null,
            },
        })
    }
}

fn order(host: &Host, person: &Person, more: &Value) -> Value {
    let order = crate::people::with(json!({"type": "fido2"}), more);
    host.ask(&Request::post(person.secrets(), &order).reason()).ok()
}

fn enrol(host: &Host, person: &Person, made: &Value, credential: &Value) -> Answer {
    let path = format!("{}/{}/enroll", person.secrets(), text(&made["uid"]));
    host.ask(&Request::put(path, &json!({"credential": credential})).reason())
}

/// A person whose only factor is a security key; and its codes.
pub fn keyed(host: &Host, name: &str, uv: &str) -> (Person, Token, Value, Vec<String>) {
    let person = host.person(name);
    let mut token = Token::new();
    let made = order(host, &person, &json!({"name": "blue", "uv": uv}));
    let credential = token.make(&made["secret"]["publicKey"], Wrong::default());
    let enrolled = enrol(host, &person, &made, &credential).ok();
    let codes = codes_of(&enrolled);
    (person, token, enrolled, codes)
}

fn options(host: &Host, token: &str) -> Value {
    host.ask(&Request::new("POST", "/auth/fido2/options").token(token)).ok()["publicKey"].clone()
}

fn log_in(host: &Host, challenge: &str, credential: &Value) -> Answer {
    host.ask(&Request::post("/auth/fido2", &json!({"credential": credential})).token(challenge))
}

/// Each door of security keys, as it opens and as it does not.
pub fn tour(host: &Host) {
    let (person, mut token, ..) = keyed(host, "keyed", "preferred");
    let challenge = host.challenge(&person);
    let asked = options(host, &challenge);
    log_in(host, &challenge, &token.answer(&asked, Wrong { challenge: true, ..Wrong::default() }))
        .refused(401, "wrong-code");
    let asked = options(host, &challenge);
    let credential = token.answer(&asked, Wrong::default());
    let access = log_in(host, &challenge, &credential).ok();
    host.ask(&Request::new("POST", "/auth/fido2/options").token(&challenge)).refused(401, "challenge-ended");
    host.ask(&Request::new("POST", format!("{}/fido2/options", person.path()))).ok();
    let nothing = json!({"credential": {"id": "AA", "rawId": "AA", "type": "public-key", "response": {}}});
    let again = host.challenge(&person);
    host.ask(&Request::post("/auth/fido2", &nothing).token(&again)).refused(400, "malformed");
    let without = host.person("without");
    host.ask(&Request::new("POST", format!("{}/fido2/options", without.path()))).refused(409, "no-factor");
    host.ask(&Request::new("POST", "/auth/fido2/options").token(&text(&access["token"]))).ok();
}

#[test]
fn a_security_key_is_registered_logs_in_steps_up_and_goes() {
    let host = Host::start(CONFIG);
    let (person, mut token, enrolled, codes) = keyed(&host, "anna", "preferred");
    assert_eq!((&enrolled["type"], &enrolled["status"], codes.len()), (&json!("fido2"), &json!("active"), 10));
    assert_eq!(host.ask(&Request::get(person.path())).ok()["mfa"], "active");

    let first = host.password(&person).ok();
    assert_eq!((&first["type"], &first["methods"]), (&json!("CHALLENGE"), &json!(["fido2", "recovery"])));
    let challenge = text(&first["token"]);
    let asked = options(&host, &challenge);
    assert_eq!(asked["allowCredentials"][0]["id"], encode(&token.id));
    let access = log_in(&host, &challenge, &token.answer(&asked, Wrong::default())).ok();
    assert_eq!(access["type"], "ACCESS");
    let access = text(&access["token"]);
    let claims: Value =
        serde_json::from_slice(&BASE64URL_NOPAD.decode(access.split('.').nth(1).unwrap().as_bytes()).unwrap()).unwrap();
    assert_eq!(claims["amr"], json!(["pwd", "hwk", "user", "mfa"]));

    // A step-up, and a fresh proof by it.
    let asked = options(&host, &access);
    let credential = token.answer(&asked, Wrong::default());
    let raised = host
        .ask(&Request::post("/auth/stepup", &json!({"credential": credential, "action": "pay"})).token(&access))
        .ok();
    let receipt = json!({"receipt": raised["receipt"], "action": "pay"});
    host.ask(&Request::post("/auth/receipt", &receipt)).ok();

    // The check of an app, and the one door.
    let asked = host.ask(&Request::new("POST", format!("{}/fido2/options", person.path()))).ok()["publicKey"].clone();
    let verified = host.verify(&person.id, &json!({"credential": token.answer(&asked, Wrong::default())})).ok();
    assert_eq!((&verified["method"], &verified["secretId"]), (&json!("fido2"), &enrolled["uid"]));
    let challenge = host.challenge(&person);
    let asked = options(&host, &challenge);
    let credential = token.answer(&asked, Wrong::default());
    host.ask(&Request::post("/auth/mfa", &json!({"credential": credential})).token(&challenge)).ok();

    let path = format!("{}/{}", person.secrets(), text(&enrolled["uid"]));
    let shown = host.ask(&Request::get(&path)).ok();
    assert!(shown["lastUsed"].is_string(), "{shown}");
    host.ask(&Request::put(&path, &json!({"version": shown["version"], "name": "green"}))).ok();
    host.ask(&Request::delete(&path)).refused(403, "fresh-proof-required");
    host.ask(&Request::delete(&path).token(&text(&raised["token"]))).done();
    assert_eq!(host.password(&person).ok()["type"], "ACCESS", "the last factor is gone");
}

#[test]
fn bkc_1_a_user_who_registers_a_first_security_key_gets_backup_codes() {
    let host = Host::start(CONFIG);
    let person = host.person("anna");
    let access = text(&host.password(&person).ok()["token"]);
    let mut token = Token::new();

    let made = host.ask(&Request::post(person.secrets(), &json!({"type": "fido2"})).token(&access)).ok();
    let credential = token.make(&made["secret"]["publicKey"], Wrong::default());
    let path = format!("{}/{}/enroll", person.secrets(), text(&made["uid"]));
    let enrolled = host.ask(&Request::put(path, &json!({"credential": credential})).token(&access)).ok();

    assert_eq!((codes_of(&enrolled).len(), &enrolled["status"]), (10, &json!("active")));
}

#[test]
fn two_checks_of_one_user_at_one_app_do_not_end_each_other() {
    let host = Host::start(CONFIG);
    let (person, mut token, ..) = keyed(&host, "anna", "preferred");
    let ask = || host.ask(&Request::new("POST", format!("{}/fido2/options", person.path()))).ok()["publicKey"].clone();
    let (first, second) = (ask(), ask());

    for asked in [&first, &second] {
        let credential = token.answer(asked, Wrong::default());
        host.verify(&person.id, &json!({"credential": credential})).ok();
    }

    let again = token.answer(&first, Wrong::default());
    host.verify(&person.id, &json!({"credential": again})).refused(401, "wrong-code");
}

#[test]
fn fido_2_what_does_not_hold_is_refused_and_the_right_answer_still_counts() {
    let host = Host::start(CONFIG);
    let (other, mut foreign, ..) = keyed(&host, "other", "preferred");
    let wrongs = [
        ("origin", Wrong { origin: Some("https://evil.example.org"), ..Wrong::default() }),
        ("subdomain", Wrong { origin: Some("https://a.login.example.org"), ..Wrong::default() }),
        ("port", Wrong { origin: Some("https://login.example.org:8443"), ..Wrong::default() }),
        ("challenge", Wrong { challenge: true, ..Wrong::default() }),
        ("type", Wrong { kind: Some("webauthn.create"), ..Wrong::default() }),
        ("relying party", Wrong { rp: Some("login.example.org"), ..Wrong::default() }),
    ];
    let (person, mut token, ..) = keyed(&host, "anna", "required");
    let refused = |what: &str, credential: &dyn Fn(&Value) -> Value| {
        let challenge = host.challenge(&person);
        let asked = options(&host, &challenge);
        let answer = log_in(&host, &challenge, &credential(&asked));
        answer.refused(401, "wrong-code");
        host.unlock(&person.id);
        println!("{what}: refused");
    };

    for (what, wrong) in wrongs {
        refused(what, &|asked| token.clone().answer(asked, wrong));
    }
    refused("no verification", &|asked| token.clone().without_verification().answer(asked, Wrong::default()));
    refused("nobody there", &|asked| Token { flags: VERIFIED, ..token.clone() }.answer(asked, Wrong::default()));
    refused("foreign credential", &|asked| foreign.clone().answer(asked, Wrong::default()));
    refused("another key", &|asked| {
        Token { key: SigningKey::generate(), ..token.clone() }.answer(asked, Wrong::default())
    });
    refused("old counter", &|asked| Token { counter: 0, ..token.clone() }.answer(asked, Wrong::default()));
    refused("answer to another user", &|_| {
        let challenge = host.challenge(&other);
        foreign.clone().answer(&options(&host, &challenge), Wrong::default())
    });

    let challenge = host.challenge(&person);
    let asked = options(&host, &challenge);
    token.counter += 10;
    let good = token.answer(&asked, Wrong::default());
    log_in(&host, &challenge, &good).ok();
    let challenge = host.challenge(&person);
    options(&host, &challenge);
    log_in(&host, &challenge, &good).refused(401, "wrong-code");
    let again = host.challenge(&person);
    log_in(&host, &again, &token.answer(&asked, Wrong::default())).refused(401, "wrong-code");
    let _ = foreign.answer(&asked, Wrong::default());
    let rows = host.ask(&Request::get("/audit?limit=500")).ok();
    let copied = rows["events"].as_array().unwrap().iter().filter(|row| row["event"] == "key.copied").count();
    assert!(copied >= 1, "FIDO-5: {rows}");
}

#[test]
fn fido_1_a_registration_that_does_not_hold_ends_and_a_credential_is_one_persons() {
    let host = Host::start(CONFIG);
    let person = host.person("anna");
    for wrong in [
        Wrong { origin: Some("https://evil.example.org"), ..Wrong::default() },
        Wrong { challenge: true, ..Wrong::default() },
        Wrong { kind: Some("webauthn.get"), ..Wrong::default() },
        Wrong { rp: Some("evil.example.org"), ..Wrong::default() },
    ] {
        let made = order(&host, &person, &json!({}));
        let asked = &made["secret"]["publicKey"];
        enrol(&host, &person, &made, &Token::new().make(asked, wrong)).refused(422, "wrong-code");
        enrol(&host, &person, &made, &Token::new().make(asked, Wrong::default())).refused(410, "expired");
    }
    let made = order(&host, &person, &json!({"uv": "required"}));
    let credential = Token::new().without_verification().make(&made["secret"]["publicKey"], Wrong::default());
    enrol(&host, &person, &made, &credential).refused(422, "wrong-code");
    assert_eq!(host.ask(&Request::get(person.path())).ok()["mfa"], "none", "ENR-1");

    let (_, token, ..) = keyed(&host, "boris", "preferred");
    let made = order(&host, &person, &json!({}));
    let credential = token.clone().make(&made["secret"]["publicKey"], Wrong::default());
    assert!(enrol(&host, &person, &made, &credential).status >= 400, "FIDO-6");
    assert_eq!(host.password(&person).ok()["type"], "ACCESS", "anna still has no factor");
    host.ask(&Request::post(person.secrets(), &json!({"type": "fido2", "uv": "maybe"})).reason())
        .refused(400, "malformed");
    host.ask(&Request::post(person.secrets(), &json!({"type": "fido2", "digits": 6})).reason())
        .refused(400, "malformed");
}

#[test]
fn without_a_relying_party_there_are_no_security_keys() {
    let host = Host::start("");
    let person = host.person("anna");
    host.ask(&Request::post(person.secrets(), &json!({"type": "fido2"})).reason()).refused(409, "unsupported");
    host.ask(&Request::new("POST", "/auth/fido2/options").token(&person.token)).refused(409, "unsupported");
}

#[test]
fn an_app_of_the_settings_registers_and_logs_in_and_no_other_app_does() {
    // SHA-256 of certificates, base64url.
    const APP: &str = "android:apk-key-hash:MRIGshcjRjb2Gy1GWAHR0GwguBktJ45VmRLsNX33RJg";
    const OTHER_CASE: &str = "android:apk-key-hash:mRIGshcjRjb2Gy1GWAHR0GwguBktJ45VmRLsNX33RJg";
    let from = |origin| Wrong { origin: Some(origin), ..Wrong::default() };
    let host = Host::start(&format!(
        "[fido2]\nrpId = \"example.org\"\norigins = [\"https://login.example.org\", \"{APP}\"]\n"
    ));
    let person = host.person("anna");
    let mut token = Token::new();
    let made = order(&host, &person, &json!({}));
    let credential = token.make(&made["secret"]["publicKey"], from(APP));
    enrol(&host, &person, &made, &credential).ok();

    let challenge = host.challenge(&person);
    for (what, origin) in [
        ("another case", OTHER_CASE),
        ("the scheme in capitals", "ANDROID:apk-key-hash:MRIGshcjRjb2Gy1GWAHR0GwguBktJ45VmRLsNX33RJg"),
        ("padding", "android:apk-key-hash:MRIGshcjRjb2Gy1GWAHR0GwguBktJ45VmRLsNX33RJg="),
        ("an opaque origin", "null"),
    ] {
        let asked = options(&host, &challenge);
        let refused = log_in(&host, &challenge, &token.answer(&asked, from(origin)));
        assert_eq!(refused.status, 401, "{what}");
    }
    let asked = options(&host, &challenge);
    assert_eq!(log_in(&host, &challenge, &token.answer(&asked, from(APP))).ok()["type"], "ACCESS");
    let challenge = host.challenge(&person);
    let asked = options(&host, &challenge);
    let page = log_in(&host, &challenge, &token.answer(&asked, Wrong::default())).ok();
    assert_eq!(page["type"], "ACCESS", "the page of the same relying party");

    let boris = host.person("boris");
    for origin in [OTHER_CASE, "null", "android:apk-key-hash:"] {
        let made = order(&host, &boris, &json!({}));
        let mut token = Token::new();
        let credential = token.make(&made["secret"]["publicKey"], from(origin));
        assert_ne!(enrol(&host, &boris, &made, &credential).status, 200, "{origin}");
    }
}

#[test]
fn the_relying_party_stays_once_there_are_credentials() {
    let mut host = Host::start(CONFIG);
    keyed(&host, "anna", "preferred");
    host.restart();
    host.kill();
    let config = std::fs::read_to_string(&host.dirs.config).unwrap();
    std::fs::write(&host.dirs.config, config.replace("\"example.org\"", "\"login.example.org\"")).unwrap();

    let mut daemon = host.dirs.serve().spawn().unwrap();
    let status = crate::host::wait(&mut daemon, std::time::Duration::from_secs(20)).expect("it does not start");

    assert_eq!(status.code(), Some(3), "{}", host.dirs.log_text());
    assert!(host.dirs.log_text().contains("rpId: must stay"), "{}", host.dirs.log_text());
    std::fs::write(&host.dirs.config, config).unwrap();
    host.start_again();
}

/// Answers that are wrong at one byte, or cut off, by the thousand: none is taken and none panics.
#[test]
fn fido_4_ten_thousand_malformed_answers_are_refused() {
    const ANSWERS: usize = 10_000;
    let origin = url::Url::parse(ORIGIN).unwrap();
    let party = mfad_service::fido::RelyingParty::new("example.org", &[origin], "test").unwrap();
    let mut token = Token::new();
    let start = |user: &[u8]| {
        party.start_registration(user, "anna", Vec::new(), mfad_service::fido::Verification::Preferred).unwrap()
    };
    let (asked, registration) = start(&[1; 16]);
    let good = token.make(&asked, Wrong::default());
    let register = |answer: &Value| {
        RegistrationAnswer::read(answer).and_then(|answer| party.finish_registration(&registration, &answer))
    };
    let record = register(&good).unwrap();
    let bytes = record.to_bytes().unwrap();
    let read = || mfad_service::fido::KeyRecord::from_bytes(&bytes, 1).unwrap();
    let (asked, authentication) = party.start_authentication(&[1; 16], vec![read()]).unwrap();
    let answer = token.answer(&asked, Wrong::default());
    let authenticate = |answer: &Value| {
        AuthenticationAnswer::read(answer).and_then(|answer| party.finish_authentication(&authentication, &answer))
    };
    assert!(authenticate(&answer).is_ok(), "the one that is bent is good");
    let bend = |answer: &Value, member: &str, number: usize| {
        let mut bytes = BASE64URL_NOPAD.decode(answer["response"][member].as_str().unwrap().as_bytes()).unwrap();
        let at = number * 31 % bytes.len();
        match number % 4 {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << (number / 4 % 8),
            2 => bytes.insert(at, u8::try_from(number % 251).unwrap()),
            _ => bytes[at] = bytes[at].wrapping_add(u8::try_from(number % 250 + 1).unwrap()),
        }
        let mut bent = answer.clone();
        bent["response"][member] = json!(encode(&bytes));
        bent
    };

    let (mut refused, mut unsigned) = (0, 0);
    for number in 0..ANSWERS {
        let member = ["clientDataJSON", "authenticatorData", "signature"][number % 3];
        let bent = bend(&answer, member, number);
        assert!(authenticate(&bent).is_err(), "{number} {member}: {bent}");
        let member = ["clientDataJSON", "attestationObject"][number % 2];
        // Without attestation nothing signs the credential's own data: a bent id or counter makes another good one. What was
        // asked, by whom and where, has to hold all the same.
        let bent = bend(&good, member, number);
        if register(&bent).is_err() {
            refused += 1;
            continue;
        }
        unsigned += 1;
        if member == "clientDataJSON" {
            let data = |answer: &Value| -> Value {
                let text = answer["response"][member].as_str().unwrap();
                serde_json::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()).unwrap()
            };
            for asked in ["type", "challenge", "origin"] {
                assert_eq!(data(&bent)[asked], data(&good)[asked], "{number}");
            }
        } else {
            // Whose page it is for, and that somebody touched the key and it made a credential.
            let object = BASE64URL_NOPAD.decode(bent["response"][member].as_str().unwrap().as_bytes()).unwrap();
            let data = &object[ATTESTATION_HEAD.len() + 2..];
            assert_eq!(&data[..32], hash(b"example.org"), "{number}");
            assert_eq!(data[32] & (PRESENT | ATTESTED), PRESENT | ATTESTED, "{number}");
        }
    }
    for odd in [json!({}), json!({"id": 1}), json!({"response": null}), json!([]), json!(null), json!("x")] {
        assert!(authenticate(&odd).is_err() && register(&odd).is_err());
    }
    println!(
        "security key: {ANSWERS} bent assertions refused; of as many bent registrations {refused} refused, {unsigned} bent where nothing signs"
    );
}

#[test]
fn the_page_is_served_only_where_the_settings_say_so() {
    let plain = Host::start("");
    plain.ask(&Request::get("/ui/")).refused(404, "not-found");
    let host = Host::start("ui = true\n");
    let ask = |request: Request| {
        let stream = std::os::unix::net::UnixStream::connect(host.socket()).unwrap();
        crate::wire::Connection::new(stream, None).ask(&request)
    };

    for (path, media_type) in [("/ui/", "text/html"), ("/ui/ui.css", "text/css"), ("/ui/ui.js", "text/javascript")] {
        let answer = ask(Request::get(path));
        assert_eq!((answer.status, answer.media_type()), (200, Some(media_type)), "{path}");
        assert!(answer.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(ask(Request::new("POST", path)).status, 405);
    }
    assert_eq!(ask(Request::get("/ui/nothing")).status, 404);
    let redirected = ask(Request::get("/ui"));
    assert_eq!((redirected.status, redirected.header("location")), (308, Some("ui/")));
}
