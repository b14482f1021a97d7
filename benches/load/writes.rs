//! What a check writes to the disk, counted by strace at the daemon's system calls.

use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{path::Path, sync::Arc};

use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use super::daemon::{Daemon, Seeded};
use super::drive::Pace;
use super::figures::{Figures, Goal};

/// Long enough for several generations of used codes to be folded, although strace slows the daemon down.
const LENGTH: Duration = Duration::from_secs(10);

pub fn count(runtime: &Runtime, dir: &Path, figures: &mut Figures, daemon: &Daemon, seeded: &Arc<Seeded>) {
    let out = dir.join("strace.out");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=pwrite64,fdatasync,fsync", "-o"]).arg(&out);
    let strace = strace.arg("-p").arg(daemon.id().to_string()).stderr(Stdio::null()).spawn();
    let mut strace = strace.expect("strace, which `tools/needs bench` installs");
    while !is_traced(daemon) {
        assert!(strace.try_wait().unwrap().is_none(), "strace ended");
        std::thread::yield_now();
    }
    let load = daemon.load(runtime, 64, Pace::Closed, LENGTH, None, seeded.checks());
    detach(&mut strace);
    let calls = std::fs::read_to_string(out).unwrap();
    let (mut writes, mut bytes, mut syncs) = (0u64, 0u64, 0u64);
    for line in calls.lines() {
        if line.contains("pwrite64") {
            let written = line.rsplit_once("= ").and_then(|(_, count)| count.trim().parse::<u64>().ok());
            // A call that another thread interrupts has a line for its beginning and one for its end.
            if let Some(written) = written {
                (writes, bytes) = (writes + 1, bytes + written);
            }
        } else if line.contains("sync") && line.ends_with("= 0") {
            syncs += 1;
        }
    }
    let checks = load.count() as f64;
    figures.ratio("pwrites a check", writes as f64 / checks, Goal::AtMost(0.4));
    figures.ratio("bytes a check by pwrite", bytes as f64 / checks, Goal::AtMost(1024.0));
    figures.note("checks a sync", format!("{:.0}", checks / syncs.max(1) as f64));
}

fn is_traced(daemon: &Daemon) -> bool {
    // Every thread: those that strace has not attached to yet have no tracer.
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap();
    tasks.flatten().all(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.lines().all(|line| line.strip_prefix("TracerPid:").is_none_or(|pid| pid.trim() != "0"))
    })
}

fn detach(strace: &mut Child) {
    kill_process(Pid::from_child(strace), Signal::INT).unwrap();
    strace.wait().unwrap();
}
