//! Programs that read standard input.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;

/// Runs the program with this as its standard input, and collects what it writes.
#[track_caller]
pub fn output_of(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program may answer while it reads: if a large input waited for its end, and a large output for a reader, both
    // would wait for ever.
    thread::scope(|scope| {
        scope.spawn(move || {
            // A program that refuses its arguments does not read its input.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    })
}
