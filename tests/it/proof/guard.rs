//! A fault or a kill at every call with which the roll-back guard writes its file (STO-12): answers go on, the file is written
//! a second later, and the store that it guards is taken for what it is at the next start.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::figure::{Dice, report, size};
use crate::host::Host;
use crate::people::Factor;
use crate::strace::Strace;

/// The calls that matter, and what the kernel may answer instead.
const CALLS: [&str; 5] = ["openat", "write", "fsync", "rename", "close"];
const FAULTS: [&str; 4] = ["error=EIO", "error=ENOSPC", "error=EROFS", "signal=SIGKILL"];
/// The guard writes at most once a second.
const PATIENCE: Duration = Duration::from_secs(20);
const GLANCE: Duration = Duration::from_millis(10);

/// A host with a guard, and somebody whose codes are noted down by it.
struct Post {
    host: Host,
    user: String,
    factor: Factor,
}

impl Post {
    fn new() -> Self {
        let host = Host::start("");
        let (user, factor, _) = host.counted("anna");
        let mut post = Self { host, user, factor };
        post.host.restart();
        assert!(post.settle());
        post
    }

    /// After a start: has one code noted down, after which the guard has nothing to do. Whether the code was taken.
    fn settle(&mut self) -> bool {
        let before = fs::read(self.file()).unwrap();
        let is_taken = self.works();
        self.await_other(&before);
        is_taken
    }

    /// Whether a right code is taken, which the guard has to note down.
    fn works(&mut self) -> bool {
        self.host.takes_next(&self.user, &mut self.factor)
    }

    fn file(&self) -> PathBuf {
        self.host.dirs.dir.path().join("state-guard/mfad.guard")
    }

    fn thread(&self) -> u32 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.host.pid())).unwrap().map(|entry| entry.unwrap());
        let is_guard = |name: String| name.trim() == "store-guard";
        let mut of_guard = threads.filter(|task| is_guard(fs::read_to_string(task.path().join("comm")).unwrap()));
        of_guard.next().expect("the guard has a thread").file_name().to_str().unwrap().parse().unwrap()
    }

    /// strace on the guard's thread alone, and where its record is.
    fn hold(&self, more: &[&str]) -> (Strace, PathBuf) {
        let log = self.host.dirs.dir.path().join("guarded");
        let trace = format!("trace={}", CALLS.join(","));
        let arguments = [&["-e", &trace, "-o", log.to_str().unwrap()], more].concat();
        (Strace::attach(self.thread(), &arguments), log)
    }

    /// Waits until the guard's file is another one.
    fn await_other(&self, than: &[u8]) {
        until(|| fs::read(self.file()).unwrap() != than);
    }

    /// How often it makes each of the calls for one writing.
    fn counts(&mut self) -> Vec<(&'static str, usize)> {
        let before = fs::read(self.file()).unwrap();
        let (strace, log) = self.hold(&[]);
        assert!(self.works());
        self.await_other(&before);
        let calls = || fs::read_to_string(&log).unwrap();
        // The last is for the directory, after the file has its name.
        until(|| calls().rsplit_once("rename(").is_some_and(|(_, last)| last.contains("close(")));
        drop(strace);
        let calls = calls();
        let of_each = |call: &str| calls.lines().filter(|line| line.starts_with(&format!("{call}("))).count();
        CALLS.iter().map(|call| (*call, of_each(call))).filter(|(_, count)| *count > 0).collect()
    }

    /// One writing with this fault in its way.
    fn meet(&mut self, call: &str, fault: &str, at: usize) -> Result<(), String> {
        let before = fs::read(self.file()).unwrap();
        let inject = format!("inject={call}:{fault}:when={at}");
        let (strace, log) = self.hold(&["-e", &inject]);
        let lives = self.works();
        if fault.starts_with("signal") {
            self.host.ended();
            drop(strace);
        } else {
            until(|| fs::read_to_string(&log).unwrap().contains("(INJECTED)"));
            self.await_other(&before);
            drop(strace);
            if !lives || !self.works() {
                return Err("a code is refused because the guard cannot write".to_owned());
            }
            self.host.kill();
        }
        self.host.start_again();
        if self.settle() { Ok(()) } else { Err("after a new start a right code is refused".to_owned()) }
    }
}

/// Looks again until it is so.
#[track_caller]
fn until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it does not come about");
        thread::sleep(GLANCE);
    }
}

#[test]
fn sto_12_a_fault_at_any_call_of_the_guard_leaves_a_guard_that_holds() {
    let mut post = Post::new();
    let mut cases = Vec::new();
    for (call, count) in post.counts() {
        println!("{call} {count}");
        cases.extend((1..=count).flat_map(|at| FAULTS.map(|fault| (call, fault, at))));
    }
    let all = cases.len();
    let mut dice = Dice(13);
    while cases.len() > size(4, usize::MAX) {
        cases.swap_remove(dice.below(cases.len()));
    }
    for (call, fault, at) in &cases {
        println!("{fault} at {call} {at}");
        if let Err(why) = post.meet(call, fault, *at) {
            panic!("{fault} at {call} {at}: {why}");
        }
    }

    // The control: a guard's file that was cut off in the middle has to be noticed at the start.
    post.host.kill();
    let whole = fs::read(post.file()).unwrap();
    fs::write(post.file(), &whole[..whole.len() / 2]).unwrap();
    let refused = post.host.dirs.serve().status().unwrap();
    assert_eq!(refused.code(), Some(14), "{}", post.host.dirs.log_text());
    fs::write(post.file(), &whole).unwrap();
    post.host.start_again();

    let done = cases.len();
    let figure = format!("0 codes refused, 0 stores disowned in {done} faults, of {all} ways to fail");
    report("a fault or a kill at each system call of the guard", figure, "0, at every call", done == all);
}
