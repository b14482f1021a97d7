//! `backup`: writes a backup of the store to a file or to standard output. A file is written completely or not at all.
//! This module knows the outer framing of a backup, to detect a truncated one, but cannot decrypt its records.

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::call::{Authority, Call};
use crate::cli::BackupArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::visible;
use crate::target::{Target, is_standard_output};

const BACKUP_MAGIC: &[u8] = b"mfad backup 1\n";
/// Bytes before the first record; they start with [`BACKUP_MAGIC`].
const BACKUP_HEAD: usize = 14 + 16 + 8 + 16 + 32;
/// Bytes before the contents of a record: 1 for the last record or 0, then the length as a big-endian u32.
const RECORD_HEAD: usize = 5;

pub(crate) async fn run(context: &mut Context, args: &BackupArgs) -> Result<(), Failure> {
    // SIGXFSZ ends the process by default. With a handler, a write beyond the file size limit fails instead, so that
    // the partial file can be removed.
    let _size_limit = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
    // Opened before the daemon is asked, so that a target that cannot be written costs no backup.
    let mut target = Target::open(context.out, "backup", &args.file, args.force)?;
    let authority = Authority::Reason(args.reason.clone());
    let mut stream = context.client.open(Call::post("/v1/backup").by(&authority)).await?;
    let mut shape = Shape::default();
    while let Some(bytes) = stream.next().await? {
        shape.take(&bytes);
        target.write(&bytes)?;
    }
    if !shape.is_complete() {
        return Err(Failure::Unreachable(format!(
            "the backup is incomplete; {}; see the daemon's log for the cause",
            target.what_is_left()
        )));
    }
    let name = target.finish()?;
    let said =
        format!("{} bytes written to {name}; to restore it, `mfad restore` needs the present master key", shape.bytes);
    if is_standard_output(&args.file) {
        if !context.out.is_quiet() {
            context.out.aside(&visible(&said));
        }
        return Ok(());
    }
    if context.out.is_json() {
        let document = serde_json::json!({"file": name, "bytes": shape.bytes});
        return context.out.document(&document.to_string());
    }
    context.out.note(&visible(&said))
}

/// Follows the record headers of a backup, which say where it ends. Only the daemon can verify the records themselves.
#[derive(Default)]
struct Shape {
    bytes: u64,
    /// Bytes so far of the header being read: that of the backup, then that of a record.
    head: Vec<u8>,
    is_past_head: bool,
    /// Bytes of the current record still to come.
    due: usize,
    /// The current record is the last one.
    is_last: bool,
    /// The bytes are not a backup; stays set.
    is_wrong: bool,
}

impl Shape {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_wrong {
            if self.due > 0 {
                let step = self.due.min(rest.len());
                self.due = self.due.saturating_sub(step);
                rest = rest.get(step..).unwrap_or_default();
                continue;
            }
            if self.is_last {
                self.is_wrong = true;
                return;
            }
            let wanted = if self.is_past_head { RECORD_HEAD } else { BACKUP_HEAD };
            let step = wanted.saturating_sub(self.head.len()).min(rest.len());
            let (now, later) = rest.split_at(step);
            self.head.extend_from_slice(now);
            rest = later;
            if self.head.len() == wanted {
                self.read_head();
            }
        }
    }

    fn read_head(&mut self) {
        let head = std::mem::take(&mut self.head);
        if !self.is_past_head {
            self.is_past_head = true;
            self.is_wrong = !head.starts_with(BACKUP_MAGIC);
        } else if let [last @ (0 | 1), length @ ..] = head.as_slice() {
            self.is_last = *last == 1;
            let length = <[u8; 4]>::try_from(length).map_or(0, u32::from_be_bytes);
            self.due = usize::try_from(length).unwrap_or(0);
            // Every record has contents, so a length of 0 is not from the daemon.
            self.is_wrong = self.due == 0;
        } else {
            self.is_wrong = true;
        }
    }

    fn is_complete(&self) -> bool {
        self.is_last && self.due == 0 && !self.is_wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> Vec<u8> {
        let head = [BACKUP_MAGIC, &[7; BACKUP_HEAD - 14]].concat();
        [head.as_slice(), &[0, 0, 0, 0, 3], b"abc", &[1, 0, 0, 0, 2], b"de"].concat()
    }

    fn is_complete(pieces: &[&[u8]]) -> bool {
        let mut shape = Shape::default();
        pieces.iter().for_each(|piece| shape.take(piece));
        shape.is_complete()
    }

    #[test]
    fn a_backup_is_complete_however_it_comes_and_only_at_its_end() {
        let backup = backup();
        for at in 0..backup.len() {
            let (first, second) = backup.split_at(at);
            assert!(is_complete(&[first, second]), "cut at {at}");
            assert!(!is_complete(&[first]), "ends at {at}");
        }
        assert!(!is_complete(&[&backup, b"x"]));
        assert!(!is_complete(&[&[0; 200]]));
    }
}
