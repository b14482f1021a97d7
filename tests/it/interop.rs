//! Other people's programs agree with the daemon: oathtool, pyotp, PyJWT.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::enrolment::profiles;
use crate::host::Host;
use crate::otp::{self, Hash, OtpKind, Profile};
use crate::people::{Factor, text, with};
use crate::wire::Request;

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The interpreter that has pyotp and PyJWT: the one named, else the project's own, else the system's.
pub fn python() -> Command {
    let own = mfad_testkit::root().join(".venv/bin/python");
    let named = std::env::var_os("MFAD_TEST_PYTHON").map(PathBuf::from);
    Command::new(named.unwrap_or_else(|| if own.exists() { own } else { PathBuf::from("python3") }))
}

/// Whether Python has the module; says so when it has not. A Python that was named must have it.
pub fn python_has(module: &str, test: &str) -> bool {
    let there = python().args(["-c", &format!("import {module}")]).output().is_ok_and(|output| output.status.success());
    assert!(there || std::env::var_os("MFAD_TEST_PYTHON").is_none(), "MFAD_TEST_PYTHON has no {module}");
    if !there {
        println!("{test}: skipped, this Python has no {module}; MFAD_TEST_PYTHON names another one");
    }
    there
}

/// Runs a program, its input as JSON on standard input, its output as JSON.
fn run_python(program: &str, input: &Value) -> Value {
    let mut command = python();
    command.args(["-c", program]).arg(input.to_string());
    serde_json::from_str(&stdout(command.output().unwrap())).unwrap()
}

fn oathtool(factor: &Factor, moving: u64) -> String {
    let mut command = Command::new("oathtool");
    command.arg("--base32").arg(format!("--digits={}", factor.profile.digits));
    match factor.profile.moving {
        OtpKind::Totp(period) => {
            command.arg(format!("--totp={}", factor.profile.hash.name()));
            command.arg(format!("--time-step-size={period}s")).arg(format!("--now=@{}", moving * period));
        }
        OtpKind::Hotp => {
            command.arg("--hotp").arg(format!("--counter={moving}"));
        }
    }
    stdout(command.arg(&factor.base32).output().expect("oathtool is there"))
}

fn pyotp(factor: &Factor, moving: u64) -> String {
    // From the URI alone, as an app that has read the picture.
    let program = "
import json, sys, pyotp
order = json.loads(sys.argv[1])
factor = pyotp.parse_uri(order['url'])
print(json.dumps(factor.at(order['moving'])))";
    let moving = match factor.profile.moving {
        OtpKind::Totp(period) => moving * period,
        OtpKind::Hotp => moving,
    };
    text(&run_python(program, &json!({"url": factor.url, "moving": moving})))
}

/// Enrols with one code of the other program and verifies with its next one.
fn agrees(host: &Host, user: &str, profile: Profile, other: impl Fn(&Factor, u64) -> String) {
    let name = format!("{profile:?}").replace(|c: char| !c.is_alphanumeric(), " ");
    let mut factor = host.pending_for(user, &with(profile.order(), &json!({"name": name.trim()})));

    factor.next();
    let first = other(&factor, factor.shown());
    let enrolled = host.ask(&Request::put(format!("{}/enroll", factor.path), &json!({"token": first})).reason());
    assert_eq!(enrolled.status, 200, "{profile:?}: {}", enrolled.text());
    factor.next();
    let second = other(&factor, factor.shown());
    let verified = host.verify(user, &json!({"token": second}));
    assert_eq!(verified.status, 200, "{profile:?}: {}", verified.text());
    assert_eq!(second, factor.code(factor.shown()));
}

fn agrees_over_all_profiles(other: impl Fn(&Factor, u64) -> String, takes: impl Fn(Profile) -> bool) {
    let host = Host::start("");
    for hash in Hash::ALL {
        for digits in 6..=8 {
            let user = host.nobody(&format!("{}-{digits}", hash.name()));
            for profile in profiles(hash, digits).into_iter().filter(|profile| takes(*profile)) {
                agrees(&host, &user, profile, &other);
            }
        }
    }
}

#[test]
fn oathtool_agrees_over_all_profiles_it_knows() {
    if Command::new("oathtool").arg("--version").output().is_err() {
        println!("oathtool_agrees_over_all_profiles_it_knows: skipped, there is no oathtool");
        return;
    }

    agrees_over_all_profiles(oathtool, |profile| profile.moving != OtpKind::Hotp || profile.hash == Hash::Sha1);
}

#[test]
fn pyotp_agrees_over_all_profiles_by_the_uri_alone() {
    if python_has("pyotp", "pyotp_agrees_over_all_profiles_by_the_uri_alone") {
        agrees_over_all_profiles(pyotp, |_| true);
    }
}

#[test]
fn pyjwt_verifies_an_access_token_with_the_published_key() {
    if !python_has("jwt, cryptography", "pyjwt_verifies_an_access_token_with_the_published_key") {
        return;
    }
    let host = Host::start("");
    let (person, _, _) = host.guarded("anna");
    let program = "
import json, sys, jwt
order = json.loads(sys.argv[1])
token, other = order['token'], order['other']
key = next(jwt.PyJWK(key) for key in order['keys'] if key['kid'] == jwt.get_unverified_header(token)['kid'])
names = ['exp', 'iat', 'nbf', 'iss', 'aud', 'sub', 'jti']
def read(token):
    return jwt.decode(token, key.key, algorithms=['EdDSA'], audience=order['aud'], issuer=order['iss'], options={'require': names})
claims = read(token)
try:
    read(other)
    claims['forged'] = True
except jwt.InvalidSignatureError:
    claims['forged'] = False
print(json.dumps(claims))";
    let own = crate::tokens::claims(&person.token);
    let [head, body, signature] = person.token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let keys = host.ask(&Request::get("/.well-known/jwks.json")).ok()["keys"].clone();

    let read = run_python(
        program,
        &json!({
            "token": person.token,
            "other": format!("{head}.{body}.{first}{}", &signature[1..]),
            "keys": keys,
            "aud": own["aud"],
            "iss": own["iss"],
        }),
    );

    assert_eq!((&read["sub"], &read["amr"], &read["forged"]), (&json!(person.id), &own["amr"], &json!(false)));
    assert!(read["exp"].as_u64() > Some(otp::now()));
}
