//! A virtual security key at the level of CTAPHID reports (CTAP 2.1 section 11.2): channels, messages, keep-alives,
//! cancel.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use mfad_hardware::device::{DeviceFault, REPORT, Report, Reports};

use super::authenticator::{Answer, Authenticator, Make, Touch};

const INIT: u8 = 0x06;
const PING: u8 = 0x01;
const WINK: u8 = 0x08;
const CBOR: u8 = 0x10;
const CANCEL: u8 = 0x11;
const KEEPALIVE: u8 = 0x3B;
const ERROR: u8 = 0x3F;
const BROADCAST: u32 = u32::MAX;
const KEEPALIVE_CANCEL: u8 = 0x2D;

/// The behaviour of the user at the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finger {
    /// The same reaction each time the key blinks.
    Always(Touch),
    /// No reaction: the key keeps blinking.
    Away,
}

/// A handle to a virtual security key. Clones are handles to the same key.
#[derive(Clone)]
pub struct Key(Arc<Shared>);

/// An open connection of one program to a key. As with hidraw, each connection receives all reports of the key.
pub struct Line {
    key: Key,
    number: usize,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.key.state().going.remove(&self.number);
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    authenticator: Authenticator,
    finger: Finger,
    is_pulled: bool,
    /// Number of further messages after which the key is pulled.
    pull_after: Option<usize>,
    knows_only_u2f: bool,
    /// Whether the key has stopped answering.
    is_deaf: bool,
    has_neighbours: bool,
    channels: u32,
    /// A message that is being received: channel, command, length, bytes so far, next sequence number.
    coming: Option<(u32, u8, usize, Vec<u8>, u8)>,
    /// The message that waits for a touch, with its channel.
    waiting: Option<(u32, Vec<u8>)>,
    cancelled: usize,
    /// Reports that each connection has not received yet.
    going: BTreeMap<usize, VecDeque<Report>>,
    lines: usize,
}

impl Key {
    pub fn new(make: Make) -> Self {
        let state = State {
            has_neighbours: make.has_neighbours,
            authenticator: Authenticator::new(make),
            finger: Finger::Always(Touch::Given),
            is_pulled: false,
            pull_after: None,
            knows_only_u2f: false,
            is_deaf: false,
            channels: 0,
            coming: None,
            waiting: None,
            cancelled: 0,
            going: BTreeMap::new(),
            lines: 0,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// Opens a connection to the key.
    pub fn line(&self) -> Line {
        let mut state = self.state();
        state.lines += 1;
        let number = state.lines;
        state.going.insert(number, VecDeque::new());
        drop(state);
        Line { key: self.clone(), number }
    }

    /// Creates a key that is older than FIDO2 and supports only U2F.
    pub fn of_u2f() -> Self {
        let key = Self::new(Make::default());
        key.state().knows_only_u2f = true;
        key
    }

    /// Creates a key whose credential ids are long, as those of phones are.
    pub fn with_long_ids() -> Self {
        Self::new(Make { id_length: 200, ..Make::default() })
    }

    /// Uses up all PIN attempts, so that the PIN is blocked.
    pub fn spend_pins(&self) {
        self.state().authenticator.retries = 0;
    }

    pub fn set_finger(&self, finger: Finger) {
        self.state().finger = finger;
        self.0.changed.notify_all();
    }

    /// Makes the key stop answering.
    pub fn go_deaf(&self) {
        self.state().is_deaf = true;
    }

    pub fn pull(&self) {
        self.state().is_pulled = true;
        self.0.changed.notify_all();
    }

    pub fn plug_in(&self) {
        let mut state = self.state();
        (state.is_pulled, state.pull_after) = (false, None);
        state.going.values_mut().for_each(VecDeque::clear);
        state.waiting = None;
        state.authenticator.reset_power();
    }

    /// Pulls the key once it has received this number of further messages.
    pub fn pull_after(&self, messages: usize) {
        self.state().pull_after = Some(messages);
    }

    pub fn is_pulled(&self) -> bool {
        self.state().is_pulled
    }

    /// Whether the key waits for a touch.
    pub fn is_blinking(&self) -> bool {
        self.state().waiting.is_some()
    }

    /// Returns the number of cancel requests that the key has received.
    pub fn cancelled(&self) -> usize {
        self.state().cancelled
    }

    /// Waits until the key waits for a touch; panics after 20 s.
    pub fn wait_for_blink(&self) {
        let waited = self.0.changed.wait_timeout_while(self.state(), Duration::from_secs(20), |s| s.waiting.is_none());
        assert!(!waited.unwrap().1.timed_out(), "the key does not blink");
    }

    /// Waits until the key has received this number of cancel requests; panics after 20 s.
    pub fn wait_for_cancel(&self, times: usize) {
        let waited =
            self.0.changed.wait_timeout_while(self.state(), Duration::from_secs(20), |state| state.cancelled < times);
        assert!(!waited.unwrap().1.timed_out(), "nobody told the key to give up");
    }

    /// Handles a message of another program than the daemon, with a touch.
    pub fn ask(&self, message: &[u8]) -> Vec<u8> {
        match self.state().authenticator.handle(message, Some(Touch::Given)) {
            Answer::Done(answer) => answer,
            Answer::WantsTouch => unreachable!("it was touched"),
        }
    }

    /// The settings of the key: its PIN, the shortest PIN that it takes, whether it always verifies its user, and which
    /// credentials it keeps itself.
    pub fn settings(&self) -> (Option<String>, i128, bool, Vec<bool>) {
        let state = self.state();
        let authenticator = &state.authenticator;
        let pin = authenticator.pin().map(str::to_owned);
        (pin, authenticator.shortest_pin, authenticator.always_verifies, authenticator.kept.clone())
    }

    pub fn set_counter(&self, counter: u32) {
        self.state().authenticator.counter = counter;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }
}

impl Reports for Line {
    fn send(&mut self, report: &Report) -> Result<(), DeviceFault> {
        let mut state = self.key.state();
        if state.is_pulled {
            return Err(DeviceFault::Removed);
        }
        state.take(report);
        drop(state);
        self.key.0.changed.notify_all();
        Ok(())
    }

    fn receive(&mut self, patience: Duration) -> Result<Option<Report>, DeviceFault> {
        let mut state = self.key.state();
        if state.is_pulled {
            return Err(DeviceFault::Removed);
        }
        state.see_finger();
        if state.is_silent(self.number) {
            let waited = self.key.0.changed.wait_timeout(state, patience.min(Duration::from_millis(20)));
            state = waited.unwrap().0;
            state.see_finger();
        }
        if state.is_pulled {
            return Err(DeviceFault::Removed);
        }
        if state.is_deaf {
            return Ok(None);
        }
        if let (true, Some((channel, _))) = (state.is_silent(self.number), &state.waiting) {
            let channel = *channel;
            state.answer(channel, KEEPALIVE, &[2]);
        }
        Ok(state.going.get_mut(&self.number).and_then(VecDeque::pop_front))
    }
}

impl State {
    fn is_silent(&self, line: usize) -> bool {
        self.going.get(&line).is_none_or(VecDeque::is_empty)
    }

    fn say(&mut self, report: Report) {
        self.going.values_mut().for_each(|line| line.push_back(report));
    }

    /// Handles the waiting message, if the user reacts to the blinking.
    fn see_finger(&mut self) {
        let Finger::Always(touch) = self.finger else { return };
        if let Some((channel, message)) = self.waiting.take() {
            self.ask(channel, message, Some(touch));
        }
    }

    fn take(&mut self, report: &Report) {
        let channel = u32::from_be_bytes(report[..4].try_into().unwrap());
        if report[4] & 0x80 != 0 {
            let length = usize::from(u16::from_be_bytes([report[5], report[6]]));
            self.coming = Some((channel, report[4] & 0x7F, length, report[7..].to_vec(), 0));
        } else {
            let Some((_, _, _, bytes, next)) = self.coming.as_mut().filter(|coming| coming.0 == channel) else {
                return;
            };
            assert_eq!(report[4], *next, "the order of the reports");
            *next += 1;
            bytes.extend_from_slice(&report[5..]);
        }
        let is_whole = self.coming.as_ref().is_some_and(|(_, _, length, bytes, _)| bytes.len() >= *length);
        if let (true, Some((channel, command, length, mut bytes, _))) = (is_whole, self.coming.take_if(|_| is_whole)) {
            bytes.truncate(length);
            self.message(channel, command, bytes);
        }
    }

    fn message(&mut self, channel: u32, command: u8, bytes: Vec<u8>) {
        match command {
            INIT => {
                self.channels += 1;
                let given = if channel == BROADCAST { 0x1000 + self.channels } else { channel };
                let capabilities = if self.knows_only_u2f { 0x01 } else { 0x01 | 0x04 | 0x08 };
                let answer = [&bytes[..], &given.to_be_bytes(), &[2, 1, 0, 0, capabilities]].concat();
                // The response to another program that requested a channel at the same time, on the broadcast channel
                // too.
                if self.has_neighbours {
                    self.answer(channel, INIT, &[&[0xEE; 8][..], &[0; 9]].concat());
                }
                self.answer(channel, INIT, &answer);
            }
            PING => self.answer(channel, PING, &bytes),
            WINK => self.answer(channel, WINK, &[]),
            CANCEL => {
                self.cancelled += 1;
                if self.waiting.take_if(|(waiting, _)| *waiting == channel).is_some() {
                    self.answer(channel, CBOR, &[KEEPALIVE_CANCEL]);
                }
            }
            CBOR if self.waiting.is_some() => self.answer(channel, ERROR, &[0x06]),
            CBOR => {
                if let Some(left) = self.pull_after.as_mut() {
                    *left -= 1;
                    self.is_pulled = *left == 0;
                }
                self.ask(channel, bytes, None);
            }
            _ => self.answer(channel, ERROR, &[0x01]),
        }
    }

    fn ask(&mut self, channel: u32, message: Vec<u8>, touch: Option<Touch>) {
        match self.authenticator.handle(&message, touch) {
            Answer::Done(answer) => self.answer(channel, CBOR, &answer),
            Answer::WantsTouch => self.waiting = Some((channel, message)),
        }
    }

    fn answer(&mut self, channel: u32, command: u8, bytes: &[u8]) {
        let mut report = [0; REPORT];
        let (first, rest) = bytes.split_at(bytes.len().min(REPORT - 7));
        report[..4].copy_from_slice(&channel.to_be_bytes());
        report[4] = command | 0x80;
        report[5..7].copy_from_slice(&u16::try_from(bytes.len()).unwrap().to_be_bytes());
        report[7..7 + first.len()].copy_from_slice(first);
        self.say(report);
        for (sequence, part) in (0..).zip(rest.chunks(REPORT - 5)) {
            let mut report = [0; REPORT];
            report[..4].copy_from_slice(&channel.to_be_bytes());
            report[4] = sequence;
            report[5..5 + part.len()].copy_from_slice(part);
            // A report on the channel of another program, in between.
            if self.has_neighbours {
                self.say([0x55; REPORT]);
            }
            self.say(report);
        }
    }
}
