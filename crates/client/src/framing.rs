//! The part of HTTP/1.1 that the daemon's responses use: a head, then a body of known length or in chunks (RFC 9112).

use crate::Error;

/// Longest accepted head of a response, in bytes.
pub(crate) const LONGEST_HEAD: usize = 16 * 1024;
/// Maximum number of header fields of a response.
const MOST_FIELDS: usize = 64;
/// Longest accepted chunk-size line, in bytes.
pub(crate) const LONGEST_SIZE_LINE: usize = 64;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// After this number of bytes (`Content-Length`).
    Known(u64),
    /// After the last chunk, which is empty (`Transfer-Encoding: chunked`).
    Chunked,
}

/// The parts of a response head that the client needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) length: Length,
    /// Whether the daemon closes the connection after this answer.
    pub(crate) closes: bool,
}

/// Parses a head and returns it with its size in bytes; `None` if it is not complete yet.
pub(crate) fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Error> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let size = match response.parse(bytes) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(unexpected("a head that is too long")),
        Err(_) => return Err(unexpected("a head that is not HTTP/1.1")),
    };
    let status = response.code.ok_or_else(|| unexpected("a head without a status"))?;
    let (mut known, mut is_chunked, mut closes) = (None, false, false);
    for field in response.headers.iter() {
        let value = std::str::from_utf8(field.value).unwrap_or_default();
        if field.name.eq_ignore_ascii_case("content-length") {
            known = Some(value.parse().map_err(|_| unexpected("a length that is not a number"))?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            is_chunked = value.eq_ignore_ascii_case("chunked");
        } else if field.name.eq_ignore_ascii_case("connection") {
            closes = value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
        }
    }
    let length = match (known, is_chunked) {
        (None, true) => Length::Chunked,
        (Some(length), false) => Length::Known(length),
        (None, false) if status == 204 => Length::Known(0),
        (None, false) => return Err(unexpected("a body of unknown length")),
        // Two parsers could disagree where such a body ends (RFC 9112 section 6.3).
        (Some(_), true) => return Err(unexpected("a body with two lengths")),
    };
    Ok(Some((Head { status, length, closes }, size)))
}

/// Parses the size of a chunk from its line, given without the line ending (RFC 9112 section 7.1).
pub(crate) fn chunk_size(line: &[u8]) -> Result<u64, Error> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let text = std::str::from_utf8(digits).unwrap_or_default().trim_ascii();
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or_else(|| unexpected("a chunk without a size"))
}

pub(crate) fn unexpected(what: &str) -> Error {
    Error::Unexpected(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\nhello";

        for end in 0..whole.len() - 5 {
            assert_eq!(parse_head(&whole[..end]).unwrap(), None, "{end}");
        }
        let head = Head { status: 200, length: Length::Known(5), closes: false };
        assert_eq!(parse_head(whole).unwrap(), Some((head, whole.len() - 5)));
    }

    #[test]
    fn bodies_have_one_length() {
        let length = |fields: &str| parse_head(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());

        assert_eq!(length("transfer-encoding: chunked\r\n").unwrap().unwrap().0.length, Length::Chunked);
        for odd in ["", "content-length: x\r\n", "content-length: 1\r\ntransfer-encoding: chunked\r\n"] {
            assert!(length(odd).is_err(), "{odd:?}");
        }
        assert_eq!(parse_head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap().0.length, Length::Known(0));
    }

    #[test]
    fn the_daemon_says_when_it_closes() {
        let head =
            parse_head(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nConnection: close\r\n\r\n").unwrap().unwrap().0;

        assert!(head.closes);
    }

    #[test]
    fn a_chunk_has_a_hexadecimal_size() {
        assert_eq!(chunk_size(b"1a").unwrap(), 26);
        assert_eq!(chunk_size(b"0;last").unwrap(), 0);
        for odd in ["", "+1", "-1", "1 1", "g", "fffffffffffffffff"] {
            assert!(chunk_size(odd.as_bytes()).is_err(), "{odd:?}");
        }
    }
}
