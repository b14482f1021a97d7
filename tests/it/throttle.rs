//! Guesses are counted before they are answered, and the counts outlive everything but a success.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::mfactl;
use crate::host::Host;
use crate::people::PASSWORD;
use crate::wire::{Answer, Request};

/// Long enough for a restart and a few requests to fit in.
const LONG: Duration = Duration::from_secs(6);

/// Guesses until the delay is a long one, waiting out the shorter ones as `Retry-After` says; yields how many
/// guesses were evaluated, and the refusal.
fn guess_until_long_delay(guess: impl Fn() -> Answer) -> (u32, Answer) {
    let mut evaluated = 0;
    for _ in 0..40 {
        let answer = guess();
        match answer.status {
            401 => evaluated += 1,
            429 if answer.retry_after() >= LONG => return (evaluated, answer),
            429 => thread::sleep(answer.retry_after()),
            status => panic!("{status}: {}", answer.text()),
        }
    }
    panic!("40 guesses and no long delay");
}

#[test]
fn a_delay_is_shown_and_an_unlock_says_what_it_ended() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    assert_eq!(host.ask(&Request::get(person.path())).ok()["lock"], json!({"state": "none"}));
    let wrong = factor.wrong();
    guess_until_long_delay(|| host.verify(&person.id, &json!({"token": wrong})));

    let lock = &host.ask(&Request::get(person.path())).ok()["lock"];
    assert_eq!((&lock["state"], &lock["failures"]), (&json!("delayed"), &json!(8)), "{lock}");
    assert!(lock["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{lock}");
    // The end is computed from what is left, so its milliseconds vary.
    let names_the_delay = |text: &str| text.contains("delayed until 20") && text.contains("Z (8 wrong)");
    let said = |arguments: &[&str]| String::from_utf8(mfactl(&host, arguments, "").stdout).unwrap();
    assert!(said(&["user", "list"]).contains(" delayed "));
    for shown in [said(&["-o", "wide", "user", "list"]), said(&["user", "show", "anna"])] {
        assert!(names_the_delay(&shown), "{shown}");
    }
    let unlocked = said(&["unlock", "anna", "--reason", "a test"]);
    assert!(unlocked.contains("unlocked anna: was ") && names_the_delay(&unlocked), "{unlocked}");

    assert!(said(&["unlock", "anna", "--reason", "a test"]).contains("neither locked nor delayed"));
    host.verify(&person.id, &json!({"token": factor.next()})).ok();
}

/// A refusal without what differs from one moment to the next.
fn timeless(answer: &Answer) -> Value {
    let mut problem = answer.json();
    for member in ["requestId", "retryAfter"] {
        problem[member] = json!(null);
    }
    // The seconds may also stand in the sentence.
    let detail: String =
        problem["detail"].as_str().unwrap_or_default().chars().filter(|c| !c.is_ascii_digit()).collect();
    problem["detail"] = json!(detail);
    problem
}

#[test]
fn thr_1_after_five_wrong_codes_right_and_wrong_get_the_same_429_which_survives_a_kill() {
    let mut host = Host::start("");
    let (person, mut factor, codes) = host.guarded("anna");
    let wrong = factor.wrong();
    let (evaluated, _) = guess_until_long_delay(|| host.verify(&person.id, &json!({"token": wrong})));
    assert_eq!(evaluated, 8, "4 free, then delays of 1, 2, 4 and now 8 seconds");
    let challenge = host.challenge(&person);

    let right = factor.next();
    for again in ["before the kill", "after the kill"] {
        let refusals = [
            host.answer_totp(&challenge, &right),
            host.answer_totp(&challenge, &wrong),
            host.answer_recovery(&challenge, &codes[0]),
            host.answer_recovery(&challenge, "0000-0000-0000-0000"),
            host.verify(&person.id, &json!({"token": right})),
            host.verify(&person.id, &json!({"code": codes[0]})),
            host.ask(&Request::post("/auth/stepup", &json!({"token": right, "action": "x"})).token(&person.token)),
        ];
        for refusal in &refusals {
            refusal.refused(429, "too-many-attempts");
            assert_eq!(timeless(refusal), timeless(&refusals[0]), "THR-5, THR-7: {again}");
        }
        host.restart();
    }

    // THR-6: what is left of the delay is left after the second kill, too; then the right code is right.
    let wait = host.answer_totp(&challenge, &right);
    thread::sleep(if wait.status == 429 { wait.retry_after() } else { Duration::ZERO });
    if wait.status == 429 {
        host.answer_totp(&challenge, &right).ok();
    } else {
        wait.ok();
    }
}

#[test]
fn thr_3_only_a_success_of_the_factor_itself_resets_its_count() {
    let mut host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    let wrong = factor.wrong();
    let guess = |host: &Host| host.verify(&person.id, &json!({"token": wrong}));

    for _ in 0..4 {
        guess(&host).refused(401, "wrong-code");
    }
    host.challenge(&person);
    host.pending_for(&person.id, &json!({"name": "second"}));
    host.restart();
    guess(&host).refused(401, "wrong-code");
    let (evaluated, _) = guess_until_long_delay(|| guess(&host));
    assert_eq!(5 + evaluated, 8, "neither password, challenge, pending secret nor restart counts as a success");

    host.unlock(&person.id);
    host.verify(&person.id, &json!({"token": factor.next()})).ok();
    for _ in 0..4 {
        guess(&host).refused(401, "wrong-code");
    }
    host.verify(&person.id, &json!({"token": factor.next()})).ok();
}

#[test]
fn bkc_6_wrong_backup_codes_and_wrong_tokens_are_counted_together() {
    let host = Host::start("");
    let (person, factor, _) = host.guarded("anna");
    let turn = std::cell::Cell::new(false);

    let (evaluated, _) = guess_until_long_delay(|| {
        turn.set(!turn.get());
        let proof = if turn.get() { json!({"token": factor.wrong()}) } else { json!({"code": "0000-0000-0000-0000"}) };
        host.verify(&person.id, &proof)
    });

    assert_eq!(evaluated, 8);
}

#[test]
fn thr_5_wrong_passwords_delay_the_password_and_leave_the_second_factor_alone() {
    let host = Host::start("");
    let (person, mut factor, _) = host.guarded("anna");
    let challenge = host.challenge(&person);
    let login =
        |id: &str, password: &str| host.ask(&Request::post("/auth/password", &json!({"id": id, "password": password})));

    // THR-4: variants of a name are one name.
    let turn = std::cell::Cell::new(0);
    let (evaluated, _) = guess_until_long_delay(|| {
        turn.set(turn.get() + 1);
        login(["anna", "ANNA", "ａｎｎａ", person.id.as_str()][turn.get() % 4], "not the password")
    });
    let right = login("anna", PASSWORD);
    let wrong = login("anna", "not the password");

    assert_eq!(evaluated, 8);
    right.refused(429, "too-many-attempts");
    assert_eq!(timeless(&right), timeless(&wrong));
    host.answer_totp(&challenge, &factor.next()).ok();
    host.unlock(&person.id);
    login("anna", PASSWORD).ok();
}

#[test]
fn aut_4_an_unknown_name_is_delayed_like_a_known_one() {
    let host = Host::start("");
    let login =
        |id: &str| host.ask(&Request::post("/auth/password", &json!({"id": id, "password": "not the password"})));
    host.person("known");

    let (known, refusal_of_known) = guess_until_long_delay(|| login("known"));
    let (unknown, refusal_of_unknown) = guess_until_long_delay(|| login("unknown"));

    assert_eq!(unknown, known);
    assert_eq!(timeless(&refusal_of_unknown), timeless(&refusal_of_known));
}

#[test]
fn thr_1_a_factor_is_locked_at_the_last_failure_until_an_administrator_unlocks_it() {
    let mut host = Host::start("[throttle]\ndelayAfter = 2\nlockAfter = 3\n");
    let (person, mut factor, codes) = host.guarded("anna");
    let challenge = host.challenge(&person);
    let wrong = factor.wrong();
    while host.verify(&person.id, &json!({"token": wrong})).status != 423 {
        let answer = host.verify(&person.id, &json!({"token": wrong}));
        if answer.status == 429 {
            thread::sleep(answer.retry_after());
        }
    }

    for _ in 0..2 {
        host.verify(&person.id, &json!({"token": factor.next()})).refused(423, "factor-locked");
        host.verify(&person.id, &json!({"code": codes[0]})).refused(423, "factor-locked");
        assert!(
            matches!(host.answer_totp(&challenge, &factor.next()).status, 401 | 423),
            "AUT-2: it may have ended with the lock"
        );
        host.restart();
    }
    host.ask(&Request::new("POST", format!("{}/unlock", person.path()))).refused(403, "fresh-proof-required");
    host.unlock(&person.id);
    host.verify(&person.id, &json!({"token": factor.next()})).ok();
}

#[test]
fn thr_2_parallel_guesses_are_evaluated_no_more_often_than_the_limit_allows() {
    let host = Host::start("");
    let (person, factor, _) = host.guarded("anna");
    let guesses: Vec<String> = factor.wrong_codes().take(256).collect();

    let evaluated: usize = thread::scope(|scope| {
        let workers: Vec<_> = guesses
            .chunks(8)
            .map(|chunk| {
                let (host, user) = (&host, person.id.as_str());
                scope.spawn(move || {
                    let mut connection = host.connect();
                    let guess = |code: &String| Request::post(format!("/users/{user}/verify"), &json!({"token": code}));
                    chunk.iter().filter(|code| connection.ask(&guess(code)).status == 401).count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });

    // Five at once; each later one needs a delay to have passed, and the whole volley takes no eight seconds.
    assert!((5..=8).contains(&evaluated), "{evaluated}");
}
