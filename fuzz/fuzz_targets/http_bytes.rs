//! The framing check of a connection. The bytes of an input's first line are lengths of pieces, used in a cycle. The
//! rest are the bytes of the connection, cut into these pieces. The verdict does not depend on the pieces, and the HTTP
//! library can parse every header block that passes.

#![no_main]

use std::iter;

use libfuzzer_sys::fuzz_target;
use mfad::http::inside::{FramingPhase, Reject, StrictFraming};

/// Maximum number of header fields.
const MOST_FIELDS: usize = 64;

/// The phase at the end; or the reason of the refusal, and the bytes of the complete messages before it.
type Verdict = Result<FramingPhase, (Reject, usize)>;

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (lengths, bytes) = (&data[..end], &data[end + 1..]);
    let whole = feed(iter::once(bytes));

    assert_eq!(feed(bytes.chunks(1)), whole);
    match (feed(pieces(bytes, lengths).into_iter()), whole) {
        (Ok(phase), Ok(at_once)) => assert_eq!(phase, at_once),
        (Err((reason, good)), Err((at_once, most))) => {
            assert_eq!(reason, at_once);
            assert!(good <= most, "{good} bytes are said to be good, and {most} are");
        }
        (in_pieces, at_once) => panic!("{in_pieces:?} in pieces, {at_once:?} at once"),
    }
    if let Err((_, good)) = whole {
        assert_eq!(feed(iter::once(&bytes[..good])), Ok(FramingPhase::Between));
    }
    check_head(bytes);
});

fn feed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Verdict {
    let mut framing = StrictFraming::default();
    let (mut before, mut good) = (0, 0);
    for piece in pieces {
        if let Err(refusal) = framing.feed(piece) {
            // The check counts within this piece. Before it, a message is known to be complete if a piece ends there.
            return Err((refusal.reason, if refusal.good > 0 { before + refusal.good } else { good }));
        }
        before += piece.len();
        if framing.phase() == FramingPhase::Between {
            good = before;
        }
    }
    Ok(framing.phase())
}

fn pieces<'a>(mut bytes: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if bytes.is_empty() {
            return pieces;
        }
        let (piece, rest) = bytes.split_at(usize::from(*length).clamp(1, bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

/// The HTTP library must accept a header block that passes, and agree on whether a body follows.
fn check_head(bytes: &[u8]) {
    let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return };
    let head = &bytes[..at + 4];
    let Ok(phase) = feed(iter::once(head)) else { return };
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);

    assert_eq!(request.parse(head), Ok(httparse::Status::Complete(head.len())));
    assert_eq!(request.version, Some(1));
    assert_eq!(phase == FramingPhase::Body, request.headers.iter().any(announces_body));
}

fn announces_body(field: &httparse::Header<'_>) -> bool {
    let length = || str::from_utf8(field.value).ok().and_then(|text| text.trim().parse::<u64>().ok());
    match field.name.to_ascii_lowercase().as_str() {
        "transfer-encoding" => true,
        "content-length" => length() != Some(0),
        _ => false,
    }
}
