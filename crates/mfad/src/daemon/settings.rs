//! Settings of the running daemon. Reads them from a file that no other user can change, and looks up users and groups
//! of `[[peer]]` that the host comes to know only later.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::{Config, NamedPeer, Overrides};
use mfad_service::{PeerRule, Service};

use super::failure::Failure;
use super::places::check_config;

/// Reads the configuration. Refuses a file that other users can change, because it grants rights.
pub(super) fn load(overrides: &Overrides) -> Result<Config, Failure> {
    if let Some(path) = Config::path(overrides) {
        check_config(path)?;
    }
    Ok(Config::load(overrides)?)
}

/// Entries of `[[peer]]` whose user or group the host does not know yet. They grant no rights.
pub(super) struct UnknownPeers(Mutex<Vec<NamedPeer>>);

impl UnknownPeers {
    /// Takes the entries that were unknown when the configuration was read, and logs a warning for each.
    pub(super) fn new(peers: Vec<NamedPeer>) -> Self {
        warn(&peers);
        Self(Mutex::new(peers))
    }

    /// Applies a new configuration. Returns the settings of the policy that take effect only at a restart.
    pub(super) fn reload(&self, new: Config, service: &Service) -> Vec<&'static str> {
        warn(&new.unknown_peers);
        // Held over both steps: a lookup that began before must not add a rule of the old configuration to the new
        // policy.
        let mut peers = self.lock();
        *peers = new.unknown_peers;
        service.reload(new.policy)
    }

    /// Looks up all entries again, and passes the rules of those that the host knows now to `admit`.
    pub(super) fn look_again(&self, admit: impl FnMut(PeerRule)) {
        self.settle(NamedPeer::look_up, admit);
    }

    fn settle(&self, look_up: impl Fn(&NamedPeer) -> Option<PeerRule>, mut admit: impl FnMut(PeerRule)) {
        let peers = self.lock().clone();
        for peer in peers {
            // Without the lock: a lookup may take long, and a reload does not wait for it.
            let Some(rule) = look_up(&peer) else { continue };
            // An entry that a reload removed during the lookup must not be admitted.
            let mut still = self.lock();
            let before = still.len();
            still.retain(|other| *other != peer);
            if still.len() != before {
                admit(rule);
                tracing::info!(%peer, "this host now knows a name in [[peer]]; its rights take effect");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<NamedPeer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn warn(peers: &[NamedPeer]) {
    for peer in peers {
        tracing::warn!(%peer, "this host does not know a name in [[peer]]; the entry grants no rights until it does");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use mfad_core::model::Rights;
    use mfad_service::Who;

    const RULE: PeerRule = PeerRule { who: Who::Gid(4711), rights: Rights::ADMIN };

    /// Entries for groups that no host has, as they come from a configuration.
    fn unknown(names: &[&str]) -> Vec<NamedPeer> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mfad.toml");
        let entry = |name: &&str| format!("[[peer]]\ngroup = \"no such group {name}\"\nrights = [\"app\"]\n");
        std::fs::write(&path, names.iter().map(entry).collect::<String>()).unwrap();
        Config::load(&Overrides { config: Some(path), ..Overrides::default() }).unwrap().unknown_peers
    }

    #[test]
    fn a_name_that_is_known_later_is_admitted_once() {
        let peers = UnknownPeers::new(unknown(&["a", "b"]));
        let (known, admitted) = (unknown(&["b"]), RefCell::new(Vec::new()));
        let look = |peer: &NamedPeer| known.contains(peer).then_some(RULE);

        for _ in 0..3 {
            peers.settle(look, |rule| admitted.borrow_mut().push(rule));
        }

        assert_eq!(*admitted.borrow(), [RULE]);
        assert_eq!(*peers.lock(), unknown(&["a"]));
    }

    #[test]
    fn a_name_that_stays_unknown_is_asked_for_again_and_gives_nothing() {
        let peers = UnknownPeers::new(unknown(&["a"]));
        let asked = RefCell::new(0);

        for _ in 0..3 {
            peers.settle(
                |_| {
                    *asked.borrow_mut() += 1;
                    None
                },
                |_| panic!("nothing is known"),
            );
        }

        assert_eq!(*asked.borrow(), 3);
        assert_eq!(*peers.lock(), unknown(&["a"]));
    }

    #[test]
    fn a_name_that_a_reload_took_away_in_the_middle_of_a_look_gives_nothing() {
        let peers = UnknownPeers::new(unknown(&["a", "b"]));
        let admitted = RefCell::new(0);
        let look = |_: &NamedPeer| {
            *peers.lock() = unknown(&["b"]);
            Some(RULE)
        };

        peers.settle(look, |_| *admitted.borrow_mut() += 1);

        // The reload came before the first one was admitted.
        assert_eq!(*admitted.borrow(), 1);
        assert!(peers.lock().is_empty());
    }
}
