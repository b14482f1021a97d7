//! The self-service page in a real browser, through a reverse proxy on loopback, with an authenticator that the browser plays.

use std::path::Path;
use std::process::Command;

use crate::interop::{python, python_has};

#[test]
fn the_page_takes_a_user_through_every_view_in_chromium() {
    const HERE: &str = "the_page_takes_a_user_through_every_view_in_chromium";
    let is_there =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    let missing = ["chromium", "chromedriver"].into_iter().find(|program| !is_there(program));
    if let Some(missing) = missing {
        assert!(std::env::var_os("CI").is_none(), "{HERE}: there is no {missing}");
        println!("{HERE}: skipped, there is no {missing}");
        return;
    }
    if !python_has("selenium", HERE) {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/page.py");

    let walk = python().arg(script).arg("--mfad").arg(env!("CARGO_BIN_EXE_mfad")).output().unwrap();

    let said = String::from_utf8_lossy(&walk.stdout);
    assert!(walk.status.success(), "{said}{}", String::from_utf8_lossy(&walk.stderr));
    println!("{}", said.lines().last().unwrap_or_default());
}
