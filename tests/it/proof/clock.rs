//! A clock that jumps: no code counts twice, and no date breaks anything (TIME-1, TIME-2).

use std::collections::BTreeSet;

use mfad_core::model::{BackupCode, Digits, Moment, OtpKind, Profile, SecretId, TokenInput, UserRef};
use mfad_service::{Call, Proof, Reply, SecretRef};

use super::figure::{Dice, report, size};
use crate::asking::{code_of, enrol_at, pending_at};
use crate::hardware::{HardwareFixture, totp};
use crate::otp;

const DAY: i64 = 86_400_000;
/// Wall clocks that broke other programs: the first second, the last of 32 bits, signed and unsigned.
const YEARS: [i64; 3] = [30_000, 2_147_483_647_000, 4_294_967_296_000];

/// A service whose clock is the test's, and a user with a factor that goes by it.
pub struct Times {
    shop: HardwareFixture,
    pub seed: Vec<u8>,
    /// The backup codes.
    pub codes: Vec<String>,
    pub wall: i64,
    pub boot: i64,
}

impl Times {
    pub fn begin(wall: i64) -> Self {
        let shop = HardwareFixture::new(0);
        let mut times = Self { shop, seed: Vec::new(), codes: Vec::new(), wall, boot: 1_000 };
        let now = times.step();
        (_, times.seed, times.codes) = times.enrol(totp(), now);
        times
    }

    /// Another factor, which counts, and its seed.
    pub fn also_count(&self, digits: Digits) -> (SecretId, Vec<u8>) {
        let (secret, seed, _) = self.enrol(Profile { moving: OtpKind::Hotp, digits, ..totp() }, 0);
        (secret, seed)
    }

    /// An administrator takes a factor away.
    pub fn take_away(&self, secret: SecretId) {
        let user = UserRef::Id(self.shop.user);
        assert!(self.ask(Call::DeleteSecret(user, SecretRef::Id(secret), None)).is_ok());
    }

    /// A factor confirmed by the code of that step or counter: its id and seed, and the backup codes that came with it.
    fn enrol(&self, profile: Profile, first: u64) -> (SecretId, Vec<u8>, Vec<String>) {
        let (secret, seed) = pending_at(&self.shop, self.now(), self.shop.user, profile);
        let first = otp::code(&seed, otp::Hash::Sha1, profile.digits.count().into(), first);
        let first = TokenInput::from_text(&first).unwrap();
        let enrolled = enrol_at(&self.shop, self.now(), self.shop.user, secret, first);
        let Ok(Reply::Enrolled { codes, .. }) = enrolled else { panic!("no enrolment") };
        (secret, seed, codes.iter().map(|code| code.expose().clone()).collect())
    }

    /// Shows these digits.
    pub fn show_digits(&self, digits: &str) -> Result<(), mfad_service::error::Error> {
        self.verify(Proof::Token(TokenInput::from_text(digits).unwrap()))
    }

    /// Ends the daemon and starts it again.
    pub fn restart(self) -> Self {
        Self { shop: self.shop.restart(), ..self }
    }

    fn ask(&self, call: Call) -> Result<Reply, mfad_service::error::Error> {
        self.shop.ask_at(self.now(), call)
    }

    fn now(&self) -> Moment {
        Moment { wall_ms: self.wall, boot_ms: self.boot, boot: [7; 16] }
    }

    pub fn step(&self) -> u64 {
        u64::try_from(self.wall / 30_000).unwrap()
    }

    fn verify(&self, proof: Proof) -> Result<(), mfad_service::error::Error> {
        self.ask(Call::Verify(UserRef::Id(self.shop.user), proof)).map(drop)
    }

    /// Shows the code of a step.
    pub fn show(&self, step: u64) -> Result<(), mfad_service::error::Error> {
        self.verify(Proof::Token(code_of(&self.seed, step)))
    }

    /// Shows one of the backup codes.
    pub fn show_backup(&self, place: usize) -> Result<(), mfad_service::error::Error> {
        self.verify(Proof::Code(BackupCode::parse(&self.codes[place]).unwrap()))
    }

    /// An administrator ends locks and delays.
    pub fn unlock(&self) {
        assert!(self.ask(Call::UnlockUser(UserRef::Id(self.shop.user))).is_ok());
    }

    fn is_taken(&self) -> bool {
        self.show(self.step()).is_ok()
    }

    /// The wall clock jumps. The boot clock does not, and goes on for longer than any delay.
    fn jump(&mut self, by: i64) {
        self.wall += by;
        self.boot += 20 * 60_000;
    }
}

/// What may go wrong with codes that were used while the clock was ahead.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forgets {
    /// Nothing: the daemon as it is.
    Nothing,
    /// The control: the store forgets which they were, each time that an administrator unlocks.
    FutureSteps,
}

/// So many jumps: how many codes counted again, and how many were refused as they have to be. An administrator may take the
/// steps that lie in the future back each time.
fn replays(jumps: usize, takes_back: bool, forgets: Forgets) -> (usize, usize) {
    let mut times = Times::begin(1_700_000_000_000);
    let mut dice = Dice(3);
    let mut taken = BTreeSet::from([times.step()]);
    let (mut replays, mut refused) = (0, 0);
    for _ in 0..jumps {
        // Mostly forward, or the lock would end the story.
        let way = if dice.below(8) < 5 { DAY } else { -DAY };
        // With unlocks the very same steps come again, which are what an unlock may forget.
        let more = if takes_back { 0 } else { i64::try_from(dice.below(3)).unwrap() };
        times.jump(way + more * 30_000);
        if takes_back {
            times.unlock();
        }
        if forgets == Forgets::FutureSteps {
            times.shop.forget_future_steps();
        }
        let is_new = taken.last().is_none_or(|last| times.step() > *last);
        match (times.is_taken(), is_new) {
            (true, true) => {
                taken.insert(times.step());
                replays += usize::from(times.is_taken());
            }
            // After an unlock, codes of the present count that nobody has used.
            (true, false) => {
                replays += usize::from(!takes_back || taken.contains(&times.step()));
                taken.insert(times.step());
            }
            (false, false) => refused += 1,
            // Whoever unlocks may keep codes from counting that were never used, next to those that were.
            (false, true) if takes_back => {}
            (false, true) => panic!("a right code of a new step is refused at {}", times.wall),
        }
    }
    assert!(taken.len() > jumps / 8, "{} taken", taken.len());
    (replays, refused)
}

#[test]
fn time_1_while_the_clock_jumps_by_days_no_code_counts_twice() {
    let jumps = size(1_000, 10_000);

    let (again, refused) = replays(jumps, false, Forgets::Nothing);
    let (after_unlocks, _) = replays(jumps, true, Forgets::Nothing);

    assert!(refused > jumps / 8, "{refused} refused");
    assert_eq!((again, after_unlocks), (0, 0));
    assert!(replays(100, true, Forgets::FutureSteps).0 > 0, "the harness finds codes that count again");
    let figure = format!("{again} replays in {jumps}, {after_unlocks} with as many unlocks");
    report("clock jumps of a day", figure, "0, 0 in 1,000", jumps >= 1_000);
}

#[test]
fn time_1_no_year_breaks_anything() {
    for year in YEARS {
        let mut times = Times::begin(year);
        times.jump(60_000);
        assert!(times.is_taken(), "at {year}");
        assert!(!times.is_taken(), "at {year}");
    }
    report("years 1970, 2038 and 2106", "codes count once", "codes count once", true);
}
