//! Stores of released versions open, with everything that was in them (STO-11, SUP-7). The golden ones under
//! `tests/golden/` were written by those versions, each with the key that it was sealed under.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::host::{Host, TestDirs};
use crate::otp::{self, Profile};
use crate::people::PASSWORD;
use crate::wire::Request;

/// The one user of the golden store of 0.1.0, its active counter-based factor, and that one's seed.
const USER: &str = "01a21104-ce22-73a4-8b1e-7671cfefe90d";
const FACTOR: &str = "01a21104-ceb5-77a8-a2e6-f94faa0bdf47";
const SEED: &str = "FC4YN7IPKCSCKNHCGOWWRAYAI276MCJD";

fn golden(version: &str) -> Host {
    let dirs = TestDirs::new("");
    let from = mfad_testkit::root().join("tests/golden").join(version);
    fs::create_dir(&dirs.state).unwrap();
    fs::set_permissions(&dirs.state, fs::Permissions::from_mode(0o700)).unwrap();
    for (file, mode) in [("mfad.db", 0o600), ("master.key", 0o400)] {
        let to = dirs.state.join(file);
        fs::copy(from.join(file), &to).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
    }
    Host::on(dirs)
}

#[test]
fn sto_11_a_store_of_0_1_0_opens_with_its_users_factors_and_spent_codes() {
    let host = golden("v0.1.0");

    let user = host.ask(&Request::get(format!("/users/{USER}"))).ok();
    assert_eq!((&user["name"], &user["mfa"]), (&json!("anna"), &json!("active")));
    let factor = host.ask(&Request::get(format!("/users/{USER}/secrets/{FACTOR}"))).ok();
    let code = |counter| Profile::of(&factor).code(&otp::seed_of(SEED), counter);
    host.verify(USER, &json!({"token": code(0)})).refused(401, "wrong-code");
    host.verify(USER, &json!({"token": code(1)})).ok();
    let login = host.ask(&Request::post("/auth/password", &json!({"id": "anna", "password": PASSWORD}))).ok();
    assert_eq!(login["type"], "CHALLENGE");
    let pending = host.ask(&Request::post(format!("/users/{USER}/secrets"), &json!({"type": "mfa"})).reason()).ok();
    assert_eq!(pending["status"], "pending", "and it goes on from there");
    assert!(host.dirs.state.join("mfad.db.before-v1-upgrade").exists(), "the store was copied before");
}

/// The user of the golden store of schema version 5, its active counter-based factor, and that one's seed. The codes of
/// the counters 0, 1 and 4 were used, and then that of 60 was refused.
const USER_5: &str = "01a22b80-dfdc-7310-9fee-2cee5022bc02";
const FACTOR_5: &str = "01a22b80-e013-72a7-9146-bbdbef1a043f";
const SEED_5: &str = "TF4TVBRVQYE7RHFCO6MDRHCCG7WLEX4L";

#[test]
fn otp_9_a_store_of_schema_version_5_keeps_its_counters_and_a_resynchronisation_under_way() {
    let mut host = golden("schema-5");
    let factor = host.ask(&Request::get(format!("/users/{USER_5}/secrets/{FACTOR_5}"))).ok();
    let code = |counter| Profile::of(&factor).code(&otp::seed_of(SEED_5), counter);

    assert_eq!(factor["lastUsed"], "2026-11-30T08:09:56.291Z");
    host.verify(USER_5, &json!({"token": code(61)})).ok();
    for used in [4, 60, 61] {
        host.verify(USER_5, &json!({"token": code(used)})).refused(401, "wrong-code");
    }
    host.verify(USER_5, &json!({"token": code(62)})).ok();
    host.restart();
    host.verify(USER_5, &json!({"token": code(62)})).refused(401, "wrong-code");
}
