//! The settings that the use cases read, already checked. It knows no configuration file.

use std::sync::Arc;

use crate::fido::RelyingParty;
use crate::token::TokenFormat;
use mfad_core::model::{Limits, Peer, Rights};
use mfad_core::oath::Window;

use super::age::Recipient;
use super::devices::Attestation;
use super::hasher::HashCost;

/// The peers to which a rule applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The peer with this effective user id.
    Uid(u32),
    /// Every peer in this group, as its primary or a supplementary one (SOCK-6).
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

/// What an imported factor that its user has not proved yet means for a login with the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportedFactors {
    /// The login needs a code of it.
    Require,
    /// The password alone lets in, unless everyone needs a second factor. A code is accepted, and proves the factor.
    Allow,
}

/// A rule that gives rights to peers. Rules only add rights; none takes one away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerRule {
    /// The peers that get the rights.
    pub who: Who,
    /// The rights that they get.
    pub rights: Rights,
}

/// Rules for exports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportPolicy {
    /// The recipients to whom administrators may export. Root may choose any, since it can read the store.
    pub recipients: Vec<Recipient>,
    /// Whether a second administrator must confirm each export.
    pub needs_two: bool,
    /// Whether users may export their own factors, to any recipient.
    pub allows_own: bool,
}

/// The settings of the service. A reload replaces them as a whole, except for those that need a restart.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether a peer without a right may create users.
    pub open_registration: bool,
    /// Whether a token is valid only from the peer uid it was issued to.
    pub bind_tokens: bool,
    /// Whether everyone needs a second factor. A user without one then gets a token that can only enrol one (AUT-7).
    pub mfa_required: bool,
    /// Whether a login needs an imported factor that its user has not proved yet.
    pub imported_factors: ImportedFactors,
    /// The issuer name in tokens (`iss`) and otpauth URIs. A change needs a restart.
    pub issuer: String,
    /// The names in the headers of new tokens. A change needs a restart, and ends no token.
    pub token_format: TokenFormat,
    /// The TOTP steps around the current one that are accepted: at most three in all (OTP-4).
    pub window: Window,
    /// After how many failures second factors are delayed and locked (THR-1).
    pub factor_limits: Limits,
    /// After how many failures a password is delayed. Passwords never lock (THR-5).
    pub password_limits: Limits,
    /// Cost of a password hash, number of workers and length of their queue (AUT-5). A change needs a restart.
    pub hashing: HashCost,
    /// Whether every hardware key that is programmed gets a random OATH password of its own.
    pub protect_keys: bool,
    /// The age recipient to which OATH passwords are also encrypted; none without an escrow.
    pub escrow: Option<Recipient>,
    /// Who may get an export, and who must agree.
    pub export: ExportPolicy,
    /// The trusted attestation roots, and whether only genuine hardware keys are programmed.
    pub attestation: Attestation,
    /// The relying party of security keys; none if they are not configured. A change needs a restart.
    pub relying_party: Option<Arc<RelyingParty>>,
    /// The rights of peers. Uid 0 always has all of them, without a rule.
    pub peers: Vec<PeerRule>,
}

impl Policy {
    /// Returns the rights of a peer: the union of all rules that apply to it.
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
