//! What a person sees of `mfactl` on a terminal of 80 columns and 24 rows.

use serde_json::Value;

use crate::cli::succeeds;
use crate::host::Host;
use crate::interop::{python, python_has};
use crate::people::{PASSWORD, text};

#[test]
fn the_qr_code_of_an_enrolment_is_read_from_the_screen_at_its_prompt_in_any_theme() {
    let test = "the QR code on a screen";
    if !["pyte", "cv2", "zxingcpp"].into_iter().all(|module| python_has(module, test)) {
        return;
    }
    let host = Host::start("");
    // With this name the code is larger, and has the narrow quiet zone.
    for user in ["anna", "anna.bell.miller@example.org"] {
        succeeds(&host, &["user", "add", user, "--password-stdin"], &format!("{PASSWORD}\n"));
        let mut python = python();
        python.arg(mfad_testkit::root().join("tests/terminal/enrol.py"));
        let output = python.arg(mfad_testkit::program("mfactl")).arg(host.socket()).arg(user).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();

        let screen: Vec<&str> = seen["screen"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let key = screen.iter().find_map(|line| line.strip_prefix("cannot scan? type this key: ")).expect("the key");
        let key = key.replace(' ', "");
        for theme in ["dark", "light"] {
            for reader in [0, 1] {
                let uri = text(&seen["read"][theme][reader]);
                assert!(uri.starts_with("otpauth://totp/"), "{theme}, reader {reader}: {uri:?}\n{}", screen.join("\n"));
                assert!(uri.contains(&format!("secret={key}")), "{theme}, reader {reader}: {uri}");
            }
        }
    }
}
