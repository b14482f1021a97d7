//! `mfad manual`: generates the man pages of the daemon and of its configuration, from the arguments and from the
//! example configuration.

use std::fs;
use std::path::Path;

use clap::CommandFactory;

use crate::config::EXAMPLE;

use super::Arguments;
use super::failure::{Failure, file_fault};

const FILES: &str = "\
.SH FILES
.TP
/etc/mfad/mfad.toml
The configuration; see mfad.toml(5).
.TP
/var/lib/mfad
The state directory: the store mfad.db, and master.key (mode 0400) unless the master key is a credential.
.TP
/var/lib/mfad\\-guard/mfad.guard
The roll-back guard, which records the newest event of the store. Exclude it from backups and snapshots of the state
directory.
.TP
/etc/credstore.encrypted/mfad.key
The master key, encrypted to this host; systemd decrypts it and passes it to the daemon.
.TP
/run/mfad/mfad.sock
The Unix socket.
";

const SIGNALS: &str = "\
.SH SIGNALS
.TP
SIGHUP
Reloads the configuration. An invalid configuration changes nothing.
.TP
SIGTERM, SIGINT, SIGQUIT
Completes open requests, for 5 seconds at most, and stops within 10 seconds in all.
.TP
SIGUSR1, SIGUSR2, SIGALRM
Ignored.
";

const EXIT_CODES: &str = "\
.SH EXIT STATUS
0 ended as requested; 2 wrong usage; 3 the configuration is wrong; 4 another instance is running; 5 a file or directory
is unsafe; 6 not initialised; 7 the master key is missing; 8 the master key does not belong to this store; 9 the store
is damaged, or is not a store of mfad; 10 the store is from a newer program; 11 the socket cannot be created or taken
over from systemd; 12 the storage failed while the daemon was running; 13 a store already exists; 14 the store was
rolled back to an older state; 15 the backup is damaged, or is not a backup; 70 internal error.
.SH SEE ALSO
mfactl(1), mfad.toml(5), systemd\\-creds(1)
";

/// Writes `mfad.8` and `mfad.toml.5` to `dir`, which is created if it does not exist.
pub(super) fn write(dir: &Path) -> Result<(), Failure> {
    let failed = |cause| file_fault(dir, cause);
    fs::create_dir_all(dir).map_err(failed)?;
    let mut page = Vec::new();
    clap_mangen::Man::new(Arguments::command()).section("8").render(&mut page).map_err(failed)?;
    page.extend_from_slice([FILES, SIGNALS, EXIT_CODES].concat().as_bytes());
    fs::write(dir.join("mfad.8"), page).map_err(failed)?;
    fs::write(dir.join("mfad.toml.5"), settings()).map_err(failed)
}

/// Returns mfad.toml(5), made from the example: its explanations become text, its settings stay as they are.
fn settings() -> String {
    let mut page = ".TH mfad.toml 5\n.SH NAME\nmfad.toml \\- configuration of mfad(8)\n.SH DESCRIPTION\n".to_owned();
    page.push_str(
        "A TOML file. Every setting is optional; the values shown are the defaults. Unknown settings are refused.\n",
    );
    // The first block introduces the example file itself.
    for block in EXAMPLE.split("\n\n").skip(1) {
        let (settings, words): (Vec<&str>, Vec<&str>) =
            block.lines().map(|line| line.trim_start_matches("# ")).partition(|line| is_setting(line));
        page.push_str(".PP\n");
        for line in words {
            page.push_str(&escaped(line));
        }
        page.push_str(".PP\n.nf\n.RS\n");
        for line in settings {
            page.push_str(&escaped(line));
        }
        page.push_str(".RE\n.fi\n");
    }
    page.push_str(".SH SEE ALSO\nmfad(8)\n");
    page
}

fn is_setting(line: &str) -> bool {
    let is_key = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| is_key(key))
}

/// Escapes a line for roff, which takes a leading dot or apostrophe for a request and prints `-` as a hyphen.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
    format!("{guard}{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_the_example_stands_on_the_page() {
        let page = settings();
        let keys = EXAMPLE.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| is_setting(line));
        let keys: Vec<&str> = keys.map(|line| line.split(" = ").next().unwrap_or(line)).collect();

        assert!(keys.len() > 25, "{keys:?}");
        for key in keys {
            assert!(page.lines().any(|line| line.starts_with(key)), "{key}");
        }
    }
}
