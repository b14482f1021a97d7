//! Bent requests by the ten thousand, over the socket: no panic, no undocumented failure, no growth (R5).

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::figure::{Dice, of_process, report, size};
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

/// What an answer must not be; nothing if it may.
fn offence(answer: &Answer, took: Duration) -> Option<String> {
    let is_documented = matches!(answer.status, 200 | 204 | 400..=431 | 503);
    let is_refusal = answer.status < 400 || answer.media_type() == Some("application/problem+json");
    if !is_documented || !is_refusal {
        return Some(format!("{} {}", answer.status, answer.text()));
    }
    (took > SLOW).then(|| format!("{} after {took:?}", answer.status))
}

/// A request that is nearly one, and whether its bytes were bent besides.
fn bent(dice: &mut Dice, targets: &[(String, String)], token: &str) -> (Vec<u8>, bool) {
    let (method, target) = dice.pick(targets);
    let mut request = Request::new(method, target.clone());
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

fn fuzz(host: &Host, targets: &[(String, String)], token: &str, inputs: usize, seed: u64) -> Vec<String> {
    let turn = AtomicUsize::new(0);
    let fuzz_one_side = |side: u64| {
        let mut dice = Dice(seed ^ side.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let mut offences = Vec::new();
        let mut line = None;
        while turn.fetch_add(1, Ordering::Relaxed) < inputs {
            let (bytes, is_torn) = bent(&mut dice, targets, token);
            let connection: &mut Connection = line.get_or_insert_with(|| Connection::new(connect(host), None));
            let began = Instant::now();
            let mut sent = connection.send(&bytes);
            if is_torn {
                // Half a request would be waited for, and what is left of one be taken for the next.
                sent = sent.and_then(|()| connection.finish());
            }
            let answer = sent.and_then(|()| connection.answer_or_end());
            if let Ok(Some(answer)) = &answer
                && let Some(what) = offence(answer, began.elapsed())
            {
                offences.push(format!("{what}: {}", bytes.escape_ascii()));
            }
            let goes_on = matches!(&answer, Ok(Some(answer)) if answer.header("connection").is_none());
            if is_torn || !goes_on {
                line = None;
            }
        }
        offences
    };
    thread::scope(|threads| {
        let sides: Vec<_> = (0..SIDES).map(|side| threads.spawn(move || fuzz_one_side(side))).collect();
        sides.into_iter().flat_map(|side| side.join().unwrap()).collect()
    })
}

fn connect(host: &Host) -> UnixStream {
    let line = UnixStream::connect(host.socket()).unwrap();
    line.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    line
}

#[test]
fn r5_bent_requests_neither_break_the_daemon_nor_make_it_grow() {
    let host = Host::start(
        "[limits]\nconnectionsPerPeer = 1000\n[fido2]\nrpId = \"example.org\"\norigins = [\"https://example.org\"]\n",
    );
    let person = host.person("anna");
    let made = host.pending(&person, &json!({}));
    // Streams do not end, and whoever deletes the user ends the story.
    let targets: Vec<(String, String)> = host
        .watch()
        .contract
        .operations
        .iter()
        .filter(|operation| !operation.template.ends_with("/events") && operation.template != "/backup")
        .filter(|operation| operation.name() != "DELETE /users/{userId}")
        .map(|operation| {
            let target = operation.template.replace("{userId}", &person.id).replace("{secretId}", &made.id);
            (operation.method.clone(), target.replace("{serial}", "7").replace("{account}", "x"))
        })
        .collect();
    let inputs = size(20_000, 1_000_000);
    // What every connection and table needs is there after the first thousands.
    let mut offences = fuzz(&host, &targets, &person.token, inputs / 4, 1);
    let before = of_process(&host, "VmRSS:");

    offences.extend(fuzz(&host, &targets, &person.token, inputs, 2));

    let growth = of_process(&host, "VmRSS:").saturating_sub(before);
    offences.sort_unstable();
    offences.dedup();
    assert!(offences.is_empty(), "{offences:#?}");
    let panics = host.ask(&Request::get("/metrics")).text();
    assert!(panics.lines().any(|line| line == "mfad_panics_total 0"), "a request panicked");
    assert!(growth < GROWTH, "grown by {growth} KiB");
    let failure = Answer { status: 500, headers: Vec::new(), body: Vec::new() };
    assert!(offence(&failure, Duration::ZERO).is_some(), "the harness finds a failure");

    let figure = format!("0 panics, 0 undocumented answers, {:.1} MiB more in {inputs} inputs", growth as f64 / 1024.0);
    report("bent requests", figure, "0, 0, < 32 MiB in 1,000,000", inputs >= 1_000_000);
}
