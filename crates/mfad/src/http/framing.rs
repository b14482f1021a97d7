//! Framing check: reads the bytes of a connection before the HTTP library does, and refuses what two parsers could
//! understand differently (RFC 9112 sections 2.2, 5, 6, 11.2; HTTP-2, HTTP-4, HTTP-8). It follows the framing only, and
//! does not know what other header fields mean.

use hyper::Uri;

/// Longest request target in bytes (HTTP-2).
pub(super) const LONGEST_TARGET: usize = 2048;
/// Longest header block in bytes, request line included (HTTP-2).
pub(super) const LONGEST_HEAD: usize = 16 * 1024;
/// Maximum number of header fields (HTTP-2).
pub(super) const MOST_FIELDS: usize = 64;
/// Longest body in bytes, with a length or chunked (HTTP-2).
pub(super) const LONGEST_BODY: u64 = 16 * 1024;
/// Longest method name in bytes.
const LONGEST_METHOD: usize = 32;
/// Longest chunk-size line in bytes, extensions included.
const LONGEST_CHUNK_LINE: usize = 64;
/// Refusal of HTTP/1.0, which has no chunks and closes each connection. Its client is usually a reverse proxy with
/// default settings, so the text says what to set.
const OLD_VERSION: &str = "HTTP/1.0 is not supported; configure the proxy to use HTTP/1.1 for this socket \
    (nginx: `proxy_http_version 1.1;` and `proxy_set_header Connection \"\";`)";

/// Why bytes are refused. The connection ends after every refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// The bytes are not valid HTTP/1.1; the text becomes the `detail` of the response (400).
    Malformed(&'static str),
    /// The body is longer than `LONGEST_BODY`, or announces to be (413).
    BodyTooLarge,
    /// The request target is longer than `LONGEST_TARGET` (414).
    TargetTooLong,
    /// The header block is longer than `LONGEST_HEAD`, or has more than `MOST_FIELDS` fields (431).
    HeadersTooLarge,
}

/// A refusal, and how many of the bytes before it can still be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why the bytes after `good` are refused.
    pub reason: Reject,
    /// Number of bytes just fed, up to the end of the last complete message; these can be served.
    pub good: usize,
}

/// Position in a message after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingPhase {
    /// Between two messages: the next byte is the first of a message.
    Between,
    /// In a request line or a header block.
    Head,
    /// In a body, including chunk sizes and trailers.
    Body,
}

/// Follows the framing of the messages of one connection.
#[derive(Debug)]
pub struct StrictFraming {
    state: State,
    line: Vec<u8>,
    last_was_cr: bool,
    head_length: usize,
    fields: usize,
    framing: Framing,
    body_length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    RequestLine,
    Field,
    FixedBody(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
}

#[derive(Clone, Copy, Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl Default for StrictFraming {
    fn default() -> Self {
        Self {
            state: State::RequestLine,
            line: Vec::new(),
            last_was_cr: false,
            head_length: 0,
            fields: 0,
            framing: Framing::default(),
            body_length: 0,
        }
    }
}

impl StrictFraming {
    /// Returns the position after the last byte that was fed.
    pub fn phase(&self) -> FramingPhase {
        match self.state {
            State::RequestLine if self.head_length == 0 => FramingPhase::Between,
            State::RequestLine | State::Field => FramingPhase::Head,
            State::FixedBody(_) | State::ChunkSize | State::ChunkData(_) | State::ChunkEnd | State::Trailer => {
                FramingPhase::Body
            }
        }
    }

    /// Checks the next bytes. After a refusal the connection must not be read any further.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let whole = bytes.len();
        let mut bytes = bytes;
        let mut good = 0;
        while !bytes.is_empty() {
            let taken = match self.state {
                // Contents are passed over as a whole, and so is text within a line.
                State::FixedBody(left) => self.skip(bytes, left, |left| match left {
                    0 => State::RequestLine,
                    left => State::FixedBody(left),
                }),
                State::ChunkData(left) => self.skip(bytes, left, |left| match left {
                    0 => State::ChunkEnd,
                    left => State::ChunkData(left),
                }),
                State::RequestLine | State::Field | State::ChunkSize | State::ChunkEnd | State::Trailer => {
                    match self.take_text(bytes) {
                        0 => {
                            let byte = bytes.first().copied().unwrap_or(0);
                            self.take_line_byte(byte).map_err(|reason| Refusal { reason, good })?;
                            1
                        }
                        taken => taken,
                    }
                }
            };
            bytes = bytes.get(taken..).unwrap_or(&[]);
            if self.phase() == FramingPhase::Between {
                good = whole.saturating_sub(bytes.len());
            }
        }
        Ok(())
    }

    fn skip(&mut self, bytes: &[u8], left: u64, next: impl Fn(u64) -> State) -> usize {
        let taken = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(left);
        self.state = next(left.saturating_sub(taken));
        usize::try_from(taken).unwrap_or(usize::MAX)
    }

    /// Takes the bytes up to the next that means something in a line, or to the nearest limit. At a limit it takes none:
    /// the byte that exceeds it is found one by one.
    fn take_text(&mut self, bytes: &[u8]) -> usize {
        let (is_head, longest) = match self.state {
            State::RequestLine => (true, LONGEST_TARGET),
            State::Field | State::Trailer => (true, LONGEST_HEAD),
            State::ChunkSize | State::ChunkEnd | State::FixedBody(_) | State::ChunkData(_) => {
                (false, LONGEST_CHUNK_LINE)
            }
        };
        let left_in_head = if is_head { LONGEST_HEAD.saturating_sub(self.head_length) } else { usize::MAX };
        let room = longest.saturating_sub(self.line.len()).min(left_in_head);
        // Never looks further than it may take, so that a long line is not read again for each of its bytes.
        let near = if self.last_was_cr { &[] } else { bytes.get(..room).unwrap_or(bytes) };
        let length = near.iter().position(|byte| matches!(byte, b'\r' | b'\n' | 0)).unwrap_or(near.len());
        self.line.extend_from_slice(near.get(..length).unwrap_or(&[]));
        if is_head {
            self.head_length = self.head_length.saturating_add(length);
        }
        length
    }

    fn take_line_byte(&mut self, byte: u8) -> Result<(), Reject> {
        self.count_head_byte()?;
        match (byte, self.last_was_cr) {
            (b'\n', true) => {
                self.last_was_cr = false;
                // Put back afterwards, so that its allocation serves all lines.
                let line = std::mem::take(&mut self.line);
                self.take_line(&line)?;
                self.line = line;
                self.line.clear();
                Ok(())
            }
            // A bare line feed ends a line for some parsers only (RFC 9112 section 2.2).
            (b'\n', false) => Err(Reject::Malformed("line feed without a carriage return")),
            (_, true) => Err(Reject::Malformed("carriage return without a line feed")),
            (0, false) => Err(Reject::Malformed("NUL byte in a line")),
            (b'\r', false) => {
                self.last_was_cr = true;
                Ok(())
            }
            (other, false) => {
                self.line.push(other);
                self.check_line_length()
            }
        }
    }

    fn count_head_byte(&mut self) -> Result<(), Reject> {
        if matches!(self.state, State::RequestLine | State::Field | State::Trailer) {
            self.head_length = self.head_length.saturating_add(1);
            if self.head_length > LONGEST_HEAD {
                return Err(Reject::HeadersTooLarge);
            }
        }
        Ok(())
    }

    fn check_line_length(&self) -> Result<(), Reject> {
        match self.state {
            // Only keeps the line from growing without end; the target is measured when the line is complete.
            State::RequestLine if self.line.len() > LONGEST_TARGET.saturating_add(LONGEST_METHOD) => {
                Err(Reject::TargetTooLong)
            }
            State::ChunkSize | State::ChunkEnd if self.line.len() > LONGEST_CHUNK_LINE => {
                Err(Reject::Malformed("chunk size line is too long"))
            }
            State::RequestLine
            | State::Field
            | State::Trailer
            | State::ChunkSize
            | State::ChunkEnd
            | State::FixedBody(_)
            | State::ChunkData(_) => Ok(()),
        }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), Reject> {
        match self.state {
            State::RequestLine => {
                check_request_line(line)?;
                self.state = State::Field;
            }
            State::Field if line.is_empty() => self.end_head()?,
            State::Field => self.take_field(line)?,
            State::ChunkSize => {
                let size = chunk_size(line)?;
                // The announced sizes are added up, so that the body is refused before it arrives.
                self.body_length = self.body_length.saturating_add(size);
                if self.body_length > LONGEST_BODY {
                    return Err(Reject::BodyTooLarge);
                }
                self.state = if size == 0 { State::Trailer } else { State::ChunkData(size) };
            }
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd => return Err(Reject::Malformed("chunk is longer than its size")),
            State::Trailer if line.is_empty() => *self = Self::default(),
            // Trailers have limits of their own: the end of the head has reset the counts.
            State::Trailer => self.check_field(line).map(|_| ())?,
            State::FixedBody(_) | State::ChunkData(_) => {}
        }
        Ok(())
    }

    fn take_field(&mut self, line: &[u8]) -> Result<(), Reject> {
        let (name, value) = self.check_field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            // Equal values are refused as well, as RFC 9110 section 8.6 allows.
            if self.framing.length.is_some() {
                return Err(Reject::Malformed("duplicate Content-Length"));
            }
            self.framing.length = Some(content_length(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.framing.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Reject::Malformed("Transfer-Encoding must be `chunked`, and only once"));
            }
            self.framing.chunked = true;
        }
        Ok(())
    }

    fn check_field<'a>(&mut self, line: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Reject> {
        self.fields = self.fields.saturating_add(1);
        if self.fields > MOST_FIELDS {
            return Err(Reject::HeadersTooLarge);
        }
        let colon = line.iter().position(|b| *b == b':').ok_or(Reject::Malformed("header field without a colon"))?;
        let (name, rest) = line.split_at_checked(colon).unwrap_or((line, &[]));
        if name.is_empty() || !name.iter().copied().all(is_token_byte) {
            return Err(Reject::Malformed("invalid header field name"));
        }
        // Before trimming, which would also remove form feeds: only spaces and tabs may surround a value.
        let value = rest.get(1..).unwrap_or(&[]);
        if !value.iter().copied().all(is_value_byte) {
            return Err(Reject::Malformed("control character in a header field value"));
        }
        Ok((name, value.trim_ascii()))
    }

    fn end_head(&mut self) -> Result<(), Reject> {
        let framing = self.framing;
        let length = match (framing.chunked, framing.length) {
            // A sign of request smuggling (RFC 9112 sections 6.3 and 11.2).
            (true, Some(_)) => return Err(Reject::Malformed("both Content-Length and Transfer-Encoding")),
            (true, None) => {
                *self = Self { state: State::ChunkSize, ..Self::default() };
                return Ok(());
            }
            (false, length) => length.unwrap_or(0),
        };
        if length > LONGEST_BODY {
            return Err(Reject::BodyTooLarge);
        }
        let state = if length == 0 { State::RequestLine } else { State::FixedBody(length) };
        *self = Self { state, ..Self::default() };
        Ok(())
    }
}

fn check_request_line(line: &[u8]) -> Result<(), Reject> {
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Reject::Malformed("request line must have a method, a target and a version"));
    };
    if method.is_empty() || method.len() > LONGEST_METHOD || !method.iter().copied().all(is_token_byte) {
        return Err(Reject::Malformed("invalid method"));
    }
    if target.len() > LONGEST_TARGET {
        return Err(Reject::TargetTooLong);
    }
    // The HTTP library answers a target that it cannot parse by itself, without a problem document.
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) || Uri::try_from(target).is_err() {
        return Err(Reject::Malformed("invalid request target"));
    }
    match version {
        b"HTTP/1.1" => Ok(()),
        b"HTTP/1.0" => Err(Reject::Malformed(OLD_VERSION)),
        _ => Err(Reject::Malformed("only HTTP/1.1 is supported")),
    }
}

/// Parses decimal digits and nothing else. A number beyond 64 bits counts as too large, not as malformed.
fn content_length(value: &[u8]) -> Result<u64, Reject> {
    let text = std::str::from_utf8(value).ok().filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()));
    let text = text.ok_or(Reject::Malformed("Content-Length must be a decimal number"))?;
    text.parse().map_err(|_| Reject::BodyTooLarge)
}

/// Parses hexadecimal digits, and ignores an extension after `;`. A number beyond 64 bits counts as too large.
fn chunk_size(line: &[u8]) -> Result<u64, Reject> {
    let digits = line.split(|b| *b == b';').next().unwrap_or(&[]);
    let text = std::str::from_utf8(digits).ok().filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit()));
    let text = text.ok_or(Reject::Malformed("chunk size must be a hexadecimal number"))?;
    u64::from_str_radix(text, 16).map_err(|_| Reject::BodyTooLarge)
}

/// Whether the byte is `field-vchar` of RFC 9110 section 5.5, a space or a tab.
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

/// Whether the byte is `tchar` of RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
