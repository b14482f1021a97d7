//! strace on a running daemon: it records what the daemon asks of the kernel, or has the kernel refuse it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A tracer that holds a daemon.
pub struct Strace(Child);

impl Strace {
    /// Takes hold of all threads of the process.
    pub fn attach(process: u32, arguments: &[&str]) -> Self {
        let mut strace = Command::new("strace")
            .args(arguments)
            .args(["-p", &process.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is there");
        let mut said = BufReader::new(strace.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("attached") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "strace does not attach");
        }
        // All threads are attached when it says so of the first; what it says later nobody has to read.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self(strace)
    }

    /// Waits until it ends with the process that it holds.
    pub fn wait(&mut self) {
        self.0.wait().unwrap();
    }
}

impl Drop for Strace {
    /// Asked to end, strace may wait for ever for a process that it has just seen killed; the kernel lets go of what a
    /// killed tracer held.
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}
