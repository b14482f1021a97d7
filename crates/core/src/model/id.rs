//! Identifiers: UUIDs in their canonical 36-character form and nothing else (AZ-3).

use std::fmt;

use uuid::{Builder, Uuid};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// A UUID version 7 (RFC 9562 section 5.7) of Unix milliseconds and ten random bytes.
            pub fn at(unix_millis: i64, random: &[u8; 10]) -> Self {
                let millis = u64::try_from(unix_millis).unwrap_or(0);
                Self(Builder::from_unix_timestamp_millis(millis, random).into_uuid().into_bytes())
            }

            /// Reads the canonical form, upper or lower case; anything else is `None`.
            pub fn parse(text: &str) -> Option<Self> {
                parse_canonical(text).map(Self)
            }

            /// The sixteen bytes as stored.
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Takes back stored bytes; `None` unless there are sixteen.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", Uuid::from_bytes(self.0).hyphenated())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

id! {
    /// Names a user for ever.
    UserId
}
id! {
    /// Names one secret (factor, password, API key or set of backup codes) of a user.
    SecretId
}
id! {
    /// Names an open challenge: a right password that still lacks its second factor.
    ChallengeId
}
id! {
    /// Names a login session: the family of one refresh token.
    SessionId
}

/// The user that a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserRef {
    /// `me`: the caller's own id.
    Me,
    /// A well-formed id, of somebody or nobody.
    Id(UserId),
    /// Text that is no id. It answers as an unknown user does (AZ-2).
    Malformed,
}

impl UserRef {
    /// Reads a path segment; every text is some reference.
    pub fn parse(text: &str) -> Self {
        match text {
            "me" => Self::Me,
            other => UserId::parse(other).map_or(Self::Malformed, Self::Id),
        }
    }
}

fn parse_canonical(text: &str) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    Uuid::try_parse(text).ok().map(Uuid::into_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_an_id() {
        let canonical = "0190aBcd-0000-7000-8000-0000000000ff";

        assert_eq!(UserId::parse(canonical).unwrap().to_string(), canonical.to_lowercase());
        for odd in [
            "0190abcd0000700080000000000000ff",
            "{0190abcd-0000-7000-8000-0000000000ff}",
            "urn:uuid:0190abcd-0000-7000-8000-0000000000ff",
            "0190abcd-0000-7000-8000-0000000000f",
            "0190abcd-0000-7000-8000-0000000000fg",
            "0190abcd_0000-7000-8000-0000000000ff",
            "",
        ] {
            assert_eq!(UserId::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn an_id_made_before_1970_is_still_an_id() {
        let id = SecretId::at(-5, &[0xff; 10]);

        assert_eq!(SecretId::parse(&id.to_string()), Some(id));
    }
}
