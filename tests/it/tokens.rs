//! Tokens: what is in them, and everything that must not pass for one.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

use crate::host::Host;
use crate::identity::{OTHER_STRANGER, STRANGER, can_be_others};
use crate::people::{PASSWORD, Person, text};
use crate::wire::Request;

fn part(token: &str, at: usize) -> Value {
    let part = token.split('.').nth(at).expect("three parts");
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url")).expect("JSON")
}

pub fn header(token: &str) -> Value {
    part(token, 0)
}

pub fn claims(token: &str) -> Value {
    part(token, 1)
}

fn encoded(value: &Value) -> String {
    BASE64URL_NOPAD.encode(value.to_string().as_bytes())
}

/// A token of these parts, signed by `sign`.
fn forged(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", encoded(header), encoded(claims));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

fn jwks(host: &Host) -> Value {
    host.ask(&Request::get("/.well-known/jwks.json")).ok()
}

#[test]
fn tok_3_an_access_token_carries_every_claim_in_its_type() {
    let host = Host::start("");
    let (person, _, _) = host.guarded("anna");

    let (header, claims) = (header(&person.token), claims(&person.token));

    assert_eq!(header["alg"], "EdDSA");
    let keys = jwks(&host)["keys"].as_array().unwrap().clone();
    assert!(header["typ"].is_string() && keys.iter().any(|key| key["kid"] == header["kid"]), "{header}");
    for member in ["iat", "nbf", "exp", "epoch", "authTime", "auth_time", "peer"] {
        assert!(claims[member].is_u64(), "{member}: {claims}");
    }
    assert!(claims["iss"].is_string() && claims["jti"].is_string() && claims["roles"].is_array(), "{claims}");
    assert!(claims["aud"].is_string() || claims["aud"].is_array(), "{claims}");
    assert_eq!((&claims["sub"], &claims["peer"]), (&json!(person.id), &json!(crate::identity::own_uid())));
    assert!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap() <= 900);
    assert!(claims["amr"].as_array().unwrap().contains(&json!("mfa")), "AUT-3: {claims}");
}

#[test]
fn tok_4_kinds_of_tokens_differ_in_typ_and_audience() {
    let host = Host::start("");
    let (person, _, _) = host.guarded("anna");
    let challenge = host.challenge(&person);

    // AUT-1 leaves open whether a challenge is such a token at all.
    if challenge.split('.').count() == 3 {
        assert_ne!(header(&person.token)["typ"], header(&challenge)["typ"]);
        assert_ne!(claims(&person.token)["aud"], claims(&challenge)["aud"]);
    }
}

#[test]
fn tok_7_the_key_set_holds_public_halves_only() {
    let host = Host::start("");

    for key in jwks(&host)["keys"].as_array().unwrap() {
        let members: Vec<&str> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(members.iter().all(|member| ["kty", "crv", "kid", "x", "alg", "use"].contains(member)), "{key}");
        assert_eq!(BASE64URL_NOPAD.decode(text(&key["x"]).as_bytes()).unwrap().len(), 32);
    }
}

/// Tokens that differ from a good one in one thing each.
fn forgeries(good: &str, public: &[u8]) -> Vec<(&'static str, String)> {
    let (header, claims) = (header(good), claims(good));
    let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let mine = SigningKey::from_bytes(&[7; 32]);
    let sign = |message: &[u8]| mine.sign(message).to_bytes().to_vec();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64URL_NOPAD.encode(mine.verifying_key().as_bytes())});
    let put = |base: &Value, name: &str, value: Value| {
        let mut changed = base.clone();
        changed[name] = value;
        changed
    };
    let with_header = |name, value| forged(&put(&header, name, value), &claims, sign);
    let hs256 = |key: &[u8]| {
        let key = key.to_vec();
        forged(&put(&header, "alg", json!("HS256")), &claims, move |message| {
            Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap().chain_update(message).finalize().into_bytes().to_vec()
        })
    };
    let mut list = vec![
        ("alg none", forged(&put(&header, "alg", json!("none")), &claims, |_| Vec::new())),
        ("alg NONE", forged(&put(&header, "alg", json!("NONE")), &claims, |_| Vec::new())),
        ("alg nOnE, signature kept", format!("{}.{body}.{signature}", encoded(&put(&header, "alg", json!("nOnE"))))),
        ("alg null", with_header("alg", json!(null))),
        ("alg RS256", with_header("alg", json!("RS256"))),
        ("alg ES256", with_header("alg", json!("ES256"))),
        ("HS256 under the public key", hs256(public)),
        ("HS256 under nothing", hs256(b"")),
        ("another key, same kid", forged(&header, &claims, sign)),
        ("jwk", with_header("jwk", jwk.clone())),
        ("jwk without kid", forged(&json!({"alg": "EdDSA", "typ": header["typ"], "jwk": jwk}), &claims, sign)),
        ("jku", with_header("jku", json!("file:///dev/stdin"))),
        ("x5u", with_header("x5u", json!("http://localhost/"))),
        ("x5c", with_header("x5c", json!(["AAAA"]))),
        ("crit", with_header("crit", json!(["exp"]))),
        ("kid unknown", with_header("kid", json!("unknown"))),
        ("kid a path", with_header("kid", json!("../../../../dev/null"))),
        ("kid a number", with_header("kid", json!(1))),
        ("kid missing", forged(&json!({"alg": "EdDSA", "typ": header["typ"]}), &claims, sign)),
        ("typ JWT", with_header("typ", json!("JWT"))),
        (
            "another user",
            format!(
                "{head}.{}.{signature}",
                encoded(&put(&claims, "sub", json!("00000000-0000-0000-0000-000000000000")))
            ),
        ),
        ("later end", format!("{head}.{}.{signature}", encoded(&put(&claims, "exp", json!(4_000_000_000_u64))))),
        ("role admin", format!("{head}.{}.{signature}", encoded(&put(&claims, "roles", json!(["admin"]))))),
        ("jwk beside the good signature", format!("{}.{body}.{signature}", encoded(&put(&header, "jwk", json!({}))))),
        ("no signature", format!("{head}.{body}.")),
        ("two parts", format!("{head}.{body}")),
        ("four parts", format!("{good}.{signature}")),
        ("five parts", format!("{head}..{body}.{signature}.{signature}")),
        ("one part", head.to_owned()),
        ("dots", "...".to_owned()),
        ("nested", forged(&put(&header, "cty", json!("JWT")), &json!(good), sign)),
        ("padding", format!("{good}==")),
        ("padding in the claims", format!("{head}.{body}=.{signature}")),
        ("white space", format!("{head}. {body}.{signature}")),
        ("short signature", good[..good.len() - 4].to_owned()),
        ("long signature", format!("{good}AAAA")),
        (
            "hexadecimal signature",
            format!("{head}.{body}.{}", HEXLOWER.encode(&BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap())),
        ),
        ("too large", format!("{head}.{}.{signature}", "A".repeat(5000))),
        (
            "claims twice",
            format!(
                "{head}.{}.{signature}",
                BASE64URL_NOPAD.encode(claims.to_string().replacen('{', "{\"sub\":\"x\",", 1).as_bytes())
            ),
        ),
    ];
    // TOK-5: 64 bytes end in a character of which four bits mean nothing.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(good.chars().last().unwrap()).unwrap();
    list.push(("stray bits", format!("{}{}", &good[..good.len() - 1], &alphabet[last + 1..last + 2])));
    list
}

#[test]
fn tok_2_no_forged_token_is_taken() {
    let host = Host::start("");
    let person = host.person("anna");
    let public = BASE64URL_NOPAD.decode(text(&jwks(&host)["keys"][0]["x"]).as_bytes()).unwrap();

    for (what, token) in forgeries(&person.token, &public) {
        let answer = host.ask(&Request::get(person.path()).token(&token));

        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"), "{what}");
        assert_eq!(host.token_status(&person, &person.token), 200, "control after {what}");
    }
}

#[test]
fn tok_4_a_token_of_another_kind_is_refused_everywhere_else() {
    let host = Host::start("");
    let (person, mut factor, codes) = host.guarded("anna");
    let challenge = host.challenge(&person);
    let with_access = [
        Request::get(person.path()),
        Request::get("/users/me"),
        Request::get("/users"),
        Request::get(person.secrets()),
        Request::get(format!("{}/{}", person.secrets(), factor.id)),
        Request::post(person.secrets(), &json!({"type": "mfa", "name": "second"})),
        Request::put(format!("{}/enroll", factor.path), &json!({"token": "12345678"})),
        Request::put(
            format!("{}/password", person.secrets()),
            &json!({"secret": "another password", "current": PASSWORD}),
        ),
        Request::new("POST", format!("{}/codes", person.path())),
        Request::delete(&factor.path),
        Request::delete(person.path()),
        Request::put(person.path(), &json!({"version": 1, "displayName": "A"})),
        Request::post("/auth/stepup", &json!({"token": factor.next(), "action": "x"})),
        Request::post("/auth/receipt", &json!({"receipt": "x", "action": "x"})),
        Request::new("POST", "/auth/logout"),
        Request::get("/auth/refresh"),
        Request::get("/audit"),
        Request::get("/metrics"),
    ];
    let with_challenge = [
        Request::post("/auth/totp", &json!({"token": factor.next()})),
        Request::post("/auth/recovery", &json!({"code": codes[0]})),
        Request::post("/auth/mfa", &json!({"token": factor.next()})),
    ];

    for request in &with_access {
        assert_eq!(
            host.ask(&request.clone().token(&challenge)).status,
            401,
            "a challenge at {} {}",
            request.method,
            request.target
        );
        if request.target != "/auth/refresh" {
            assert_eq!(
                host.ask(&request.clone().token(&person.refresh)).status,
                401,
                "a refresh token at {} {}",
                request.method,
                request.target
            );
        }
    }
    for request in &with_challenge {
        for token in [&person.token, &person.refresh] {
            assert_eq!(host.ask(&request.clone().token(token)).status, 401, "at {}", request.target);
        }
        host.ask(request).refused(401, "unauthenticated");
    }
    assert_eq!(host.ask(&Request::get("/auth/refresh").token(&person.token)).status, 401);
    host.answer_totp(&challenge, &factor.next()).ok();
}

#[test]
fn the_headers_of_tokens_are_as_the_settings_say_and_older_ones_stay_good() {
    let mut host = Host::start("");
    let config = std::fs::read_to_string(&host.dirs.config).unwrap();
    let (person, mut factor, _) = host.guarded("anna");
    let mut older = vec![person.token.clone()];

    for (typ, alg) in [("at+jwt", "Ed25519"), ("JWT", "EdDSA"), ("ACCESS", "Ed25519"), ("ACCESS", "EdDSA")] {
        host.stop();
        let written = format!("{config}\n[token]\ntype = \"{typ}\"\nalgorithm = \"{alg}\"\n");
        std::fs::write(&host.dirs.config, written).unwrap();
        host.start_again();

        let challenge = host.challenge(&person);
        let access = text(&host.answer_totp(&challenge, &factor.next()).ok()["token"]);
        assert_eq!((&header(&access)["typ"], &header(&access)["alg"]), (&json!(typ), &json!(alg)));
        assert_eq!((&header(&challenge)["typ"], &header(&challenge)["alg"]), (&json!("CHALLENGE"), &json!(alg)));
        assert_eq!((&claims(&access)["typ"], &claims(&access)["aud"]), (&json!("ACCESS"), &json!("mfad:access")));
        for key in jwks(&host)["keys"].as_array().unwrap() {
            assert_eq!(key["alg"], alg, "{key}");
        }
        older.push(access);
        for token in &older {
            assert_eq!(host.token_status(&person, token), 200, "{} under {typ} {alg}", header(token));
        }
        assert_eq!(host.token_status(&person, &challenge), 401, "a challenge is no access token under {typ} {alg}");
    }
}

#[test]
fn the_headers_of_tokens_stay_as_they_are_at_a_reload() {
    let host = Host::start("");
    let person = host.person("anna");
    let config = std::fs::read_to_string(&host.dirs.config).unwrap();
    let settings = "[token]\ntype = \"JWT\"\nalgorithm = \"Ed25519\"\n";
    std::fs::write(&host.dirs.config, format!("{config}\n{settings}")).unwrap();

    rustix::process::kill_process(host.process(), rustix::process::Signal::HUP).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !host.dirs.log_text().contains("settings=\"token\"") {
        assert!(std::time::Instant::now() < deadline, "{}", host.dirs.log_text());
        std::thread::yield_now();
    }

    let later = text(&host.password(&person).ok()["token"]);
    for token in [&person.token, &later] {
        assert_eq!((&header(token)["typ"], &header(token)["alg"]), (&json!("ACCESS"), &json!("EdDSA")));
    }
    assert_eq!(jwks(&host)["keys"][0]["alg"], "EdDSA");
}

#[test]
fn a_token_is_read_from_the_authorization_header_and_from_nowhere_else() {
    let host = Host::start("");
    let person = host.person("anna");
    let me = Request::get("/users/me");

    for scheme in ["jwt", "JWT", "Jwt", "Bearer", "bearer", "BEARER"] {
        let shown = host.ask(&me.clone().header("Authorization", &format!("{scheme} {}", person.token))).ok();
        assert_eq!(shown["uid"], person.id.as_str());
    }
    for scheme in ["Token ", "Basic ", "jwt", "", "jwt:", "jwt jwt "] {
        let answer = host.ask(&me.clone().header("Authorization", &format!("{scheme}{}", person.token)));
        assert!(matches!(answer.status, 400 | 401), "{scheme:?}: {}", answer.status);
    }
    let twice = me.clone().token(&person.token).token(&person.token);
    assert!(matches!(host.ask(&twice).status, 400 | 401));
    host.ask(&me.clone().header("Cookie", &format!("jwt={0}; token={0}", person.token)))
        .refused(403, "me-without-user");
    let in_query = Request::get(format!("/users/me?jwt={}", person.token));
    host.ask(&in_query).refused(400, "malformed");
}

#[test]
fn a_token_is_good_only_for_the_peer_it_was_given_to() {
    if !can_be_others("a_token_is_good_only_for_the_peer_it_was_given_to") {
        return;
    }
    let (bound, free) = (Host::start(""), Host::start("tokenBinding = \"none\"\n"));

    for (host, elsewhere) in [(&bound, 401), (&free, 200)] {
        let made = host.ask_as(STRANGER, &Request::post("/users", &json!({"name": "anna", "password": PASSWORD}))).ok();
        let me = Request::get("/users/me").token(&text(&made["token"]));

        assert_eq!(host.ask_as(STRANGER, &me).status, 200);
        assert_eq!(host.ask_as(OTHER_STRANGER, &me).status, elsewhere);
        assert_eq!(host.ask(&me).status, elsewhere, "also for root");
        let refresh = Request::get("/auth/refresh").token(&text(&made["refresh"]));
        let refreshed = host.ask_as(OTHER_STRANGER, &refresh);
        assert_eq!(refreshed.status, elsewhere);
        if elsewhere == 200 {
            assert_eq!(claims(&text(&refreshed.ok()["token"]))["peer"], STRANGER, "whose session it is");
        }
    }
}

/// A change that must end every older token, and a word for it.
type Change<'a> = (&'a str, &'a dyn Fn(&Host, &Person));

#[test]
fn tok_6_older_tokens_end_with_every_change_of_the_login_also_over_a_restart() {
    let mut host = Host::start("");
    let by_admin = |host: &Host, request: Request| host.ask(&request.reason()).status;
    let renew: Change = ("codes", &|host, person| {
        assert_eq!(by_admin(host, Request::new("POST", format!("{}/codes", person.path()))), 200)
    });
    let enrol: Change = ("enrol", &|host, person| {
        let mut factor = host.pending_for(&person.id, &json!({"name": "second"}));
        host.confirm(&mut factor);
    });
    let password: Change = ("password", &|host, person| {
        assert_eq!(
            by_admin(
                host,
                Request::put(format!("{}/password", person.secrets()), &json!({"secret": "another password"}))
            ),
            200
        );
    });
    let delete: Change = ("delete", &|host, person| {
        let secrets = host.ask(&Request::get(person.secrets())).ok()["secrets"].clone();
        let factor = secrets.as_array().unwrap().iter().find(|secret| secret["type"] == "mfa").unwrap().clone();
        assert_eq!(by_admin(host, Request::delete(format!("{}/{}", person.secrets(), text(&factor["uid"])))), 204);
    });
    let disable: Change = ("disable", &|host, person| {
        let version = host.ask(&Request::get(person.path())).ok()["version"].clone();
        assert_eq!(by_admin(host, Request::put(person.path(), &json!({"version": version, "disabled": true}))), 200);
    });
    let mut dead = Vec::new();

    for (what, change) in [renew, enrol, password, delete, disable] {
        let (person, mut factor, _) = host.guarded(what);
        let challenge = host.challenge(&person);
        change(&host, &person);

        assert_eq!(host.token_status(&person, &person.token), 401, "{what}");
        assert_eq!(host.ask(&Request::get("/auth/refresh").token(&person.refresh)).status, 401, "{what}");
        assert_eq!(host.answer_totp(&challenge, &factor.next()).status, 401, "AUT-2, ENR-10: {what}");
        dead.push((what, person));
    }

    host.restart();
    for (what, person) in dead {
        assert_eq!(host.token_status(&person, &person.token), 401, "{what}, after the restart");
        assert_eq!(
            host.ask(&Request::get("/auth/refresh").token(&person.refresh)).status,
            401,
            "{what}, after the restart"
        );
    }
}
