//! Damage of one bit, anywhere in a store: it is found, or changes nothing that a login goes by (AUT-6, STO-13).

use mfad::model::{Sensitive, TokenKind};
use mfad::service::{Call, Reply};

use super::figure::{Dice, report, size};
use crate::asking::{PASSWORD, Person};
use crate::hardware::Workshop;

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
        let Some(shop) = Workshop::on_store(store) else {
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

#[test]
fn aut_6_no_flipped_bit_of_a_store_lets_anybody_in_without_the_factor() {
    let shop = Workshop::new(0);
    Person::at(&shop, shop.clock.now());
    let whole = shop.store_at_the_end();
    let (mut dice, mut tally) = (Dice(9), Tally::default());
    let flips = size(600, whole.len());

    for number in 0..flips {
        let at = if flips == whole.len() { number } else { dice.below(whole.len()) };
        let mut bent = whole.clone();
        bent[at] ^= 1 << dice.below(8);
        tally.add(&bent);
    }

    let Tally { damaged, refused, asked, let_in } = tally;
    println!("{damaged} stores did not open, {refused} logins were refused, {asked} asked for the factor");
    assert_eq!(let_in, 0);
    assert!(damaged > 0 && asked > 0, "the harness meets both");
    let figure = format!("{let_in} logins without the factor in {flips}");
    report("flipped bits of a store, one at a time", figure, "0, at every byte", flips == whole.len());
}
