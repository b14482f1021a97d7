//! The seed of a key goes to the key and nowhere else: not into the log, not in clear into the store, not
//! past its use in memory (LOG-1, MEM-3, A6). The virtual key knows what to look for.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::bench::{Bench, can_have_readers};
use crate::card::Key;
use crate::leaks::files;
use crate::memory::found;
use crate::needles::Needles;

const PASSWORD: &str = "planted password of a key";

/// Keys that were programmed in every way: their seeds.
fn story(bench: &Bench) -> Vec<Vec<u8>> {
    bench.insert(0, Key::new(7).with_password(PASSWORD));
    let user = bench.host.nobody("ann");
    let device = json!({"any": true, "password": PASSWORD});
    let mut seeds = Vec::new();
    for (name, more) in [
        ("one", json!({"activate": "by-device", "algorithm": "SHA256"})),
        ("two", json!({"activate": "by-device", "touch": true})),
        ("three", json!({"kind": "hotp", "activate": "by-device"})),
        ("four", json!({})),
    ] {
        let mut order = more.clone();
        order["device"] = device.clone();
        order["accountName"] = json!(name);
        bench.provision(&user, &order).ok();
        let account = format!("mfad:{name}");
        seeds.push(bench.reader().with_key(|key| key.account(&account).expect("the account").key.clone()));
    }
    bench
        .provision(&user, &json!({"device": {"any": true, "password": "planted wrong password"}}))
        .refused(422, "wrong-device-password");
    seeds
}

/// What must not be found anywhere.
fn needles(seeds: &[Vec<u8>]) -> Needles {
    let mut needles = Needles::default();
    seeds.iter().for_each(|seed| needles.secret("a seed", seed));
    needles.secret("a password of a key", PASSWORD.as_bytes());
    needles.secret("a wrong password of a key", b"planted wrong password");
    needles
}

#[test]
fn log_1_a_seed_on_a_key_is_nowhere_in_clear_in_store_or_log() {
    if !can_have_readers("log_1_a_seed_on_a_key_is_nowhere_in_clear_in_store_or_log") {
        return;
    }
    let mut bench = Bench::new(1, "");
    let seeds = story(&bench);

    bench.host.stop();

    let needles = needles(&seeds);
    for (file, bytes) in files(&bench.host) {
        let hits = needles.hits(&file, &bytes);
        assert!(hits.is_empty(), "{hits:#?}");
    }
}

#[test]
fn mem_3_a_seed_on_a_key_is_not_left_in_memory() {
    let test = "mem_3_a_seed_on_a_key_is_not_left_in_memory";
    if !can_have_readers(test) || !crate::identity::can_be_others(test) {
        return;
    }
    let bench = Bench::new(1, "");
    let seeds = story(&bench);

    thread::sleep(Duration::from_secs(5));

    assert_eq!(found(&bench.host, &needles(&seeds)), Vec::<String>::new());
}
