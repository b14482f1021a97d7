//! Long runs behind figures of the documents; `make proof` runs what is ignored here.

use std::path::Path;

use crate::host::Host;
use crate::interop::python;

#[test]
#[ignore = "takes minutes: thousands of generated calls"]
fn schemathesis_makes_5000_calls_and_finds_neither_a_5xx_nor_a_contradiction() {
    let mut host = Host::start("");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/contract.py");

    let run = python().arg(script).arg(host.socket()).arg("5000").output().unwrap();

    print!("{}", String::from_utf8_lossy(&run.stdout));
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    host.stop();
}
