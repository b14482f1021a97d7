//! The tutorials do what they say: each is run command by command against a daemon, in each shell and with each PyJWT
//! that it promises, and a second time against the same daemon.

use std::path::Path;
use std::process::Command;

use crate::host::Host;
use crate::interop::python;
use crate::page::are_there;

/// Debian's own Python, for which Debian has an older PyJWT.
const DEBIAN_PYTHON: &str = "/usr/bin/python3";

/// Runs a tutorial with this variable in its environment.
fn run_on(host: &Host, tutorial: &str, name: &str, value: &Path) {
    let root = mfad_testkit::root();
    let mut runner = Command::new(root.join("tools/run-tutorial"));
    runner.arg(root.join("docs").join(tutorial)).current_dir(root).env("MFAD_SOCKET", host.socket()).env(name, value);

    let output = runner.output().expect("tools/run-tutorial is there");

    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{tutorial}, {name}={value:?}: {}\n{stdout}\n{stderr}", output.status);
}

#[test]
fn the_tutorial_with_curl_works_in_bash_and_a_second_time() {
    let host = Host::start("");

    run_on(&host, "tutorial-curl.md", "MFAD_TEST_SHELL", Path::new("bash"));
    run_on(&host, "tutorial-curl.md", "MFAD_TEST_SHELL", Path::new("bash"));
}

#[test]
fn the_tutorial_with_curl_works_in_zsh() {
    if are_there(&["zsh"], "the_tutorial_with_curl_works_in_zsh") {
        run_on(&Host::start(""), "tutorial-curl.md", "MFAD_TEST_SHELL", Path::new("zsh"));
    }
}

#[test]
fn the_tutorial_with_python_works_and_a_second_time() {
    let (host, python) = (Host::start(""), python());
    let python = Path::new(python.get_program());

    run_on(&host, "tutorial-python.md", "MFAD_TEST_PYTHON", python);
    run_on(&host, "tutorial-python.md", "MFAD_TEST_PYTHON", python);
}

#[test]
fn the_tutorial_with_python_works_with_the_pyjwt_of_debian() {
    let has_jwt = Command::new(DEBIAN_PYTHON).args(["-c", "import jwt, cryptography"]).output();
    if !has_jwt.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "Debian's python3-jwt is not installed");
        println!("skipped, Debian's python3-jwt is not installed");
        return;
    }
    run_on(&Host::start(""), "tutorial-python.md", "MFAD_TEST_PYTHON", Path::new(DEBIAN_PYTHON));
}
