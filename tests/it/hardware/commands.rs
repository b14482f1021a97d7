//! `mfactl` with hardware keys, as an operator and as a script use it.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::bench::{Bench, can_have_readers};
use crate::card::{Account, Attested, Fault, Key, Maker, Touch, refuse_everybody};
use crate::fed::output_of;
use crate::host::{Host, TestDirs};
use crate::people::text;
use crate::wire::Request;

fn mfactl(bench: &Bench, arguments: &[&str], input: &str) -> Output {
    run(&bench.host, arguments, input)
}

fn run(host: &Host, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(mfad_testkit::program("mfactl"));
    command.arg("--socket").arg(host.socket()).args(["--no-input", "--yes"]).args(arguments);
    command.env_remove("MFAD_SOCKET");
    output_of(command, input.as_bytes())
}

#[track_caller]
fn says(bench: &Bench, arguments: &[&str]) -> String {
    let output = mfactl(bench, arguments, "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[track_caller]
fn document(bench: &Bench, arguments: &[&str]) -> Value {
    let said = says(bench, &[&["--json"], arguments].concat());
    serde_json::from_str(&said).unwrap_or_else(|why| panic!("{arguments:?}: {why}: {said}"))
}

#[test]
fn an_operator_lists_programs_renames_and_takes_back_a_key() {
    if !can_have_readers("an_operator_lists_programs_renames_and_takes_back_a_key") {
        return;
    }
    let bench = Bench::with_key(Key::new(12_345_678));
    bench.host.nobody("ann");
    let receipt = bench.file("taken", "").with_file_name("receipt");
    let receipt = receipt.to_str().unwrap();

    assert!(says(&bench, &["device", "list"]).contains("YubiKey 5 NFC"));
    let reason = ["--reason", "first day"];
    let made = document(
        &bench,
        &[&["device", "provision", "ann", "--touch", "--name", "blue key", "--receipt", receipt], &reason[..]].concat(),
    );
    assert_eq!((&made["status"], &made["device"]["serial"]), (&json!("active"), &json!(12_345_678)));
    assert!(says(&bench, &["device", "info", "12345678"]).contains("mfad:ann"));
    let renamed = ["device", "rename", "12345678", "mfad:ann", "mfad:annette"];
    says(&bench, &[&renamed[..], &reason].concat());
    assert!(says(&bench, &["device", "accounts", "12345678"]).contains("mfad:annette"));
    let returned = document(&bench, &[&["device", "return", "12345678"], &reason[..]].concat());
    assert_eq!(returned["credentials"][0]["revoked"], true, "{returned}");

    let keys = bench.file("keys.json", &document(&bench, &["receipt", "keys"]).to_string());
    let verify = ["receipt", "verify", receipt, "--keys", keys.to_str().unwrap()];
    assert_eq!(text(&document(&bench, &verify)["credential"]), "mfad:ann");
    let forged = std::fs::read_to_string(receipt).unwrap().replace('A', "B");
    let forged = bench.file("forged", &forged);
    let refused = mfactl(&bench, &["receipt", "verify", forged.to_str().unwrap(), verify[3], verify[4]], "");
    assert_eq!(refused.status.code(), Some(1));
}

/// The command is refused with 5: in text with this advice, as JSON with this code.
#[track_caller]
fn refused(host: &Host, arguments: &[&str], code: &str, advice: &str) {
    let output = run(host, arguments, "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{code}: {said}");
    assert!(said.contains(advice), "{code}: {advice:?} is not in: {said}");
    let output = run(host, &[&["--json"], arguments].concat(), "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let problem: Value = serde_json::from_str(&said).unwrap_or_else(|why| panic!("{code}: {why}: {said}"));
    assert_eq!((output.status.code(), &problem["code"]), (Some(5), &json!(code)), "{problem}");
}

const PROVISION: [&str; 5] = ["device", "provision", "ann", "--reason", "x"];

#[test]
fn without_pcscd_or_its_leave_mfactl_says_what_to_do() {
    let host = Host::start("");
    host.nobody("ann");
    // The first look may be under way when the daemon is ready.
    let is_seen = |code: &str, host: &Host| host.ask(&Request::get("/devices")).json()["code"] == code;
    mfad_testkit::daemon::until(|| is_seen("no-pcscd", &host));
    refused(&host, &PROVISION, "no-pcscd", "install and start pcscd");

    let mut dirs = TestDirs::new("");
    dirs.pcscd = dirs.dir.path().join("pcscd.comm");
    refuse_everybody(&dirs.pcscd).unwrap();
    assert!(dirs.init().success(), "init: {}", dirs.log_text());
    let host = Host::on(dirs);
    host.nobody("ann");
    mfad_testkit::daemon::until(|| is_seen("pcscd-denied", &host));
    refused(&host, &PROVISION, "pcscd-denied", "polkit");
    let listed = run(&host, &["device", "list"], "");
    assert_eq!(listed.status.code(), Some(5));
}

#[test]
fn what_is_in_the_way_of_a_key_ends_with_5_and_says_what_to_do() {
    if !can_have_readers("what_is_in_the_way_of_a_key_ends_with_5_and_says_what_to_do") {
        return;
    }
    let bench = Bench::new(2, "");
    let host = &bench.host;
    host.nobody("ann");
    let with = |more: &[&'static str]| [&PROVISION[..], more].concat();
    refused(host, &PROVISION, "no-device", "device list shows");
    bench.insert(0, Key::new(7).with_password("hunter2"));
    refused(host, &PROVISION, "device-locked", "--learn");
    let wrong = bench.file("wrong", "not it");
    let wrong = wrong.to_str().unwrap();
    let learn = ["device", "password", "7", "--learn", "--current-file", wrong, "--reason", "x"];
    refused(host, &learn, "wrong-device-password", "device reset");
    bench.insert(1, Key::new(8));
    refused(host, &PROVISION, "many-devices", "--key");
    bench.pull(0);
    bench.pull(1);

    bench.insert(0, Key::new(7).with_capacity(1).with_account(Account::foreign("x")));
    refused(host, &PROVISION, "device-full", "device accounts");
    bench.pull(0);
    bench.insert(0, Key::neo(7));
    refused(host, &with(&["--touch"]), "unsupported", "firmware");
    bench.pull(0);

    bench.insert(0, Key::new(7));
    bench.reader().with_key(|key| key.touch = Touch::Refused);
    refused(host, &with(&["--touch"]), "touch-timeout", "touch the key that blinks");
    let occupied = bench.occupied();
    refused(host, &PROVISION, "device-busy", "gpgconf --kill scdaemon");
    drop(occupied);
    let attest = ["device", "attest", "7"];
    refused(host, &attest, "unsupported", "attestationRoots");

    bench.reader().plan(4, Fault::Gone);
    let output = run(host, &PROVISION, "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("leave the key in"), "{said}");
    bench.reinsert(0);
    bench.reader().plan(4, Fault::Gone);
    let output = run(host, &[&["--json"], &PROVISION[..]].concat(), "");
    let problem: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(problem["code"], "device-removed", "{problem}");
}

#[test]
fn an_operator_checks_that_a_key_is_genuine() {
    if !can_have_readers("an_operator_checks_that_a_key_is_genuine") {
        return;
    }
    let maker = Maker::with_line();
    let dir = tempfile::Builder::new().prefix("mfad-maker-").tempdir().unwrap();
    let roots = dir.path().join("maker.pem");
    std::fs::write(&roots, maker.pem()).unwrap();
    let bench = Bench::new(1, &format!("[devices]\nattestationRoots = [{roots:?}]\n"));
    bench.insert(0, Key::new(7).attested(&maker, &Attested { slot: 0x9A, ..Attested::default() }));

    let said = says(&bench, &["device", "attest", "7", "--slot", "9a"]);
    assert!(said.contains(maker.name()) && said.contains("genuine"), "{said}");
    assert_eq!(document(&bench, &["device", "attest", "7", "--slot", "9A"])["slot"], "9a");
    refused(&bench.host, &["device", "attest", "7"], "unsupported", "made on the key");
    let odd = run(&bench.host, &["device", "attest", "7", "--slot", "f9"], "");
    assert_eq!(odd.status.code(), Some(2), "{}", String::from_utf8_lossy(&odd.stderr));
    bench.pull(0);
    bench.insert(0, Key::new(8).attested(&maker, &Attested { is_copied: true, ..Attested::default() }));
    refused(&bench.host, &["device", "attest", "8"], "not-genuine", "forgery");
}
