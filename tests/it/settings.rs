//! The settings file through the real daemon: who may be able to write it, and users and groups that the host does not know
//! yet.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::host::TestDirs;
use crate::identity::{AUDITOR, OTHER_STRANGER, STRANGER, can_be_others, connect_as, own_uid};
use crate::supervised::{PATIENCE, Ward};
use crate::wire::{Connection, Request};

/// Ways to let others change a configuration, and back.
type Exposure<'a> = (&'static str, &'a dyn Fn(bool));

/// Tries each way on the configuration of these dirs, with this between.
fn expose(dirs: &TestDirs, attempt: &mut dyn FnMut(&str)) {
    let (config, dir) = (dirs.config.clone(), dirs.dir.path().to_owned());
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let to = |open, wide| if open { wide } else { 0o600 };
    let all = |open| mode(&config, to(open, 0o666));
    let group = |open| mode(&config, to(open, 0o660));
    let others = |open| mode(&config, to(open, 0o602));
    let directory = |open| mode(&dir, if open { 0o777 } else { 0o700 });
    let owner = |open| std::os::unix::fs::chown(&config, Some(if open { STRANGER } else { own_uid() }), None).unwrap();
    let ways: [Exposure; 5] = [
        ("all", &all),
        ("its group", &group),
        ("others", &others),
        ("its directory", &directory),
        ("its owner", &owner),
    ];
    for (what, way) in ways {
        if what == "its owner" && !can_be_others("a configuration of another owner") {
            continue;
        }
        way(true);
        attempt(what);
        way(false);
    }
}

#[test]
fn a_configuration_that_others_can_change_is_refused_at_the_start_and_by_a_check() {
    let mut ward = Ward::new("");
    let dirs = TestDirs::new("");
    let check = || dirs.mfad().arg("check").arg("--config").arg(&dirs.config).output().unwrap();

    expose(&dirs, &mut |what| {
        let refused = check();
        assert_eq!(refused.status.code(), Some(5), "{what}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("mfad-it-"), "{what}: it names the place");
    });
    let checked = check();
    assert_eq!(checked.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&checked.stderr).starts_with("mfad: ok: "), "{checked:?}");
    let (config, dir) = (ward.dirs.config.clone(), ward.dirs.dir.path().to_owned());
    for (path, open, closed) in [(&config, 0o666, 0o644), (&config, 0o620, 0o444), (&dir, 0o777, 0o1777)] {
        let mode = |mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(open);
        ward.start(|_| {});
        assert_eq!(ward.exit_code(), Some(5), "{open:o}: {}", ward.dirs.log_text());
        mode(closed);
        let checked = ward.dirs.mfad().arg("check").arg("--config").arg(&config).status().unwrap();
        assert_eq!(checked.code(), Some(0), "{closed:o}");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
    }
    ward.start(|_| {});
    ward.hears("READY=1");
    ward.end();
}

#[test]
fn a_configuration_behind_a_link_is_as_good_as_the_link_and_what_it_leads_to() {
    let dirs = TestDirs::new("");
    let check = |path: &Path| dirs.mfad().arg("check").arg("--config").arg(path).status().unwrap().code();
    let shared = dirs.dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let link = shared.join("mfad.toml");
    std::os::unix::fs::symlink(&dirs.config, &link).unwrap();

    mode(&shared, 0o755);
    assert_eq!(check(&link), Some(0));
    mode(&shared, 0o777);
    assert_eq!(check(&link), Some(5), "others can lead the link elsewhere");
    mode(&shared, 0o1777);
    assert_eq!(check(&link), Some(0), "a sticky directory, and a link of ours");
    mode(&dirs.config, 0o606);
    assert_eq!(check(&link), Some(5), "others can write what it leads to");
}

#[test]
fn a_reload_does_not_take_a_configuration_that_others_can_change() {
    let mut ward = Ward::new("");
    ward.start(|_| {});
    ward.hears("READY=1");
    let required = |ward: &Ward| ward.ask(&Request::get("/auth")).unwrap().ok()["mfaRequired"].clone();
    let config = fs::read_to_string(&ward.dirs.config).unwrap();
    fs::write(&ward.dirs.config, format!("mfaRequired = true\n{config}")).unwrap();

    expose(&ward.dirs, &mut |what| {
        ward.signal(Signal::HUP);
        ward.hears("RELOADING=1");
        ward.hears("READY=1");
        assert_eq!(required(&ward), json!(false), "{what}: the old one stays in force");
        ward.logs("the old one stays in force");
    });
    ward.signal(Signal::HUP);
    ward.hears("RELOADING=1");
    ward.hears("READY=1");
    assert_eq!(required(&ward), json!(true));
    ward.end();
}

#[test]
fn a_name_that_the_host_does_not_know_is_no_reason_to_end_and_gives_nobody_a_right() {
    let group = "[[peer]]\ngroup = \"mfad-it-nobody\"\nrights = [\"admin\"]\n";
    let user = "[[peer]]\nuser = \"mfad-it-nobody\"\nrights = [\"admin\"]\n";
    for entries in [group.to_owned(), user.to_owned(), format!("{group}{user}")] {
        let mut ward = Ward::new(&entries);
        let check = |ward: &Ward| {
            let output = ward.dirs.mfad().arg("check").arg("--config").arg(&ward.dirs.config).output().unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };

        ward.start(|_| {});
        ward.hears("READY=1");

        ward.logs("does not know a name in [[peer]]");
        assert_eq!(ward.ask(&Request::get("/users")).unwrap().status, 200, "other rules hold");
        let (code, told) = check(&ward);
        assert_eq!(code, Some(3), "{told}");
        assert!(told.contains("\"mfad-it-nobody\" does not exist on this host"), "{told}");

        let before = ward.dirs.log_text().matches("does not know a name in [[peer]]").count();
        ward.signal(Signal::HUP);
        ward.hears("RELOADING=1");
        ward.hears("READY=1");
        ward.logs("configuration reloaded");
        let after = ward.dirs.log_text().matches("does not know a name in [[peer]]").count();
        assert_eq!(after, 2 * before, "{}", ward.dirs.log_text());
        ward.end();
    }
}

/// Whether this test may mount files over those of the host, for itself alone.
fn can_mount() -> bool {
    let tried = Command::new("unshare").args(["--mount", "mount", "--bind", "/etc/group", "/etc/group"]).output();
    tried.is_ok_and(|output| output.status.success())
}

#[test]
fn a_name_that_the_host_comes_to_know_gives_its_rights_from_then_on() {
    let test = "a_name_that_the_host_comes_to_know_gives_its_rights_from_then_on";
    if !can_be_others(test) || !can_mount() {
        println!("{test}: skipped, it takes root and mounts");
        return;
    }
    let entry = |what: &str| format!("[[peer]]\n{what} = \"mfad-it-later\"\nrights = [\"app\"]\n");
    let never = "[[peer]]\ngroup = \"mfad-it-never\"\nrights = [\"app\"]\n";
    let mut ward = Ward::new(&format!("{}{}{never}", entry("group"), entry("user")));
    let (groups, users) = (ward.dirs.dir.path().join("group"), ward.dirs.dir.path().join("passwd"));
    fs::copy("/etc/group", &groups).unwrap();
    fs::copy("/etc/passwd", &users).unwrap();
    let append = |path: &Path, line: String| {
        fs::File::options().append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
    };
    let status = |ward: &Ward, uid| {
        let stream = connect_as(&ward.dirs.socket, uid).unwrap();
        Connection::new(stream, None).try_ask(&Request::get("/users")).unwrap().status
    };

    ward.start_beside(&groups, &users);
    ward.hears("READY=1");
    assert_eq!([STRANGER, OTHER_STRANGER, AUDITOR].map(|uid| status(&ward, uid)), [401, 401, 403]);
    append(&groups, format!("mfad-it-later:x:{STRANGER}:\n"));
    append(&users, format!("mfad-it-later:x:{OTHER_STRANGER}:{OTHER_STRANGER}::/:/bin/false\n"));

    // The daemon looks again every 20 seconds.
    for name in ["group", "user"] {
        ward.logs_within(3 * PATIENCE, &format!("its rights take effect peer={name} \"mfad-it-later\""));
    }
    assert_eq!([STRANGER, OTHER_STRANGER, AUDITOR].map(|uid| status(&ward, uid)), [200, 200, 403]);
    assert!(!ward.dirs.log_text().contains("its rights take effect peer=group \"mfad-it-never\""));
    ward.end();
}
