//! Guesses which programs may hold a card: known programs that are running, by their names in /proc. PC/SC does not
//! tell who holds a card, so this is no more than a hint where to look.

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

/// Returns the known programs that are running, as a list; `None` if there is none.
pub(super) fn likely_holders() -> Option<String> {
    holders_among(&running_programs())
}

fn holders_among(running: &[String]) -> Option<String> {
    let found: Vec<&str> = KNOWN.into_iter().filter(|known| running.iter().any(|name| name == known)).collect();
    (!found.is_empty()).then(|| found.join(", "))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_known_programs_are_named_and_no_other() {
        let running = ["bash", "firefox", "scdaemon"].map(str::to_owned);

        assert_eq!(holders_among(&running).as_deref(), Some("scdaemon, firefox"));
        assert_eq!(holders_among(&running[..1]), None);
    }
}
