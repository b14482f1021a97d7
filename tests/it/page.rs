//! The self-service page in a real browser, with an authenticator that the browser plays: through a reverse proxy of
//! the test on loopback, and behind each of those that `docs/reverse-proxy.md` configures.

use std::path::Path;
use std::process::Command;

use crate::interop::{python, python_has};

/// Whether the programs are there; says so when one is not, which a CI must not lack.
pub fn are_there(programs: &[&str], test: &str) -> bool {
    // Debian has web servers where only root looks.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let is_there = |name: &str| path.split(':').any(|dir| Path::new(dir).join(name).is_file());
    let missing = programs.iter().find(|name| !is_there(name));
    if let Some(missing) = missing {
        assert!(std::env::var_os("CI").is_none(), "{test}: there is no {missing}");
        println!("{test}: skipped, there is no {missing}");
    }
    missing.is_none()
}

/// Runs a script of `tests/browser` with a daemon of its own.
fn walk(script: &str, more: &[&str], server: Option<&str>, test: &str) {
    let programs: Vec<&str> = ["chromium", "chromedriver"].into_iter().chain(server).collect();
    if !are_there(&programs, test) || !python_has("selenium, cryptography", test) {
        return;
    }
    let mut walk: Command = python();
    walk.arg(mfad_testkit::root().join("tests/browser").join(script)).args(more);

    let walk = walk.arg("--mfad").arg(mfad_testkit::program("mfad")).output().unwrap();

    let said = String::from_utf8_lossy(&walk.stdout);
    assert!(walk.status.success(), "{said}{}", String::from_utf8_lossy(&walk.stderr));
    println!("{}", said.lines().last().unwrap_or_default());
}

#[test]
fn the_page_takes_a_user_through_every_view_in_chromium() {
    walk("page.py", &[], None, "the_page_takes_a_user_through_every_view_in_chromium");
}

#[test]
fn the_page_takes_a_user_through_every_view_through_nginx_as_printed() {
    const HERE: &str = "the_page_takes_a_user_through_every_view_through_nginx_as_printed";
    walk("page.py", &["--through", "nginx"], Some("nginx"), HERE);
}

#[test]
fn page_and_api_work_behind_nginx_as_printed() {
    walk("behind.py", &["nginx"], Some("nginx"), "page_and_api_work_behind_nginx_as_printed");
}

#[test]
fn page_and_api_work_behind_apache_as_printed() {
    walk("behind.py", &["apache"], Some("apache2"), "page_and_api_work_behind_apache_as_printed");
}

#[test]
fn page_and_api_work_behind_haproxy_as_printed() {
    walk("behind.py", &["haproxy"], Some("haproxy"), "page_and_api_work_behind_haproxy_as_printed");
}

#[test]
fn page_and_api_work_behind_caddy_as_printed() {
    walk("behind.py", &["caddyfile"], Some("caddy"), "page_and_api_work_behind_caddy_as_printed");
}
