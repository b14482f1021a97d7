//! Recognises input that is not a list of otpauth URIs, and says how to convert it. It never quotes the input, which
//! may contain seeds.

/// Shortest Base32 text that is taken for a seed. Shorter ones may be words.
const SHORTEST_BASE32: usize = 16;

/// Kind of input found instead of an otpauth URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// An image, such as a photo or screenshot of a QR code.
    Picture,
    Utf16,
    /// Bytes that are neither text nor a known image.
    Binary,
    Json,
    Xml,
    /// Several factors in one URI, as exported by Google Authenticator.
    Migration,
    /// A seed without its URI.
    Base32,
    /// Several columns, such as CSV.
    Table,
    Other,
}

impl Foreign {
    /// Classifies bytes that are not UTF-8.
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        // PNG, JPEG, GIF, and RIFF, which WebP uses.
        let pictures: [&[u8]; 4] = [b"\x89PNG", &[0xff, 0xd8, 0xff], b"GIF89a", b"RIFF"];
        if pictures.iter().any(|magic| bytes.starts_with(magic)) {
            Self::Picture
        } else if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            Self::Utf16
        } else {
            Self::Binary
        }
    }

    /// Classifies a whole text by its first character.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        match text.trim_start().chars().next() {
            Some('{' | '[') => Some(Self::Json),
            Some('<') => Some(Self::Xml),
            Some(_) | None => None,
        }
    }

    /// Classifies a line that does not start with `otpauth://`.
    pub(super) fn of_line(line: &str) -> Self {
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
        // The alphabet of RFC 4648 section 6, in upper and lower case.
        if is_long && symbols.all(|symbol| matches!(symbol, 'A'..='Z' | 'a'..='z' | '2'..='7')) {
            Self::Base32
        } else {
            Self::Other
        }
    }

    /// Name of the kind and how to convert it; follows `the input is` or `this is`.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Picture => {
                "a picture; if it is a PNG with QR codes, see them with --dry-run, and take them over with --trusted or --at-login"
            }
            Self::Utf16 => "UTF-16 text; save it as UTF-8",
            Self::Binary => "not text, perhaps an encrypted export; export otpauth URIs as plain text, one per line",
            Self::Json => {
                "JSON, such as an export of Aegis, andOTP or 2FAS; see what it holds with --dry-run, and take it over with \
                 --trusted or --at-login"
            }
            Self::Xml => {
                "XML, such as PSKC (RFC 6030); see what it holds with --dry-run, and take it over with --trusted or --at-login"
            }
            Self::Migration => {
                "an otpauth-migration payload of Google Authenticator, which contains several factors; see them with \
                 --dry-run, and take them over with --trusted or --at-login"
            }
            Self::Base32 => {
                "a bare Base32 secret; write it as otpauth://totp/USER?secret=SECRET, with algorithm, digits and \
                 period if they differ from SHA1, 6 and 30"
            }
            Self::Table => {
                "a table such as CSV; see what it holds with --dry-run, and take it over with --trusted or --at-login"
            }
            Self::Other => "not an otpauth URI, which starts with otpauth://totp/ or otpauth://hotp/",
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
