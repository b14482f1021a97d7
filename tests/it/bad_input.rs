//! Input that is not what it should be, table by table, each followed by something good.

use serde_json::{Value, json};

use crate::host::Host;
use crate::people::{Factor, Person, text};
use crate::wire::{Answer, Connection, Request};

/// The text after `"token": ` in a body; each is malformed for a factor of six digits (OTP-2).
const ODD_TOKENS: [&str; 88] = [
    r#""""#,
    r#"" ""#,
    r#""1""#,
    r#""12345""#,
    r#""123456789""#,
    r#""1234567890123""#,
    r#""00000000000000000000000000000000123456""#,
    r#"" 123456""#,
    r#""123456 ""#,
    r#""123456\n""#,
    r#""123456\r\n""#,
    r#""\t123456""#,
    r#""123 456""#,
    r#""123-456""#,
    r#""123_456""#,
    r#""123.456""#,
    r#""123,456""#,
    r#""+123456""#,
    r#""-123456""#,
    r#""+12345""#,
    r#""-12345""#,
    r#""0x1234""#,
    r#""0b1010""#,
    r#""0o1234""#,
    r#""1e5000""#,
    r#""12e345""#,
    r#""12345a""#,
    r#""a12345""#,
    r#""ABCDEF""#,
    r#""123456L""#,
    r#""１２３４５６""#,
    r#""12345６""#,
    r#""٠١٢٣٤٥""#,
    r#""۱۲۳۴۵۶""#,
    r#""१२३४५६""#,
    r#""𝟏𝟐𝟑𝟒𝟓𝟔""#,
    r#""①②③④⑤⑥""#,
    r#""²³¹²³¹""#,
    r#""ⅠⅡⅢⅣⅤⅥ""#,
    r#""123456\u0000""#,
    r#""\u0000123456""#,
    r#""12345\u200b6""#,
    r#""\ufeff123456""#,
    r#""123456\u0308""#,
    r#""\u202e123456""#,
    r#""\ud83d23456""#,
    r#""null""#,
    r#""Infinity""#,
    r#""%31%32%33%34%35%36""#,
    r#""'123456'""#,
    r#""\"123456\"""#,
    r#""[123456]""#,
    r#""123456;123456""#,
    r#""1' OR '1'='1""#,
    "null",
    "true",
    "false",
    "[]",
    "{}",
    r#"["123456"]"#,
    "[123456]",
    "[1,2,3,4,5,6]",
    r#"{"token":"123456"}"#,
    "123456.0",
    "123456.5",
    "1.0e5",
    "1e5",
    "1E5",
    "123456e0",
    "-123456",
    "-0",
    "-021589",
    "+123456",
    "1000000000",
    "18446744073709551616",
    "1e400",
    "0x1E240",
    "123_456",
    "0000000000",
    "00123456789",
    "012345.0",
    "012345e1",
    "012 345",
    "01234a",
    "'123456'",
    "NaN",
    "123456,,",
    "",
];

#[test]
fn otp_2_a_malformed_code_at_the_enrolment_is_refused_and_costs_no_attempt() {
    let host = Host::start("");
    let person = host.person("anna");
    let mut factor = host.pending(&person, &json!({}));
    let mut connection = host.connect();
    let mut enrol = |body: &str| {
        connection.ask(&Request::new("PUT", format!("{}/enroll", factor.path)).text(body).token(&person.token))
    };

    for odd in ODD_TOKENS {
        let answer = enrol(&format!("{{\"token\": {odd}}}"));
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"), "{odd}");
    }

    let wrong = json!({"token": factor.wrong()}).to_string();
    assert_eq!(enrol(&wrong).refused(422, "wrong-code")["remaining"], 4);
    let right = json!({"token": factor.clone().next()}).to_string();
    enrol(&right).ok();
    factor.next();
}

#[test]
fn otp_2_a_malformed_code_at_the_login_is_refused_and_costs_no_attempt() {
    let host = Host::start("");
    let person = host.person("anna");
    let (mut factor, _) = host.enrol(&person, &json!({}));
    let challenge = host.challenge(&person);
    let doors = ["/auth/totp", "/auth/mfa"];

    for (at, odd) in ODD_TOKENS.iter().enumerate() {
        let request = Request::new("POST", doors[at % 2]).text(&format!("{{\"token\": {odd}}}")).token(&challenge);
        let answer = host.ask(&request);
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"), "{odd}");
    }

    let refused = host.answer_totp(&challenge, &factor.wrong()).refused(401, "wrong-code");
    assert_eq!(refused["remaining"], 4);
    host.answer_totp(&challenge, &factor.next()).ok();
}

/// Makes sure that the daemon still does its work, on this connection if it is still open.
fn control(host: &Host, connection: &mut Connection) {
    let live = Request::get("/health/live");
    if connection.try_ask(&live).is_err() {
        host.ask(&live).ok();
    }
}

fn post_users(connection: &mut Connection, body: &[u8]) -> Answer {
    connection.ask(&Request::new("POST", "/users").bytes("application/json", body))
}

#[test]
fn http_3_what_is_not_one_strict_json_object_is_malformed() {
    let host = Host::start("");
    let mut connection = host.connect();
    let nested = |depth: usize| format!("{{\"name\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let texts = [
        "",
        " ",
        "{",
        "}",
        "{}",
        "[]",
        "null",
        "true",
        "1",
        "\"name\"",
        "{\"name\":\"a\"}x",
        "{\"name\":\"a\"}{}",
        "{\"name\":\"a\"}]",
        "{\"name\":\"a\"},",
        "{\"name\":\"a\"}\u{0}",
        "{\"name\":\"a\",\"name\":\"a\"}",
        "{\"name\":\"a\",\"n\\u0061me\":\"b\"}",
        "{\"name\":\"a\",\"other\":1}",
        "{\"name\":\"a\",\"\":1}",
        "{\"name\":\"a\",,}",
        "{,}",
        "{,\"name\":\"a\"}",
        "{\"name\":\"a\" \"email\":\"a@b.c\"}",
        "{\"name\" \"a\"}",
        "{\"name\":}",
        "{\"name\"}",
        "{'name':'a'}",
        "{name:\"a\"}",
        "{\"name\":\"a\"/* c */}",
        "{\"name\":\"a\"} // c",
        "{\"name\":a}",
        "{\"name\":\"a}",
        "{\"name\":NaN}",
        "{\"name\":-Infinity}",
        "{\"name\":1}",
        "{\"name\":01}",
        "{\"name\":021589}",
        "{\"name\":021589,}",
        "{\"name\":false}",
        "{\"name\":{}}",
        "{\"name\":\"a\u{1}\"}",
        "{\"name\":\"a\nb\"}",
        "{\"name\":\"\\ud800\"}",
        "{\"name\":\"\\x41\"}",
        "{\"name\":\"\\u12\"}",
        "\u{feff}{\"name\":\"a\"}",
        "{\"name\":[\"a\",]}",
        "{\"name\":\"a\",\"displayName\":TRUE}",
    ];
    let mut bodies: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    bodies.extend([17, 1000, 8000].map(|depth| nested(depth).into_bytes()));
    bodies.extend([
        b"{\"name\":\"\xff\"}".to_vec(),
        b"{\"name\":\"\xc0\xaf\"}".to_vec(),
        b"{\"name\":\"\xed\xa0\x80\"}".to_vec(),
        b"\xff\xfe{\0".to_vec(),
    ]);
    bodies.push("{\"name\":\"a\"}".encode_utf16().flat_map(u16::to_le_bytes).collect());

    for body in bodies {
        let answer = post_users(&mut connection, &body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"), "{}", String::from_utf8_lossy(&body));
    }

    assert_eq!(host.ask(&Request::get("/users")).ok()["users"], json!([]), "none of them made a user");
    for (at, good) in [
        "{\"name\":\"NAME\"}",
        " {\r\n\t\"name\" : \"NAME\"\n} \n",
        "{\"name\":\"NAME\",}",
        "{\"name\":\"NAME\" , \n }",
        "{\"n\\u0061me\":\"NAME\"}",
    ]
    .iter()
    .enumerate()
    {
        post_users(&mut connection, good.replace("NAME", &format!("user {at}")).as_bytes()).ok();
    }
}

#[test]
fn http_3_a_body_that_is_not_declared_as_json_is_of_an_unsupported_type() {
    let host = Host::start("");
    let body = br#"{"name":"anna"}"#;

    for odd in [
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "application/problem+json",
        "json",
        "*/*",
        "",
    ] {
        host.ask(&Request::new("POST", "/users").bytes(odd, body)).refused(415, "unsupported-media-type");
    }
    let undeclared = Request { body: Some(body.to_vec()), ..Request::new("POST", "/users") };
    host.ask(&undeclared).refused(415, "unsupported-media-type");
    for (at, good) in
        ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=\"UTF-8\""].iter().enumerate()
    {
        host.ask(&Request::new("POST", "/users").bytes(good, format!("{{\"name\":\"user {at}\"}}").as_bytes())).ok();
    }
}

#[test]
fn http_2_what_is_too_large_is_refused_for_both_framings() {
    let host = Host::start("");
    let padded = |name: &str, length: usize| {
        format!("{{\"name\":\"{name}\"}}{}", " ".repeat(length - 11 - name.len())).into_bytes()
    };
    let chunked = |body: &[u8]| {
        let mut bytes = b"POST /users HTTP/1.1\r\nHost: mfad\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(1000) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let mut connection = host.connect();
        // The daemon may close before it has read what is too large.
        let _ = connection.send(&bytes);
        connection.answer(false).unwrap()
    };

    post_users(&mut host.connect(), &padded("one", 16 * 1024)).ok();
    chunked(&padded("two", 16 * 1024)).ok();
    post_users(&mut host.connect(), &padded("three", 16 * 1024 + 1)).refused(413, "body-too-large");
    chunked(&padded("three", 16 * 1024 + 1)).refused(413, "body-too-large");
    for announced in ["16385", "9999999999", "9223372036854775807"] {
        let mut connection = host.connect();
        let head = format!(
            "POST /users HTTP/1.1\r\nHost: mfad\r\nContent-Type: application/json\r\nContent-Length: {announced}\r\n\r\n"
        );
        connection.send(head.as_bytes()).unwrap();
        // Answered although no byte of the body ever comes.
        connection.answer(false).unwrap().refused(413, "body-too-large");
    }
    assert_eq!(host.ask(&Request::get("/users")).ok()["users"].as_array().unwrap().len(), 2);
}

#[test]
fn http_2_long_targets_and_large_heads_are_refused() {
    let host = Host::start("");
    let live = Request::get("/health/live");
    let fields =
        |count: usize| (0..count).fold(live.clone(), |request, at| request.header(&format!("X-Field-{at}"), "x"));
    let target = |length: usize| Request::get(format!("/users/{}", "a".repeat(length - 7)));

    for (what, request, status, code) in [
        ("target of 2 KiB", target(2048), 404, "not-found"),
        ("longer target", target(2049), 414, "target-too-long"),
        ("much longer target", target(12_000), 414, "target-too-long"),
        ("65 fields", fields(64), 431, "headers-too-large"),
        ("200 fields", fields(200), 431, "headers-too-large"),
        ("one field of 17 KiB", live.clone().header("X-Large", &"x".repeat(17 * 1024)), 431, "headers-too-large"),
        ("one field of 100 KiB", live.clone().header("X-Large", &"x".repeat(100 * 1024)), 431, "headers-too-large"),
    ] {
        let mut connection = host.connect();
        let _ = connection.send(&request.encode());
        let answer = connection.answer(false).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{what}");
        crate::document::check_house_rules(false, &answer);
        control(&host, &mut connection);
    }
    // Host and 63 more are 64.
    host.ask(&fields(63)).ok();
}

#[test]
fn http_5_unknown_paths_are_not_found_and_other_methods_not_allowed() {
    let host = Host::start("");
    let mut connection = host.connect();

    for target in [
        "/",
        "//",
        "/users/",
        "//users",
        "/users//secrets",
        "/USERS",
        "/Users",
        "/users/../users",
        "/users/./me/x",
        "/users%2fme",
        "/users;x=1",
        "/v1",
        "/v1/",
        "/v1/v1/users",
        "/v2/users",
        "/v1users",
        "/auth/",
        "/auth/nothing",
        "/health",
        "/.well-known",
        "/etc/passwd",
        "/users/me/secrets/x/y/z",
    ] {
        connection.ask(&Request::get(target)).refused(404, "not-found");
    }
    for (method, target, allowed) in [
        ("DELETE", "/users", vec!["GET", "POST"]),
        ("PATCH", "/users", vec!["GET", "POST"]),
        ("HEAD", "/users", vec!["GET", "POST"]),
        ("OPTIONS", "/users", vec!["GET", "POST"]),
        ("TRACE", "/users", vec!["GET", "POST"]),
        ("get", "/users", vec!["GET", "POST"]),
        ("BREW", "/users", vec!["GET", "POST"]),
        ("PUT", "/auth/password", vec!["GET", "POST"]),
        ("POST", "/health/live", vec!["GET"]),
        ("GET", "/auth/totp", vec!["POST"]),
        ("POST", "/users/me", vec!["DELETE", "GET", "PUT"]),
        ("GET", "/v1/auth/logout", vec!["POST"]),
    ] {
        let answer = connection.ask(&Request::new(method, target));
        let mut allow: Vec<&str> = answer.header("allow").unwrap_or_default().split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!((answer.status, allow), (405, allowed), "{method} {target}");
    }
    control(&host, &mut connection);
    let mut tunnel = host.connect();
    tunnel.send(&Request::new("CONNECT", "mfad:80").encode()).unwrap();
    assert!((400..500).contains(&tunnel.answer(false).unwrap().status));
}

#[test]
fn an_unknown_query_parameter_is_malformed_everywhere() {
    let host = Host::start("");
    let (person, factor, _) = host.guarded("anna");

    for request in [
        Request::get("/users?nothing=1"),
        Request::get("/users?limit"),
        Request::get("/users?limit=1&limit=1"),
        Request::get("/users?LIMIT=1"),
        Request::get("/users?limit=%zz"),
        Request::get("/users?limit=1%26after=x"),
        Request::get("/health/live?x=1"),
        Request::get("/auth?x"),
        Request::get(format!("{}?x=1", person.path())),
        Request::get(format!("{}?qr=svg", person.secrets())),
        Request::post(format!("{}?qr=svg&qr=png", person.secrets()), &json!({"type": "mfa"})),
        Request::post(format!("{}?qr=", person.secrets()), &json!({"type": "mfa"})),
        Request::post("/auth/password?x=1", &json!({"id": "anna", "password": person.password})),
        Request::delete(format!("{}?force=true", factor.path)),
        Request::get("/audit?after=99999999999999999999"),
    ] {
        host.ask(&request).refused(400, "malformed");
    }
    assert_eq!(host.token_status(&person, &person.token), 200, "nothing of it was done");
}

#[test]
fn http_10_members_of_the_wrong_type_are_malformed_at_every_door() {
    let host = Host::start("");
    let (person, factor, _) = host.guarded("anna");
    let challenge = host.challenge(&person);
    let odd_values = [json!(null), json!(1.5), json!([]), json!({}), json!(true), json!(-1)];
    // Null means none for some members, and -1 is a number like another one.
    let not_null = |value: &Value| if value.is_null() { json!(1) } else { value.clone() };
    let not_whole = |value: &Value| if *value == json!(-1) { json!("1") } else { value.clone() };
    let doors = |person: &Person, factor: &Factor, value: &Value| {
        vec![
            Request::post("/users", &json!({"name": value})),
            Request::post("/auth/password", &json!({"id": value, "password": "12345678"})),
            Request::post("/auth/password", &json!({"id": "anna", "password": value})),
            Request::post("/auth/totp", &json!({"token": value})).token(&challenge),
            Request::post("/auth/recovery", &json!({"code": value})).token(&challenge),
            Request::post("/auth/stepup", &json!({"token": "12345678", "action": value})).token(&person.token),
            Request::post("/auth/receipt", &json!({"receipt": value, "action": "x"})).token(&person.token),
            Request::post(format!("{}/verify", person.path()), &json!({"code": value})),
            Request::post(person.secrets(), &json!({"type": value})).token(&person.token),
            Request::post(person.secrets(), &json!({"type": "apikey", "name": not_null(value)})).token(&person.token),
            Request::put(person.path(), &json!({"version": not_whole(value)})).token(&person.token),
            Request::put(&factor.path, &json!({"version": 1, "name": not_null(value)})).token(&person.token),
            Request::put(format!("{}/password", person.secrets()), &json!({"secret": value, "current": "12345678"}))
                .token(&person.token),
        ]
    };

    for value in &odd_values {
        for request in doors(&person, &factor, value) {
            let answer = host.ask(&request);
            assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"), "{} {value}", request.target);
        }
    }
    assert_eq!(host.token_status(&person, &person.token), 200);
}

#[test]
fn routes_without_a_body_take_none_or_an_empty_object() {
    let host = Host::start("");
    let (person, _, _) = host.guarded("anna");
    let codes = Request::new("POST", format!("{}/codes", person.path())).reason();

    host.ask(&codes).ok();
    host.ask(&codes.clone().text("{}")).ok();
    host.ask(&codes.clone().text("{\"count\": 20}")).refused(400, "malformed");
    host.ask(&codes.text("[]")).refused(400, "malformed");
}

#[test]
fn aut_5_a_password_that_nobody_can_type_is_refused_where_it_is_set() {
    let host = Host::start("");
    let person = host.person("anna");
    for end in ["\r", "\n", "\r\n", "\0", "\u{1b}[A", "\u{7f}", "\u{85}"] {
        let odd = format!("correct horse{end}");
        for request in [
            Request::post("/users", &json!({"name": "boris", "password": odd})),
            Request::put(format!("{}/password", person.secrets()), &json!({"secret": odd, "current": person.password}))
                .token(&person.token),
            Request::post(format!("/users/{}/secrets", person.id), &json!({"type": "password", "secret": odd}))
                .reason(),
        ] {
            let refused = host.ask(&request).refused(400, "malformed");
            assert!(text(&refused["detail"]).contains("control character"), "{refused}");
        }
    }
    let fine = json!({"name": "clara", "password": "p\u{e4}ssw\u{f6}rd \u{1f511} with spaces "});
    host.ask(&Request::post("/users", &fine)).ok();
    host.password(&person).ok();
}
