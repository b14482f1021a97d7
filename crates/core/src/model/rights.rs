//! Who calls: the peer's identity from the kernel, and the rights that the configuration gives it.

/// What a peer may do without a user's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Everything an administrator may do. Includes the other two.
    Admin,
    /// Create users, authenticate, verify, and manage factors on behalf of users.
    App,
    /// Read the audit log and the metrics.
    Audit,
}

/// A set of rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    admin: bool,
    app: bool,
    audit: bool,
}

impl Rights {
    /// All of them.
    pub const ADMIN: Self = Self { admin: true, app: true, audit: true };

    /// The set with one more.
    #[must_use]
    pub fn with(self, right: Right) -> Self {
        match right {
            Right::Admin => Self::ADMIN,
            Right::App => Self { app: true, ..self },
            Right::Audit => Self { audit: true, ..self },
        }
    }

    /// Both sets together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { admin: self.admin || other.admin, app: self.app || other.app, audit: self.audit || other.audit }
    }

    /// Whether the set holds a right.
    pub fn holds(self, right: Right) -> bool {
        match right {
            Right::Admin => self.admin,
            Right::App => self.app,
            Right::Audit => self.audit,
        }
    }

    /// Whether it holds none.
    pub fn is_empty(self) -> bool {
        !(self.admin || self.app || self.audit)
    }
}

/// The process at the other end, as the kernel knew it when it connected (SOCK-3). A descriptor that
/// was passed on keeps the identity of the process that opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Process id, for the audit log only (SOCK-5).
    pub pid: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_holds_on_either_side_of_a_union() {
        let none = Rights::default();
        for right in [Right::Admin, Right::App, Right::Audit] {
            let one = none.with(right);

            assert!(!none.holds(right) && one.holds(right));
            assert_eq!(one.union(none), one);
            assert_eq!(none.union(one), one);
            assert!(none.is_empty() && !one.is_empty());
        }
        assert_eq!(none.with(Right::Admin), Rights::ADMIN);
        assert!(!none.with(Right::App).holds(Right::Audit) && !none.with(Right::Audit).holds(Right::App));
    }
}
