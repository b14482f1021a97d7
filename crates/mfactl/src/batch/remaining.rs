//! Decides what remains to do for a user, from the factors that the daemon has. This is how a batch recovers from a
//! lost response. It must not send requests.

use mfad_api::Secret;
use mfad_core::model::KeyId;

/// The names of a row's factors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Labels {
    /// Name of the factor on the first key.
    pub first: String,
    /// Name of the factor on the spare, with `--spare`.
    pub second: Option<String>,
    /// Whether each key's FIDO2 side is registered too, with `--fido2`.
    pub fido2: bool,
}

impl Labels {
    /// The spare is named like the first factor, with ` spare` appended.
    pub(super) fn of(label: &str, spare: bool, fido2: bool) -> Self {
        Self { first: label.to_owned(), second: spare.then(|| format!("{label} spare")), fido2 }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = String> {
        let oath = std::iter::once(&self.first).chain(&self.second);
        oath.flat_map(|label| [Some(label.clone()), self.fido2.then(|| other_side(label))].into_iter().flatten())
    }
}

/// The name of the FIDO2 factor on the key that holds the factor of this name.
pub(super) fn other_side(label: &str) -> String {
    format!("{label} fido2")
}

/// A factor on a hardware key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProvisionedKey {
    /// Name of the factor.
    pub label: String,
    /// Id of the key.
    pub key: KeyId,
    /// Uid of the factor.
    pub secret: String,
    /// Whether the factor is active; otherwise it is pending.
    pub is_active: bool,
    /// When the daemon verified the key (RFC 3339).
    pub time: Option<String>,
    /// Whether the daemon already had the factor: the response that reported it was lost, and with it receipt and
    /// backup codes.
    pub is_found: bool,
    pub receipt: Option<String>,
    /// Backup codes. Only the first active factor of a user comes with them.
    pub codes: Vec<String>,
}

impl ProvisionedKey {
    /// The FIDO2 factor on a key.
    pub(super) fn registered(secret: &Secret, label: &str, key: KeyId) -> Self {
        Self {
            label: label.to_owned(),
            key,
            secret: secret.uid.clone(),
            is_active: secret.status == "active",
            time: None,
            is_found: true,
            receipt: None,
            codes: Vec::new(),
        }
    }

    /// Reads the daemon's record of a factor; `None` if it is not on a key.
    pub(super) fn read(secret: &Secret, label: &str) -> Option<Self> {
        let key = secret.device.as_ref().filter(|_| secret.kind == "mfa")?;
        Some(Self {
            label: label.to_owned(),
            key: id_of(&key.key, key.serial)?,
            secret: secret.uid.clone(),
            is_active: secret.status == "active",
            time: key.proof.as_ref().map(|proof| proof.time.clone()),
            is_found: true,
            receipt: None,
            codes: Vec::new(),
        })
    }
}

/// The FIDO2 factors on the keys that hold these factors: those that are registered, and the first key whose one is not.
pub(super) fn other_sides(
    secrets: &[Secret],
    placed: &[ProvisionedKey],
) -> (Vec<ProvisionedKey>, Option<ProvisionedKey>) {
    let mut registered = Vec::new();
    for one in placed {
        let label = other_side(&one.label);
        let is_it = |secret: &&Secret| secret.kind == "fido2" && secret.name.as_deref() == Some(label.as_str());
        match secrets.iter().find(is_it) {
            Some(secret) => registered.push(ProvisionedKey::registered(secret, &label, one.key)),
            None => return (registered, Some(one.clone())),
        }
    }
    (registered, None)
}

/// Reads the id of a key. A daemon of an older version tells only the serial number.
pub(super) fn id_of(key: &str, serial: Option<u64>) -> Option<KeyId> {
    KeyId::parse(key).or_else(|| KeyId::parse(&serial?.to_string()))
}

/// The next step for a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remaining {
    /// Nothing: all factors are on keys.
    Nothing(Vec<ProvisionedKey>),
    /// Program the first factor, or the only one.
    First,
    /// Program the other factor of a pair.
    Second {
        /// The factor that exists.
        first: ProvisionedKey,
        /// Name of the factor to program.
        label: String,
    },
    /// Activate a pending factor with a code of its key.
    Finish(ProvisionedKey),
    /// A factor of that name exists, but not on a key. It is not replaced: it may be in use.
    Taken,
}

impl Remaining {
    /// Decides from the user's secrets. With `pending` a pending factor counts as done. `present` has the key
    /// numbers of the attached keys.
    pub(super) fn read(secrets: &[Secret], labels: &Labels, pending: bool, present: &[KeyId]) -> Self {
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

    /// Decides for a row whose factors all exist. Of those still to be activated, prefers one whose key is attached.
    fn of_all(placed: Vec<ProvisionedKey>, pending: bool, present: &[KeyId]) -> Self {
        let is_open = |one: &&ProvisionedKey| !one.is_active && !pending;
        let is_here = |one: &&ProvisionedKey| present.contains(&one.key);
        let open = placed.iter().filter(is_open).find(is_here).or_else(|| placed.iter().rfind(is_open));
        match open {
            Some(open) => Self::Finish(open.clone()),
            None => Self::Nothing(placed),
        }
    }
}

/// The name belongs to a factor that is not on a key.
struct Taken;

fn on_key(secrets: &[Secret], label: &str) -> Result<Option<ProvisionedKey>, Taken> {
    let Some(secret) = secrets.iter().find(|secret| secret.name.as_deref() == Some(label)) else { return Ok(None) };
    ProvisionedKey::read(secret, label).map(Some).ok_or(Taken)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(number: u32) -> KeyId {
        KeyId::parse(&number.to_string()).unwrap()
    }

    fn ids<const N: usize>(numbers: [u32; N]) -> [KeyId; N] {
        numbers.map(id)
    }

    fn secret(name: &str, status: &str, key: Option<KeyId>) -> Secret {
        let device = key.map(|key| json!({"key": key.to_string(), "serial": null, "credential": "a:b"}));
        let record = json!({
            "uid": name, "type": "mfa", "name": name, "status": status, "dateCreated": "", "version": 1,
            "device": device,
        });
        serde_json::from_value(record).unwrap()
    }

    fn left(secrets: &[Secret], spare: bool, present: &[KeyId]) -> Remaining {
        Remaining::read(secrets, &Labels::of("key", spare, false), false, present)
    }

    #[test]
    fn a_user_without_the_factor_gets_it() {
        assert_eq!(left(&[], false, &[]), Remaining::First);
        assert_eq!(left(&[secret("phone", "active", None)], true, &[]), Remaining::First);
    }

    #[test]
    fn an_active_factor_on_any_key_is_a_lost_answer() {
        let Remaining::Nothing(placed) = left(&[secret("key", "active", Some(id(7)))], false, &ids([8])) else {
            panic!()
        };

        assert_eq!((placed[0].key, placed[0].is_active, placed[0].is_found), (id(7), true, true));
    }

    #[test]
    fn a_pending_factor_is_finished_unless_pending_is_enough() {
        let secrets = [secret("key", "pending", Some(id(7)))];

        assert!(matches!(left(&secrets, false, &ids([7])), Remaining::Finish(placed) if placed.key == id(7)));
        assert!(matches!(
            Remaining::read(&secrets, &Labels::of("key", false, false), true, &ids([7])),
            Remaining::Nothing(_)
        ));
    }

    #[test]
    fn a_factor_without_a_key_is_in_the_way() {
        assert_eq!(left(&[secret("key", "active", None)], false, &[]), Remaining::Taken);
        assert_eq!(left(&[secret("key spare", "pending", None)], true, &[]), Remaining::Taken);
    }

    #[test]
    fn a_pair_is_made_whole_from_either_side() {
        let of = |name| left(&[secret(name, "pending", Some(id(7)))], true, &ids([7]));

        assert!(matches!(of("key"), Remaining::Second { first, label } if first.key == id(7) && label == "key spare"));
        assert!(matches!(of("key spare"), Remaining::Second { label, .. } if label == "key"));
    }

    #[test]
    fn a_pair_that_is_pending_is_finished_by_the_key_that_is_there() {
        let secrets = [secret("key", "pending", Some(id(7))), secret("key spare", "pending", Some(id(8)))];

        assert!(matches!(left(&secrets, true, &ids([7])), Remaining::Finish(placed) if placed.key == id(7)));
        assert!(matches!(left(&secrets, true, &[]), Remaining::Finish(placed) if placed.key == id(8)));
        let both = [secret("key", "active", Some(id(7))), secret("key spare", "active", Some(id(8)))];
        assert!(matches!(left(&both, true, &[]), Remaining::Nothing(placed) if placed.len() == 2));
    }

    #[test]
    fn the_other_side_of_each_key_is_looked_for_by_its_name() {
        let on_key = |label: &str, number: u32| ProvisionedKey {
            label: label.to_owned(),
            ..ProvisionedKey::read(&secret(label, "active", Some(id(number))), label).unwrap()
        };
        let placed = [on_key("key", 7), on_key("key spare", 8)];
        let side = |name: &str| Secret { kind: "fido2".to_owned(), ..secret(name, "active", None) };

        let (registered, missing) =
            other_sides(&[side("key fido2"), secret("key spare fido2", "active", None)], &placed);

        assert_eq!(
            registered.iter().map(|one| (one.label.as_str(), one.key)).collect::<Vec<_>>(),
            [("key fido2", id(7))]
        );
        assert_eq!(missing.map(|one| one.key), Some(id(8)), "a factor of another kind is none");
        assert!(other_sides(&[side("key fido2"), side("key spare fido2")], &placed).1.is_none());
        assert_eq!(
            Labels::of("key", true, true).all().collect::<Vec<_>>(),
            ["key", "key fido2", "key spare", "key spare fido2"]
        );
    }
}
