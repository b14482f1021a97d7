//! Long runs behind figures of the documents; `make proof` runs what is ignored here.

use crate::card::Key;
use crate::hardware::{Bench, can_have_readers};
use crate::host::Host;
use crate::interop::python;
use crate::proof::report;
use crate::wire::Request;

const CALLS: usize = 5_000;

#[test]
#[ignore = "takes minutes: thousands of generated calls"]
fn schemathesis_makes_5000_calls_and_finds_neither_a_5xx_nor_a_contradiction() {
    const HERE: &str = "schemathesis_makes_5000_calls_and_finds_neither_a_5xx_nor_a_contradiction (with a key)";
    // The key that is there is number 1, which half of the calls name.
    let bench = can_have_readers(HERE).then(|| Bench::with_key(Key::new(1)));
    let mut plain = None;
    let host = match &bench {
        Some(bench) => &bench.host,
        None => plain.insert(Host::start("")),
    };
    let script = mfad_testkit::root().join("tests/it/proof/contract.py");

    let run = python().arg(script).arg(host.socket()).arg(CALLS.to_string()).output().unwrap();

    let said = String::from_utf8_lossy(&run.stdout);
    print!("{said}");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(host.ask(&Request::get("/health/ready")).status, 200);
    let made = said.split_whitespace().find_map(|word| word.parse::<usize>().ok()).expect("how many it made");
    let figure = format!("0 contradictions, 0 defects in {made} calls");
    report("calls made from the document", figure, format!("0, 0 in {CALLS}"), made >= CALLS);
}
