//! The two leniencies beyond JSON. No input is changed in any other way, and valid JSON is not changed at all.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mfad::http::normalise;
use serde_json::Value;

/// The member whose digits are quoted.
const MEMBER: &[u8] = b"\"token\"";

fuzz_target!(|data: &[u8]| {
    let done = normalise(data);
    let done = done.expose();

    let members = data.windows(MEMBER.len()).filter(|part| *part == MEMBER).count();
    assert!((data.len()..=data.len() + 2 * members).contains(&done.len()));
    assert_eq!(normalise(done).expose(), done, "there is nothing left to do");
    if serde_json::from_slice::<Value>(data).is_ok() {
        assert_eq!(done, data, "JSON stays as it is");
    }
    check_same(data, done);
});

/// The result differs only in quotes, and in commas that became spaces.
fn check_same(data: &[u8], done: &[u8]) {
    let without_quotes = |bytes: &[u8]| bytes.iter().copied().filter(|byte| *byte != b'"').collect::<Vec<u8>>();
    let (before, after) = (without_quotes(data), without_quotes(done));
    assert_eq!(before.len(), after.len());
    let is_same = |(before, after): (&u8, &u8)| before == after || (*before, *after) == (b',', b' ');
    assert!(before.iter().zip(&after).all(is_same));
}
