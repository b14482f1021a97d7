//! The identity of a calling process, as the kernel reports it, and the rights that the configuration gives it.

/// A right that a peer has without a user's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Everything that an administrator may do. Includes the others.
    Admin,
    /// Create users, authenticate, verify, and manage factors on behalf of users.
    App,
    /// Read the audit log and the metrics.
    Audit,
    /// Check second factors of users who log in to this host, as a PAM module does. Except for root, only the factors
    /// of the peer's own account.
    Pam,
}

impl Right {
    /// The name of the right in the configuration and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::App => "app",
            Self::Audit => "audit",
            Self::Pam => "pam",
        }
    }
}

/// A set of rights; the default is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    admin: bool,
    app: bool,
    audit: bool,
    pam: bool,
}

impl Rights {
    /// The right `admin`, and with it all others.
    pub const ADMIN: Self = Self { admin: true, app: true, audit: true, pam: true };

    /// Returns the set with one more right.
    #[must_use]
    pub fn with(self, right: Right) -> Self {
        match right {
            // `admin` sets the others, too, so a check for one of them needs no exception.
            Right::Admin => Self::ADMIN,
            Right::App => Self { app: true, ..self },
            Right::Audit => Self { audit: true, ..self },
            Right::Pam => Self { pam: true, ..self },
        }
    }

    /// Returns the rights that are in either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            admin: self.admin || other.admin,
            app: self.app || other.app,
            audit: self.audit || other.audit,
            pam: self.pam || other.pam,
        }
    }

    /// Whether the set contains this right.
    pub fn holds(self, right: Right) -> bool {
        match right {
            Right::Admin => self.admin,
            Right::App => self.app,
            Right::Audit => self.audit,
            Right::Pam => self.pam,
        }
    }

    /// Whether the set contains no right.
    pub fn is_empty(self) -> bool {
        !(self.admin || self.app || self.audit || self.pam)
    }
}

/// The process at the other end of the socket, as the kernel knew it at connect time (SOCK-3). A file descriptor that
/// was passed on keeps the identity of the process that opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id at connect time.
    pub uid: u32,
    /// Effective group id at connect time.
    pub gid: u32,
    /// Supplementary group ids at connect time.
    pub groups: Vec<u32>,
    /// Process id, for the audit log only (SOCK-5). `None` if the kernel reports none.
    pub pid: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_holds_on_either_side_of_a_union() {
        let none = Rights::default();
        for right in [Right::Admin, Right::App, Right::Audit, Right::Pam] {
            let one = none.with(right);

            assert!(!none.holds(right) && one.holds(right));
            assert_eq!(one.union(none), one);
            assert_eq!(none.union(one), one);
            assert!(none.is_empty() && !one.is_empty());
        }
        assert_eq!(none.with(Right::Admin), Rights::ADMIN);
        let narrow = [Right::App, Right::Audit, Right::Pam];
        for (one, other) in narrow.iter().flat_map(|one| narrow.map(|other| (*one, other))) {
            assert_eq!(none.with(one).holds(other), one == other, "{one:?} and {other:?}");
        }
    }
}
