//! Writes the log to the systemd journal. The message of an entry is the whole line, as on standard error. Each field
//! of the event is also a field of the entry, to search by (systemd.journal-fields(7)).
//!
//! `tracing-journald` leaves the fields out of the message: `journalctl` would show that settings are wrong, but not
//! which. The protocol is systemd's `JOURNAL_NATIVE_PROTOCOL`.

use std::fmt::{Debug, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const SOCKET: &str = "/run/systemd/journal/socket";
/// Prefix of the names of our own fields: `request` becomes `MFAD_REQUEST`.
const PREFIX: &str = "MFAD_";

/// Sends each event to the journal. An entry that cannot be sent is lost, since logging must not stop the daemon.
pub(super) struct Journal(UnixDatagram);

impl Journal {
    /// Connects to the journal if standard error goes there. `$JOURNAL_STREAM` has the device and inode of the stream
    /// that systemd connected (systemd.exec(5)).
    pub(super) fn of_standard_error() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        // Standard error may have been redirected since, while the variable is inherited.
        let file = rustix::fs::fstat(io::stderr()).ok()?;
        if stream != format!("{}:{}", file.st_dev, file.st_ino) {
            return None;
        }
        Self::at(SOCKET).ok()
    }

    fn at(socket: &str) -> io::Result<Self> {
        let own = UnixDatagram::unbound()?;
        own.connect(socket)?;
        Ok(Self(own))
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let target = event.metadata().target();
        let mut entry = Vec::with_capacity(512);
        put(&mut entry, "PRIORITY", priority(event.metadata().level()));
        put(&mut entry, "SYSLOG_IDENTIFIER", "mfad");
        put(&mut entry, "MESSAGE", &line.text());
        put(&mut entry, &format!("{PREFIX}TARGET"), target);
        for (name, value) in &line.fields {
            // The journal accepts upper-case letters, digits and underscores in names.
            put(
                &mut entry,
                &format!("{PREFIX}{}", name.to_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")),
                value,
            );
        }
        let _ = self.0.send(&entry);
    }
}

/// Message and fields of an event.
#[derive(Default)]
struct Line {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Line {
    fn text(&self) -> String {
        let mut text = self.message.clone();
        for (name, value) in &self.fields {
            // Writing to a `String` cannot fail. Control characters are escaped: they could steer a terminal, or start
            // what looks like a line of its own (LOG-3).
            let _ = match value.chars().any(char::is_control) {
                true => write!(text, " {name}={value:?}"),
                false => write!(text, " {name}={value}"),
            };
        }
        text
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.fields.push((name, value.to_owned())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Syslog priority of a level (syslog(3)).
fn priority(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// Appends a field. A value with a line break is sent with its length (64 bits, little-endian), so that no value can
/// add a field of its own (LOG-3).
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&u64::try_from(value.len()).unwrap_or(u64::MAX).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn an_entry_has_the_whole_line_and_its_fields_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        let layer = Journal::at(path.to_str().unwrap()).unwrap();
        let mut entry = [0; 1024];

        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(key = "a\nPRIORITY=0", seq = 7, "settings are wrong");
        });

        let length = journal.recv(&mut entry).unwrap();
        let text = String::from_utf8_lossy(&entry[..length]).into_owned();
        let long = |name: &str, value: &str| {
            let length = u64::try_from(value.len()).unwrap().to_le_bytes();
            format!("{name}\n{}{value}\n", String::from_utf8_lossy(&length))
        };
        assert!(text.starts_with("PRIORITY=4\nSYSLOG_IDENTIFIER=mfad\n"), "{text:?}");
        assert!(text.contains("\nMESSAGE=settings are wrong key=\"a\\nPRIORITY=0\" seq=7\n"), "{text:?}");
        assert!(text.contains(&long("MFAD_KEY", "a\nPRIORITY=0")) && text.ends_with("MFAD_SEQ=7\n"), "{text:?}");
    }
}
