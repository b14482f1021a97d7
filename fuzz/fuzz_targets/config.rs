//! The configuration file. Accepted settings are within their ranges, and a second read gives the same ones. A refusal
//! names the file or the setting.

#![no_main]

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mfad::config::{Config, ConfigFault, Overrides};
use mfad_core::model::Text;

/// A file without a name, so that nothing is left of it however a run ends.
static FILE: LazyLock<File> = LazyLock::new(|| tempfile::tempfile().expect("a file"));

fuzz_target!(|data: &[u8]| {
    // The daemon reads these files as a whole, and some files have no end.
    if contains(data, b"attestationRoots") && data.contains(&b'/') {
        return;
    }
    write(data);
    let from_file = Overrides { config: Some(path()), ..Overrides::default() };

    match Config::load(&from_file) {
        Ok(config) => {
            check(&config);
            let again = Config::load(&from_file).expect("what was taken is taken again");
            assert_eq!(config.differences_that_need_a_restart(&again), Vec::<&str>::new());
            assert_eq!(format!("{config:?}"), format!("{again:?}"));
        }
        Err(fault) => check_refusal(&fault, data.len()),
    }
});

fn contains(data: &[u8], word: &[u8]) -> bool {
    data.windows(word.len()).any(|part| part == word)
}

fn path() -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", FILE.as_raw_fd()))
}

fn write(data: &[u8]) {
    let mut file: &File = &FILE;
    file.set_len(0).expect("room");
    file.seek(SeekFrom::Start(0)).expect("a start");
    file.write_all(data).expect("room");
}

fn check(config: &Config) {
    let (mode, policy) = (config.socket_mode, &config.policy);
    assert!(mode & !0o666 == 0 && mode & 0o600 == 0o600, "{mode:o}");
    assert!(config.limits.total > 0 && config.limits.per_peer > 0);
    assert!(
        config
            .readers
            .iter()
            .all(|readers| !readers.words.is_empty() && readers.words.iter().all(|word| !word.is_empty()))
    );
    assert!(policy.hashing.is_sane());
    assert!(Text::parse_label_part(&policy.issuer).is_ok());
    assert!((1..=5).contains(&policy.factor_limits.delay_after));
    assert!(policy.factor_limits.lock_after.is_some_and(|most| most <= 100));
    assert!(policy.password_limits.lock_after.is_none());
}

fn check_refusal(fault: &ConfigFault, length: usize) {
    let said = fault.to_string();
    let place = match fault {
        ConfigFault::Unreadable { path, .. } | ConfigFault::Malformed { path, .. } => path.display().to_string(),
        ConfigFault::Value { key, .. } => (*key).to_owned(),
    };
    let why = said.strip_prefix(&place).and_then(|rest| rest.strip_prefix(": "));
    assert!(why.is_some_and(|why| !why.trim().is_empty()), "{said}");
    // A line of the file, the fault in it, and a marker below it.
    assert!(said.len() <= 4096 + 16 * length, "{} bytes", said.len());
}
