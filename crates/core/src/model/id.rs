//! Identifiers: UUIDs in their canonical form of 36 characters, and no other form (AZ-3).

use std::fmt;

use uuid::{Builder, Uuid};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Makes a UUID version 7 (RFC 9562 section 5.7) of Unix milliseconds and ten random bytes. A time before
            /// 1970 counts as 0.
            pub fn at(unix_millis: i64, random: &[u8; 10]) -> Self {
                let millis = u64::try_from(unix_millis).unwrap_or(0);
                Self(Builder::from_unix_timestamp_millis(millis, random).into_uuid().into_bytes())
            }

            /// Reads the canonical form, in upper or lower case. Returns `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                parse_canonical(text).map(Self)
            }

            /// The sixteen bytes, as stored.
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Takes stored bytes. Returns `None` unless there are sixteen.
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
    /// Identifies a user. It never changes.
    UserId
}
id! {
    /// Identifies one secret of a user: a factor, password, API key or set of backup codes.
    SecretId
}
id! {
    /// Identifies an open login challenge: the password was correct, the second factor is missing.
    ChallengeId
}
id! {
    /// Identifies a login session, the family of one refresh token.
    SessionId
}

/// The user that a request path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserRef {
    /// `me`: the id of the user that the request is authenticated as.
    Me,
    /// A well-formed id, which may belong to no user.
    Id(UserId),
    /// Text that is no id. The answer is the same as for an unknown user (AZ-2).
    Malformed,
}

impl UserRef {
    /// Reads a path segment. It cannot fail: every text is some reference.
    pub fn parse(text: &str) -> Self {
        match text {
            "me" => Self::Me,
            other => UserId::parse(other).map_or(Self::Malformed, Self::Id),
        }
    }
}

fn parse_canonical(text: &str) -> Option<[u8; 16]> {
    // `try_parse` also takes forms with braces, with `urn:uuid:` and without hyphens, of other lengths.
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
