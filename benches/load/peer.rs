//! The same work on another server: privacyIDEA, which also keeps one-time password factors of many users, on the same
//! machine within the same minutes. `MFAD_BENCH_PEER` names the Python interpreter that has its packages.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::figures::{Figures, Goal};

/// Compares with the checks at 64 connections that were measured before.
pub fn compare(figures: &mut Figures) {
    let Some(python) = std::env::var_os("MFAD_BENCH_PEER").map(PathBuf::from).filter(|python| python.exists()) else {
        figures.note("privacyIDEA", "not installed".to_owned());
        return;
    };
    let script = mfad_testkit::root().join("benches/peer/privacyidea.py");
    let done = Command::new(python).arg(script).args(["--tokens", "120"]).stderr(Stdio::inherit()).output().unwrap();
    assert!(done.status.success(), "the benchmark of privacyIDEA failed");
    let found: Value = serde_json::from_slice(&done.stdout).unwrap();
    let rate = found["perSecond"].as_f64().unwrap();
    let name = found["program"].as_str().unwrap();
    figures
        .note("privacyIDEA", format!("{name}, {rate:.0} checks per second with {} connections", found["connections"]));
    figures.ratio("check / privacyIDEA", figures.get("check", 64).rate() / rate, Goal::AtLeast(500.0));
}
