//! When connections stay open, for how long, and what they say of it; and how one ends that is not read any further.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::host::Host;
use crate::wire::{Answer, Connection, Request};

const LIVE: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: mfad\r\n\r\n";
/// What the framing check refuses, each in another way.
const REFUSED: [&str; 4] = [
    "GET /health/live HTTP/1.0\r\n\r\n",
    "GET /health/live HTTP/1.1\nHost: mfad\n\n",
    "POST /users HTTP/1.1\r\nHost: mfad\r\nContent-Length: 99999\r\n\r\n",
    "GET /health/live HTTP/1.1\r\nHost : mfad\r\n\r\n",
];
/// Long before an idle connection would be closed.
const AT_ONCE: Duration = Duration::from_millis(2_500);

/// How long an answer says that its connection stays open.
fn announced(answer: &Answer) -> Option<Duration> {
    let seconds = answer.header("keep-alive")?.strip_prefix("timeout=")?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A connection that was let in.
fn inside(host: &Host) -> Connection {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut connection = Connection::new(UnixStream::connect(host.socket()).unwrap(), None);
        if connection.try_ask(&Request::get("/health/live")).is_ok_and(|answer| answer.status == 200) {
            return connection;
        }
        assert!(Instant::now() < deadline, "nobody is let in");
        thread::yield_now();
    }
}

#[test]
fn every_answer_says_for_how_long_its_connection_stays_open() {
    let host = Host::start("");
    let mut connection = host.connect();

    for (request, status) in [
        (Request::get("/health/live"), 200),
        (Request::get("/nowhere"), 404),
        (Request::post("/nowhere", &json!({"with": "a body"})), 404),
        (Request::post("/health/live", &json!({"with": "a body"})), 405),
        (Request::post("/users", &json!({"name": 1})), 400),
        (Request::get("/auth/password"), 401),
        (Request::new("POST", "/backup").reason(), 200),
    ] {
        let answer = connection.ask(&request);

        assert_eq!(answer.status, status, "{} {}", request.method, request.target);
        assert_eq!(answer.header("connection"), Some("keep-alive"), "{answer:?}");
        assert!(announced(&answer).is_some_and(|time| time >= Duration::from_secs(1)), "{answer:?}");
    }
}

#[test]
fn a_connection_stays_open_for_longer_than_its_answers_announce() {
    let host = Host::start("");

    thread::scope(|scope| {
        for request in [
            Request::get("/health/live"),
            Request::get("/nowhere"),
            Request::post("/users", &json!({"name": "anna"})),
            Request::new("POST", "/backup").reason(),
        ] {
            let mut connection = host.connect();
            scope.spawn(move || {
                let asked = Instant::now();
                let announced = announced(&connection.ask(&request)).expect("Keep-Alive");

                let rest = connection.rest(Duration::from_secs(20)).expect("it is closed in the end");

                let open = asked.elapsed();
                assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
                assert!(open >= announced + Duration::from_millis(500), "{}: {open:?}", request.target);
            });
        }
    });
}

#[test]
fn a_caller_that_asks_to_close_is_told_so_and_the_connection_ends() {
    let host = Host::start("");

    for option in ["close", "Close", "keep-alive, close"] {
        for target in ["/health/live", "/nowhere", "/auth/password"] {
            let mut connection = host.connect();

            let answer = connection.ask(&Request::get(target).header("Connection", option));

            assert_eq!((answer.header("connection"), announced(&answer)), (Some("close"), None), "{option} {target}");
            assert_eq!(connection.rest(AT_ONCE), Some(Vec::new()), "{option} {target}");
        }
    }
}

#[test]
fn an_answer_to_a_body_that_went_wrong_ends_its_connection_and_says_so() {
    let host = Host::start("");
    let head =
        "POST /users HTTP/1.1\r\nHost: mfad\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";

    for (body, status) in [("zz\r\n", 400), ("1\r\nabc\r\n", 400), ("1\r\n{\r\n4001\r\n", 413)] {
        let mut connection = host.connect();
        connection.send(head.as_bytes()).unwrap();
        connection.send(body.as_bytes()).unwrap();

        let answer = connection.answer(false).unwrap();

        crate::document::check_house_rules(false, &answer);
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{body:?}");
        assert_eq!(connection.rest(AT_ONCE), Some(Vec::new()), "{body:?}");
    }
}

#[test]
fn what_was_asked_before_refused_bytes_has_its_whole_answer_first() {
    let host = Host::start("");
    let login = Request::post("/auth/password", &json!({"id": "nobody", "password": "not the password"}));
    let stories = [
        vec![(Request::get("/health/live"), 200)],
        vec![(Request::get("/health/live"), 200), (Request::get("/nowhere"), 404), (Request::get("/version"), 200)],
        vec![(Request::get("/openapi.json"), 200), (Request::get("/openapi.json"), 200)],
        vec![(Request::get("/health/live"), 200), (login, 401)],
        vec![(Request::new("POST", "/backup").reason(), 200)],
    ];

    for story in &stories {
        for bad in REFUSED {
            let mut connection = host.connect();
            let good: Vec<u8> = story.iter().flat_map(|(request, _)| request.encode()).collect();
            connection.send(&[good.as_slice(), bad.as_bytes()].concat()).unwrap();

            for (request, status) in story {
                let answer = connection.answer(false).unwrap_or_else(|why| panic!("{} {bad:?}: {why}", request.target));
                connection.check(request, &answer);
                assert_eq!(answer.status, *status, "{} {bad:?}", request.target);
            }
            let refused = connection.answer(false).unwrap_or_else(|why| panic!("{bad:?}: {why}"));
            assert!(matches!(refused.status, 400 | 413), "{bad:?}: {refused:?}");
            assert_eq!(connection.rest(AT_ONCE), Some(Vec::new()), "{bad:?}");
        }
    }
}

#[test]
fn http_9_refused_bytes_behind_a_request_give_the_place_back_at_once() {
    const PLACES: usize = 8;
    let host = Host::start(&format!("[limits]\nconnectionsPerPeer = {PLACES}\n"));

    for bad in REFUSED {
        let mut held: Vec<Connection> = (0..PLACES).map(|_| inside(&host)).collect();
        let refused =
            Connection::new(UnixStream::connect(host.socket()).unwrap(), None).try_ask(&Request::get("/health/live"));
        assert!(refused.as_ref().map_or(true, |answer| answer.status == 503), "all places are taken: {refused:?}");

        let sent = Instant::now();
        for connection in &mut held {
            connection.send(&[LIVE, bad.as_bytes()].concat()).unwrap();
        }
        for connection in &mut held {
            assert_eq!(connection.answer(false).unwrap().status, 200, "{bad:?}");
            assert!(matches!(connection.answer(false).unwrap().status, 400 | 413), "{bad:?}");
        }
        // The callers stay; their places are free all the same.
        let next: Vec<Connection> = (0..PLACES).map(|_| inside(&host)).collect();

        let took = sent.elapsed();
        assert!(took < AT_ONCE, "{bad:?}: {took:?}");
        drop((held, next));
    }
}
