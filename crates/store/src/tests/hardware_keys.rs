//! Hardware keys of every maker in the store, and those that an older store has by their serial numbers.

use mfad_core::model::{DeviceId, KeyId};

use super::*;

const ACCESS: &[u8] = &[7; 16];

fn applet() -> DeviceId {
    DeviceId::from_text("applet".to_owned()).unwrap()
}

/// Stores a key with the password of its applet.
fn with_key(store: &Store, key: KeyId) {
    let written = store.write(PATIENCE, move |tx| {
        tx.note_device(key, &applet(), "5.4.3", "a key", 1)?;
        tx.keep_access(key, &applet(), Some(ACCESS), None)?;
        Ok(Decision::Commit(()))
    });
    written.unwrap();
}

fn access_of(store: &Store, key: KeyId) -> Option<Vec<u8>> {
    let found = store.read(PATIENCE, |view| {
        let Some(row) = view.device(key)? else { return Ok(None) };
        view.device_access(&row)
    });
    found.unwrap().map(|access| access.expose().clone())
}

#[test]
fn the_password_of_a_key_of_any_maker_is_kept_for_that_key() {
    let dir = home();
    let store = open(dir.path());
    let ids = ["7", "nitrokey:00000007", "canokey:00000007", "pico:7"].map(|text| KeyId::parse(text).unwrap());
    ids.iter().for_each(|key| with_key(&store, *key));

    assert!(ids.iter().all(|key| access_of(&store, *key).as_deref() == Some(ACCESS)));
    assert_eq!(access_of(&store, KeyId::parse("usb:7").unwrap()), None);
    store.close();

    // Moved to the row of another key, it does not open.
    raw(dir.path())
        .execute_batch("UPDATE devices SET access = (SELECT access FROM devices WHERE key = 'pico:7') WHERE key = '7';")
        .unwrap();
    let store = open(dir.path());
    let moved = store.read(PATIENCE, |view| view.device_access(&view.device(ids[0])?.expect("a row")));
    assert!(moved.is_err());
}

#[test]
fn sto_11_a_store_of_version_8_keeps_its_hardware_keys() {
    let dir = home();
    let store = open(dir.path());
    let id = KeyId::parse("7").unwrap();
    with_key(&store, id);
    store.close();
    let connection = raw(dir.path());
    connection
        .execute_batch(&format!(
            "CREATE TEMP TABLE kept AS SELECT * FROM devices; {BEFORE_9}
             INSERT INTO devices SELECT 7, device_id, firmware, model, seen, was_reset, access, escrow FROM kept;
             INSERT INTO credentials (id, user, serial, device_id, firmware, name, state, replaces, touch, counts,
                 challenge, responses, created)
                 VALUES (zeroblob(16), zeroblob(16), 7, 'applet', '5.4.3', CAST('mfad:ann' AS BLOB), 'intended', 0, 0, 0,
                 zeroblob(8), zeroblob(32), 1);
             PRAGMA user_version = 8;"
        ))
        .unwrap();
    let vault = Vault::new(&key(1), FIRST_KEY_VERSION).unwrap();
    crate::audit_tag::sign_again(&connection, &vault, 8).unwrap();
    drop(connection);

    let store = open(dir.path());

    assert_eq!(access_of(&store, id).as_deref(), Some(ACCESS));
    let accounts = store.read(PATIENCE, |view| view.oath_accounts_on(id)).unwrap();
    assert_eq!(accounts.iter().map(|account| account.name.to_string()).collect::<Vec<_>>(), ["mfad:ann"]);
    assert_eq!(store.read(PATIENCE, |view| view.unsettled_devices()).unwrap(), [id]);
}
