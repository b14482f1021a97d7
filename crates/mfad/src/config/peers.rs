//! Rights of local peers: rules for users and groups, by number or by a name that this host may not know yet. It
//! decides about no request; that is up to [`mfad_service::Policy`].

use std::fmt::{self, Display, Formatter};

use nix::unistd::{Group, User};
use serde::Deserialize;

use mfad_core::model::{Right, Rights};
use mfad_service::{PeerRule, Who};

use super::{ConfigFault, value};

/// Group whose members are administrators, if the host has it. Uid 0 always is one.
const ADMIN_GROUP: &str = "mfad-admin";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeerEntry {
    user: Option<String>,
    group: Option<String>,
    uid: Option<u32>,
    rights: Vec<RightName>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RightName {
    Admin,
    App,
    Audit,
    Pam,
}

/// A rule for a user or a group by name. It grants no rights until the name has been looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPeer {
    name: Name,
    rights: Rights,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    User(String),
    Group(String),
}

impl NamedPeer {
    /// Returns the rule if this host knows the name now. The lookup may ask a service on the network and take as long
    /// as that service does.
    pub fn look_up(&self) -> Option<PeerRule> {
        // A lookup that fails counts as an unknown name: it grants no rights, and is repeated.
        let who = match &self.name {
            Name::User(name) => Who::Uid(User::from_name(name).ok().flatten()?.uid.as_raw()),
            Name::Group(name) => Who::Gid(gid_of(name)?),
        };
        Some(PeerRule { who, rights: self.rights })
    }
}

impl Display for NamedPeer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::User(name) => write!(f, "user {name:?}"),
            Name::Group(name) => write!(f, "group {name:?}"),
        }
    }
}

/// Returns the rules of these entries and of the administrators' group, and the entries whose names this host does not
/// know.
pub(super) fn rules(entries: &[PeerEntry]) -> Result<(Vec<PeerRule>, Vec<NamedPeer>), ConfigFault> {
    let (mut rules, mut unknown) = (Vec::new(), Vec::new());
    for entry in entries {
        let rights = entry.rights();
        let name = match (&entry.user, &entry.group, entry.uid) {
            (Some(user), None, None) => Name::User(user.clone()),
            (None, Some(group), None) => Name::Group(group.clone()),
            (None, None, Some(uid)) => {
                rules.push(PeerRule { who: Who::Uid(uid), rights });
                continue;
            }
            _ => return Err(value("peer", "must have exactly one of user, group and uid")),
        };
        let peer = NamedPeer { name, rights };
        match peer.look_up() {
            Some(rule) => rules.push(rule),
            None => unknown.push(peer),
        }
    }
    if let Some(gid) = gid_of(ADMIN_GROUP) {
        rules.push(PeerRule { who: Who::Gid(gid), rights: Rights::ADMIN });
    }
    Ok((rules, unknown))
}

impl PeerEntry {
    fn rights(&self) -> Rights {
        self.rights.iter().fold(Rights::default(), |all, name| {
            all.with(match name {
                RightName::Admin => Right::Admin,
                RightName::App => Right::App,
                RightName::Audit => Right::Audit,
                RightName::Pam => Right::Pam,
            })
        })
    }
}

/// Returns the gid of a group; `None` if this host does not know it.
pub(super) fn gid_of(name: &str) -> Option<u32> {
    Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}
