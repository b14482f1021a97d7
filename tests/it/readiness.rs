//! When the daemon says that it can work (SVC-4), with faults that no caller can make.

use mfad_service::error::Error;
use mfad_service::{Call, Reply};

use crate::hardware::{HardwareFixture, after};

fn is_ready(shop: &HardwareFixture, millis: i64) -> bool {
    match shop.ask_at(after(shop.clock.now(), millis), Call::Ready) {
        Ok(Reply::Ready) => true,
        Err(Error::NotReady(_)) => false,
        Ok(_) | Err(_) => panic!("neither ready nor not"),
    }
}

#[test]
fn svc_4_ready_means_that_something_can_be_written() {
    let shop = HardwareFixture::new(0);
    assert!(is_ready(&shop, 0));

    shop.refuse("INSERT ON meta", "a test");
    assert!(is_ready(&shop, 0), "what was found is good for a second");
    assert!(!is_ready(&shop, 1_000));
    shop.refuse_nothing();
    assert!(!is_ready(&shop, 1_000), "that as well");
    shop.refuse("INSERT ON meta", "a test");
    assert!(!is_ready(&shop, 3_000));
    assert!(matches!(shop.ask(Call::Live), Ok(Reply::Live)), "it lives all the same");

    shop.refuse_nothing();
    assert!(is_ready(&shop, 5_000));
}

#[test]
fn http_10_after_a_panic_it_is_not_ready_any_more() {
    let shop = HardwareFixture::new(0);

    shop.service.metrics().count_panic();

    assert!(!is_ready(&shop, 0));
}
