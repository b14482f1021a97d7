//! Input that is no list of otpauth URIs: what it is, and what to do with it. It never quotes what it looks at, since
//! that may hold secrets.

/// Fewer symbols are taken for a word.
const SHORTEST_BASE32: usize = 16;

/// What stands in the place of an otpauth URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// A photograph or a screenshot of a QR code.
    Picture,
    /// UTF-16 text.
    Utf16,
    /// Bytes that are no text.
    Binary,
    /// JSON.
    Json,
    /// XML.
    Xml,
    /// Several factors in one URI, as Google Authenticator exports them.
    Migration,
    /// A secret without its URI.
    Base32,
    /// Several columns.
    Table,
    /// Anything else.
    Other,
}

impl Foreign {
    /// What bytes are that are no UTF-8 text.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        // PNG, JPEG, GIF; and WebP, a kind of RIFF.
        let pictures: [&[u8]; 4] = [b"\x89PNG", &[0xff, 0xd8, 0xff], b"GIF89a", b"RIFF"];
        if pictures.iter().any(|magic| bytes.starts_with(magic)) {
            Self::Picture
        } else if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            Self::Utf16
        } else {
            Self::Binary
        }
    }

    /// What a text is as a whole, if its beginning says so.
    pub fn of_text(text: &str) -> Option<Self> {
        match text.trim_start().chars().next() {
            Some('{' | '[') => Some(Self::Json),
            Some('<') => Some(Self::Xml),
            Some(_) | None => None,
        }
    }

    /// What a line is that does not begin with `otpauth://`.
    pub fn of_line(line: &str) -> Self {
        if let Some(whole) = Self::of_text(line) {
            return whole;
        }
        if line.starts_with("otpauth-migration:") {
            return Self::Migration;
        }
        if line.contains([',', ';', '\t']) {
            return Self::Table;
        }
        let mut symbols = line.chars().filter(|symbol| !matches!(symbol, ' ' | '-' | '='));
        let is_long = symbols.clone().count() >= SHORTEST_BASE32;
        // RFC 4648 section 6, in either case.
        if is_long && symbols.all(|symbol| matches!(symbol, 'A'..='Z' | 'a'..='z' | '2'..='7')) {
            Self::Base32
        } else {
            Self::Other
        }
    }

    /// Its name, and what to do.
    pub fn words(self) -> &'static str {
        match self {
            Self::Picture => {
                "a picture; read its QR code with a program such as zbarimg, and import the otpauth URI that it prints"
            }
            Self::Utf16 => "UTF-16 text; save it as UTF-8",
            Self::Binary => "no text, but perhaps an encrypted export; export otpauth URIs as plain text, one a line",
            Self::Json => {
                "JSON, such as an export of Aegis, andOTP or 2FAS; export otpauth URIs as plain text there, one a line"
            }
            Self::Xml => "XML, such as PSKC (RFC 6030); write each of its keys as an otpauth URI, one a line",
            Self::Migration => {
                "an otpauth-migration payload of Google Authenticator, which holds several factors in one; turn it \
                 into otpauth URIs with a program that reads such payloads"
            }
            Self::Base32 => {
                "a bare Base32 secret; write it as otpauth://totp/USER?secret=SECRET, with algorithm, digits and \
                 period where they are not SHA1, 6 and 30"
            }
            Self::Table => "a table such as CSV; keep its column of otpauth URIs alone, one a line",
            Self::Other => "no otpauth URI; one begins with otpauth://totp/ or otpauth://hotp/",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_named() {
        for (bytes, foreign) in [
            (&b"\x89PNG\r\n\x1a\n\0"[..], Foreign::Picture),
            (b"\xff\xd8\xff\xe0", Foreign::Picture),
            (b"RIFF\xff\0\0\0WEBP", Foreign::Picture),
            (b"\xff\xfeo\0", Foreign::Utf16),
            (b"\xfe\xff\0o", Foreign::Utf16),
            (b"\x80\x81", Foreign::Binary),
        ] {
            assert_eq!(Foreign::of_bytes(bytes), foreign, "{bytes:?}");
        }
    }

    #[test]
    fn exports_of_other_kinds_are_named() {
        for (line, foreign) in [
            ("{\"version\":1,\"db\":{\"entries\":[]}}", Foreign::Json),
            ("[{\"secret\":\"GEZDGNBVGY3TQOJQ\"}]", Foreign::Json),
            ("[", Foreign::Json),
            ("<?xml version=\"1.0\"?>", Foreign::Xml),
            ("<KeyContainer>", Foreign::Xml),
            ("otpauth-migration://offline?data=CjEK", Foreign::Migration),
            ("name,secret,issuer", Foreign::Table),
            ("ann;otpauth://totp/ann?secret=x", Foreign::Table),
            ("\"otpauth://totp/ann?secret=x\",ann", Foreign::Table),
            ("GEZDGNBVGY3TQOJQ", Foreign::Base32),
            ("gezd gnbv gy3t qojq", Foreign::Base32),
            ("GEZDGNBVGY3TQOJQGEZDGNBVGY======", Foreign::Base32),
            ("GEZDGNBVGY3TQOJ", Foreign::Other),
            ("GEZDGNBVGY3TQOJ0", Foreign::Other),
            ("https://example.org/", Foreign::Other),
            ("OTPAUTH://totp/ann?secret=x", Foreign::Other),
        ] {
            assert_eq!(Foreign::of_line(line), foreign, "{line}");
        }
    }
}
