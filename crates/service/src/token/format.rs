//! The names in token headers (`alg`, `typ`). The settings choose among those that other verifiers know.

use mfad_core::model::TokenKind;

/// The `typ` in the header of an access token. Tokens of the other kinds have one fixed name each, so that none can
/// pass for an access token (TOK-4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessType {
    /// `ACCESS`, the daemon's own name.
    #[default]
    Access,
    /// `at+jwt` (RFC 9068 section 2.1).
    AtJwt,
    /// `JWT` (RFC 7519 section 5.1).
    Jwt,
}

impl AccessType {
    const ALL: [Self; 3] = [Self::Access, Self::AtJwt, Self::Jwt];

    /// Parses the name in the configuration, which is case-sensitive.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == text)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Access => TokenKind::Access.name(),
            Self::AtJwt => "at+jwt",
            Self::Jwt => "JWT",
        }
    }
}

/// The `alg` in token headers and in the key set. Both names mean the same signature: Ed25519.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// `EdDSA` (RFC 8037 section 3.1).
    #[default]
    EdDsa,
    /// `Ed25519`, the fully specified name (RFC 9864).
    Ed25519,
}

impl SigningAlgorithm {
    const ALL: [Self; 2] = [Self::EdDsa, Self::Ed25519];

    /// Parses the name in the configuration, which is case-sensitive.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == text)
    }

    /// The name in headers and key sets.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Ed25519 => "Ed25519",
        }
    }
}

/// The names in the headers of new tokens. Tokens of all formats are accepted, so a change of the setting ends none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenFormat {
    /// The `typ` of access tokens.
    pub access_type: AccessType,
    /// The `alg` of tokens of every kind.
    pub algorithm: SigningAlgorithm,
}

impl TokenFormat {
    /// The `typ` of a token of this kind.
    pub(super) fn typ(self, kind: TokenKind) -> &'static str {
        match kind {
            TokenKind::Access => self.access_type.name(),
            TokenKind::Challenge | TokenKind::Enroll => kind.name(),
        }
    }

    /// Every format that a configuration can choose.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let of_type = |access_type| SigningAlgorithm::ALL.map(|algorithm| Self { access_type, algorithm });
        AccessType::ALL.into_iter().flat_map(of_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_as_it_is_written_and_no_other() {
        for known in AccessType::ALL {
            assert_eq!(AccessType::parse(known.name()), Some(known));
        }
        for known in SigningAlgorithm::ALL {
            assert_eq!(SigningAlgorithm::parse(known.name()), Some(known));
        }
        for odd in ["", "jwt", "AT+JWT", "application/at+jwt", "CHALLENGE", "ENROLL", "RECEIPT", "JWT "] {
            assert_eq!(AccessType::parse(odd), None, "{odd}");
        }
        for odd in ["", "none", "eddsa", "HS256", "ed25519", "Ed448", "ES256"] {
            assert_eq!(SigningAlgorithm::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn in_every_format_no_type_is_of_two_kinds() {
        for format in TokenFormat::all() {
            assert_eq!(format.typ(TokenKind::Challenge), "CHALLENGE");
            assert_eq!(format.typ(TokenKind::Enroll), "ENROLL");
            assert!(["ACCESS", "at+jwt", "JWT"].contains(&format.typ(TokenKind::Access)), "{format:?}");
        }
        assert_eq!(TokenFormat::all().count(), 6);
    }
}
