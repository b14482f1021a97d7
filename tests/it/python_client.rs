//! The Python client of `clients/python`: its own tests against the real daemon, with every Python that it promises to
//! support and that is installed, and its types by mypy.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::host::Host;
use crate::interop::{python, python_has};

fn client() -> PathBuf {
    mfad_testkit::root().join("clients/python")
}

fn assert_success(what: &str, output: &Output) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{stdout}\n{stderr}", output.status);
}

/// Runs the client's tests with this interpreter.
fn run_tests(mut python: Command, host: &Host) -> Output {
    // Without bytecode, since the tree may be read-only; with warnings as errors, since they announce removals.
    python.args(["-B", "-W", "error", "-m", "unittest", "discover", "-s", "tests"]);
    python.current_dir(client()).env("PYTHONPATH", "src").env("MFAD_SOCKET", host.socket());
    python.output().unwrap()
}

#[test]
fn the_python_client_works_with_each_python_that_is_installed() {
    let host = Host::start("");
    let mut tried = Vec::new();
    for minor in 11..=14 {
        let name = format!("python3.{minor}");
        let is_there = Command::new(&name).args(["-c", ""]).output().is_ok_and(|output| output.status.success());
        if is_there {
            assert_success(&name, &run_tests(Command::new(&name), &host));
            tried.push(name);
        }
    }

    // Debian 12 and 13 have one of these as `python3`.
    assert!(!tried.is_empty() || std::env::var_os("CI").is_none(), "no Python from 3.11 to 3.14 is installed");
    println!("tried with {}", tried.join(", "));
}

#[test]
fn the_python_client_works_with_the_package_cryptography() {
    const HERE: &str = "the_python_client_works_with_the_package_cryptography";
    if python_has("cryptography", HERE) {
        assert_success(HERE, &run_tests(python(), &Host::start("")));
    }
}

#[test]
fn the_types_of_the_python_client_hold_for_its_oldest_and_newest_python() {
    const HERE: &str = "the_types_of_the_python_client_hold_for_its_oldest_and_newest_python";
    if !python_has("mypy, flask", HERE) {
        return;
    }
    for version in ["3.11", "3.14"] {
        let mut mypy = python();
        mypy.args(["-m", "mypy", "--strict", "--no-incremental", "--python-version", version, "src"]);
        mypy.args(["examples/shop/app.py"]).current_dir(client()).env("MYPYPATH", "src");

        assert_success(version, &mypy.output().unwrap());
    }
}
