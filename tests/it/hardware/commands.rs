//! `mfactl` with hardware keys, as an operator and as a script use it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::bench::{Bench, can_have_readers};
use crate::card::Key;
use crate::people::text;

fn mfactl(bench: &Bench, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mfactl"));
    command.arg("--socket").arg(bench.host.socket()).args(["--no-input", "--yes"]).args(arguments);
    command.env_remove("MFAD_SOCKET").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
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

#[test]
fn what_is_in_the_way_of_a_key_ends_with_5_and_says_what_to_do() {
    if !can_have_readers("what_is_in_the_way_of_a_key_ends_with_5_and_says_what_to_do") {
        return;
    }
    let bench = Bench::new(2, "");
    bench.host.nobody("ann");
    let refused = |advice: &str| {
        let output = mfactl(&bench, &["device", "provision", "ann", "--reason", "x"], "");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{said}");
        assert!(said.contains(advice), "{advice:?} is not in: {said}");
    };

    refused("plug it in");
    bench.insert(0, Key::new(7).with_password("hunter2"));
    refused("password");
    bench.insert(1, Key::new(8));
    refused("serial number");
}
