//! What is refused of a security key's answer and what that costs: members that cannot be read, pages inside of others,
//! bytes that nothing names, handles of other users, and algorithms that are not verified.

use super::*;

const EVIL: &str = "https://evil.example.net";
/// A credential with an id of one byte, as far as it is looked at.
const CREDENTIAL: &[u8] = b"................\x00\x01i\xa3\x01\x02\x03\x26\x20\x01";

/// The answer with each of these members spoiled in each way, and the name of the member.
fn spoiled(answer: &Value, pointers: &[&str]) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for pointer in pointers {
        let name = format!("`credential{}`", pointer.replace('/', "."));
        for value in [json!(null), json!(7), json!([]), json!("A+/=")] {
            let mut bent = answer.clone();
            *bent.pointer_mut(pointer).unwrap() = value;
            found.push((name.clone(), bent));
        }
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let mut bent = answer.clone();
        bent.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(member);
        found.push((name, bent));
    }
    found
}

/// What neither ceremony takes, whoever signed it.
fn wrongs() -> Vec<(&'static str, Wrong)> {
    let wrong = Wrong::default();
    vec![
        ("inside of a foreign page", Wrong { cross_origin: true, top_origin: Some(EVIL), ..wrong }),
        ("inside of some page", Wrong { cross_origin: true, ..wrong }),
        ("below a foreign page", Wrong { top_origin: Some(EVIL), ..wrong }),
        ("below a page of a subdomain", Wrong { top_origin: Some("https://a.login.example.org"), ..wrong }),
        ("a byte behind", Wrong { behind: &[0], ..wrong }),
        ("extensions without their flag", Wrong { behind: EXTENSIONS, ..wrong }),
        ("a flag without its extensions", Wrong { flags: EXTENDED, ..wrong }),
        ("a byte behind the extensions", Wrong { flags: EXTENDED, behind: b"\xa1\x61a\xf5\x00", ..wrong }),
    ]
}

/// What both take.
fn rights() -> Vec<Wrong> {
    let wrong = Wrong::default();
    vec![
        wrong,
        Wrong { top_origin: Some(ORIGIN), ..wrong },
        Wrong { flags: EXTENDED, behind: EXTENSIONS, ..wrong },
        Wrong { flags: EXTENDED, behind: b"\xa0", ..wrong },
    ]
}

fn check_options(host: &Host, person: &Person) -> Value {
    host.ask(&Request::new("POST", format!("{}/fido2/options", person.path()))).ok()["publicKey"].clone()
}

#[track_caller]
fn malformed(answer: &Answer, name: &str) {
    let problem = answer.refused(400, "malformed");
    assert!(text(&problem["detail"]).starts_with(name), "{name}: {problem}");
}

#[test]
fn a_registration_that_cannot_be_read_is_malformed_and_ends_nothing() {
    let host = Host::start(CONFIG);
    let person = host.person("anna");
    let made = order(&host, &person, &json!({}));
    let good = Token::new().make(&made["secret"]["publicKey"], Wrong::default());
    let members = ["/id", "/rawId", "/type", "/response", "/response/clientDataJSON", "/response/attestationObject"];

    for (name, bent) in spoiled(&good, &members) {
        malformed(&enrol(&host, &person, &made, &bent), &name);
    }
    for client_data in ["", "{", "[]", r#"{"type":"webauthn.create"}"#] {
        let mut bent = good.clone();
        bent["response"]["clientDataJSON"] = json!(encode(client_data.as_bytes()));
        malformed(&enrol(&host, &person, &made, &bent), "`credential.response.clientDataJSON`");
    }

    assert_eq!(enrol(&host, &person, &made, &good).ok()["status"], "active");
}

#[test]
fn an_assertion_that_cannot_be_read_is_malformed_and_costs_no_attempt() {
    let host = Host::start(CONFIG);
    let (person, mut token, ..) = keyed(&host, "anna", "preferred");
    let members = [
        "/id",
        "/rawId",
        "/type",
        "/response",
        "/response/clientDataJSON",
        "/response/authenticatorData",
        "/response/signature",
    ];

    let challenge = host.challenge(&person);
    let good = token.answer(&options(&host, &challenge), Wrong::default());
    for (name, bent) in spoiled(&good, &members) {
        malformed(&log_in(&host, &challenge, &bent), &name);
    }
    let access = text(&log_in(&host, &challenge, &good).ok()["token"]);

    let good = token.answer(&options(&host, &access), Wrong::default());
    let step_up = |credential: &Value| {
        host.ask(&Request::post("/auth/stepup", &json!({"credential": credential, "action": "pay"})).token(&access))
    };
    for (name, bent) in spoiled(&good, &members) {
        malformed(&step_up(&bent), &name);
    }
    step_up(&good).ok();

    let good = token.answer(&check_options(&host, &person), Wrong::default());
    for (name, bent) in spoiled(&good, &members) {
        malformed(&host.verify(&person.id, &json!({"credential": bent})), &name);
    }
    host.verify(&person.id, &json!({"credential": good})).ok();
}

#[test]
fn results_of_extensions_that_nobody_asked_for_are_ignored() {
    let host = Host::start(CONFIG);
    let results = [
        None,
        Some(json!(null)),
        Some(json!({"credProps": {"rk": true}, "appid": true})),
        Some(json!({"credProps": 7})),
        Some(json!([])),
    ];
    for (number, results) in results.into_iter().enumerate() {
        let with = |mut answer: Value| {
            match &results {
                None => drop(answer.as_object_mut().unwrap().remove("clientExtensionResults")),
                Some(results) => answer["clientExtensionResults"] = results.clone(),
            }
            answer
        };
        let person = host.person(&format!("user {number}"));
        let mut token = Token::new();
        let made = order(&host, &person, &json!({}));
        let credential = with(token.make(&made["secret"]["publicKey"], Wrong::default()));

        enrol(&host, &person, &made, &credential).ok();

        let challenge = host.challenge(&person);
        let credential = with(token.answer(&options(&host, &challenge), Wrong::default()));
        log_in(&host, &challenge, &credential).ok();
    }
}

#[test]
fn fido_2_foreign_frames_and_bytes_that_nothing_names_are_refused_in_both_ceremonies() {
    let host = Host::start(CONFIG);
    let (person, mut token, ..) = keyed(&host, "anna", "preferred");
    let attested = ("a credential in an assertion", Wrong { flags: ATTESTED, behind: CREDENTIAL, ..Wrong::default() });
    for (what, wrong) in wrongs().into_iter().chain([attested]) {
        let challenge = host.challenge(&person);
        let credential = token.answer(&options(&host, &challenge), wrong);
        let answer = log_in(&host, &challenge, &credential);
        assert_eq!((answer.status, answer.code().as_str()), (401, "wrong-code"), "{what}: {}", answer.text());
        host.unlock(&person.id);
    }
    for (number, (what, wrong)) in wrongs().into_iter().enumerate() {
        let other = host.person(&format!("other {number}"));
        let made = order(&host, &other, &json!({}));
        let asked = &made["secret"]["publicKey"];
        let answer = enrol(&host, &other, &made, &Token::new().make(asked, wrong));
        assert_eq!((answer.status, answer.code().as_str()), (422, "wrong-code"), "{what}: {}", answer.text());
        enrol(&host, &other, &made, &Token::new().make(asked, Wrong::default())).refused(410, "expired");
    }

    for (number, right) in rights().into_iter().enumerate() {
        let other = host.person(&format!("third {number}"));
        let mut token = Token::new();
        let made = order(&host, &other, &json!({}));
        enrol(&host, &other, &made, &token.make(&made["secret"]["publicKey"], right)).ok();
        let challenge = host.challenge(&other);
        log_in(&host, &challenge, &token.answer(&options(&host, &challenge), right)).ok();
    }
}

#[test]
fn fido_6_the_handle_of_another_user_is_refused_and_none_is_needed() {
    let host = Host::start(CONFIG);
    let registered = |name: &str| {
        let (person, mut token) = (host.person(name), Token::new());
        let made = order(&host, &person, &json!({}));
        let asked = &made["secret"]["publicKey"];
        enrol(&host, &person, &made, &token.make(asked, Wrong::default())).ok();
        (person, token, text(&asked["user"]["id"]))
    };
    let (person, mut token, own) = registered("anna");
    let (_, _, other) = registered("boris");
    let mut log_in_with = |handle: Option<Value>| {
        let challenge = host.challenge(&person);
        let mut credential = token.answer(&options(&host, &challenge), Wrong::default());
        match handle {
            Some(handle) => credential["response"]["userHandle"] = handle,
            None => drop(credential["response"].as_object_mut().unwrap().remove("userHandle")),
        }
        log_in(&host, &challenge, &credential)
    };

    let longer = [BASE64URL_NOPAD.decode(own.as_bytes()).unwrap(), vec![0]].concat();
    for foreign in [other, encode(&[7; 16]), encode(&longer), encode(b"anna")] {
        log_in_with(Some(json!(foreign))).refused(401, "wrong-code");
        host.unlock(&person.id);
    }
    for odd in [json!(7), json!("A+/="), json!({})] {
        malformed(&log_in_with(Some(odd)), "`credential.response.userHandle`");
    }
    for fine in [None, Some(json!(null)), Some(json!("")), Some(json!(own))] {
        log_in_with(fine).ok();
    }
}

#[test]
fn a_key_whose_algorithm_is_not_verified_is_told_so() {
    let host = Host::start(CONFIG);
    let person = host.person("anna");
    for (public_key, number) in [(ED25519, "-8"), (RS256, "-257"), (ES384, "-35")] {
        let made = order(&host, &person, &json!({}));
        let asked = &made["secret"]["publicKey"];
        assert_eq!(asked["pubKeyCredParams"], json!([{"type": "public-key", "alg": -7}]));
        let wrong = Wrong { public_key: Some(public_key), ..Wrong::default() };

        let problem = enrol(&host, &person, &made, &Token::new().make(asked, wrong)).refused(409, "unsupported");

        let detail = text(&problem["detail"]);
        assert!(detail.contains(&format!("algorithm {number};")) && detail.contains("ES256"), "{problem}");
        enrol(&host, &person, &made, &Token::new().make(asked, Wrong::default())).refused(410, "expired");
    }
    // Its question holds first: whoever answers another one learns nothing of what is taken.
    let made = order(&host, &person, &json!({}));
    let wrong = Wrong { public_key: Some(ED25519), challenge: true, ..Wrong::default() };
    let credential = Token::new().make(&made["secret"]["publicKey"], wrong);
    enrol(&host, &person, &made, &credential).refused(422, "wrong-code");
}
