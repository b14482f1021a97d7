//! The example shops of the clients, one in Python and one in Rust: a customer in a real browser registers, sets up a
//! phone by the picture on the page, logs in, confirms an order and recovers.

use crate::interop::{python, python_has};
use crate::page::are_there;

fn visit(kind: &str, test: &str) {
    let modules = "selenium, cryptography, zxingcpp, cv2, flask, gunicorn";
    if !are_there(&["chromium", "chromedriver", "nginx"], test) || !python_has(modules, test) {
        return;
    }
    let mut visit = python();
    visit.arg(mfad_testkit::root().join("tests/browser/shop.py")).arg(kind);
    visit.arg("--mfad").arg(mfad_testkit::program("mfad"));
    visit.arg("--shop").arg(mfad_testkit::example("shop"));

    let visit = visit.output().unwrap();

    let said = String::from_utf8_lossy(&visit.stdout);
    assert!(visit.status.success(), "{said}{}", String::from_utf8_lossy(&visit.stderr));
}

#[test]
fn a_customer_buys_in_the_shop_with_flask() {
    visit("flask", "a_customer_buys_in_the_shop_with_flask");
}

#[test]
fn a_customer_buys_in_the_shop_with_axum() {
    visit("axum", "a_customer_buys_in_the_shop_with_axum");
}
