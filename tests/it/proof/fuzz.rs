//! Bent requests by the ten thousand, over the socket: no panic, no undocumented failure, no growth (R5).

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::figure::{Dice, of_process, report, size};
use crate::document::{Contract, Operation};
use crate::host::Host;
use crate::wire::{Answer, Connection, Request};

const SIDES: u64 = 4;
const SLOW: Duration = Duration::from_secs(1);
/// Growth that is taken for a leak, in KiB.
const GROWTH: u64 = 32 * 1024;

const VALUES: [&str; 24] = [
    "null",
    "true",
    "-0",
    "1e999",
    "00012345",
    "\"\"",
    "\"\\u0000\"",
    "[]",
    "{}",
    "[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]",
    "18446744073709551616",
    "\"\\ud800\"",
    "\"\u{202e}name\"",
    "\"totp\"",
    "\"fido2\"",
    "\"mfa\"",
    "6",
    "99999999999999999999",
    "\"AAAA-AAAA-AAAA-AAAA\"",
    "\"123456\"",
    "\"me\"",
    "{\"any\":true}",
    "{\"id\":\"AA\",\"response\":{}}",
    "\"x\"",
];
const MEMBERS: [&str; 20] = [
    "type",
    "name",
    "token",
    "code",
    "device",
    "credential",
    "secret",
    "password",
    "id",
    "email",
    "version",
    "uv",
    "pin",
    "local",
    "action",
    "digits",
    "period",
    "kind",
    "otpauth_url",
    "current",
];

/// Where a request goes, and what the document says of the answers.
struct Target<'a> {
    path: String,
    operation: &'a Operation,
    contract: &'a Contract,
}

/// What an answer must not be; nothing if it may. One to what was bent as bytes may be about anything.
fn offence(target: &Target<'_>, is_torn: bool, answer: &Answer, took: Duration) -> Option<String> {
    if took > SLOW {
        return Some(format!("{} after {took:?}", answer.status));
    }
    let is_documented = if is_torn {
        matches!(answer.status, 200 | 204 | 400..=431 | 503)
    } else {
        target.contract.allows(target.operation, answer.status)
    };
    let is_refusal = answer.status < 400 || answer.media_type() == Some("application/problem+json");
    (!is_documented || !is_refusal).then(|| format!("{} {} {}", answer.status, target.operation.name(), answer.text()))
}

/// A request that is nearly one, and whether its bytes were bent besides.
fn bent(dice: &mut Dice, target: &Target<'_>, token: &str) -> (Vec<u8>, bool) {
    let mut request = Request::new(&target.operation.method, target.path.clone());
    if dice.below(3) > 0 {
        let count = dice.below(4);
        let members: Vec<String> =
            (0..=count).map(|_| format!("\"{}\":{}", dice.pick(&MEMBERS), dice.pick(&VALUES))).collect();
        let end = *dice.pick(&["}", "}", "}", ",}", "", "}}", "} x"]);
        request = request.text(&format!("{{{}{end}", members.join(",")));
    }
    match dice.below(6) {
        0 => request = request.token(token),
        1 => request = request.token(&token[..dice.below(token.len())]),
        2 => request = request.reason(),
        _ => {}
    }
    let mut bytes = request.encode();
    // Few are bent as bytes too: most of those never get past the first line.
    let is_torn = dice.below(8) == 0;
    if is_torn {
        let at = dice.below(bytes.len());
        match dice.below(4) {
            0 => bytes.truncate(at),
            1 => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
            2 => bytes.insert(at, b'\n'),
            _ => drop(bytes.splice(at..at, bytes[..at.min(64)].to_vec())),
        }
    }
    (bytes, is_torn)
}

/// What came of it: what must not be, and how many were granted.
#[derive(Default)]
struct Found {
    offences: Vec<String>,
    granted: usize,
}

fn fuzz(socket: &Path, targets: &[Target<'_>], token: &str, inputs: usize, seed: u64) -> Found {
    let turn = AtomicUsize::new(0);
    let fuzz_one_side = |side: u64| {
        let mut dice = Dice(seed ^ side.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let mut found = Found::default();
        let mut line = None;
        while turn.fetch_add(1, Ordering::Relaxed) < inputs {
            let target = dice.pick(targets);
            let (bytes, is_torn) = bent(&mut dice, target, token);
            let connection: &mut Connection =
                line.get_or_insert_with(|| Connection::new(UnixStream::connect(socket).unwrap(), None));
            let began = Instant::now();
            let mut sent = connection.send(&bytes);
            if is_torn {
                // Half a request would be waited for, and what is left of one be taken for the next.
                sent = sent.and_then(|()| connection.finish());
            }
            let answer = sent.and_then(|()| connection.answer_or_end());
            let what = match &answer {
                Ok(Some(answer)) => {
                    found.granted += usize::from(answer.status < 300);
                    offence(target, is_torn, answer, began.elapsed())
                }
                // What is no request may be hung up on, but not left waiting.
                Ok(None) | Err(_) if is_torn => {
                    let took = began.elapsed();
                    (took > SLOW).then(|| format!("no answer after {took:?}"))
                }
                Ok(None) => Some("no answer".to_owned()),
                Err(why) => Some(why.to_string()),
            };
            found.offences.extend(what.map(|what| format!("{what}: {}", bytes.escape_ascii())));
            let goes_on = matches!(&answer, Ok(Some(answer)) if answer.header("connection") != Some("close"));
            if is_torn || !goes_on {
                line = None;
            }
        }
        found
    };
    thread::scope(|threads| {
        let sides: Vec<_> = (0..SIDES).map(|side| threads.spawn(move || fuzz_one_side(side))).collect();
        sides.into_iter().fold(Found::default(), |mut all, side| {
            let found = side.join().unwrap();
            all.offences.extend(found.offences);
            all.granted += found.granted;
            all
        })
    })
}

/// A daemon with every defect that is looked for: one answer that is slow, then one that nobody documented, and none at all.
fn defective(socket: &Path) -> thread::JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for (number, line) in listener.incoming().enumerate() {
            let mut line = line.unwrap();
            let mut some = [0; 4096];
            if line.read(&mut some).unwrap_or(0) == 0 {
                return;
            }
            let status = if number == 0 { 200 } else { 500 };
            if number == 0 {
                thread::sleep(SLOW * 2);
            }
            if number.is_multiple_of(2) {
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _gone = line.write_all(answer.as_bytes());
            }
        }
    })
}

#[test]
fn r5_bent_requests_neither_break_the_daemon_nor_make_it_grow() {
    let host = Host::start(
        "[limits]\nconnectionsPerPeer = 1000\n[fido2]\nrpId = \"example.org\"\norigins = [\"https://example.org\"]\n",
    );
    let person = host.person("anna");
    let made = host.pending(&person, &json!({}));
    let other = host.person("boris").id;
    // Streams do not end, and whoever deletes the user or logs out ends the story.
    let contract = host.watch().contract;
    let targets: Vec<Target<'_>> = contract
        .operations
        .iter()
        .filter(|operation| !operation.template.ends_with("/events") && operation.template != "/backup")
        .filter(|operation| !["DELETE /users/{userId}", "POST /auth/logout"].contains(&operation.name().as_str()))
        .map(|operation| {
            // A new password would end the token.
            let user = if operation.template.ends_with("/password") { &other } else { &person.id };
            let path = operation.template.replace("{userId}", user).replace("{secretId}", &made.id);
            Target { path: path.replace("{key}", "7").replace("{account}", "x"), operation, contract }
        })
        .collect();
    let inputs = size(20_000, 1_000_000);
    // What every connection and table needs is there after the first thousands.
    let mut offences = fuzz(host.socket(), &targets, &person.token, inputs / 4, 1).offences;
    let before = of_process(&host, "VmRSS:");

    let found = fuzz(host.socket(), &targets, &person.token, inputs, 2);

    offences.extend(found.offences);
    let growth = of_process(&host, "VmRSS:").saturating_sub(before);
    offences.sort_unstable();
    offences.dedup();
    assert!(offences.is_empty(), "{offences:#?}");
    let panics = host.ask(&Request::get("/metrics")).text();
    assert!(panics.lines().any(|line| line == "mfad_panics_total 0"), "a request panicked");
    assert!(growth < GROWTH, "grown by {growth} KiB");
    assert_eq!(host.token_status(&person, &person.token), 200, "the token was good to the end");
    assert!(found.granted > inputs / 50, "too few of them are requests: {} granted", found.granted);
    let socket = host.dirs.dir.path().join("defective.sock");
    let daemon = defective(&socket);
    let of_defects = fuzz(&socket, &targets, &person.token, 40, 3).offences;
    // One that says nothing ends it.
    drop(UnixStream::connect(&socket).unwrap());
    daemon.join().unwrap();
    for defect in ["500 ", "no answer", "200 after "] {
        assert!(of_defects.iter().any(|what| what.starts_with(defect)), "the harness finds {defect}: {of_defects:#?}");
    }

    let figure = format!(
        "0 panics, 0 undocumented answers, 0 without one, {:.1} MiB more in {inputs} inputs, {} of them granted",
        growth as f64 / 1024.0,
        found.granted
    );
    report("bent requests", figure, "0, 0, < 32 MiB in 1,000,000", inputs >= 1_000_000);
}
