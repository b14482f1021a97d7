//! Reports of 64 bytes from a security key. The first byte of an input gives the length of the request, and whether its
//! caller has gone. The rest are reports, each behind its length. Listening ends, and a received message is complete
//! and no longer than CTAPHID allows.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mfad_core::model::Sensitive;
use mfad_core::stopwatch::Stopwatch;
use mfad_fuzz::{LONGEST_MESSAGE, ScriptedReports};
use mfad_hardware::device::{Channel, SecurityKey, Wait};

const NONCE: [u8; 8] = *b"a nonce!";
/// Longer than any script takes.
const PATIENCE: Duration = Duration::from_secs(60);

fuzz_target!(|data: &[u8]| {
    let Some((&how, script)) = data.split_first() else { return };
    let Ok(mut channel) = Channel::open(ScriptedReports::new(script), NONCE) else { return };
    // The longest ones do not fit into a CTAPHID message.
    let message = Sensitive::new(vec![0x04; 1 + 32 * usize::from(how)]);
    let is_pointless = || how & 0x01 != 0;
    let wait = Wait { time: Stopwatch::start(PATIENCE), is_pointless: &is_pointless };

    let answer = channel.exchange(&message, wait);

    let fits = message.expose().len() <= LONGEST_MESSAGE;
    match answer {
        Ok(answer) => assert!(fits && (1..=LONGEST_MESSAGE).contains(&answer.expose().len())),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
});
