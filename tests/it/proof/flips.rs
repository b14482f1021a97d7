//! Damage of one bit, anywhere in a store: it is found, or changes nothing that a login goes by (AUT-6, STO-13).

use mfad_core::model::{Sensitive, TokenKind};
use mfad_service::{Call, Reply};

use super::figure::{Dice, report, size};
use crate::asking::{PASSWORD, Person};
use crate::hardware::HardwareFixture;

/// What became of one flip.
#[derive(Default)]
struct Tally {
    /// The store does not open.
    damaged: usize,
    /// It opens, and the login is refused.
    refused: usize,
    /// It opens, and the login wants the second factor.
    asked: usize,
    /// The login is done without it.
    let_in: usize,
}

impl Tally {
    fn add(&mut self, store: &[u8]) {
        let Some(shop) = HardwareFixture::on_store(store) else {
            self.damaged += 1;
            return;
        };
        let password = Sensitive::new(PASSWORD.to_owned());
        match shop.ask(Call::LogIn { login: "berta".to_owned(), password }) {
            Ok(Reply::Auth(view)) if view.kind == TokenKind::Challenge => self.asked += 1,
            Ok(_) => self.let_in += 1,
            Err(_) => self.refused += 1,
        }
        shop.service.close();
    }
}

const PAGE: usize = 4096;
/// One byte of so many that no page has in use.
const SELDOM: usize = 64;

/// Which bytes of a page lie between the pointers to its cells and the cells: nobody reads them (SQLite's file format,
/// section 1.6).
fn unused(number: usize, page: &[u8]) -> std::ops::Range<usize> {
    let header = if number == 0 { 100 } else { 0 };
    let at = |place: usize| usize::from(u16::from_be_bytes([page[header + place], page[header + place + 1]]));
    let length = match page[header] {
        2 | 5 => 12,
        10 | 13 => 8,
        _ => return 0..0,
    };
    let (begin, end) = (header + length + 2 * at(3), at(5));
    if begin < end && end <= PAGE { begin..end } else { 0..0 }
}

/// Every byte that is in use, and some of the others.
fn places(store: &[u8]) -> Vec<usize> {
    let pages = store.chunks(PAGE).enumerate();
    let all = pages.flat_map(|(number, page)| {
        let unused = unused(number, page);
        (0..page.len()).filter(move |at| !unused.contains(at) || at % SELDOM == 0).map(move |at| number * PAGE + at)
    });
    all.collect()
}

#[test]
fn aut_6_no_flipped_bit_of_a_store_lets_anybody_in_without_the_factor() {
    let shop = HardwareFixture::new(0);
    Person::at(&shop, shop.clock.now());
    let whole = shop.store_at_the_end();
    let mut places = places(&whole);
    let (mut dice, mut tally) = (Dice(9), Tally::default());
    let all = places.len();
    while places.len() > size(600, usize::MAX) {
        places.swap_remove(dice.below(places.len()));
    }

    for at in &places {
        let mut bent = whole.clone();
        bent[*at] ^= 1 << dice.below(8);
        tally.add(&bent);
    }

    let Tally { damaged, refused, asked, let_in } = tally;
    println!("{damaged} stores did not open, {refused} logins were refused, {asked} asked for the factor");
    assert_eq!(let_in, 0);
    assert!(damaged > 0 && asked > 0, "the harness meets both");
    let done = places.len();
    let figure = format!("{let_in} logins without the factor in {done}, of {} bytes", whole.len());
    report("flipped bits of a store, one at a time", figure, "0, at every byte in use", done == all);
}
