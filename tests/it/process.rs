//! The life of the process: first start, refusals to start, files, limits, the end.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use mfad_store::{AuditEntry, Decision, Listeners, MasterKey, Outcome, Store};
use serde_json::json;

use crate::host::{Host, TestDirs, wait};
use crate::identity::{self, can_be_others};
use crate::people::PASSWORD;
use crate::wire::{Connection, Request};

const PATIENCE: Duration = Duration::from_secs(20);

/// The code with which a daemon ends that must not serve.
#[track_caller]
fn exit_code(mut command: Command) -> i32 {
    let mut daemon = command.spawn().unwrap();
    let status = wait(&mut daemon, PATIENCE);
    if status.is_none() {
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }
    status.expect("it ends by itself").code().expect("an exit code")
}

fn initialised(extra_config: &str) -> TestDirs {
    let dirs = TestDirs::new(extra_config);
    assert!(dirs.init().success(), "{}", dirs.log_text());
    dirs
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn sto_8_without_an_init_there_is_no_start_and_no_empty_store() {
    let dirs = TestDirs::new("");

    assert_eq!(exit_code(dirs.serve()), 6);

    fs::create_dir(&dirs.state).unwrap();
    fs::set_permissions(&dirs.state, Permissions::from_mode(0o700)).unwrap();
    assert_eq!(exit_code(dirs.serve()), 6);
    assert_eq!(
        fs::read_dir(&dirs.state).unwrap().filter(|entry| entry.as_ref().unwrap().file_name() == "mfad.db").count(),
        0
    );
}

#[test]
fn sto_8_a_second_init_changes_nothing() {
    let dirs = initialised("");
    let contents = || ["master.key", "mfad.db"].map(|name| fs::read(dirs.state.join(name)).unwrap());
    let before = contents();

    let again = dirs.init();

    assert_eq!(again.code(), Some(13));
    assert!(contents() == before);
    Host::on(dirs).stop();
}

#[test]
fn sto_8_an_init_that_was_cut_off_is_finished_by_the_next() {
    let dirs = initialised("");
    let at = |name: &str| dirs.state.join(name);
    let key = fs::read(at("master.key")).unwrap();

    // Before the store had its name.
    fs::rename(at("mfad.db"), at("mfad.db.init")).unwrap();
    assert!(dirs.init().success(), "{}", dirs.log_text());
    assert_eq!(fs::read(at("master.key")).unwrap(), key, "the key of the store that was half made");
    // Before the key was outside: nothing depends on what is there.
    fs::rename(at("mfad.db"), at("mfad.db.init")).unwrap();
    fs::remove_file(at("master.key")).unwrap();
    fs::write(at("master.key.next"), "cut off").unwrap();
    fs::write(at("mfad.db.init-wal"), "cut off").unwrap();
    assert!(dirs.init().success(), "{}", dirs.log_text());
    assert_ne!(fs::read(at("master.key")).unwrap(), key);
    let host = Host::on(dirs);

    host.person("anna");
}

#[test]
fn sto_8_a_key_without_its_store_is_no_reason_for_an_empty_one() {
    let dirs = initialised("");
    fs::remove_file(dirs.state.join("mfad.db")).unwrap();

    assert_eq!(dirs.init().code(), Some(13));

    assert!(!dirs.state.join("mfad.db").exists());
}

#[test]
fn init_writes_a_configuration_that_the_daemon_takes() {
    let dirs = TestDirs::new("");
    fs::remove_file(&dirs.config).unwrap();

    assert!(dirs.init().success(), "{}", dirs.log_text());

    assert!(fs::read_to_string(&dirs.config).unwrap().lines().any(|line| line.starts_with('#')));
    Host::on(dirs).stop();
}

#[test]
fn sto_9_the_files_are_private() {
    let host = Host::start("");
    let state = &host.dirs.state;

    assert_eq!(mode(state), 0o700);
    assert_eq!(mode(&state.join("master.key")), 0o400);
    for entry in fs::read_dir(state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
    for name in ["mfad.db", "mfad.db-wal", "mfad.db-shm"] {
        assert_eq!(mode(&state.join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(host.socket()), 0o660);
    let narrow = Host::start("socketMode = \"0600\"\n");
    assert_eq!(mode(narrow.socket()), 0o600);
}

#[test]
fn sock_2_a_second_daemon_on_the_same_state_ends_and_the_first_goes_on() {
    let host = Host::start("");
    let mut second = host.dirs.mfad();
    second.arg("--config").arg(&host.dirs.config).arg("--state-dir").arg(&host.dirs.state);
    second.arg("--socket").arg(host.dirs.dir.path().join("other.sock"));

    assert_eq!(exit_code(second), 4);
    assert_eq!(exit_code(host.dirs.serve()), 4);

    host.ask(&Request::get("/health/ready")).ok();
}

#[test]
fn sock_2_a_live_socket_of_another_daemon_is_left_alone() {
    let host = Host::start("");
    let other = initialised("");
    let mut command = other.mfad();
    command.arg("--config").arg(&other.config).arg("--state-dir").arg(&other.state).arg("--socket").arg(host.socket());

    assert!(matches!(exit_code(command), 4 | 11));

    host.ask(&Request::get("/health/ready")).ok();
}

#[test]
fn sock_2_a_stale_socket_is_replaced_and_anything_else_is_not() {
    let mut host = Host::start("");
    host.kill();
    assert!(fs::symlink_metadata(host.socket()).unwrap().file_type().is_socket());
    host.start_again();
    host.stop();

    let dirs = initialised("");
    fs::write(&dirs.socket, "a letter").unwrap();
    assert!(matches!(exit_code(dirs.serve()), 5 | 11));
    assert_eq!(fs::read(&dirs.socket).unwrap(), b"a letter");
}

#[test]
fn sto_8_a_missing_or_wrong_key_has_its_own_exit_code() {
    let dirs = initialised("");
    let other = initialised("");
    let (key, foreign) = (dirs.state.join("master.key"), other.state.join("master.key"));
    let own = fs::read(&key).unwrap();
    let put = |bytes: &[u8]| {
        let _ = fs::remove_file(&key);
        fs::write(&key, bytes).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o400)).unwrap();
    };

    fs::remove_file(&key).unwrap();
    assert_eq!(exit_code(dirs.serve()), 7);
    assert!(!key.exists(), "no new key is made");
    put(&fs::read(foreign).unwrap());
    assert_eq!(exit_code(dirs.serve()), 8);
    put(&own[..own.len() / 2]);
    assert!(matches!(exit_code(dirs.serve()), 7 | 8));
    put(&own);
    Host::on(dirs).stop();
}

#[test]
fn sto_8_a_damaged_missing_or_foreign_store_is_refused_and_not_replaced() {
    let dirs = initialised("");
    let database = dirs.state.join("mfad.db");
    let good = fs::read(&database).unwrap();
    let put = |bytes: &[u8]| {
        for rest in ["mfad.db-wal", "mfad.db-shm"] {
            let _ = fs::remove_file(dirs.state.join(rest));
        }
        fs::write(&database, bytes).unwrap();
        fs::set_permissions(&database, Permissions::from_mode(0o600)).unwrap();
    };
    let mut scribbled = good.clone();
    scribbled.iter_mut().skip(4096).for_each(|byte| *byte ^= 0x5a);

    for (what, bytes) in [
        ("empty", b"".as_slice()),
        ("text", b"not a database at all, but long enough to look at"),
        ("truncated", &good[..good.len() / 2]),
        ("scribbled", &scribbled),
    ] {
        put(bytes);
        assert!(matches!(exit_code(dirs.serve()), 6 | 8 | 9), "{what}: {}", dirs.log_text());
        assert!(fs::read(&database).unwrap().starts_with(&bytes[..bytes.len().min(16)]), "{what} is left as it is");
    }
    fs::remove_file(&database).unwrap();
    assert!(matches!(exit_code(dirs.serve()), 6 | 9), "missing");
    assert!(!database.exists(), "no new store is made");
    put(&good);
    Host::on(dirs).stop();
}

#[test]
fn sto_13_damage_that_is_found_after_the_start_ends_the_daemon_with_its_code() {
    let dirs = initialised("");
    let key = MasterKey::from_bytes(&fs::read(dirs.state.join("master.key")).unwrap()).unwrap();
    let store = Store::open(&dirs.state, None, &key, Listeners::default()).unwrap();
    for at in 0..30 {
        let entry = AuditEntry {
            at,
            event: mfad_api::AuditEvent::Verify,
            subject: None,
            object: None,
            peer_uid: None,
            peer_pid: None,
            request: None,
            outcome: Outcome::Ok,
            detail: Some("x".repeat(300_000)),
            used: None,
        };
        store.write(PATIENCE, move |tx| Ok(Decision::Commit(tx.audit(&entry)?))).unwrap();
    }
    store.close();
    // A page in the midst of the log's text becomes the first of all, which it cannot be.
    let database = dirs.state.join("mfad.db");
    let mut bytes = fs::read(&database).unwrap();
    bytes[4096 * 1_000..][..4].copy_from_slice(&1u32.to_be_bytes());
    fs::write(&database, bytes).unwrap();

    assert_eq!(exit_code(dirs.serve()), 9, "{}", dirs.log_text());

    let log = dirs.log_text();
    let last = log.lines().last().expect("a last word");
    assert!(last.contains("page"), "{last}");
}

#[test]
fn a_configuration_with_a_fault_is_refused_with_its_code() {
    for fault in [
        "nothing = 1\n",
        "registration = \"sometimes\"\n",
        "socketMode = 660\n",
        "socketMode = \"0999\"\n",
        "mfaRequired = \"yes\"\n",
        "tokenBinding = \"host\"\n",
        "[limits]\nnothing = 1\n",
        "[limits]\nconnections = -1\n",
        "[otp]\nwindowBack = 3\n",
        "[otp]\nwindowForward = 2\n",
        "[throttle]\ndelayAfter = 6\n",
        "[throttle]\nlockAfter = 101\n",
        "[argon2]\nmemoryKib = 1024\n",
        "[argon2]\npasses = 1\n",
        "[[peer]]\nuid = 5\nrights = [\"everything\"]\n",
        "[[peer]]\nrights = [\"app\"]\n",
        "this is not toml\n",
    ] {
        let dirs = initialised("");
        fs::write(&dirs.config, fault).unwrap();

        assert_eq!(exit_code(dirs.serve()), 3, "{fault}{}", dirs.log_text());
        assert!(!dirs.socket.exists());
    }
    let dirs = initialised("");
    fs::remove_file(&dirs.config).unwrap();
    assert_eq!(exit_code(dirs.serve()), 3, "no configuration where one is named");
}

#[test]
fn an_unknown_argument_is_a_fault_of_usage() {
    let dirs = initialised("");
    let mut command = dirs.serve();
    command.arg("--no-such-option");

    assert_eq!(exit_code(command), 2);
}

#[test]
fn sock_1_sto_9_unsafe_places_are_refused() {
    let open = |path: &std::path::Path, mode: u32| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let serve = |dirs: &TestDirs, socket: std::path::PathBuf| {
        let mut command = dirs.mfad();
        command.arg("--config").arg(&dirs.config).arg("--state-dir").arg(&dirs.state).arg("--socket").arg(socket);
        exit_code(command)
    };

    let dirs = initialised("");
    let (shared, real, link) =
        (dirs.dir.path().join("shared"), dirs.dir.path().join("real"), dirs.dir.path().join("link"));
    fs::create_dir(&shared).unwrap();
    open(&shared, 0o777);
    assert_eq!(serve(&dirs, shared.join("mfad.sock")), 5, "a directory that others write");
    fs::create_dir(&real).unwrap();
    open(&real, 0o700);
    symlink(&real, &link).unwrap();
    assert_eq!(serve(&dirs, link.join("mfad.sock")), 5, "a link");
    assert_eq!(serve(&dirs, dirs.dir.path().join("no").join("where").join("mfad.sock")), 11, "no directory");

    open(&dirs.state.join("master.key"), 0o644);
    assert_eq!(serve(&dirs, dirs.socket.clone()), 5, "a key that others read");
    open(&dirs.state.join("master.key"), 0o400);
    open(&dirs.state, 0o755);
    assert_eq!(serve(&dirs, dirs.socket.clone()), 5, "a state directory that others read");
    open(&dirs.state, 0o700);
    open(&dirs.state.join("mfad.db"), 0o644);
    assert_eq!(serve(&dirs, dirs.socket.clone()), 5, "a store that others read");
    open(&dirs.state.join("mfad.db"), 0o600);
    Host::on(dirs).stop();
}

#[test]
fn svc_2_a_stop_is_graceful_and_a_start_goes_on_from_there() {
    let mut host = Host::start("");
    let idle = host.connect();
    let mut stream = host.connect();
    stream.ask(&Request::get("/audit/events"));

    host.stop();

    assert!(UnixStream::connect(host.socket()).is_err());
    drop(idle);
    host.start_again();
    host.ask(&Request::get("/health/ready")).ok();
}

#[test]
fn svc_2_whoever_was_let_in_when_it_stops_still_gets_an_answer() {
    let mut host = Host::start("");
    let mut late = host.connect();
    let let_in = |host: &Host| {
        let metrics = host.ask(&Request::get("/metrics")).text();
        metrics.lines().any(|line| line == "mfad_connections 2")
    };
    while !let_in(&host) {
        std::thread::yield_now();
    }

    host.terminate();
    while UnixStream::connect(host.socket()).is_ok() {
        std::thread::yield_now();
    }

    late.ask(&Request::get("/health/live")).ok();
    host.wait_for_end();
}

#[test]
fn http_1_slow_and_idle_connections_are_closed_in_time() {
    let host = Host::start("");
    let sent = |bytes: &[u8]| {
        let mut connection = host.connect();
        connection.send(bytes).unwrap();
        connection
    };
    let mut kept_alive = host.connect();
    kept_alive.ask(&Request::get("/health/live"));
    let mut after_a_stream = host.connect();
    assert_eq!(after_a_stream.ask(&Request::new("POST", "/backup").reason()).status, 200);
    let silent = host.connect();
    let head = sent(b"GET /health/live HTTP/1.1\r\nHost: m");
    let body =
        sent(b"POST /users HTTP/1.1\r\nHost: mfad\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{");
    let chunk = sent(b"POST /users HTTP/1.1\r\nHost: mfad\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{");

    let started = Instant::now();
    thread::scope(|scope| {
        for (what, mut connection, seconds) in [
            ("silent", silent, 5),
            ("head", head, 5),
            ("body", body, 10),
            ("chunk", chunk, 10),
            ("kept alive", kept_alive, 30),
            ("kept alive after a stream", after_a_stream, 30),
        ] {
            scope.spawn(move || {
                let limit = Duration::from_secs(seconds);
                let rest =
                    connection.rest(limit + Duration::from_secs(10)).unwrap_or_else(|| panic!("{what}: still open"));
                let took = started.elapsed();
                assert!(
                    took + Duration::from_secs(1) >= limit.min(Duration::from_secs(3)),
                    "{what}: {took:?} is no time to send a request"
                );
                assert!(took <= limit + Duration::from_secs(5), "{what}: {took:?}");
                assert!(!String::from_utf8_lossy(&rest).starts_with("HTTP/1.1 2"), "{what}");
            });
        }
        // A header that comes drop by drop has no more time than one that does not come.
        scope.spawn(|| {
            let mut connection = host.connect();
            let dripped = Instant::now();
            while connection.send(b"G").is_ok() && dripped.elapsed() < Duration::from_secs(20) {
                thread::sleep(Duration::from_millis(250));
            }
            assert!(dripped.elapsed() <= Duration::from_secs(12), "drop by drop");
        });
    });
    host.ask(&Request::get("/health/live")).ok();
}

#[test]
fn http_9_a_peer_has_so_many_connections_and_others_are_not_harmed() {
    let host = Host::start("[limits]\nconnectionsPerPeer = 8\n");
    let other = can_be_others("http_9_a_peer_has_so_many_connections_and_others_are_not_harmed");
    let connect = || {
        let stream = if other {
            identity::connect_as(host.socket(), identity::STRANGER)
        } else {
            UnixStream::connect(host.socket())
        };
        Connection::new(stream.unwrap(), None)
    };
    let live = Request::get("/health/live");
    let mut held: Vec<Connection> = (0..8).map(|_| connect()).collect();
    for connection in &mut held {
        assert_eq!(connection.try_ask(&live).unwrap().status, 200);
    }

    for _ in 0..20 {
        let refused = connect().try_ask(&live);
        assert!(refused.as_ref().map_or(true, |answer| answer.status == 503), "{refused:?}");
    }
    // So many at once are told, if they listen; the others meet a closed door.
    let mut crowd: Vec<Connection> = (0..100).map(|_| connect()).collect();
    let answers: Vec<Option<u16>> =
        crowd.iter_mut().map(|line| line.answer(false).ok().map(|answer| answer.status)).collect();
    assert!(answers.iter().flatten().all(|status| *status == 503), "{answers:?}");
    assert!(answers.iter().flatten().count() >= 64, "{answers:?}");
    drop(crowd);
    if other {
        host.ask(&live).ok();
    }
    for connection in &mut held {
        assert_eq!(connection.try_ask(&live).unwrap().status, 200, "those that are in stay in");
    }
    drop(held);

    let deadline = Instant::now() + Duration::from_secs(10);
    while !connect().try_ask(&live).is_ok_and(|answer| answer.status == 200) {
        assert!(Instant::now() < deadline, "a place that was given back is free");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn aut_5_more_hashing_than_the_queue_takes_is_refused_with_503() {
    let host = Host::start("[argon2]\nworkers = 1\nqueue = 1\n");
    let person = host.person("anna");
    let login = |id: &str| Request::post("/auth/password", &json!({"id": id, "password": PASSWORD}));

    // Of different names: the logins of one user wait for each other before they ask for a hash.
    let statuses: Vec<u16> = thread::scope(|scope| {
        let ask = |number| host.ask(&login(&format!("nobody {number}"))).status;
        let logins: Vec<_> = (0..32).map(|number| scope.spawn(move || ask(number))).collect();
        logins.into_iter().map(|login| login.join().unwrap()).collect()
    });

    assert!(statuses.iter().all(|status| matches!(status, 401 | 503)), "{statuses:?}");
    assert!(statuses.contains(&401) && statuses.contains(&503), "{statuses:?}");
    host.ask(&login(&person.name)).ok();
}

#[test]
fn thr_8_passwords_of_many_at_once_cost_the_memory_of_the_workers_only() {
    const WORKERS: u64 = 2;
    const HASH_KIB: u64 = 19_456;
    let host = Host::start("[argon2]\nworkers = 2\nqueue = 256\n");
    let kib_at_most = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let log_in = |who: u32, time: u32| {
        let login = json!({"id": format!("nobody {who} {time}"), "password": PASSWORD});
        host.ask(&Request::post("/auth/password", &login)).status
    };
    log_in(0, 0);
    let before = kib_at_most();

    thread::scope(|threads| {
        let log_in = &log_in;
        let callers: Vec<_> = (1..=24)
            .map(|who| threads.spawn(move || (0..4).map(|time| log_in(who, time)).collect::<Vec<_>>()))
            .collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap(), vec![401; 4]);
        }
    });

    let more = kib_at_most().saturating_sub(before);
    assert!(more < WORKERS * HASH_KIB + 2 * HASH_KIB, "{more} KiB more than before");
}
