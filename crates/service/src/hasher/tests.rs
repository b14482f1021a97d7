//! Hashes, their queue and their memory.

use super::*;

const COST: HashCost = HashCost { memory_kib: 19_456, passes: 2, lanes: 1, workers: 1, queue: 4 };

fn permit(hasher: &Hasher) -> Permit<'_> {
    hasher.permit(1, Duration::ZERO).unwrap()
}

#[test]
fn a_password_is_checked_byte_for_byte() {
    let hasher = Hasher::new(COST).unwrap();
    let permit = permit(&hasher);
    let record = permit.password_record(&Sensitive::new("correct horse ".to_owned())).unwrap();

    let check = |text: &str| permit.check_password(Some(&record), &Sensitive::new(text.to_owned())).unwrap();

    assert_eq!(check("correct horse "), PasswordCheck::Right);
    assert_eq!(check("correct horse"), PasswordCheck::Wrong);
    assert_eq!(permit.check_password(None, &Sensitive::new("x".to_owned())).unwrap(), PasswordCheck::Wrong);
}

#[test]
fn aut_8_a_cheaper_record_is_noticed_and_a_foreign_one_fails_closed() {
    let cheap = Hasher::new(COST).unwrap();
    let dear = Hasher::new(HashCost { passes: 3, ..COST }).unwrap();
    let password = Sensitive::new("correct horse".to_owned());
    let record = permit(&cheap).password_record(&password).unwrap();

    assert_eq!(permit(&dear).check_password(Some(&record), &password).unwrap(), PasswordCheck::RightButCheap);
    let big = Hasher::new(HashCost { memory_kib: 19_464, ..COST }).unwrap();
    assert_eq!(permit(&big).check_password(Some(&record), &password).unwrap(), PasswordCheck::RightButCheap);
    for more in [&big, &dear] {
        let record = permit(more).password_record(&password).unwrap();
        assert_eq!(permit(&cheap).check_password(Some(&record), &password).unwrap(), PasswordCheck::Right);
    }
    let mut absurd = record.expose().clone();
    absurd[1] = 0xff;
    for broken in [absurd, vec![], vec![1; 20], vec![9; 61]] {
        assert!(permit(&dear).check_password(Some(&Sensitive::new(broken)), &password).is_err());
    }
}

#[test]
fn aut_8_a_cost_below_the_floor_or_without_bounds_is_not_taken() {
    assert!(COST.is_sane());
    for odd in [
        HashCost { memory_kib: 19_455, ..COST },
        HashCost { memory_kib: 1_048_577, ..COST },
        HashCost { passes: 1, ..COST },
        HashCost { passes: 17, ..COST },
        HashCost { lanes: 0, ..COST },
        HashCost { lanes: 9, ..COST },
        HashCost { workers: 0, ..COST },
        HashCost { queue: 0, ..COST },
    ] {
        assert!(!odd.is_sane(), "{odd:?}");
    }
}

#[test]
fn a_code_is_found_by_one_hash_wherever_it_stands() {
    let hasher = Hasher::new(COST).unwrap();
    let permit = permit(&hasher);
    let codes: Vec<BackupCode> = (0..3).map(|n| BackupCode::from_random(&[n; 10])).collect();
    let record = permit.codes_record(&codes).unwrap();
    let find = |code| find_code(&record, &permit.code_hash(Some(&record), &code).unwrap()).unwrap();

    assert_eq!(find(BackupCode::from_random(&[2; 10])), Some(2));
    assert_eq!(find(BackupCode::from_random(&[3; 10])), None);
}

#[test]
fn the_memory_of_a_hash_is_wiped_kept_and_let_go_of() {
    let hasher = Hasher::new(COST).unwrap();
    let spare = || hasher.memory().spare.iter().map(Vec::len).collect::<Vec<_>>();
    let permit = permit(&hasher);

    permit.password_record(&Sensitive::new("correct horse".to_owned())).unwrap();

    assert_eq!(spare(), [19_456], "one piece, whatever was hashed before");
    let is_wiped = |block: &Block| block.as_ref().iter().all(|word| *word == 0);
    assert!(hasher.memory().spare[0].iter().all(is_wiped));
    let somebody_waits = |waiting| hasher.lock().waiting = waiting;
    somebody_waits(1);
    permit.password_record(&Sensitive::new("correct horse".to_owned())).unwrap();
    assert!(!hasher.memory().spare[0].iter().all(is_wiped), "the next hash writes over it");
    somebody_waits(0);
    drop(permit);
    assert!(hasher.memory().spare[0].iter().all(is_wiped), "nobody waits any more");
    hasher.tend();
    assert_eq!(spare().len(), 1, "it was in use");
    hasher.tend();
    assert!(spare().is_empty());
}

#[test]
fn aut_5_and_thr_8_the_queue_is_bounded_and_one_peer_gets_a_part_of_it() {
    let hasher = Hasher::new(COST).unwrap();
    let running = hasher.permit(1, Duration::ZERO).unwrap();

    assert!(matches!(hasher.permit(1, Duration::ZERO), Err(Error::Busy)));
    assert_eq!(hasher.waiting(), 0);
    assert_eq!(hasher.lock().by_peer.get(&1), Some(&1), "the one that runs still counts");
    let mut state = hasher.lock();
    state.by_peer.insert(7, 3);
    drop(state);
    assert!(matches!(hasher.permit(7, Duration::from_secs(60)), Err(Error::Busy)));
    drop(running);
    assert!(!hasher.lock().by_peer.contains_key(&1));
}

#[test]
fn thr_8_two_peers_who_fill_the_queue_leave_room_for_a_third() {
    let hasher = Hasher::new(COST).unwrap();
    let mut state = hasher.lock();
    state.waiting = COST.queue;
    state.by_peer.extend([(1, COST.queue.div_ceil(2)), (2, COST.queue / 2)]);
    drop(state);

    assert!(matches!(hasher.permit(1, Duration::from_secs(60)), Err(Error::Busy)));
    assert!(hasher.permit(3, Duration::from_secs(60)).is_ok());
    hasher.lock().waiting = COST.queue + NEWCOMERS;
    assert!(matches!(hasher.permit(4, Duration::from_secs(60)), Err(Error::Busy)));
}
