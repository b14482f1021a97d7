//! `mfactl import`: what it says of each line is true, and input of another kind is named.

use serde_json::{Value, json};

use crate::cli::mfactl;
use crate::host::Host;
use crate::otp;
use crate::wire::Request;

const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn uri(account: &str, more: &str) -> String {
    format!("otpauth://totp/Old:{account}?secret={SEED}{more}")
}

/// Exit code and words, none of which is the seed.
fn import(host: &Host, more: &[&str], input: impl AsRef<[u8]>) -> (Option<i32>, String) {
    let output = mfactl(host, &[&["import", "--reason", "a move", "--no-input"], more].concat(), input);
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8(words).unwrap();
    assert!(!words.contains(&SEED[..8]), "{words}");
    (output.status.code(), words)
}

/// The factors of a user: their states and digits.
fn factors(host: &Host, user: &str) -> Vec<(String, u64)> {
    let listed = host.ask(&Request::get(format!("/users/{user}/secrets"))).ok();
    let secrets = listed["secrets"].as_array().unwrap().iter().filter(|secret| secret["type"] == "mfa");
    secrets.map(|secret| (secret["status"].as_str().unwrap().to_owned(), secret["digits"].as_u64().unwrap())).collect()
}

fn pending(digits: u64) -> Vec<(String, u64)> {
    vec![("pending".to_owned(), digits)]
}

#[test]
fn a_second_pending_factor_of_a_user_is_refused_and_the_first_one_lives() {
    let host = Host::start("");

    for (number, spelling) in ["the same", "in capitals", "the uid"].into_iter().enumerate() {
        let (first, other) = (format!("ann{number}"), format!("bob{number}"));
        let (ann, bob) = (host.nobody(&first), host.nobody(&other));
        let again = match spelling {
            "the same" => first.clone(),
            "in capitals" => first.to_uppercase(),
            _ => ann.clone(),
        };
        let list = [uri(&first, "&digits=7"), uri(&other, ""), uri(&again, "&digits=8")].join("\n");

        let (code, words) = import(&host, &["--pending"], &list);

        assert_eq!(code, Some(1), "{spelling}: {words}");
        assert!(words.contains("line 3: ") && words.contains("of line 1"), "{spelling}: {words}");
        assert!(words.contains("1 of 3 were not imported"), "{spelling}: {words}");
        assert_eq!(words.matches("finish with").count(), 2, "{spelling}: {words}");
        assert_eq!((factors(&host, &ann), factors(&host, &bob)), (pending(7), pending(6)), "{spelling}");
    }
}

#[test]
fn a_line_after_a_refused_one_of_the_same_user_is_taken_over() {
    let host = Host::start("");
    let ann = host.nobody("ann");
    let list =
        [uri("ann", "&encoder=steam"), uri("nobody", ""), "GEZDGNBVGY3TQOJQ".to_owned(), uri("ann", "&digits=8")];

    let (code, words) = import(&host, &["--pending"], list.join("\r\n"));

    assert_eq!(code, Some(1), "{words}");
    for said in ["line 1: ", "encoder", "line 2: no such user: nobody", "line 3: this is a bare Base32", "3 of 4"] {
        assert!(words.contains(said), "{said}: {words}");
    }
    assert_eq!(factors(&host, &ann), pending(8));
}

#[test]
fn factors_that_are_confirmed_at_once_follow_one_another() {
    let host = Host::start("");
    let ann = host.nobody("ann");
    let seed = otp::seed_of(SEED);
    let code_file = host.dirs.dir.path().join("code");

    for digits in [6, 7, 8] {
        let profile = otp::Profile { hash: otp::Hash::Sha1, digits, moving: otp::OtpKind::Totp(120) };
        std::fs::write(&code_file, profile.code(&seed, otp::step(120))).unwrap();
        let uri = uri("ann", &format!("&period=120&digits={digits}"));
        let (code, words) = import(&host, &["--code-file", code_file.to_str().unwrap()], uri);
        assert_eq!(code, Some(0), "{words}");
    }

    let active = [6, 7, 8].map(|digits| ("active".to_owned(), digits)).to_vec();
    let mut found = factors(&host, &ann);
    found.sort();
    assert_eq!(found, active);
}

#[test]
fn a_byte_order_mark_before_the_list_is_passed_over() {
    let host = Host::start("");
    let ann = host.nobody("ann");
    host.nobody("bob");

    for list in [uri("ann", ""), format!("{}\r\n", uri("ann", "")), format!("# old\r\n{}", uri("ann", ""))] {
        let (code, words) = import(&host, &["--pending"], format!("\u{feff}{list}"));
        assert_eq!(code, Some(0), "{words}");
    }
    let list = [uri("ann", "&digits=8"), uri("bob", "")].join("\n");
    assert_eq!(import(&host, &["--pending"], format!("\u{feff}{list}")).0, Some(0));
    assert_eq!(factors(&host, &ann), pending(8));
}

#[test]
fn input_of_another_kind_is_named_and_nothing_is_sent() {
    let host = Host::start("");
    let ann = host.nobody("ann");
    let aegis = json!({"version": 1, "db": {"entries": [{"type": "totp", "name": "ann", "info": {"secret": SEED}}]}});
    let andotp = json!([{"secret": SEED, "label": "ann", "digits": 6}]);

    for (input, what) in [
        (aegis.to_string().into_bytes(), "JSON"),
        (format!("{aegis:#}").into_bytes(), "JSON"),
        (andotp.to_string().into_bytes(), "JSON"),
        (format!("name,secret\nann,{SEED}\n").into_bytes(), "CSV"),
        (format!("<?xml version=\"1.0\"?>\n<KeyContainer><Secret>{SEED}</Secret></KeyContainer>").into_bytes(), "PSKC"),
        (b"otpauth-migration://offline?data=CjEKCkhello".to_vec(), "otpauth-migration"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), "picture"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF".to_vec(), "picture"),
        (SEED.to_lowercase().into_bytes(), "Base32"),
        (b"\xff\xfeo\0t\0p\0".to_vec(), "UTF-16"),
        (b"https://example.org/ann".to_vec(), "not an otpauth URI"),
        (b"# nothing yet\n".to_vec(), "no otpauth URI"),
    ] {
        let (code, words) = import(&host, &["--pending", "--user", "ann"], &input);
        assert_eq!(code, Some(2), "{what}: {words}");
        assert!(words.contains(what), "{what}: {words}");
    }
    assert!(factors(&host, &ann).is_empty());
}

#[test]
fn parameters_that_no_code_depends_on_are_told_of_and_others_are_refused_by_name() {
    let host = Host::start("");
    let ann = host.nobody("ann");

    for (more, names) in [
        ("&codeDisplay=%7B%22pinned%22%3Afalse%7D", "codeDisplay"),
        ("&icon=https%3A%2F%2Fexample.org&color=ff0000", "icon, color"),
        ("&tag=work&image=x&lock=true", "tag, image, lock"),
    ] {
        let (code, words) = import(&host, &["--pending"], uri("ann", more));
        assert_eq!(code, Some(0), "{more}: {words}");
        assert!(words.contains(&format!("ignored parameters: {names} ")), "{more}: {words}");
    }
    assert!(!import(&host, &["--pending"], uri("ann", "&digits=8&issuer=Old")).1.contains("ignored parameters"));
    for name in ["encoder", "offset", "t0", "pin"] {
        let (code, words) = import(&host, &["--pending"], uri("ann", &format!("&{name}=7")));
        assert_eq!(code, Some(2), "{name}: {words}");
        assert!(words.contains(&format!("its parameter {name} is not known here")), "{words}");
        let order: Value = json!({"otpauth_url": uri("ann", &format!("&{name}=7"))});
        let asked = host.ask(&Request::post(format!("/users/{ann}/secrets/import"), &order).reason());
        assert!(asked.refused(400, "malformed")["detail"].as_str().unwrap().contains(name));
    }
    assert_eq!(factors(&host, &ann), pending(8), "the last one that was taken");
}
