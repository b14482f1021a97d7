//! The ring of keys of a host: which came, which went, and who is told.

use std::time::Duration;

use mfad_core::model::{KeyId, Moment};
use mfad_hardware::device::Devices;
use mfad_service::{Call, KeyState};

use crate::card::Key;
use mfad_testkit::fixture::HardwareFixture;

/// Events that are kept for streams that are slow.
const KEPT: usize = 1024;

fn key(number: u32) -> Option<KeyId> {
    Some(KeyId::parse(&number.to_string()).expect("a serial number"))
}

#[test]
fn what_came_is_told_once_in_order_and_what_went_with_its_time() {
    let fixture = HardwareFixture::with_keys(3);
    for slot in fixture.devices.slots().unwrap() {
        fixture.service.contact(&slot, &fixture.clock.now());
    }

    let (events, next) = fixture.events_after(0);
    let shown: Vec<_> = events.iter().map(|event| (event.seq, event.is_attached, event.key, event.state)).collect();
    let new = Some(KeyState::New);
    assert_eq!(shown, [(1, true, key(1), new), (2, true, key(2), new), (3, true, key(3), new)]);
    assert_eq!((next, fixture.announced()), (3, 3), "whoever listens is told of the newest");
    assert_eq!(fixture.events_after(2).0.len(), 1);

    fixture.readers[1].pull();
    let now = fixture.clock.now();
    let later = Moment { wall_ms: now.wall_ms + 5_000, ..now };
    fixture.service.attend_devices(u64::MAX, Duration::ZERO, &later);

    let (events, next) = fixture.events_after(3);
    let went = &events[0];
    assert_eq!((events.len(), next, fixture.announced()), (1, 4, 4));
    assert_eq!((went.is_attached, went.key, went.state, went.at), (false, key(2), None, later.wall_ms));
}

#[test]
fn only_a_key_that_just_came_wants_a_contact() {
    let fixture = HardwareFixture::new(2);
    fixture.readers[0].insert(Key::new(1));
    assert_eq!(fixture.attend().len(), 1);

    fixture.readers[1].insert(Key::new(2));
    let new = fixture.attend();

    assert_eq!(new.len(), 1);
    assert_eq!(new[0].reader, fixture.keys().iter().find(|one| one.key == key(2)).expect("the key").reader);
    assert!(fixture.attend().is_empty());
}

#[test]
fn the_oldest_events_go_where_there_are_too_many() {
    let fixture = HardwareFixture::new(1);
    for _ in 0..KEPT / 2 + 8 {
        fixture.reader().insert(Key::new(1));
        fixture.attend();
        fixture.reader().pull();
        fixture.attend();
    }

    let (events, next) = fixture.events_after(0);

    assert_eq!((events.len(), usize::try_from(next).unwrap()), (KEPT, KEPT + 16));
    assert_eq!(events.last().map(|event| event.seq), Some(next));
}

#[test]
fn a_key_that_is_named_is_found_without_asking_the_others() {
    let fixture = HardwareFixture::with_keys(2);
    let before = fixture.readers[0].apdus();

    assert!(fixture.ask(Call::DeviceAccounts(key(2).unwrap())).is_ok());

    assert_eq!(fixture.readers[0].apdus(), before);
}
