//! `export`: writes users and their factors to a file, encrypted to an age recipient by the daemon. This program never has
//! the plaintext.

use std::fs;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::call::{Authority, Body, Call};
use crate::context::Context;
use crate::export_args::ExportArgs;
use crate::failure::Failure;
use crate::login;
use crate::output::visible;
use crate::secret_text::Hidden;
use crate::target::{Target, is_standard_output};

/// Ends the header of an age file: three hyphens, a blank and the MAC. Its payload begins with a nonce of 16 bytes.
const HEADER_END: &[u8] = b"\n--- ";
const NONCE: usize = 16;
/// A chunk of the payload that is not the last one: 64 KiB and a tag.
const CHUNK: u64 = 64 * 1024 + 16;

pub(crate) async fn run(context: &mut Context, args: &ExportArgs) -> Result<(), Failure> {
    // As in `backup`: a write beyond the size limit fails, instead of ending the process.
    let _size_limit = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
    let approval = match &args.approval_file {
        None => None,
        Some(path) => {
            let text = fs::read_to_string(path);
            let text = text.map_err(|error| Failure::Usage(format!("--approval-file {}: {error}", path.display())))?;
            if text.trim().lines().count() != 1 {
                let why = "it is not a receipt alone; `mfactl step-up --quiet` prints that";
                return Err(Failure::Usage(format!("--approval-file {}: {why}", path.display())));
            }
            Some(Hidden::new(text.trim().to_owned()))
        }
    };
    let mut target = Target::open(context.out, "export", &args.file, args.force)?;
    let (authority, path) = match (&args.own, &args.admin) {
        (Some(user), _) => {
            let login = login::log_in(context, user, &args.answers()).await?;
            (Authority::Token(login.token.token.into_inner()), "/v1/users/me/export")
        }
        (None, Some(admin)) => {
            let login = login::log_in(context, admin, &args.answers()).await?;
            (Authority::TokenWithReason(login.token.token.into_inner(), args.reason.clone()), "/v1/exports")
        }
        (None, None) => (Authority::Reason(args.reason.clone()), "/v1/exports"),
    };
    let mut body = Body::new()
        .member("recipient", args.to.as_str())
        .member("format", args.format.as_str())
        .member("hardware", args.hardware);
    if let Some(approval) = &approval {
        body = body.secret("approval", approval, "$APPROVAL");
    }
    let written = write(context, Call::post(path).by(&authority).with(body), &mut target).await;
    if args.admin.is_some() || args.own.is_some() {
        login::log_out(context, &authority).await;
    }
    let bytes = written?;
    let name = target.finish()?;
    let said = format!("{bytes} bytes written to {name}; `age -d -i IDENTITY` decrypts it");
    if is_standard_output(&args.file) {
        if !context.out.is_quiet() {
            context.out.aside(&visible(&said));
        }
        return Ok(());
    }
    if context.out.is_json() {
        return context.out.document(&serde_json::json!({"file": name, "bytes": bytes}).to_string());
    }
    context.out.note(&visible(&said))?;
    context.out.note(lost(&args.format))
}

/// What a form of the plaintext cannot hold.
fn lost(format: &str) -> &'static str {
    match format {
        "mfad" => {
            "not in it: security keys, API keys, sessions and the audit log; its last line counts what was left out"
        }
        _ => {
            "not in it: used steps, passwords, backup codes, security keys, API keys and all else of the users; its last \
             lines count what was left out"
        }
    }
}

async fn write(context: &mut Context, call: Call<'_>, target: &mut Target) -> Result<u64, Failure> {
    let mut stream = context.client.open(call).await?;
    let mut shape = Shape::default();
    while let Some(bytes) = stream.next().await? {
        shape.take(&bytes);
        target.write(&bytes)?;
    }
    if shape.is_complete() {
        return Ok(shape.bytes);
    }
    let left = target.what_is_left();
    Err(Failure::Unreachable(format!("the export is incomplete; {left}; see the daemon's log for the cause")))
}

/// Follows an age file. The daemon ends it with a chunk that is not full, so that a reader sees the end without the key.
#[derive(Default)]
struct Shape {
    bytes: u64,
    /// The beginning, until the header ends.
    header: Vec<u8>,
    /// Bytes of the payload, once the header has ended.
    payload: Option<u64>,
}

impl Shape {
    fn take(&mut self, bytes: &[u8]) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(length);
        if let Some(payload) = &mut self.payload {
            *payload = payload.saturating_add(length);
            return;
        }
        self.header.extend_from_slice(bytes);
        let found = self.header.windows(HEADER_END.len()).position(|window| window == HEADER_END);
        let behind = found.and_then(|at| {
            let line = self.header.get(at.saturating_add(1)..)?.iter().position(|byte| *byte == b'\n')?;
            at.checked_add(line)?.checked_add(2)
        });
        if let Some(behind) = behind {
            let rest = self.header.len().saturating_sub(behind);
            self.payload = u64::try_from(rest).ok();
            self.header = Vec::new();
        }
    }

    fn is_complete(&self) -> bool {
        let nonce = u64::try_from(NONCE).unwrap_or(0);
        let chunks = self.payload.and_then(|payload| payload.checked_sub(nonce));
        chunks.is_some_and(|chunks| chunks.checked_rem(CHUNK) != Some(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_complete_only_with_a_chunk_that_is_not_full() {
        let header = b"age-encryption.org/v1\n-> X25519 abc\ndef\n--- mac\n";
        let file = |payload: usize| [header.as_slice(), &[7; NONCE], &vec![1; payload]].concat();
        let full = usize::try_from(CHUNK).unwrap();
        for (payload, is_complete) in [(20, true), (full, false), (full + 20, true), (2 * full, false), (0, false)] {
            let file = file(payload);
            for cut in [1, 23, header.len() - 1, header.len(), header.len() + 5] {
                let mut shape = Shape::default();
                let (first, second) = file.split_at(cut);
                shape.take(first);
                assert!(!shape.is_complete(), "{cut}");
                shape.take(second);
                assert_eq!(shape.is_complete(), is_complete, "{payload}, cut at {cut}");
            }
        }
        let mut foreign = Shape::default();
        foreign.take(b"hello");
        assert!(!foreign.is_complete());
    }
}
