//! Which settings are accepted, which are refused, and what the messages say.

use mfad_service::token::{AccessType, SigningAlgorithm, TokenFormat};

use super::*;
use mfad_core::model::Right;

fn load(text: &str) -> Result<Config, String> {
    let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
    file.checked(&Overrides::default()).map_err(|e| e.to_string())
}

#[test]
fn the_example_says_the_defaults_and_every_key_of_it_exists() {
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .filter(|line| line.contains(" = ") || line.starts_with('['))
        .filter(|line| !line.contains("www-data") && !line.contains("[[peer]]") && !line.starts_with("rights"))
        .map(|line| format!("{line}\n"))
        .collect();

    let spelled_out = load(&uncommented).unwrap();
    let implied = load("").unwrap();

    assert_eq!(format!("{spelled_out:?}"), format!("{implied:?}"));
    assert!(uncommented.lines().count() > 20);
}

#[test]
fn what_is_unknown_or_out_of_range_is_refused() {
    for odd in [
        "sokcet = 1",
        "registration = \"maybe\"",
        "issuer = \"a:b\"",
        "socketMode = \"0777\"",
        "socketMode = \"0060\"",
        "[otp]\nwindowBack = 2\nwindowForward = 1",
        "[throttle]\ndelayAfter = 6",
        "[throttle]\nlockAfter = 101",
        "[throttle]\ndelayAfter = 0",
        "[argon2]\nmemoryKib = 1024",
        "[argon2]\npasses = 1",
        "[argon2]\nqueue = 0",
        "[limits]\nconnections = 0",
        "[devices]\nreaders = []",
        "[devices]\nescrow = \"age1x\"",
        "[[peer]]\nrights = [\"app\"]",
        "[[peer]]\nuid = 1\nuser = \"root\"\nrights = [\"app\"]",
        "[[peer]]\nuid = 1\nrights = [\"root\"]",
        "[[peer]]\nuser = \"root\"\ngroup = \"root\"\nrights = []",
        "[token]\ntype = \"jwt\"",
        "[token]\ntype = \"CHALLENGE\"",
        "[token]\ntype = \"\"",
        "[token]\nalgorithm = \"none\"",
        "[token]\nalgorithm = \"HS256\"",
        "[token]\nalg = \"EdDSA\"",
        "socketGroup = \"no such group here\"",
    ] {
        assert!(load(odd).is_err(), "{odd}");
    }
}

#[test]
fn peers_get_the_union_of_their_rights_and_root_gets_all() {
    let config = load("[[peer]]\nuid = 7\nrights = [\"app\"]\n[[peer]]\nuid = 7\nrights = [\"audit\"]").unwrap();
    let peer = |uid| mfad_core::model::Peer { uid, gid: 99_999, groups: vec![], pid: None };

    let rights = config.policy.rights(&peer(7));

    assert!(rights.holds(Right::App) && rights.holds(Right::Audit) && !rights.holds(Right::Admin));
    assert!(config.policy.rights(&peer(0)).holds(Right::Admin));
    assert!(config.policy.rights(&peer(8)).is_empty());
}

#[test]
fn a_name_that_this_host_does_not_know_gives_nothing_and_is_told_by_a_check() {
    for (entry, name) in [
        ("user = \"no such user here\"", "user \"no such user here\""),
        ("group = \"no such group here\"", "group \"no such group here\""),
        ("user = \"\"", "user \"\""),
    ] {
        let config = load(&format!("[[peer]]\n{entry}\nrights = [\"admin\"]")).unwrap();

        assert_eq!(config.unknown_peers.len(), 1, "{entry}");
        assert_eq!(config.policy.peers, load("").unwrap().policy.peers, "{entry}");
        assert_eq!(config.unknown_peers[0].look_up(), None);
        let told = config.check_names().unwrap_err().to_string();
        assert!(told.contains(name), "{told}");
    }
}

#[test]
fn names_that_this_host_knows_are_looked_up_at_once() {
    for entry in ["user = \"root\"", "group = \"root\"", "uid = 0"] {
        let config = load(&format!("[[peer]]\n{entry}\nrights = [\"app\"]")).unwrap();

        assert!(config.unknown_peers.is_empty() && config.check_names().is_ok(), "{entry}");
        assert_eq!(config.policy.peers.len(), load("").unwrap().policy.peers.len() + 1, "{entry}");
    }
}

fn with_origins(origins: &[&str]) -> Result<Config, String> {
    load(&format!("[fido2]\nrpId = \"example.org\"\norigins = {origins:?}"))
}

#[test]
fn an_origin_with_a_wildcard_is_refused_and_what_to_write_is_told() {
    for odd in [
        "https://*.example.org",
        "https://*",
        "https://login.*.example.org",
        "https://login*.example.org",
        "https://%2A.example.org",
        "https://login.example.org:*",
        "*",
        "*.example.org",
    ] {
        for origins in [&[odd][..], &["https://login.example.org", odd]] {
            let told = with_origins(origins).unwrap_err();

            assert!(told.starts_with("fido2.origins: ") && told.contains(odd), "{told}");
            assert!(told.contains("write each origin in full, for example https://login.example.org"), "{told}");
        }
    }
    assert!(with_origins(&["https://login.example.org", "https://example.org:8443"]).is_ok());
    let told = with_origins(&["login.example.org"]).unwrap_err();
    assert!(told.contains("write scheme, host and port, for example https://login.example.org"), "{told}");
}

#[test]
fn android_apps_are_origins_if_they_have_the_shape_of_one() {
    let hash = data_encoding::BASE64URL_NOPAD.encode(&[0xfb; 32]);
    let app = |hash: &str| format!("android:apk-key-hash:{hash}");
    assert!(hash.contains(['-', '_']) && hash.len() == 43, "{hash}");
    assert!(with_origins(&[&app(&hash)]).is_ok());
    assert!(with_origins(&["https://login.example.org", &app(&hash)]).is_ok());

    let encode = |length| data_encoding::BASE64URL_NOPAD.encode(&vec![7; length]);
    for odd in [
        app(""),
        app(&encode(31)),
        app(&encode(33)),
        app(&encode(20)),
        app(&format!("{hash}=")),
        app(&data_encoding::BASE64_NOPAD.encode(&[0xfb; 32])),
        app(&data_encoding::HEXUPPER.encode(&[7; 32])),
        // Its unused last bits are not zero.
        app(&format!("{}B", "A".repeat(42))),
        app(&format!("{hash}?x")),
        app(&format!("{hash}#x")),
        format!("android:apk-key-hash-sha1:{hash}"),
        format!("android://apk-key-hash:{hash}"),
        format!("android:{hash}"),
        "ios:bundle-id:org.example.app".to_owned(),
    ] {
        assert!(with_origins(&[&odd]).is_err(), "{odd}");
        assert!(with_origins(&["https://login.example.org", &odd]).is_err(), "{odd}");
    }
}

#[test]
fn the_headers_of_tokens_are_chosen_by_name() {
    let format = |text: &str| load(text).unwrap().policy.token_format;
    let ours = TokenFormat::default();

    assert_eq!(format(""), ours);
    assert_eq!(format("[token]\ntype = \"ACCESS\"\nalgorithm = \"EdDSA\""), ours);
    assert_eq!(format("[token]\ntype = \"at+jwt\""), TokenFormat { access_type: AccessType::AtJwt, ..ours });
    assert_eq!(format("[token]\ntype = \"JWT\""), TokenFormat { access_type: AccessType::Jwt, ..ours });
    let both = "[token]\ntype = \"JWT\"\nalgorithm = \"Ed25519\"";
    assert_eq!(format(both), TokenFormat { access_type: AccessType::Jwt, algorithm: SigningAlgorithm::Ed25519 });
}
