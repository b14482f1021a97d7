//! `mfad manual`: the man pages of the daemon and of its configuration, made from the arguments and from the example.

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
The configuration, see mfad.toml(5).
.TP
/var/lib/mfad
The state directory: the store mfad.db, and master.key (mode 0400) where the key is no credential.
.TP
/var/lib/mfad\\-guard/mfad.guard
The newest event of the store. Leave it out of backups of the state directory.
.TP
/etc/credstore.encrypted/mfad.key
The master key, encrypted to this host, as systemd hands it to the daemon.
.TP
/run/mfad/mfad.sock
The socket.
";

const SIGNALS: &str = "\
.SH SIGNALS
.TP
SIGHUP
Reads the configuration again. What is wrong changes nothing.
.TP
SIGTERM, SIGINT, SIGQUIT
Ends what is under way and stops, in 10 seconds at most.
.TP
SIGUSR1, SIGUSR2, SIGALRM
Are ignored.
";

const EXIT_CODES: &str = "\
.SH EXIT STATUS
0 ended as asked; 2 wrong usage; 3 the configuration is wrong; 4 another instance is running; 5 files or directories
are unsafe; 6 not initialised; 7 the master key is missing; 8 the master key is not the one of this store; 9 the store
is damaged or foreign; 10 the store is from a newer program; 11 the socket cannot be made or taken over; 12 the
storage failed while running; 13 there is a store already; 14 the store was put back to an older state; 15 the backup
is damaged or none; 70 internal error.
.SH SEE ALSO
mfactl(1), mfad.toml(5), systemd\\-creds(1)
";

/// Writes `mfad.8` and `mfad.toml.5` into a directory.
pub(super) fn write(dir: &Path) -> Result<(), Failure> {
    let failed = |cause| file_fault(dir, cause);
    fs::create_dir_all(dir).map_err(failed)?;
    let mut page = Vec::new();
    clap_mangen::Man::new(Arguments::command()).section("8").render(&mut page).map_err(failed)?;
    page.extend_from_slice([FILES, SIGNALS, EXIT_CODES].concat().as_bytes());
    fs::write(dir.join("mfad.8"), page).map_err(failed)?;
    fs::write(dir.join("mfad.toml.5"), settings()).map_err(failed)
}

/// The example as a page: what explains a setting as text, the settings as they are.
fn settings() -> String {
    let mut page = ".TH mfad.toml 5\n.SH NAME\nmfad.toml \\- configuration of mfad(8)\n.SH DESCRIPTION\n".to_owned();
    page.push_str(
        "A TOML file. Every setting is optional; what is shown is the default. Unknown settings are refused.\n",
    );
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
