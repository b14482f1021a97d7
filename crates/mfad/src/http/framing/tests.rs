//! Which bytes pass, which are refused, and where the limits are.

use proptest::prelude::*;

use super::*;

fn feed(text: &[u8]) -> Result<FramingPhase, Reject> {
    let mut framing = StrictFraming::default();
    framing.feed(text).map_err(|refusal| refusal.reason)?;
    Ok(framing.phase())
}

#[test]
fn good_messages_pass_one_after_another() {
    let text = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\
        POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello\
        POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n";

    assert_eq!(feed(text), Ok(FramingPhase::Between));
    for cut in 0..text.len() {
        assert!(feed(&text[..cut]).is_ok(), "cut at {cut}");
    }
}

#[test]
fn a_refusal_says_how_much_before_it_is_good() {
    let good = "GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";
    let text = format!("{good}GET / HTTP/9\r\n\r\n");

    let refusal = StrictFraming::default().feed(text.as_bytes()).unwrap_err();

    assert_eq!(refusal.good, good.len());
}

#[test]
fn http_4_what_two_readers_could_split_differently_is_refused() {
    for text in [
        "GET / HTTP/1.1\nHost: x\n\n",
        "GET / HTTP/1.1\r\nHost: x\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nA: \0\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\x01c\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\x7f\r\n\r\n",
        "GET / HTTP/1.1\r\nA: \x0cb\r\n\r\n",
        "GET /a`b HTTP/1.1\r\n\r\n",
        "GET http://a:b:c/ HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nA : b\r\n\r\n",
        "GET / HTTP/1.1\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1 1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\nab\r\n",
    ] {
        assert!(matches!(feed(text.as_bytes()), Err(Reject::Malformed(_))), "{text:?}");
    }
}

#[test]
fn a_request_in_http_1_0_is_told_what_the_proxy_needs() {
    let says_how = |text: &str| match feed(text.as_bytes()) {
        Err(Reject::Malformed(why)) => why.contains("proxy_http_version 1.1;"),
        other => panic!("{text:?}: {other:?}"),
    };

    for old in [
        "GET /users HTTP/1.0\r\n\r\n",
        "POST /v1/auth/password HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n",
        "GET http://mfad/ HTTP/1.0\r\n",
    ] {
        assert!(says_how(old), "{old:?}");
    }
    for other in ["GET / HTTP/0.9\r\n", "GET / HTTP/2.0\r\n", "GET / HTTP/1.00\r\n", "GET / http/1.0\r\n"] {
        assert!(!says_how(other), "{other:?}");
    }
}

#[test]
fn http_2_every_limit_holds_at_its_edge() {
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(length - 1));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
    let body = |length: u64| format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    let chunk = |length: u64| format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n");
    let long_field = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(LONGEST_HEAD));

    assert!(feed(target(LONGEST_TARGET).as_bytes()).is_ok());
    assert_eq!(feed(target(LONGEST_TARGET + 1).as_bytes()), Err(Reject::TargetTooLong));
    assert_eq!(feed(target(100_000).as_bytes()), Err(Reject::TargetTooLong));
    assert!(feed(fields(MOST_FIELDS).as_bytes()).is_ok());
    assert_eq!(feed(fields(MOST_FIELDS + 1).as_bytes()), Err(Reject::HeadersTooLarge));
    assert_eq!(feed(long_field.as_bytes()), Err(Reject::HeadersTooLarge));
    assert!(feed(body(LONGEST_BODY).as_bytes()).is_ok());
    assert_eq!(feed(body(LONGEST_BODY + 1).as_bytes()), Err(Reject::BodyTooLarge));
    assert!(feed(chunk(LONGEST_BODY).as_bytes()).is_ok());
    assert_eq!(feed(chunk(LONGEST_BODY + 1).as_bytes()), Err(Reject::BodyTooLarge));
    assert_eq!(
        feed(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
        Err(Reject::BodyTooLarge)
    );
    assert_eq!(feed(b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"), Err(Reject::BodyTooLarge));
}

proptest! {
    #[test]
    fn how_the_bytes_are_cut_changes_nothing(text in r#"(GET|POST) /[a-z]{0,5} HTTP/1.1\r\n(Content-Length: [0-9]{1,2}\r\n|Transfer-Encoding: chunked\r\n|A: b\r\n){0,3}\r\n[0-9a-f\r\n]{0,30}"#, cut in 0usize..80) {
        let bytes = text.as_bytes();
        let cut = cut.min(bytes.len());
        let mut in_two = StrictFraming::default();

        let result = in_two.feed(&bytes[..cut]).and_then(|()| in_two.feed(&bytes[cut..])).map(|()| in_two.phase());
        let result = result.map_err(|refusal| refusal.reason);

        prop_assert_eq!(result, feed(bytes));
    }

    #[test]
    fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = feed(&bytes);
    }
}

proptest! {
    // Long lines, byte by byte: each case takes milliseconds.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn limits_hold_at_the_same_byte_however_much_arrives_at_once(
        target in 2_000usize..2_100, field in prop_oneof![0usize..10, 16_300usize..16_400, 13_900usize..14_400],
        chunk in 55usize..75
    ) {
        let (target, field, chunk) = ("a".repeat(target), "b".repeat(field), "0".repeat(chunk));
        for text in [
            format!("GET /{target} HTTP/1.1\r\nA: {field}\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nA: {field}\r\n\r\n"),
            format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}\r\n\r\n"),
        ] {
            let mut single = StrictFraming::default();
            let mut fed = 0;
            let one_by_one = text.bytes().try_for_each(|byte| {
                single.feed(&[byte]).map_err(|refusal| refusal.reason)?;
                fed += 1;
                Ok(())
            });

            prop_assert_eq!(one_by_one.map(|()| single.phase()), feed(text.as_bytes()));
            // Nothing is refused earlier than one by one.
            prop_assert!(feed(&text.as_bytes()[..fed]).is_ok());
        }
    }
}
