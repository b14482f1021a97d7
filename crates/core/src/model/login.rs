//! How somebody logged in, and the kinds of token that tell of it.

/// What a token may be used for. Each kind has its own `typ` and `aud` (TOK-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Acts as the user.
    Access,
    /// A right password that still lacks its second factor.
    Challenge,
    /// May only set up the first factor.
    Enroll,
}

impl TokenKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Access, Self::Challenge, Self::Enroll];

    /// The `typ` of the token and the `type` of the answer that carries it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "ACCESS",
            Self::Challenge => "CHALLENGE",
            Self::Enroll => "ENROLL",
        }
    }

    /// The `aud` of the token.
    pub fn audience(self) -> &'static str {
        match self {
            Self::Access => "mfad:access",
            Self::Challenge => "mfad:challenge",
            Self::Enroll => "mfad:enroll",
        }
    }
}

/// The second factor that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A time-based code.
    Totp,
    /// A counter-based code.
    Hotp,
    /// A backup code.
    Recovery,
    /// A security key.
    Fido2,
}

impl Method {
    /// The name in answers and in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Hotp => "hotp",
            Self::Recovery => "recovery",
            Self::Fido2 => "fido2",
        }
    }
}

/// Authentication method references (RFC 8176) of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amr {
    /// Password only.
    Password,
    /// Password, then a one-time password of a device.
    PasswordAndOtp,
    /// Password, then a backup code. RFC 8176 has no name for a look-up secret; `kba` is its nearest.
    PasswordAndRecovery,
    /// Password, then a security key that was touched.
    PasswordAndKey,
    /// An API key.
    ApiKey,
}

impl Amr {
    const ALL: [Self; 5] =
        [Self::Password, Self::PasswordAndOtp, Self::PasswordAndRecovery, Self::PasswordAndKey, Self::ApiKey];

    /// The values of the `amr` claim, in order.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Self::Password => &["pwd"],
            Self::PasswordAndOtp => &["pwd", "otp", "mfa"],
            Self::PasswordAndRecovery => &["pwd", "kba", "mfa"],
            Self::PasswordAndKey => &["pwd", "hwk", "user", "mfa"],
            Self::ApiKey => &["swk"],
        }
    }

    /// Reads those values back; any other list is `None`.
    pub fn from_values<S: AsRef<str>>(values: &[S]) -> Option<Self> {
        Self::ALL.into_iter().find(|amr| amr.values().iter().copied().eq(values.iter().map(AsRef::as_ref)))
    }

    /// Whether a second factor took part.
    pub fn has_second_factor(self) -> bool {
        match self {
            Self::Password | Self::ApiKey => false,
            Self::PasswordAndOtp | Self::PasswordAndRecovery | Self::PasswordAndKey => true,
        }
    }

    /// What a login becomes once this second factor has answered.
    pub fn after(method: Method) -> Self {
        match method {
            Method::Totp | Method::Hotp => Self::PasswordAndOtp,
            Method::Recovery => Self::PasswordAndRecovery,
            Method::Fido2 => Self::PasswordAndKey,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tok_4_each_kind_has_a_name_and_an_audience_of_its_own() {
        let names = TokenKind::ALL.map(TokenKind::name);
        let audiences = TokenKind::ALL.map(TokenKind::audience);

        assert_eq!(names, ["ACCESS", "CHALLENGE", "ENROLL"]);
        assert_eq!(audiences, ["mfad:access", "mfad:challenge", "mfad:enroll"]);
    }

    #[test]
    fn what_a_login_went_by_reads_back() {
        let different: HashSet<_> = Amr::ALL.iter().map(|amr| amr.values()).collect();

        assert_eq!(different.len(), Amr::ALL.len());
        for amr in Amr::ALL {
            assert_eq!(Amr::from_values(amr.values()), Some(amr));
            assert_eq!(amr.has_second_factor(), amr.values().contains(&"mfa"));
        }
        assert_eq!(Amr::from_values(&["otp", "pwd", "mfa"]), None);
    }
}
