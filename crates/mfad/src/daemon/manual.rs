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
.TP
0
Ended as requested.
.TP
2
Wrong usage.
.TP
3
The configuration is wrong.
.TP
4
Another instance is running.
.TP
5
A file or directory is unsafe.
.TP
6
Not initialised.
.TP
7
The master key is missing.
.TP
8
The master key does not belong to this store.
.TP
9
The store is damaged, or is not a store of mfad.
.TP
10
The store is from a newer program.
.TP
11
The socket cannot be created or taken over from systemd.
.TP
12
The storage failed while the daemon was running.
.TP
13
A store already exists.
.TP
14
The store was rolled back to an older state.
.TP
15
The backup is damaged, or is not a backup.
.TP
70
Internal error.
.SH SEE ALSO
";

const RELATED: &str = "mfactl(1), mfad.toml(5), systemd\\-creds(1)\n";

const ENVIRONMENT: &str = "\
.SH ENVIRONMENT
.TP
MFAD_CONFIG, MFAD_STATE_DIR, MFAD_SOCKET
The configuration, the state directory and the socket, as with \\-\\-config, \\-\\-state\\-dir and \\-\\-socket. An empty
variable counts as unset.
.TP
MFAD_LOG
The log level, before that of the configuration.
.TP
CREDENTIALS_DIRECTORY
Set by systemd. The credential mfad.key in it is the master key.
";

/// Writes `mfad.8`, a page for each of its commands, and `mfad.toml.5` to `dir`, which is created if it does not exist.
pub(super) fn write(dir: &Path) -> Result<(), Failure> {
    let failed = |cause| file_fault(dir, cause);
    fs::create_dir_all(dir).map_err(failed)?;
    // `help` is no command of its own: it shows what the pages say.
    let mut daemon = Arguments::command().disable_help_subcommand(true);
    daemon.build();
    for command in daemon.get_subcommands().filter(|command| !command.is_hide_set()) {
        let (name, usage) = (format!("mfad-{}", command.get_name()), format!("mfad {}", command.get_name()));
        let page = command.clone().name(name.clone()).bin_name(usage);
        let mut text = Vec::new();
        clap_mangen::Man::new(page).title(name.to_uppercase()).section("8").render(&mut text).map_err(failed)?;
        text.extend_from_slice([ENVIRONMENT, FILES, EXIT_CODES, "mfad(8), "].concat().as_bytes());
        text.extend_from_slice(RELATED.as_bytes());
        fs::write(dir.join(format!("{name}.8")), text).map_err(failed)?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(daemon).section("8").render(&mut page).map_err(failed)?;
    page.extend_from_slice([ENVIRONMENT, FILES, SIGNALS, EXIT_CODES, RELATED].concat().as_bytes());
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
