//! The bytes of a connection, as the sieve sees them. The first line of an input is not among them: each of its bytes is the
//! length of a piece, over and over. However they are cut the verdict is one, and a head that passes is one for the HTTP
//! library too.

#![no_main]

use std::iter;

use libfuzzer_sys::fuzz_target;
use mfad::http::inside::{FramingPhase, Reject, StrictFraming};

/// The most header fields that pass.
const MOST_FIELDS: usize = 64;

/// The phase at the end; or why it was refused, and behind how many bytes of whole messages.
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
            // Within a piece the sieve counts; before it, messages that end where a piece does are known to be whole.
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

/// What passes here the library must not refuse by itself, nor see another body behind it.
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
