//! Guesses which program holds a card: known programs that are running, by their names in /proc.

use std::fs;

/// Programs that hold smart cards for long, the most likely first. The kernel cuts names to 15 bytes.
const KNOWN: [&str; 12] = [
    "scdaemon",
    "yubikey-agent",
    "ykman",
    "yubioath",
    "authenticator",
    "pkcs11-helper",
    "opensc-tool",
    "ssh-pkcs11-help",
    "firefox",
    "chromium",
    "chrome",
    "pcsc_scan",
];

/// Returns the first known program that is running.
pub(super) fn likely_holder() -> Option<String> {
    let running = running_programs();
    KNOWN.iter().find(|known| running.iter().any(|name| name == *known)).map(|name| (*name).to_owned())
}

fn running_programs() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let is_process = |name: &str| name.bytes().all(|b| b.is_ascii_digit());
    entries
        .filter_map(|entry| entry.ok().filter(|entry| entry.file_name().to_str().is_some_and(is_process)))
        .filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .collect()
}
