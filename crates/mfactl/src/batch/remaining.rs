//! What is left to do for a user, read off the factors that the daemon knows of: after an answer was lost, this
//! is how it is found. It only decides; it asks nobody.

use mfad_api::Secret;

/// The names of a row's factors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// On the first key.
    pub first: String,
    /// On the spare, if there is to be one.
    pub second: Option<String>,
}

impl Labels {
    /// Those of a row.
    pub fn of(label: &str, spare: bool) -> Self {
        Self { first: label.to_owned(), second: spare.then(|| format!("{label} spare")) }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.first.as_str()).chain(self.second.as_deref())
    }
}

/// A factor on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisionedKey {
    /// Its name.
    pub label: String,
    /// The key.
    pub serial: u64,
    /// Its uid.
    pub secret: String,
    /// Whether it is active; pending otherwise.
    pub is_active: bool,
    /// When the key was proved.
    pub time: Option<String>,
    /// Whether it was there already, with its answer lost.
    pub is_found: bool,
    /// The receipt, if its answer came.
    pub receipt: Option<String>,
    /// Backup codes that came with it.
    pub codes: Vec<String>,
}

impl ProvisionedKey {
    /// From the daemon's record, if it is on a key.
    pub fn read(secret: &Secret, label: &str) -> Option<Self> {
        let key = secret.device.as_ref().filter(|_| secret.kind == "mfa")?;
        Some(Self {
            label: label.to_owned(),
            serial: key.serial,
            secret: secret.uid.clone(),
            is_active: secret.status == "active",
            time: key.proof.as_ref().map(|proof| proof.time.clone()),
            is_found: true,
            receipt: None,
            codes: Vec::new(),
        })
    }
}

/// What is left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// Nothing.
    Nothing(Vec<ProvisionedKey>),
    /// The first factor is to be made, or the only one.
    First,
    /// Another one of this name is to be made beside the one that is there.
    Second {
        /// What is there.
        first: ProvisionedKey,
        /// Name of the other.
        label: String,
    },
    /// A pending one waits for a code of its key.
    Finish(ProvisionedKey),
    /// A factor of that name is there, but on no key.
    Taken,
}

impl Remaining {
    /// Reads it off. `present` are the keys that are plugged in, `pending` says that pending is enough.
    pub fn read(secrets: &[Secret], labels: &Labels, pending: bool, present: &[u64]) -> Self {
        let second = match &labels.second {
            Some(label) => on_key(secrets, label),
            None => Ok(None),
        };
        let (Ok(first), Ok(second)) = (on_key(secrets, &labels.first), second) else { return Self::Taken };
        match (first, second, &labels.second) {
            (None, None, _) => Self::First,
            (Some(first), None, Some(label)) => Self::Second { first, label: label.clone() },
            (None, Some(second), _) => Self::Second { first: second, label: labels.first.clone() },
            (first, second, _) => Self::of_all(first.into_iter().chain(second).collect(), pending, present),
        }
    }

    fn of_all(placed: Vec<ProvisionedKey>, pending: bool, present: &[u64]) -> Self {
        let is_open = |one: &&ProvisionedKey| !one.is_active && !pending;
        let is_here = |one: &&ProvisionedKey| present.contains(&one.serial);
        let open = placed.iter().filter(is_open).find(is_here).or_else(|| placed.iter().rfind(is_open));
        match open {
            Some(open) => Self::Finish(open.clone()),
            None => Self::Nothing(placed),
        }
    }
}

struct Taken;

fn on_key(secrets: &[Secret], label: &str) -> Result<Option<ProvisionedKey>, Taken> {
    let Some(secret) = secrets.iter().find(|secret| secret.name.as_deref() == Some(label)) else { return Ok(None) };
    ProvisionedKey::read(secret, label).map(Some).ok_or(Taken)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(name: &str, status: &str, serial: Option<u64>) -> Secret {
        let device = serial.map(|serial| json!({"serial": serial, "credential": "a:b"}));
        let record = json!({
            "uid": name, "type": "mfa", "name": name, "status": status, "dateCreated": "", "version": 1,
            "device": device,
        });
        serde_json::from_value(record).unwrap()
    }

    fn left(secrets: &[Secret], spare: bool, present: &[u64]) -> Remaining {
        Remaining::read(secrets, &Labels::of("key", spare), false, present)
    }

    #[test]
    fn a_user_without_the_factor_gets_it() {
        assert_eq!(left(&[], false, &[]), Remaining::First);
        assert_eq!(left(&[secret("phone", "active", None)], true, &[]), Remaining::First);
    }

    #[test]
    fn an_active_factor_on_any_key_is_a_lost_answer() {
        let Remaining::Nothing(placed) = left(&[secret("key", "active", Some(7))], false, &[8]) else { panic!() };

        assert_eq!((placed[0].serial, placed[0].is_active, placed[0].is_found), (7, true, true));
    }

    #[test]
    fn a_pending_factor_is_finished_unless_pending_is_enough() {
        let secrets = [secret("key", "pending", Some(7))];

        assert!(matches!(left(&secrets, false, &[7]), Remaining::Finish(placed) if placed.serial == 7));
        assert!(matches!(Remaining::read(&secrets, &Labels::of("key", false), true, &[7]), Remaining::Nothing(_)));
    }

    #[test]
    fn a_factor_without_a_key_is_in_the_way() {
        assert_eq!(left(&[secret("key", "active", None)], false, &[]), Remaining::Taken);
        assert_eq!(left(&[secret("key spare", "pending", None)], true, &[]), Remaining::Taken);
    }

    #[test]
    fn a_pair_is_made_whole_from_either_side() {
        let of = |name| left(&[secret(name, "pending", Some(7))], true, &[7]);

        assert!(matches!(of("key"), Remaining::Second { first, label } if first.serial == 7 && label == "key spare"));
        assert!(matches!(of("key spare"), Remaining::Second { label, .. } if label == "key"));
    }

    #[test]
    fn a_pair_that_is_pending_is_finished_by_the_key_that_is_there() {
        let secrets = [secret("key", "pending", Some(7)), secret("key spare", "pending", Some(8))];

        assert!(matches!(left(&secrets, true, &[7]), Remaining::Finish(placed) if placed.serial == 7));
        assert!(matches!(left(&secrets, true, &[]), Remaining::Finish(placed) if placed.serial == 8));
        let both = [secret("key", "active", Some(7)), secret("key spare", "active", Some(8))];
        assert!(matches!(left(&both, true, &[]), Remaining::Nothing(placed) if placed.len() == 2));
    }
}
