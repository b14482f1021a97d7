//! The document and the daemon say the same: every operation and status is met, and there is nothing else.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::document::Operation;
use crate::hardware::{self, can_have_readers};
use crate::host::Host;
use crate::identity::{self, can_be_others};
use crate::people::Person;
use crate::tour::{self, RANDOM};
use crate::wire::Request;

/// Statuses that no request can provoke in a healthy daemon, and why.
const NOT_PROVOKED: [(u16, &str); 2] = [
    (500, "a defect of the daemon, and none is known"),
    (503, "a full queue or disk: seen in process.rs, and by the proofs with a full file system"),
];

const URI: &str = "otpauth://totp/a:b?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// The routes that there are to be.
const OPERATIONS: [&str; 59] = [
    "DELETE /devices/{}/oath/accounts/{}",
    "DELETE /users/{}",
    "DELETE /users/{}/secrets/{}",
    "GET /.well-known/jwks.json",
    "GET /.well-known/receipt-keys.json",
    "GET /audit",
    "GET /audit/events",
    "GET /auth",
    "GET /auth/password",
    "GET /auth/refresh",
    "POST /auth/refresh",
    "GET /devices",
    "GET /devices/events",
    "GET /devices/fido2",
    "GET /devices/{}",
    "GET /devices/{}/oath/accounts",
    "GET /health/live",
    "GET /health/ready",
    "GET /key",
    "GET /metrics",
    "GET /openapi.json",
    "GET /preflight",
    "GET /users",
    "GET /users/{}",
    "GET /users/{}/secrets",
    "GET /users/{}/secrets/{}",
    "GET /version",
    "POST /auth/fido2",
    "POST /auth/fido2/options",
    "POST /auth/logout",
    "POST /auth/mfa",
    "POST /auth/password",
    "POST /auth/receipt",
    "POST /auth/recovery",
    "POST /auth/stepup",
    "POST /auth/totp",
    "POST /backup",
    "POST /exports",
    "POST /break-glass",
    "POST /devices/{}/attest",
    "POST /devices/{}/oath/reset",
    "POST /devices/{}/return",
    "POST /imports",
    "POST /key/rotation",
    "POST /users",
    "POST /users/{}/codes",
    "POST /users/{}/export",
    "POST /users/{}/fido2/options",
    "POST /users/{}/secrets",
    "POST /users/{}/secrets/import",
    "POST /users/{}/unlock",
    "POST /users/{}/verify",
    "POST /verify",
    "PUT /devices/{}/oath/accounts/{}",
    "PUT /devices/{}/oath/password",
    "PUT /users/{}",
    "PUT /users/{}/secrets/password",
    "PUT /users/{}/secrets/{}",
    "PUT /users/{}/secrets/{}/enroll",
];

/// A well-formed body of an operation, if it takes one.
fn body_of(operation: &Operation) -> Option<Value> {
    let code = json!({"token": "123456"});
    Some(match (operation.method.as_str(), unnamed(&operation.template).as_str()) {
        ("POST", "/users") => json!({"name": "generic"}),
        ("PUT", "/users/{}") => json!({"version": 1, "displayName": "x"}),
        ("POST", "/users/{}/secrets") => json!({"type": "mfa"}),
        ("POST", "/exports" | "/users/{}/export") => json!({"recipient": tour::RECIPIENT}),
        ("POST", "/users/{}/secrets/import") => json!({"otpauth_url": URI}),
        ("PUT", "/users/{}/secrets/password") => json!({"secret": "another password", "current": "not the password"}),
        ("PUT", "/users/{}/secrets/{}") => json!({"version": 1, "description": "x"}),
        ("PUT", "/devices/{}/oath/accounts/{}") => json!({"name": "another"}),
        ("PUT", "/devices/{}/oath/password") => json!({"random": true}),
        ("POST", "/auth/password") => json!({"id": "nobody", "password": "not the password"}),
        ("POST", "/auth/recovery") => json!({"code": "0000-0000-0000-0000"}),
        ("POST", "/auth/fido2") => {
            json!({"credential": {"id": "AA", "rawId": "AA", "type": "public-key", "response": {}}})
        }
        ("POST", "/imports") => {
            json!({"createUsers": true, "factors": [{"user": "moved", "kind": "totp", "secret": "A".repeat(32)}]})
        }
        ("POST", "/break-glass") => json!({"name": "anna", "time": "2026-11-30T12:00:00Z", "service": "sshd"}),
        ("POST", "/verify") => json!({"name": "anna", "token": "123456", "service": "sshd"}),
        ("POST", "/auth/stepup") => json!({"token": "123456", "action": "x"}),
        ("POST", "/auth/receipt") => json!({"receipt": "A".repeat(43), "action": "x"}),
        ("POST", "/users/{}/verify" | "/auth/totp" | "/auth/mfa") | ("PUT", "/users/{}/secrets/{}/enroll") => code,
        _ => return None,
    })
}

/// The template without the names of its parameters.
fn unnamed(template: &str) -> String {
    let segments = template.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

fn path(operation: &Operation, user: &str, secret: &str) -> String {
    if operation.template.contains("{key}") {
        let serial = if user == RANDOM { RANDOM } else { "7" };
        return operation.template.replace("{key}", serial).replace("{account}", "mfad:nobody");
    }
    if operation.template == "/preflight" {
        return "/preflight?name=anna".to_owned();
    }
    let template = unnamed(&operation.template);
    template.replacen("{}", user, 1).replacen("{}", secret, 1)
}

fn request(operation: &Operation, user: &str, secret: &str) -> Request {
    let request = Request::new(&operation.method, path(operation, user, secret));
    match body_of(operation) {
        Some(body) => request.json(&body),
        None => request,
    }
}

/// Requests that are refused in the way of `status` wherever they go; none for statuses that have a story.
fn provocations(operation: &Operation, status: u16, person: &Person, secret: &str) -> Vec<Request> {
    let usual = request(operation, &person.id, secret);
    match status {
        400 => {
            let mark = if usual.target.contains('?') { '&' } else { '?' };
            vec![Request { target: format!("{}{mark}nothing=1", usual.target), ..usual }]
        }
        401 => vec![usual.clone().token("no.such.token"), usual],
        403 => vec![request(operation, "me", secret), usual.token(&person.token)],
        404 => vec![request(operation, RANDOM, RANDOM).reason(), request(operation, &person.id, RANDOM).reason()],
        413 => vec![Request { body: Some(vec![b' '; 17 * 1024]), ..usual.header("Content-Type", "application/json") }],
        414 => vec![Request { target: format!("{}?x={}", usual.target, "x".repeat(2100)), ..usual }],
        415 => vec![Request { headers: Vec::new(), ..usual }.bytes("text/plain", b"{}")],
        431 => vec![usual.header("X-Large", &"x".repeat(17 * 1024))],
        _ => Vec::new(),
    }
}

/// Exports of one's own factors, where they are allowed and where not.
fn own_exports(allows: &Host, refuses: &Host) {
    let export = |person: &Person| {
        let path = format!("{}/export", person.path());
        Request::post(path, &json!({"recipient": tour::RECIPIENT})).token(&person.token)
    };
    let (person, ..) = allows.guarded("exporter");
    assert_eq!(allows.ask(&export(&person)).status, 200);
    allows.ask(&export(&allows.person("with-a-password-alone"))).refused(403, "fresh-proof-required");
    let (person, ..) = refuses.guarded("exporter");
    refuses.ask(&export(&person)).refused(403, "forbidden");
}

#[test]
fn every_operation_and_status_of_the_document_is_exercised() {
    let (host, strict, locking) = (
        Host::start(""),
        Host::start("[throttle]\ndelayAfter = 1\n"),
        Host::start("[throttle]\ndelayAfter = 1\nlockAfter = 1\n"),
    );
    tour::scripted(&host);
    tour::second_factor_doors(&strict, 429);
    tour::password_doors(&strict);
    tour::second_factor_doors(&locking, 423);
    let closed = Host::start("registration = \"closed\"\n[export]\nown = true\n");
    own_exports(&closed, &host);
    let keys = Host::start(crate::fido2::CONFIG);
    crate::fido2::tour(&keys);
    let local = crate::local_keys::tour();
    let person = closed.person("anna");
    closed.ask(&Request::post("/users", &json!({"name": "boris"})).token(&person.token)).refused(403, "forbidden");
    let as_root = can_be_others("every_operation_and_status_of_the_document_is_exercised (403 of a receipt)");
    if as_root {
        let receipt = Request::post("/auth/receipt", &json!({"receipt": "A".repeat(43), "action": "x"}));
        closed.ask_as(identity::AUDITOR, &receipt).refused(403, "forbidden");
        let register = Request::post("/users", &json!({"name": "boris"}));
        closed.ask_as(identity::STRANGER, &register).refused(401, "unauthenticated");
    }
    crate::limits::exceed(&strict, as_root);

    let bench = hardware::tour(can_have_readers("every_operation_and_status_of_the_document_is_exercised (keys)"));
    let person = host.person("generic person");
    let secret = host.pending(&person, &json!({})).id;
    let documented: Vec<(&Operation, u16)> = host
        .watch()
        .contract
        .operations
        .iter()
        .flat_map(|operation| {
            operation.responses.keys().map(move |status| (operation, status.parse().expect("one status")))
        })
        .filter(|(_, status)| NOT_PROVOKED.iter().all(|(not_provoked, _)| not_provoked != status))
        .collect();
    let seen = || -> BTreeSet<(String, u16)> {
        let hosts = [
            Some(&host),
            Some(&keys),
            Some(&local),
            Some(&strict),
            Some(&locking),
            Some(&closed),
            bench.as_ref().map(|bench| &bench.host),
        ];
        hosts.into_iter().flatten().flat_map(|host| host.watch().seen()).collect()
    };
    for (operation, status) in &documented {
        for request in provocations(operation, *status, &person, &secret) {
            if !seen().contains(&(operation.name(), *status)) {
                host.ask(&request);
            }
        }
    }

    let seen = seen();
    let not_met: Vec<String> = documented
        .iter()
        .filter(|(operation, status)| !seen.contains(&(operation.name(), *status)))
        .map(|(operation, status)| format!("{} -> {status}", operation.name()))
        .filter(|missing| bench.is_some() || !missing.contains("/devices/"))
        .filter(|missing| bench.is_some() || missing != "GET /devices -> 200")
        .filter(|missing| bench.is_some() || !missing.ends_with("}/enroll -> 423"))
        .filter(|missing| bench.is_some() || missing != "PUT /users/{userId}/secrets/{secretId} -> 423")
        .filter(|missing| bench.is_some() || missing != "DELETE /users/{userId}/secrets/{secretId} -> 202")
        .filter(|missing| {
            as_root
                || !["POST /auth/receipt -> 403", "POST /users -> 401", "POST /users -> 429"]
                    .contains(&missing.as_str())
        })
        .collect();
    assert!(not_met.is_empty(), "documented and not met: {not_met:#?}");
}

#[test]
fn the_document_describes_the_operations_that_were_decided() {
    let host = Host::start("");

    let documented: BTreeSet<String> = host
        .watch()
        .contract
        .operations
        .iter()
        .map(|operation| format!("{} {}", operation.method, unnamed(&operation.template)))
        .collect();

    assert_eq!(documented, OPERATIONS.map(str::to_owned).into());
    let version = host.ask(&Request::get("/version")).ok();
    assert_eq!((&version["name"], &version["api"]), (&json!("mfad"), &json!("v1")));
    let under_v1 = host.ask(&Request::get("/v1/openapi.json"));
    assert_eq!(under_v1.body, host.ask(&Request::get("/openapi.json")).body);
}

#[test]
fn no_route_exists_outside_the_document() {
    let host = Host::start("");
    let person = host.person("anna");
    let secret = host.pending(&person, &json!({})).id;
    let contract = host.watch().contract;

    for operation in &contract.operations {
        let path = path(operation, &person.id, &secret);
        let on_path: BTreeSet<&str> =
            contract.on_path(&path).iter().map(|operation| operation.method.as_str()).collect();
        // These words may also be read as the id of a secret, which they are not.
        let two_readings =
            operation.template.ends_with("/secrets/password") || operation.template.ends_with("/secrets/import");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "LINK", "get"] {
            if on_path.contains(method) {
                continue;
            }
            for prefix in ["", "/v1"] {
                let answer = host.ask(&Request::new(method, format!("{prefix}{path}")));
                if two_readings && matches!(answer.status, 404 | 405) {
                    continue;
                }
                let allow: BTreeSet<&str> = answer.header("allow").unwrap_or_default().split(", ").collect();
                assert_eq!((answer.status, &allow), (405, &on_path), "{method} {prefix}{path}");
            }
        }
    }
    for unknown in [
        "",
        "admin",
        "debug",
        "debug/pprof",
        "status",
        "healthz",
        "health/startup",
        "metrics/json",
        "openapi.yaml",
        "openapi",
        "docs",
        "swagger",
        "config",
        "keys",
        ".well-known/openid-configuration",
        "token",
        "tokens",
        "login",
        "logout",
        "sessions",
        "devices/0",
        "devices/012",
        "devices/x",
        "devices/7/oath",
        "devices/7/oath/codes",
        "devices/7/piv",
        "audit/1",
        "audit/verify",
        "auth/fido2/x",
        "auth/token",
        "auth/hotp",
        "auth/verify",
        "user",
        "users/me/password",
        "users/me/tokens",
        "users/me/sessions",
        "users/me/audit",
        "users/me/secrets/password/enroll/x",
        "users/me/lock",
        "users/me/disable",
        "users/me/seed",
        "backup/x",
        "key/x",
        "shutdown",
        "reload",
        "version/",
        "health/live/x",
    ] {
        for (method, prefix) in
            [("GET", ""), ("POST", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/v1"), ("GET", "/v1/v1")]
        {
            host.ask(&Request::new(method, format!("{prefix}/{unknown}"))).refused(404, "not-found");
        }
    }
}
