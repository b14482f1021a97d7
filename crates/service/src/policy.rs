//! What the configuration decides about the use cases.

use std::sync::Arc;

use crate::fido::RelyingParty;
use crate::token::TokenFormat;
use mfad_core::model::{Limits, Peer, Rights};
use mfad_core::oath::Window;

use super::devices::{Attestation, Recipient};
use super::hasher::HashCost;

/// Which peers a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// One user id.
    Uid(u32),
    /// Everybody in a group.
    Gid(u32),
}

impl Who {
    fn is(self, peer: &Peer) -> bool {
        match self {
            Self::Uid(uid) => uid == peer.uid,
            Self::Gid(gid) => gid == peer.gid || peer.groups.contains(&gid),
        }
    }
}

/// Gives rights to peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRule {
    /// Whom.
    pub who: Who,
    /// What.
    pub rights: Rights,
}

/// The settings of the service.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether anybody may make a user.
    pub open_registration: bool,
    /// Whether a token works only for the uid it was issued to.
    pub bind_tokens: bool,
    /// Whether a user without a factor gets nothing but an enrolment.
    pub mfa_required: bool,
    /// The name that tokens and otpauth URIs are issued under.
    pub issuer: String,
    /// How the headers of new tokens are written.
    pub token_format: TokenFormat,
    /// Which TOTP steps are accepted.
    pub window: Window,
    /// The throttle of second factors.
    pub factor_limits: Limits,
    /// The throttle of passwords.
    pub password_limits: Limits,
    /// Cost and room of password hashing.
    pub hashing: HashCost,
    /// Whether every programmed key gets an OATH password of its own.
    pub protect_keys: bool,
    /// Who else shall be able to read such passwords.
    pub escrow: Option<Recipient>,
    /// Whether and how keys are checked to be genuine.
    pub attestation: Attestation,
    /// Who asks security keys; none while they are not set up.
    pub relying_party: Option<Arc<RelyingParty>>,
    /// Who has which rights; uid 0 always has all.
    pub peers: Vec<PeerRule>,
}

impl Policy {
    /// The rights of a peer: the union of all rules that fit.
    pub fn rights(&self, peer: &Peer) -> Rights {
        if peer.uid == 0 {
            return Rights::ADMIN;
        }
        self.peers.iter().filter(|rule| rule.who.is(peer)).fold(Rights::default(), |all, rule| all.union(rule.rights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_of_its_own_user_id_and_of_each_of_its_groups() {
        let peer = Peer { uid: 1000, gid: 2000, groups: vec![3000, 3001], pid: None };

        for who in [Who::Uid(1000), Who::Gid(2000), Who::Gid(3000), Who::Gid(3001)] {
            assert!(who.is(&peer), "{who:?}");
        }
        for who in [Who::Uid(2000), Who::Uid(3000), Who::Gid(1000), Who::Gid(3002)] {
            assert!(!who.is(&peer), "{who:?}");
        }
    }
}
