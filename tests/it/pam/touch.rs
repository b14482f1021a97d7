//! Logins by a touch: Enter at the prompt, then the key, and a code wherever the key does not answer.

use serde_json::{Value, json};

use super::rig::{AUTH_ERR, Stack};
use crate::card;
use crate::fido::{Finger, Key, Make, Touch, VirtualPorts};
use crate::fido2::CONFIG;
use crate::hardware::{Bench, can_have_readers};
use crate::host::Host;
use crate::people::with;
use crate::wire::Request;

const PIN: &str = "correct-48";
const OFFER: &str = "Press Enter and touch your key, or type a code: ";

/// An account with a security key in a port of the host, its user, and the stack of a service.
fn account_with_key(make: Make, more: &Value) -> (Host, String, Key, Stack) {
    let key = Key::new(make);
    let host = Host::with_keys(CONFIG, VirtualPorts::with([key.clone()]));
    let (user, _, _) = host.account("emmy");
    let order = with(json!({"type": "fido2", "local": true}), more);
    host.ask(&Request::post(format!("/users/{user}/secrets"), &order).reason()).ok();
    let stack = Stack::alone(host.socket(), "");
    (host, user, key, stack)
}

#[test]
fn enter_at_the_prompt_and_a_touch_of_the_security_key_let_in() {
    let (host, _, key, stack) = account_with_key(Make::default(), &json!({}));
    let once = Stack::alone(host.socket(), "retries=0");

    stack.authenticate("emmy", "\n").let_in().says(OFFER);
    for finger in [Touch::TimedOut, Touch::Denied] {
        key.set_finger(Finger::Always(finger));
        once.authenticate("emmy", "\n").refused(AUTH_ERR).lacks("Wrong code");
    }
    key.pull();
    once.authenticate("emmy", "\n").refused(AUTH_ERR).lacks("Wrong code");
}

#[test]
fn who_does_not_touch_the_key_may_type_a_code_instead() {
    let (host, user, key, stack) = account_with_key(Make::default(), &json!({}));
    let mut factor = host.pending_for(&user, &json!({"kind": "hotp"}));
    host.confirm(&mut factor);
    key.set_finger(Finger::Always(Touch::TimedOut));

    stack.authenticate("emmy", &format!("\n{}\n", factor.next())).let_in();
}

#[test]
fn nobody_is_asked_to_touch_a_key_from_another_host_or_where_the_stack_takes_no_touch() {
    let (host, _, _key, stack) = account_with_key(Make::default(), &json!({}));
    let enter = |items: &[&str], stack: &Stack| stack.run(items, "svc", "emmy", &["authenticate"], b"\n");

    for items in [["rhost=192.0.2.7"], ["rhost=printer"], ["tty=ssh"]] {
        enter(&items, &stack).refused(AUTH_ERR).lacks("touch").says("Code: ");
    }
    // The login of Debian 12 says that there is no remote host by an empty one.
    enter(&["rhost="], &stack).let_in().says(OFFER);
    let codes = Stack::alone(host.socket(), "methods=code,backup");
    enter(&[], &codes).refused(AUTH_ERR).lacks("touch");
}

#[test]
fn fido_3_a_security_key_with_a_pin_is_told_it_and_a_wrong_one_is_asked_again() {
    let make = Make { pin: Some(PIN.to_owned()), ..Make::default() };
    let (_host, _, _key, stack) = account_with_key(make, &json!({"uv": "required", "pin": PIN}));

    stack.authenticate("emmy", &format!("\n{PIN}\n")).let_in().says("PIN of your key: ").lacks(PIN);
    let shown = stack.authenticate("emmy", &format!("\nwrong-48\n\n{PIN}\n"));
    shown.let_in().says("PIN").lacks("wrong-48");
    // An empty PIN, and one with bytes that nobody types, never reach the key.
    for pin in ["", "\x08\x7f"] {
        stack.authenticate("emmy", &format!("\n{pin}\n")).refused(AUTH_ERR);
    }
    stack.authenticate("emmy", &format!("\n{PIN}\n")).let_in();
}

#[test]
fn hw_7_enter_at_the_prompt_and_a_touch_of_the_hardware_key_let_in() {
    if !can_have_readers("hw_7_enter_at_the_prompt_and_a_touch_of_the_hardware_key_let_in") {
        return;
    }
    let bench = Bench::with_key(card::Key::new(7));
    let user = bench.host.nobody("emmy");
    bench.provisioned(&user, &json!({"touch": true, "kind": "hotp"}));
    bench.host.give_account(&user);
    let stack = Stack::alone(bench.host.socket(), "");

    stack.authenticate("emmy", "\n").let_in().says(OFFER);
    bench.reader().with_key(|key| key.touch = card::Touch::Refused);
    stack.authenticate("emmy", "\n").refused(AUTH_ERR).lacks("Wrong code");
    bench.pull(0);
    stack.authenticate("emmy", "\n").refused(AUTH_ERR).lacks("out of service");
}
