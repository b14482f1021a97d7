//! The smallest way to a second factor: create a user, create a factor, enrol it, log in with a backup code. The bodies
//! use both leniencies that `info.description` in `docs/openapi.yaml` allows: a comma before the closing brace, and a
//! `token` that is a bare run of digits and begins with a zero. The user has the nil UUID (AZ-3).

use std::process::Command;

use serde_json::{Value, json};

use crate::host::Host;
use crate::otp::{self, Hash};
use crate::people::{PASSWORD, codes_of, text};
use crate::wire::Request;

const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// One request of the flow: method, path, token, body. Returns the status and the body.
type Send<'a> = &'a dyn Fn(&str, &str, Option<&str>, Option<&str>) -> (u16, Value);

/// Creates pending factors until an acceptable code of one begins with a zero. The codes of three steps are accepted; the
/// oldest only until the step ends, so it is left out in the last ten seconds. A user may create 32 factors in a row, and
/// all 96 codes begin with another digit once in 24,000 runs.
fn initialise(send: Send, prefix: &str, token: &str) -> (String, String) {
    for _ in 0..32 {
        let (status, made) =
            send("POST", &format!("{prefix}/users/{NIL}/secrets"), Some(token), Some("{\n    \"type\": \"mfa\",\n}"));
        assert_eq!(status, 200, "{made}");
        assert_eq!(made["type"], "mfa");
        assert_eq!(made["status"], "pending");
        let seed = otp::seed_of(&text(&made["secret"]["secret"]));
        assert_eq!(seed.len(), 20, "OTP-1");
        let url = text(&made["secret"]["otpauth_url"]);
        assert!(url.starts_with("otpauth://totp/") && url.contains(&text(&made["secret"]["secret"])), "{url}");
        let second = otp::now();
        let step = second / 30;
        let oldest = if second % 30 < 20 { step - 1 } else { step };
        let mut codes = (oldest..=step + 1).map(|step| otp::code(&seed, Hash::Sha1, 6, step));
        if let Some(code) = codes.find(|code| code.starts_with('0')) {
            return (text(&made["uid"]), code);
        }
    }
    panic!("96 codes and none begins with a zero");
}

fn seed_flow(send: Send, prefix: &str, door: &str) {
    let first = json!({"name": "seed", "id": NIL, "password": PASSWORD}).to_string();
    let (status, made) = send("POST", &format!("{prefix}/users"), None, Some(&first));
    assert_eq!((status, &made["user"]["uid"]), (200, &json!(NIL)), "{made}");
    let token = text(&made["token"]);

    let (secret, code) = initialise(send, prefix, &token);
    let user = format!("{prefix}/users/{NIL}");
    assert_eq!(send("GET", &user, Some(&token), None).1["mfa"], "pending");

    let path = format!("{prefix}/users/{NIL}/secrets/{secret}{door}");
    let (status, enrolled) = send("PUT", &path, Some(&token), Some(&format!("{{\n    \"token\": {code},\n}}")));
    assert_eq!(status, 200, "{enrolled}");
    assert_eq!(codes_of(&enrolled).len(), 10);
    assert_eq!(enrolled["status"], "active");

    assert_eq!(send("GET", &user, Some(&token), None).0, 401, "the token that enrolled is older than the factor");
    let login = json!({"id": "seed", "password": PASSWORD}).to_string();
    let (status, challenge) = send("POST", &format!("{prefix}/auth/password"), None, Some(&login));
    assert_eq!(
        (status, &challenge["type"]),
        (200, &json!("CHALLENGE")),
        "all future password authentication attempts require MFA"
    );
    let (status, access) = send(
        "POST",
        &format!("{prefix}/auth/recovery"),
        Some(&text(&challenge["token"])),
        Some(&json!({"code": enrolled["codes"][0]}).to_string()),
    );
    assert_eq!((status, &access["type"]), (200, &json!("ACCESS")), "{access}");
}

fn by_wire(host: &Host) -> impl Fn(&str, &str, Option<&str>, Option<&str>) -> (u16, Value) {
    |method, path, token, body| {
        let mut request = Request::new(method, path);
        if let Some(token) = token {
            request = request.token(token);
        }
        if let Some(body) = body {
            request = request.text(body);
        }
        let answer = host.ask(&request);
        (answer.status, answer.json())
    }
}

fn by_curl(host: &Host) -> impl Fn(&str, &str, Option<&str>, Option<&str>) -> (u16, Value) {
    |method, path, token, body| {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--write-out",
            "\n%{http_code}",
            "--request",
            method,
        ]);
        curl.arg("--unix-socket").arg(host.socket());
        if let Some(token) = token {
            curl.args(["--header", &format!("Authorization: jwt {token}")]);
        }
        if let Some(body) = body {
            curl.args(["--header", "Content-Type: application/json", "--data-binary", body]);
        }
        let output = curl.arg(format!("http://localhost{path}")).output().expect("curl is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(body).unwrap())
    }
}

#[test]
fn the_seed_flow_works_with_the_path_enroll() {
    let host = Host::start("");

    seed_flow(&by_wire(&host), "", "/enroll");
}

#[test]
fn the_seed_flow_works_with_a_put_of_the_secret() {
    let host = Host::start("");

    seed_flow(&by_wire(&host), "", "");
}

#[test]
fn the_seed_flow_works_under_v1() {
    let host = Host::start("");

    seed_flow(&by_wire(&host), "/v1", "/enroll");
}

#[test]
fn the_seed_flow_works_with_curl() {
    let host = Host::start("");

    seed_flow(&by_curl(&host), "", "/enroll");
}

#[test]
fn a_code_sent_as_a_json_integer_is_padded_with_zeros() {
    let host = Host::start("");
    let send = by_wire(&host);
    let made =
        send("POST", "/users", None, Some(&json!({"name": "seed", "id": NIL, "password": PASSWORD}).to_string())).1;
    let token = text(&made["token"]);
    let (secret, code) = initialise(&send, "", &token);

    let body = format!("{{\"token\": {}}}", code.trim_start_matches('0').parse::<u32>().unwrap_or(0));
    let (status, enrolled) = send("PUT", &format!("/users/{NIL}/secrets/{secret}/enroll"), Some(&token), Some(&body));

    assert_eq!((status, codes_of(&enrolled).len()), (200, 10), "{enrolled}");
}
