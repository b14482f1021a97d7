//! The tutorials do what they say: each is run command by command against a fresh daemon.

use std::process::Command;

use crate::host::Host;
use crate::interop::python;

fn run(tutorial: &str) {
    let root = mfad_testkit::root();
    let host = Host::start("");
    let mut runner = Command::new(root.join("tools/run-tutorial"));
    runner.arg(root.join("docs").join(tutorial)).current_dir(root).env("MFAD_SOCKET", host.socket());
    runner.env("MFAD_TEST_PYTHON", python().get_program());

    let output = runner.output().expect("tools/run-tutorial is there");

    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{tutorial}: {}\n{stdout}\n{stderr}", output.status);
}

#[test]
fn the_tutorial_with_curl_works() {
    run("tutorial-curl.md");
}

#[test]
fn the_tutorial_with_python_works() {
    run("tutorial-python.md");
}
