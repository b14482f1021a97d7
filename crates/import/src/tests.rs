//! Files of each format: what is read, and what is refused by name.

use super::*;

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const SEED: &[u8] = b"12345678901234567890";

fn document(text: &str) -> Document {
    read(text.as_bytes(), None, &Secrets::default()).unwrap_or_else(|fault| panic!("{fault}: {text}"))
}

/// The entries as short texts: who, the factor, the counter or the refusal, the notes.
fn told(text: &str) -> (Format, Vec<String>) {
    let document = document(text);
    let entries = document.entries.iter().map(|entry| {
        let who = format!("{}/{}", entry.issuer.as_deref().unwrap_or("-"), entry.account.as_deref().unwrap_or("-"));
        match &entry.factor {
            Ok(factor) => {
                assert!(factor.seed.expose() == SEED || factor.is_weak(), "{who}: another seed");
                format!("{who} {} {}", factor.profile.binding(), factor.counter)
            }
            Err(refusal) => format!("{who} refused: {refusal}"),
        }
    });
    (document.format, entries.collect())
}

fn fault(text: &str) -> Fault {
    read(text.as_bytes(), None, &Secrets::default()).err().unwrap_or_else(|| panic!("taken: {text}"))
}

#[test]
fn otpauth_lines_in_the_spellings_of_many_programs() {
    let lines = [
        format!("otpauth://totp/ACME:bob?secret={SECRET}&issuer=ACME&algorithm=SHA256&digits=8&period=60"),
        format!("OTPAUTH://TOTP/ACME%3Abob?secret={SECRET}"),
        format!("otpauth://totp/ACME:ACME:bob?secret={SECRET}&issuer=ACME"),
        format!("otpauth://totp/bob?secret={SECRET}&algorithm=Algorithm.sha1&period=null&codeDisplay=%7B%7D"),
        format!("otpauth://hotp/bob?secret={}&counter=5", SECRET.to_lowercase()),
        format!("otpauth://hotp/bob?secret={SECRET}"),
        format!("otpauth://steam/bob?secret={SECRET}"),
        format!("otpauth://totp/bob?secret={SECRET}&digits=5"),
        format!("otpauth://totp/bob?secret={SECRET}&algorithm=SHA224"),
        format!("otpauth://totp/bob?secret={SECRET}&t0=7"),
        format!("otpauth://totp/a?secret={SECRET}otpauth://totp/b?secret={SECRET}"),
        "otpauth://totp/bob?secret=0189".to_owned(),
        "otpauth://totp/bob?secret=GEZDGNBV".to_owned(),
    ];
    let (format, entries) = told(&format!("# a comment\n\n{}\n", lines.join("\n")));

    assert_eq!(format, Format::Otpauth);
    assert_eq!(
        entries,
        [
            "ACME/bob totp/SHA256/8/60 0",
            "ACME/bob totp/SHA1/6/30 0",
            "ACME/bob totp/SHA1/6/30 0",
            "-/bob totp/SHA1/6/30 0",
            "-/bob hotp/SHA1/6 5",
            "-/bob refused: its counter is missing, and the next code could only be guessed",
            "-/bob refused: steam is neither TOTP nor HOTP",
            "-/bob refused: its codes have 5 digits; 6 to 8 can be kept",
            "-/bob refused: its algorithm is SHA224; SHA1, SHA256 and SHA512 can be kept",
            "-/bob refused: its parameter t0 may change the codes",
            "-/- refused: two URIs stand in one line",
            "-/bob refused: its secret is not Base32",
            "-/bob refused: its secret has 40 bits; at least 80 can be kept",
        ]
    );
    let places: Vec<String> =
        document(&format!("# a\n\n{}", lines[0])).entries.iter().map(|e| e.place.clone()).collect();
    assert_eq!(places, ["line 3"]);
}

#[test]
fn a_default_is_taken_and_said() {
    let document = document(&format!("otpauth://totp/bob?secret={SECRET}"));

    assert_eq!(
        document.entries[0].notes,
        ["not in the file, so as an authenticator app takes it: SHA1, 6 digits, 30 seconds"]
    );
}

#[test]
fn aegis_plain() {
    let file = serde_json::json!({
        "version": 1, "header": {"slots": null, "params": null},
        "db": {"version": 3, "entries": [
            {"type": "totp", "uuid": "u", "name": "bob", "issuer": "ACME", "note": "", "icon": null,
             "info": {"secret": SECRET, "algo": "SHA512", "digits": 7, "period": 20}},
            {"type": "hotp", "uuid": "v", "name": "eve", "issuer": null,
             "info": {"secret": SECRET, "algo": "SHA1", "digits": 6, "counter": 3}},
            {"type": "hotp", "name": "ann", "issuer": "otpclient",
             "info": {"secret": SECRET, "algo": "SHA1", "digits": 6, "counter": 3}},
            {"type": "steam", "name": "joe", "issuer": "Steam",
             "info": {"secret": SECRET, "algo": "SHA1", "digits": 5, "period": 30}},
        ]},
    });

    // A known exporter ends its file in zero bytes.
    let (format, entries) = told(&format!("{file}\0\0"));

    assert_eq!(format, Format::Aegis);
    assert_eq!(
        entries,
        [
            "ACME/bob totp/SHA512/7/20 0",
            "-/eve hotp/SHA1/6 4",
            "otpclient/ann hotp/SHA1/6 3",
            "Steam/joe refused: steam is neither TOTP nor HOTP"
        ]
    );
    assert_eq!(document(&format!("{file}\0\0")).notes, ["zero bytes at the end were left out: 2"]);
}

#[test]
fn twofas_plain_and_its_null_values() {
    let file = serde_json::json!({
        "schemaVersion": 4, "groups": [], "services": [
            {"name": "ACME", "secret": SECRET, "otp": {"account": "bob", "issuer": "ACME", "digits": null,
             "period": null, "algorithm": null, "counter": null, "tokenType": "TOTP", "source": "Link"}},
            {"name": "Site", "secret": SECRET, "otp": {"label": "eve", "tokenType": "HOTP", "counter": null}},
            {"name": "Odd", "secret": SECRET, "otp": {"tokenType": "TOTP", "algorithm": "SHA384"}},
        ],
    });

    let (format, entries) = told(&file.to_string());

    assert_eq!(format, Format::TwoFas);
    assert_eq!(
        entries,
        [
            "ACME/bob totp/SHA1/6/30 0",
            "Site/eve hotp/SHA1/6 1",
            "Odd/- refused: its algorithm is SHA384; SHA1, SHA256 and SHA512 can be kept",
        ]
    );
}

#[test]
fn andotp_freeotp_and_stratum() {
    let andotp = serde_json::json!([
        {"secret": SECRET, "issuer": "ACME", "label": "bob", "digits": 8, "type": "TOTP", "algorithm": "SHA256",
         "thumbnail": "Default", "last_used": 0, "period": 30, "tags": []},
        {"secret": SECRET, "label": "Old - eve", "digits": 6, "type": "HOTP", "algorithm": "SHA1", "counter": 9},
    ]);
    assert_eq!(
        told(&andotp.to_string()),
        (Format::AndOtp, vec!["ACME/bob totp/SHA256/8/30 0".to_owned(), "Old/eve hotp/SHA1/6 9".to_owned()])
    );

    let bytes: Vec<i8> = SEED.iter().map(|byte| byte.cast_signed()).collect();
    let freeotp = serde_json::json!({"tokenOrder": ["ACME:bob"], "tokens": [
        {"algo": "SHA1", "counter": 4, "digits": 6, "issuerExt": "ACME", "label": "bob", "period": 30,
         "secret": bytes, "type": "HOTP"}]});
    assert_eq!(told(&freeotp.to_string()), (Format::FreeOtpPlus, vec!["ACME/bob hotp/SHA1/6 4".to_owned()]));

    let stratum = serde_json::json!({"Authenticators": [
        {"Type": 2, "Issuer": "ACME", "Username": "bob", "Secret": SECRET, "Pin": null, "Algorithm": 2, "Digits": 8,
         "Period": 30, "Counter": 0},
        {"Type": 4, "Issuer": "Steam", "Username": "joe", "Secret": SECRET, "Algorithm": 0, "Digits": 5, "Period": 30},
        {"Type": 3, "Issuer": "Old", "Username": "eve", "Secret": SECRET, "Pin": "1234", "Digits": 6, "Period": 10},
    ]});
    assert_eq!(
        told(&stratum.to_string()),
        (
            Format::Stratum,
            vec![
                "ACME/bob totp/SHA512/8/30 0".to_owned(),
                "Steam/joe refused: Steam is neither TOTP nor HOTP".to_owned(),
                "Old/eve refused: a PIN is a part of its codes".to_owned(),
            ]
        )
    );
}

#[test]
fn password_managers_in_json_and_csv() {
    let bitwarden = serde_json::json!({"encrypted": false, "items": [
        {"name": "ACME", "login": {"username": "bob", "totp": SECRET}},
        {"name": "Site", "login": {"username": "eve", "totp": format!("otpauth://hotp/x?secret={SECRET}&counter=2")}},
        {"name": "Game", "login": {"username": "joe", "totp": format!("steam://{SECRET}")}},
        {"name": "Plain", "login": {"username": "ann", "totp": null}},
    ]});
    let (format, entries) = told(&bitwarden.to_string());
    assert_eq!(format, Format::Bitwarden);
    assert_eq!(
        entries,
        ["ACME/bob totp/SHA1/6/30 0", "Site/x hotp/SHA1/6 2", "Game/joe refused: Steam is neither TOTP nor HOTP"]
    );
    let notes = document(&bitwarden.to_string()).notes;
    assert_eq!(notes, ["entries without a one-time password were left out: 1"]);

    let keepassxc = format!(
        "\"Group\",\"Title\",\"Username\",\"Password\",\"URL\",\"Notes\",\"TOTP\",\"Icon\"\n\
         \"Root\",\"ACME, Inc\",\"bob\",\"p\",\"\",\"\",\"otpauth://totp/ACME:bob?secret={SECRET}&period=30&digits=6\",\"0\"\n\
         \"Root\",\"Other\",\"eve\",\"p\",\"\",\"\",\"\",\"0\"\n"
    );
    assert_eq!(told(&keepassxc), (Format::KeePassXcCsv, vec!["ACME, Inc/bob totp/SHA1/6/30 0".to_owned()]));
}

#[test]
fn seed_lists() {
    let list = format!(
        "upn,serial number,secret key,time interval,manufacturer,model\nbob@example.org,1234567,{SECRET},60,ACME,HardKey\n\
         eve@example.org,1234568,{SECRET},soon,ACME,HardKey\n"
    );

    assert_eq!(
        told(&list),
        (
            Format::OathCsv,
            vec![
                "ACME/bob@example.org totp/SHA1/6/60 0".to_owned(),
                "ACME/eve@example.org refused: its period is no number".to_owned(),
            ]
        )
    );
}

#[test]
fn servers() {
    let credential = |data: serde_json::Value, value: &str| {
        serde_json::json!({"type": "otp", "secretData": serde_json::json!({"value": value}).to_string(),
            "credentialData": data.to_string()})
    };
    let text = std::str::from_utf8(SEED).unwrap();
    let keycloak = serde_json::json!({"realm": "r", "users": [{"username": "bob", "credentials": [
        {"type": "password", "secretData": "{}"},
        credential(serde_json::json!({"subType": "totp", "digits": 6, "period": 30, "counter": 0,
            "algorithm": "HmacSHA1"}), text),
        credential(serde_json::json!({"subType": "hotp", "digits": 8, "counter": 4, "algorithm": "HmacSHA256",
            "secretEncoding": "BASE32"}), SECRET),
    ]}]});
    assert_eq!(
        told(&keycloak.to_string()),
        (Format::Keycloak, vec!["-/bob totp/SHA1/6/30 0".to_owned(), "-/bob hotp/SHA256/8 4".to_owned()])
    );

    let url = format!("otpauth://totp/ACME:x?secret={SECRET}&issuer=ACME");
    let kratos = serde_json::json!([{"traits": {}, "credentials": {
        "password": {"identifiers": ["bob@example.org"]}, "totp": {"config": {"totp_url": url}}}}]);
    assert_eq!(told(&kratos.to_string()), (Format::Kratos, vec!["ACME/bob@example.org totp/SHA1/6/30 0".to_owned()]));
}

#[test]
fn authelia_and_the_time_of_the_last_use() {
    // The secret is Base64 of the Base32 text.
    let yaml = "totp_configurations:\n\
        - created_at: 2026-01-02T03:04:05Z\n  last_used_at: 2026-11-30T10:00:00Z\n  username: bob\n  issuer: ACME\n\
        \x20 algorithm: SHA256\n  digits: 8\n  period: 60\n  secret: R0VaREdOQlZHWTNUUU9KUUdFWkRHTkJWR1kzVFFPSlE=\n\
        - created_at: 2026-01-02T03:04:05Z\n  last_used_at: null\n  username: eve\n  issuer: ACME\n\
        \x20 algorithm: SHA1\n  digits: 6\n  period: 30\n  secret: GEZDGNBVGY3TQOJQ\n";
    let (format, entries) = told(yaml);
    assert_eq!(format, Format::Authelia);
    assert_eq!(entries, ["ACME/bob totp/SHA256/8/60 0", "ACME/eve refused: its secret is not Base64 of Base32"]);
    let used = document(yaml).entries[0].factor.as_ref().unwrap().used_step;
    assert_eq!(used, Some(1_796_032_800 / 60 + 1), "the code may have been the one of the next step");

    let csv = format!("issuer,username,algorithm,digits,period,secret\nACME,bob,SHA512,6,30,{SECRET}\n");
    assert_eq!(told(&csv), (Format::OathCsv, vec!["ACME/bob totp/SHA512/6/30 0".to_owned()]));
    assert!(
        matches!(fault("totp_configurations: [\n"), Fault::Damaged(Format::Authelia, what) if what.contains("line"))
    );
    let bomb = format!("totp_configurations: &a [x]\nb: {}\n", "[*a, ".repeat(200));
    assert!(matches!(fault(&bomb), Fault::Damaged(Format::Authelia, _)));
}

#[test]
fn kanidm_with_several_factors_of_an_account() {
    let totp = |digits: serde_json::Value| serde_json::json!({"l": "", "k": SEED, "s": 30, "a": "S256", "d": digits});
    let credential = |kind: &str, totp: serde_json::Value| serde_json::json!({"CR": [{"t": "primary", "d": {"type_": kind, "password": "hidden", "totp": totp}}]});
    let entry = |name: &str, credential: serde_json::Value| {
        serde_json::json!({"ent": {"V3": {"changestate": {}, "attrs": {"class": {"I8": ["person"]},
            "name": {"N8": [name]}, "primary_credential": credential}}}})
    };
    let backup = serde_json::json!({"version": "1", "db_s_uuid": "0", "entries": [
        entry("bob", credential("V3PwMfa", serde_json::json!([["phone", totp(8.into())], ["key", totp(6.into())]]))),
        entry("eve", credential("V2PwMfa", totp(serde_json::Value::Null))),
        entry("ann", credential("V2Pw", serde_json::Value::Null)),
    ]});

    let (format, entries) = told(&backup.to_string());

    assert_eq!(format, Format::Kanidm);
    assert_eq!(entries, ["-/bob totp/SHA256/8/30 0", "-/bob totp/SHA256/6/30 0", "-/eve totp/SHA256/6/30 0"]);
    assert_eq!(document(&backup.to_string()).entries[0].place, "entry 1, phone");
}

#[test]
fn the_log_of_the_yubikey_personalization_tool_in_two_formats() {
    let key = "3132333435363738393031323334353637383930";
    let traditional = format!(
        "LOGGING START,11/12/2013 14:58\nOATH-HOTP,11/12/2013 14:58,1,,,{key},,,0,0,0,8,16,0,0,0,0,0\n\
         Yubico OTP,11/12/2013 14:59,2,vvgutbiedkvi,ab86c04de6a3,d26a7c0f85fdda28bd816e406342b214,,,0,0,0,0,0,0,0,0,0,0\n"
    );
    let (format, entries) = told(&traditional);
    assert_eq!(format, Format::YubicoCsv);
    assert_eq!(
        entries,
        ["Yubico/- hotp/SHA1/8 16", "Yubico/vvgutbiedkvi refused: Yubico OTP is neither TOTP nor HOTP"]
    );

    let yubico = format!(
        "508326,,0,{key},,2013-12-12T08:41:07,\n508327,cccccccccccc,83cebdfb7b93,a47c5bf9c152202f577be6721c0113af,,\
         2013-12-12T08:43:17,\n508328,,,9e2fd386224a7f77e9b5aee775464033,,2013-12-12T08:44:34,\n"
    );
    let (format, entries) = told(&yubico);
    assert_eq!(format, Format::YubicoCsv);
    assert_eq!(
        entries,
        [
            "Yubico/508326 hotp/SHA1/6 0",
            "Yubico/508327 refused: Yubico OTP is neither TOTP nor HOTP",
            "Yubico/508328 refused: a static password is neither TOTP nor HOTP",
        ]
    );
    assert!(document(&yubico).entries[0].notes[0].contains("challenge-response"));
}

#[test]
fn seed_lists_without_a_head() {
    let key = "3132333435363738393031323334353637383930";
    let list = format!(
        "# a comment\ntok1, {key}, totp, 8, 60\ntok2,{key},hotp,6,7\ntok3,{key}\ntok4,{key}{key},ocra,ocra-1\n\
         tok5,{},totp,6,30\ntok6,{key},totp,6,soon\n",
        "31".repeat(32)
    );
    let (format, entries) = told(&list);
    assert_eq!(format, Format::OathCsv);
    assert_eq!(entries[..3], ["-/tok1 totp/SHA1/8/60 0", "-/tok2 hotp/SHA1/6 7", "-/tok3 hotp/SHA1/6 0"]);
    assert_eq!(entries[3], "-/tok4 refused: ocra is neither TOTP nor HOTP");
    assert!(entries[4].contains("privacyIDEA for SHA1"), "{}", entries[4]);
    assert_eq!(entries[5], "-/tok6 refused: its period is no number");

    let with_users = format!("# version: 2\nbob, resolver, realm, tok1, {key}, totp, 6, 30\n,,,tok2,{key},hotp,6\n");
    assert_eq!(told(&with_users).1, ["-/bob totp/SHA1/6/30 0", "-/tok2 hotp/SHA1/6 0"]);
}

/// What is told of an entry that was read from a part.
fn lines_of(document: &Document) -> Vec<String> {
    let named = |entry: &Entry| format!("{} {}", entry.place, entry.account.as_deref().unwrap_or("-"));
    document.entries.iter().map(named).collect()
}

#[test]
fn parts_of_a_long_file_are_read_as_the_whole() {
    let key = "3132333435363738393031323334353637383930";
    let uri = |name: &str| format!("otpauth://totp/{name}?secret={SECRET}\n");
    let files = [
        [uri("a"), format!("# comment\n{}", uri("b")), uri("c")],
        [format!("HOTP a - {key}\n"), format!("\nHOTP b - {key} 4\n"), format!("HOTP c - {key}\n")],
        [
            format!("# version: 2\na,r,r,1,{key},totp\n"),
            format!("b,r,r,2,{key},totp\n"),
            format!("c,r,r,3,{key},hotp\n"),
        ],
        [format!("user,secret\na,{SECRET}\n"), format!("b,{SECRET}\n"), format!("c,{SECRET}\n")],
    ];
    for parts in files {
        let whole = parts.concat();
        let reader = Parts::of(parts[0].as_bytes(), None).unwrap();
        let (mut found, mut before) = (Vec::new(), 0);
        for part in &parts {
            found.extend(lines_of(&reader.read(part.as_bytes(), before).unwrap_or_else(|fault| panic!("{fault}"))));
            before += part.lines().count();
        }
        assert_eq!(found, lines_of(&document(&whole)), "{whole}");
        assert_eq!(found.len(), 3, "{whole}");
    }
    assert!(Parts::of(b"{\"users\": []}", None).is_none());
    let table = Parts::of(format!("user,secret\na,{SECRET}\n").as_bytes(), None).unwrap();
    assert!(table.read(format!("\"b\nc\",{SECRET}\n").as_bytes(), 2).is_err());
}

/// Written by the published description of the encryption before version 1.21, with the password `correct horse`.
const OLD_STRATUM: &str = "QXV0aGVudGljYXRvclBybwABAgMEBQYHCAkKCwwNDg8QERITAAECAwQFBgcICQoLDA0OD6qZ7/fVJf249PppAn+qEt+o\
    LaCnIHGA2WDQ64LsBrjrVO0hWHTvG8Vmk91CacYubs83VEbUSFg/IC9ipNF8tJoqhFhEydPrzlkz4ZrQjwun0+leSXb6MLbmG5e+uEhXyeUqBqsU\
    KdjQnR66s+wyJO88oxYfl+FGFenDXIAITt9Fpq28lFgVoNheNKt94ivnxAQOIV0yqbW4hblxwN/o8nAZ8PVdcmKxUNd/9X9JkyjD";

#[test]
fn the_old_encryption_of_stratum() {
    let file = data_encoding::BASE64.decode(OLD_STRATUM.as_bytes()).unwrap();
    let with = |password| read(&file, None, &Secrets { password, ..Secrets::default() });

    let entries = with(Some(b"correct horse")).ok().unwrap().entries;
    let factor = entries[0].factor.as_ref().unwrap();
    assert_eq!((factor.profile.binding().as_str(), factor.counter), ("hotp/SHA1/6", 3));
    assert_eq!(with(Some(b"wrong")).err(), Some(Fault::WrongPassword(Format::Stratum)));
    assert_eq!(with(None).err(), Some(Fault::NeedsPassword(Format::Stratum)));
}

#[test]
fn a_file_that_is_none_of_them_is_named() {
    for (text, what) in [
        ("", "empty"),
        ("hello", "neither"),
        ("{\"a\": 1}", "JSON of another program"),
        ("{\"a\": ", "damaged JSON"),
        ("<Keys/>", "XML"),
        (SECRET, "neither"),
    ] {
        let told = fault(text).to_string();
        assert!(told.contains(what) && !told.contains(SECRET), "{text:?}: {told}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(fault(&deep), Fault::Unknown("damaged JSON, or its end is missing"));
    let picture = read(b"\x89PNG\r\n\x1a\n\xff", None, &Secrets::default());
    assert!(matches!(picture, Err(Fault::Damaged(Format::Picture, what)) if what.contains("decoded")));
    let sealed = read(b"age-encryption.org/v1\n\xff", None, &Secrets::default());
    assert!(matches!(sealed, Err(Fault::Unknown(what)) if what.contains("age -d")));
    let many = format!("<KeyContainer>{}</KeyContainer>", "<a/>".repeat(2_000_000));
    assert!(fault(&many).to_string().contains("elements"));
    let jpeg = read(&[0xff, 0xd8, 0xff, 0xe0], None, &Secrets::default());
    assert!(matches!(jpeg, Err(Fault::Unknown(what)) if what.contains("PNG")));
}

#[test]
fn an_encrypted_file_needs_a_password_and_asks_for_no_more_memory_than_is_allowed() {
    let slot = serde_json::json!({"type": 1, "key": "00".repeat(32), "key_params": {"nonce": "00".repeat(12),
        "tag": "00".repeat(16)}, "n": 1_u64 << 40, "r": 8, "p": 1, "salt": "00".repeat(32)});
    let aegis = serde_json::json!({"version": 1, "header": {"slots": [slot], "params": {"nonce": "00".repeat(12),
        "tag": "00".repeat(16)}}, "db": "AAAA"})
    .to_string();
    assert_eq!(fault(&aegis), Fault::NeedsPassword(Format::Aegis));
    let secrets = Secrets { password: Some(b"x"), ..Secrets::default() };
    assert!(matches!(read(aegis.as_bytes(), None, &secrets), Err(Fault::WrongPassword(Format::Aegis))));
    let rounds = [&u32::MAX.to_be_bytes()[..], &[0; 40]].concat();
    let andotp = read(&rounds, Some(Format::AndOtp), &secrets);
    assert!(matches!(andotp, Err(Fault::WrongPassword(Format::AndOtp))));
}

#[test]
fn formats_have_names() {
    for format in Format::ALL {
        assert_eq!(Format::parse(format.name()), Some(format));
    }
    assert_eq!(Format::parse("excel"), None);
}

/// Two QR codes of one transfer, and the second with an unset kind; written by hand by the published description.
const PARTS: [&str; 3] = [
    "otpauth-migration://offline?data=CiwKFDEyMzQ1Njc4OTAxMjM0NTY3ODkwEghBQ01FOmJvYhoEQUNNRSACKAIwAhABGAIgACgH",
    "otpauth-migration://offline?data=CikKFDEyMzQ1Njc4OTAxMjM0NTY3ODkwEgNldmUaBEFDTUUgAigCMAE4CRABGAIgASgH",
    "otpauth-migration://offline?data=CicKFDEyMzQ1Njc4OTAxMjM0NTY3ODkwEgNldmUaBEFDTUUgAigCMAAQARgCIAEoBw%3D%3D",
];

#[test]
fn a_transfer_has_all_its_parts_in_any_order() {
    let both = [PARTS[1], PARTS[0]].join("\n");
    let (format, entries) = told(&both);
    assert_eq!(format, Format::Migration);
    assert_eq!(entries, ["ACME/bob totp/SHA256/8/30 0", "ACME/eve hotp/SHA256/8 9"]);
    assert_eq!(
        fault(PARTS[1]),
        Fault::Damaged(Format::Migration, "part 1 of 2 is missing; scan that QR code too".to_owned())
    );
    let (_, unset) = told(&[PARTS[0], PARTS[2]].join("\n"));
    assert_eq!(unset[1], "ACME/eve refused: it does not say whether it is TOTP or HOTP");
    for damaged in [&PARTS[0][..60], "otpauth-migration://offline", "otpauth-migration://offline?data=%FF"] {
        assert!(matches!(fault(damaged), Fault::Damaged(Format::Migration, what) if what.contains("line 1")));
    }
}
