//! Requests after the HTTP library has parsed them. The first line of an input is `METHOD TARGET`, optionally followed
//! by the value after `Basic` and a `Last-Event-ID`. The rest is the body. A resulting call is within its bounds, and a
//! refusal is a short sentence that repeats nothing of the request.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mfad::http::inside::{Ask, Basic, Problem, Request, Resource, route};
use mfad_core::model::Sensitive;
use mfad_service::{Call, ImportedFactor, SecretOrder};
use serde_json::Value;

/// A word that no refusal contains. The seeds have it wherever a request can hold a text.
const SENT: &str = "hunter2";
const LONGEST_DETAIL: usize = 512;

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, rest) = data.split_at(end);
    let Ok(line) = str::from_utf8(line) else { return };
    let mut words = line.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let Some(resource) = Resource::of_path(path) else { return };
    let Some(method) = resource.methods().iter().find(|one| one.as_str() == method) else { return };
    let request = Request {
        method,
        query,
        basic: words.next().and_then(Basic::decode),
        body: rest.get(1..).unwrap_or_default(),
        last_event: words.next(),
    };

    match route(resource, &request) {
        Ok(Ask::Call(call, qr)) => {
            assert!(qr.is_none() || matches!(call, Call::CreateSecret(_, SecretOrder::Mfa(_))));
            check_call(&call);
        }
        Ok(Ask::Export(call)) => assert!(matches!(call, Call::Export(_) | Call::ExportOwn(..))),
        Ok(Ask::OpenApi | Ask::DeviceEvents | Ask::Backup | Ask::AuditEvents { .. }) => {}
        Err(problem) => check_refusal(&problem),
    }
});

fn check_call(call: &Call) {
    match call {
        Call::ListUsers { limit, .. } => assert!((1..=200).contains(limit)),
        Call::AuditRows { after, limit } => assert!(*after >= 0 && (1..=500).contains(limit)),
        Call::CreateUser(order) => order.password.iter().for_each(check_new_password),
        Call::ChangePassword { new, current, .. } => {
            check_new_password(new);
            assert!(current.iter().all(|password| password.expose().len() <= 1024));
        }
        Call::CreateSecret(_, SecretOrder::Password(password)) => check_new_password(password),
        Call::ImportFactor(_, order) => assert!((16..=64).contains(&order.uri.seed.expose().len())),
        Call::ImportFactors(job) => {
            assert!((1..=100).contains(&job.factors.len()));
            job.factors.iter().for_each(|(_, factor)| check_imported(factor));
        }
        Call::ImportUsers(users) => {
            assert!((1..=100).contains(&users.len()));
            users.iter().flat_map(|user| &user.factors).for_each(|moved| check_imported(&moved.factor));
        }
        Call::UpdateUser(_, change) => {
            let roles = change.roles.as_deref().unwrap_or_default();
            assert!(roles.len() <= 16 && roles.is_sorted() && roles.iter().all(|role| (1..=32).contains(&role.len())));
        }
        Call::LogIn { login, password } => {
            assert!((1..=1024).contains(&login.len()) && password.expose().len() <= 1024);
        }
        Call::StepUp { action, .. } | Call::RedeemReceipt { action, .. } => {
            assert!((1..=256).contains(&action.as_str().chars().count()));
        }
        // The types of the other calls cannot hold values out of bounds.
        _ => {}
    }
}

fn check_imported(factor: &ImportedFactor) {
    assert!((10..=64).contains(&factor.seed.expose().len()));
    assert!(factor.first <= 1 << 62 && factor.ahead <= 100);
}

fn check_new_password(password: &Sensitive<String>) {
    assert!((8..=1024).contains(&password.expose().len()));
}

fn check_refusal(problem: &Problem) {
    let status = problem.status.as_u16();
    assert!(matches!((status, problem.code.as_str()), (400, "malformed") | (401, "unauthenticated")), "{problem:?}");
    assert!(!problem.detail.is_empty() && problem.detail.len() <= LONGEST_DETAIL, "{problem:?}");
    assert!(!problem.detail.contains(SENT), "{problem:?}");
    let body: Value = serde_json::from_slice(&problem.body("request")).expect("a problem document is JSON");
    assert_eq!(body["status"], status);
}
