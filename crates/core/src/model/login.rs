//! How a user logged in, and the kinds of token that record it. How tokens are signed is not known here.

/// The use of a token. Each kind has its own `typ` and `aud`, so that one is never accepted as another (TOK-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Lets the holder of the token act as the user.
    Access,
    /// Shows that the password was correct; the second factor is missing.
    Challenge,
    /// Allows only the enrolment of the first factor.
    Enroll,
}

impl TokenKind {
    /// Every kind of token, for checks that cover all of them.
    pub const ALL: [Self; 3] = [Self::Access, Self::Challenge, Self::Enroll];

    /// The `typ` claim of the token, and the `type` of the response that carries it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "ACCESS",
            Self::Challenge => "CHALLENGE",
            Self::Enroll => "ENROLL",
        }
    }

    /// The `aud` claim of the token.
    pub fn audience(self) -> &'static str {
        match self {
            Self::Access => "mfad:access",
            Self::Challenge => "mfad:challenge",
            Self::Enroll => "mfad:enroll",
        }
    }
}

/// The second factor that completed a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A time-based code (RFC 6238).
    Totp,
    /// A counter-based code (RFC 4226).
    Hotp,
    /// One of the user's backup codes.
    Recovery,
    /// An assertion of a security key (WebAuthn).
    Fido2,
}

impl Method {
    /// The name in responses and in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Hotp => "hotp",
            Self::Recovery => "recovery",
            Self::Fido2 => "fido2",
        }
    }
}

/// How a login was authenticated, as authentication method references (RFC 8176).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amr {
    /// A password, without a second factor.
    Password,
    /// A password, then a one-time password of a device.
    PasswordAndOtp,
    /// A password, then a backup code. RFC 8176 has no value for a look-up secret; `kba` is the nearest.
    PasswordAndRecovery,
    /// A password, then a security key that was touched.
    PasswordAndKey,
    /// An API key alone, without a password.
    ApiKey,
}

impl Amr {
    const ALL: [Self; 5] =
        [Self::Password, Self::PasswordAndOtp, Self::PasswordAndRecovery, Self::PasswordAndKey, Self::ApiKey];

    /// The values of the `amr` claim, in this order.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Self::Password => &["pwd"],
            Self::PasswordAndOtp => &["pwd", "otp", "mfa"],
            Self::PasswordAndRecovery => &["pwd", "kba", "mfa"],
            Self::PasswordAndKey => &["pwd", "hwk", "user", "mfa"],
            Self::ApiKey => &["swk"],
        }
    }

    /// Reads the values of an `amr` claim. Returns `None` for any other list or order.
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

    /// Returns how a login by password counts once this second factor has completed it.
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
