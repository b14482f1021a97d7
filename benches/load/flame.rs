//! Where the time of a check goes: the daemon's stacks while it checks codes, sampled by perf and drawn by inferno.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use super::daemon::{Daemon, Seeded};
use super::drive::Pace;

const LENGTH: Duration = Duration::from_secs(6);

/// Writes the flame graph to `svg`.
pub fn draw(runtime: &Runtime, dir: &Path, svg: &Path, daemon: &Daemon, seeded: &Arc<Seeded>) {
    let samples = dir.join("perf.data");
    let mut perf = record(daemon.id(), &samples);
    daemon.load(runtime, 64, Pace::Closed, LENGTH, None, seeded.checks());
    kill_process(Pid::from_child(&perf), Signal::INT).unwrap();
    // It ends by the signal that it handled.
    perf.wait().unwrap();
    let mut script = started(Command::new("perf").args(["script", "--input"]).arg(samples).stdout(Stdio::piped()));
    let mut stacks =
        started(Command::new("inferno-collapse-perf").stdin(script.stdout.take().unwrap()).stdout(Stdio::piped()));
    let mut picture = started(
        Command::new("inferno-flamegraph")
            // The same function has the same colour in each run.
            .args(["--hash", "--minwidth", "0.2", "--title", "CPU time of the daemon while it checks codes"])
            .stdin(stacks.stdout.take().unwrap())
            .stdout(File::create(svg).unwrap()),
    );
    for child in [&mut script, &mut stacks, &mut picture] {
        assert!(child.wait().unwrap().success(), "a program that draws the flame graph failed");
    }
}

/// Samples the stacks of a process, until it is interrupted. Returns once it samples.
fn record(process: u32, samples: &Path) -> Child {
    let mut perf = Command::new("perf");
    // The program has no frame pointers, but it has the tables to unwind after a panic.
    perf.args(["record", "--freq", "499", "--call-graph", "dwarf,16384", "--output"]).arg(samples);
    let mut perf = started(perf.arg("--pid").arg(process.to_string()).stdout(Stdio::null()));
    // perf creates the file when it has attached to the process.
    while !samples.exists() {
        assert!(perf.try_wait().unwrap().is_none(), "perf ended");
        std::thread::yield_now();
    }
    perf
}

fn started(command: &mut Command) -> Child {
    command.stderr(Stdio::null()).spawn().expect("perf and inferno, which `tools/needs bench` installs")
}
