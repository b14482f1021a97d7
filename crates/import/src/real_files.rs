//! Files that the real programs wrote: every entry that can be kept is read as it was put into the program, and every
//! other one is refused by name. `fixtures/README.md` says how each was made, and what the programs lost on the way.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Document, Entry, Fault, Format, Secrets, read};
use data_encoding::BASE32_NOPAD;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    format: String,
    password: Option<String>,
    key: Option<String>,
    /// Part of the message, if the file is refused as a whole.
    fault: Option<String>,
    #[serde(default)]
    taken: Vec<Taken>,
    /// The accounts, `null` for any, with a part of the reason.
    #[serde(default)]
    refused: Vec<(Option<String>, String)>,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Taken {
    account: Option<String>,
    profile: String,
    /// Base32 without padding.
    secret: String,
    /// The next counter of HOTP.
    counter: Option<u64>,
    used_step: Option<u64>,
}

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn expected() -> BTreeMap<String, Expected> {
    serde_json::from_slice(&fs::read(files().join("expected.json")).unwrap()).unwrap()
}

fn opened(name: &str, expected: &Expected) -> Result<Document, Fault> {
    let bytes = fs::read(files().join(name)).unwrap();
    let secrets = Secrets {
        password: expected.password.as_deref().map(str::as_bytes),
        key: expected.key.as_deref().map(str::as_bytes),
    };
    // Nothing in such a file says what it is.
    let format = (expected.format == "andotp" && expected.password.is_some()).then_some(Format::AndOtp);
    read(&bytes, format, &secrets)
}

fn taken(entry: &Entry) -> Option<Taken> {
    let factor = entry.factor.as_ref().ok()?;
    let profile = factor.profile.binding();
    let counter = profile.starts_with("hotp").then_some(factor.counter);
    let secret = BASE32_NOPAD.encode(factor.seed.expose());
    Some(Taken { account: entry.account.clone(), profile, secret, counter, used_step: factor.used_step })
}

#[test]
fn files_of_real_programs_are_read_as_they_were_put_in() {
    for (name, mut expected) in expected() {
        let document = match (opened(&name, &expected), &expected.fault) {
            (Ok(document), None) => document,
            (Err(fault), Some(part)) => {
                assert!(fault.to_string().contains(part), "{name}: {fault}");
                continue;
            }
            (Ok(_), Some(_)) => panic!("{name}: was read"),
            (Err(fault), None) => panic!("{name}: {fault}"),
        };

        assert_eq!(document.format.name(), expected.format, "{name}");
        let mut found: Vec<Taken> = document.entries.iter().filter_map(taken).collect();
        found.sort();
        expected.taken.sort();
        assert_eq!(found, expected.taken, "{name}");
        let mut refusals: Vec<(Option<String>, String)> = document
            .entries
            .iter()
            .filter_map(|entry| Some((entry.account.clone(), entry.factor.as_ref().err()?.to_string())))
            .collect();
        for (account, part) in &expected.refused {
            let found = refusals
                .iter()
                .position(|(whose, why)| (account.is_none() || whose == account) && why.contains(part.as_str()));
            refusals.remove(found.unwrap_or_else(|| panic!("{name}: {account:?} {part} is not among {refusals:?}")));
        }
        assert!(refusals.is_empty(), "{name}: {refusals:?}");
    }
}

#[test]
fn an_encrypted_file_with_another_password_or_cut_off_is_refused() {
    for (name, mut expected) in expected() {
        let Some(password) = expected.password.take() else { continue };
        expected.password = Some(format!("{password}!"));
        assert!(matches!(opened(&name, &expected), Err(Fault::WrongPassword(_))), "{name}");

        let bytes = fs::read(files().join(&name)).unwrap();
        let format = (expected.format == "andotp").then_some(Format::AndOtp);
        let secrets = Secrets { password: Some(password.as_bytes()), ..Secrets::default() };
        let cut = read(&bytes[..bytes.len() / 2], format, &secrets);
        assert!(cut.is_err(), "{name}");
    }
}

#[test]
fn every_file_is_expected_and_described() {
    let expected = expected();
    let readme = fs::read_to_string(files().join("README.md")).unwrap();
    for file in fs::read_dir(files()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name != "README.md" && name != "expected.json" {
            assert!(expected.contains_key(&name), "{name}");
            assert!(readme.contains(name.as_str()), "{name}");
        }
    }
}
