//! One attempt to program one row of the manifest onto one hardware key. If a response may have been lost, it first
//! asks the daemon what is already done. It must not know other rows or keys.

use std::path::PathBuf;

use serde_json::json;

use super::folders::pin_for;
use super::queue::Open;
use super::remaining::{Labels, ProvisionedKey, Remaining, other_side, other_sides};
use super::verdict::{Verdict, tells_of_another};
use crate::acting;
use crate::call::{Authority, Body, Call, segment};
use crate::client::Client;
use crate::code::by_key;
use crate::device_args::{KeyProfileArgs, SecurityKeySetup};
use crate::failure::Failure;
use mfad_api::{BackupCodes, Provisioned, SecretList, SecretString};
use mfad_core::model::KeyId;

/// Message if another factor of the user has the label.
pub(super) const TAKEN: &str = "the user has a factor of that name that is not on a hardware key; choose another label";
/// Steps of one attempt, so that it ends even if the factors of the user keep changing.
const ROUNDS: u8 = 4;

/// Settings that all rows of a batch share, from the flags.
pub(super) struct Plan {
    pub authority: Authority,
    pub profile: KeyProfileArgs,
    /// Factors stay pending until the users enter a code (`--pending`).
    pub pending: bool,
    /// Each user gets two keys (`--spare`).
    pub spare: bool,
    /// Keys without an OATH password get a random one (`--protect`).
    pub protect: bool,
    /// The FIDO2 side of each key is registered too (`--fido2`), with these settings.
    pub fido2: Option<SecurityKeySetup>,
    /// Each security key gets a random PIN, which is written to this directory (`--pins`).
    pub pins: Option<PathBuf>,
}

/// Result of an attempt.
pub(super) enum Outcome {
    /// All factors of the row are on keys.
    Done(Vec<ProvisionedKey>),
    /// The first factor of a pair is on its key.
    Half(ProvisionedKey),
    /// A factor is on this key, and its FIDO2 side is not registered. The row goes on with this key only.
    Bound(KeyId),
    /// A temporary failure: try the row again.
    Again(Failure),
    /// A failure that another attempt in this run would not cure.
    Failed {
        /// Error code, for the results file.
        code: String,
        /// Error message, for the terminal.
        text: String,
    },
    /// The key is in the way: it is full, locked, or cannot do what the row asks for. The row goes on with another key.
    OtherKey(Failure),
    /// The batch cannot continue.
    Stop(Failure),
}

impl Outcome {
    fn of(failure: Failure) -> Self {
        match Verdict::of(&failure) {
            Verdict::Again => Self::Again(failure),
            Verdict::Failed => Self::failed(&failure),
            Verdict::OtherKey => Self::OtherKey(failure),
            Verdict::Stop => Self::Stop(failure),
        }
    }

    fn failed(failure: &Failure) -> Self {
        let code = match failure {
            Failure::Refused(problem) => problem.code.clone(),
            other => other.to_string(),
        };
        Self::Failed { code, text: failure.to_string() }
    }

    fn taken() -> Self {
        Self::Failed { code: "secret-name-taken".to_owned(), text: TAKEN.to_owned() }
    }
}

/// One attempt: a row, the id of its key, and those of all attached keys.
struct Attempt<'a> {
    plan: &'a Plan,
    open: &'a Open,
    key: KeyId,
    present: &'a [KeyId],
}

/// Programs what remains of the row onto the key with this id. `present` has the ids of all
/// attached keys. An earlier failed attempt delays this one.
pub(super) async fn work(client: &mut Client, plan: &Plan, open: &Open, key: KeyId, present: &[KeyId]) -> Outcome {
    tokio::time::sleep(open.pause()).await;
    let attempt = Attempt { plan, open, key, present };
    attempt.run(client).await.unwrap_or_else(Outcome::of)
}

/// Asks the daemon what remains to do for a user.
pub(super) async fn look(
    client: &mut Client,
    plan: &Plan,
    uid: &str,
    labels: &Labels,
    present: &[KeyId],
) -> Result<Remaining, Failure> {
    let call = Call::get(acting::path(uid, "/secrets")).by(&plan.authority);
    let list: SecretList = client.ask(call).await?.read()?;
    Ok(Remaining::read(&list.secrets, labels, plan.pending, present))
}

impl Attempt<'_> {
    async fn run(&self, client: &mut Client) -> Result<Outcome, Failure> {
        let labels = Labels::of(&self.open.row.label, self.plan.spare, self.plan.fido2.is_some());
        let mut codes = Vec::new();
        let mut left = if self.open.attempts > 0 { self.look(client, &labels).await? } else { self.expected(&labels) };
        for _ in 0..ROUNDS {
            let made = match left {
                Remaining::Nothing(placed) => {
                    return self.with_other_sides(client, Outcome::Done(with_codes(placed, codes))).await;
                }
                Remaining::Taken => return Ok(Outcome::taken()),
                Remaining::Finish(placed) => {
                    codes.extend(self.finish(client, &placed).await?);
                    left = self.look(client, &labels).await?;
                    continue;
                }
                Remaining::First => self.make_first(client, &labels).await,
                // This key is the first of the pair: the response that reported it was lost.
                Remaining::Second { first, .. } if first.key == self.key => {
                    return self.with_other_sides(client, Outcome::Half(first)).await;
                }
                Remaining::Second { first, label } => self.make_second(client, first, &label).await,
            };
            match made {
                Err(failure) if tells_of_another(&failure) => left = self.look(client, &labels).await?,
                Err(failure) => return Err(failure),
                Ok(made) => return self.with_other_sides(client, made).await,
            }
        }
        Ok(Outcome::taken())
    }

    /// Returns what remains if no response was lost. Saves a request per row in the normal case.
    fn expected(&self, labels: &Labels) -> Remaining {
        match (&self.open.first, &labels.second) {
            (Some(first), Some(label)) => Remaining::Second { first: first.clone(), label: label.clone() },
            (Some(_), None) | (None, _) => Remaining::First,
        }
    }

    async fn look(&self, client: &mut Client, labels: &Labels) -> Result<Remaining, Failure> {
        look(client, self.plan, &self.open.uid, labels, self.present).await
    }

    /// Registers the FIDO2 side of the key that this attempt is for, and completes the outcome with it. The side has to
    /// be that of the key that holds the user's other factor, so a row whose other key lacks it goes on with that key.
    async fn with_other_sides(&self, client: &mut Client, outcome: Outcome) -> Result<Outcome, Failure> {
        let Some(setup) = self.plan.fido2 else { return Ok(outcome) };
        let placed = match &outcome {
            Outcome::Done(placed) => placed.clone(),
            Outcome::Half(first) => vec![first.clone()],
            _ => return Ok(outcome),
        };
        let mut codes = Vec::new();
        for _ in 0..ROUNDS {
            let call = Call::get(acting::path(&self.open.uid, "/secrets")).by(&self.plan.authority);
            let list: SecretList = client.ask(call).await?.read()?;
            match other_sides(&list.secrets, &placed) {
                (sides, None) => {
                    return Ok(match outcome {
                        Outcome::Half(first) => Outcome::Half(with_more_codes(first, codes)),
                        _ => Outcome::Done(with_codes([placed, sides].concat(), codes)),
                    });
                }
                (_, Some(missing)) if missing.key != self.key => return Ok(Outcome::Bound(missing.key)),
                (_, Some(missing)) => match self.register(client, &other_side(&missing.label), setup).await {
                    Ok(more) => codes.extend(more),
                    Err(failure) if tells_of_another(&failure) => {}
                    // No other key helps: the user's factor is on this one.
                    Err(failure) if Verdict::of(&failure) == Verdict::OtherKey => {
                        return Ok(Outcome::failed(&failure));
                    }
                    Err(failure) => return Err(failure),
                },
            }
        }
        Ok(Outcome::taken())
    }

    /// Registers the FIDO2 side of this key. Returns the backup codes that come with a user's first factor.
    async fn register(
        &self,
        client: &mut Client,
        label: &str,
        setup: SecurityKeySetup,
    ) -> Result<Vec<String>, Failure> {
        let body = Body::new()
            .member("type", "fido2")
            .member("local", true)
            .member("name", label)
            .member("key", self.key.to_string());
        let body = match &self.plan.pins {
            None => setup.add_to(body),
            // On disk before the key has it, so that no attempt leaves a PIN that nobody knows.
            Some(folder) => {
                let pin = pin_for(folder, self.key, setup.min_pin_length)?;
                setup.add_to(body.member("setPin", true)).secret("pin", &pin, "$PIN")
            }
        };
        let call = Call::post(acting::path(&self.open.uid, "/secrets")).by(&self.plan.authority).with(body);
        client.ask(call).await?.read().map(|codes: BackupCodes| plain(codes.codes))
    }

    async fn make_first(&self, client: &mut Client, labels: &Labels) -> Result<Outcome, Failure> {
        let by_device = !self.plan.pending && labels.second.is_none();
        let placed = self.make(client, &labels.first, by_device, None).await?;
        Ok(if labels.second.is_some() { Outcome::Half(placed) } else { Outcome::Done(vec![placed]) })
    }

    async fn make_second(&self, client: &mut Client, first: ProvisionedKey, label: &str) -> Result<Outcome, Failure> {
        // The API pairs a spare only with a pending factor. Beside an active one it becomes a factor of its own.
        let spare_of = (!first.is_active).then_some(first.secret.as_str());
        let second = self.make(client, label, !self.plan.pending, spare_of).await?;
        let first = ProvisionedKey { is_active: first.is_active || second.is_active, ..first };
        Ok(Outcome::Done(vec![first, second]))
    }

    async fn make(
        &self,
        client: &mut Client,
        label: &str,
        by_device: bool,
        spare_of: Option<&str>,
    ) -> Result<ProvisionedKey, Failure> {
        let body = Body::new().member("type", "mfa").member("name", label);
        let body = self
            .plan
            .profile
            .add_to(body)
            .member("device", json!({"key": self.key.to_string()}))
            .member("activate", if by_device { "by-device" } else { "by-code" })
            .optional("touch", self.open.row.touch.then_some(true))
            .optional("protect", self.plan.protect.then_some(true))
            .optional("spareOf", spare_of);
        let call = Call::post(acting::path(&self.open.uid, "/secrets")).by(&self.plan.authority).with(body);
        let Provisioned { record, receipt, codes } = client.ask(call).await?.read()?;
        let placed = ProvisionedKey::read(&record, label)
            .ok_or_else(|| Failure::Internal("the daemon's response does not name the hardware key".to_owned()))?;
        Ok(ProvisionedKey {
            is_found: false,
            receipt: Some(receipt),
            codes: plain(codes.unwrap_or_default()),
            ..placed
        })
    }

    /// Activates a pending factor with a code that its key computes. If the key is absent or was changed, the factor is
    /// deleted, so that it can be programmed again. Returns the backup codes that come with an activation.
    async fn finish(&self, client: &mut Client, pending: &ProvisionedKey) -> Result<Vec<String>, Failure> {
        let path = acting::path(&self.open.uid, &format!("/secrets/{}", segment(&pending.secret)));
        let authority = &self.plan.authority;
        if self.present.contains(&pending.key) {
            let call = Call::put(format!("{path}/enroll")).by(authority).with(by_key());
            match client.ask(call).await {
                Ok(answer) => return answer.read().map(|codes: BackupCodes| plain(codes.codes)),
                Err(failure) if tells_of_another(&failure) => return Ok(Vec::new()),
                // The account on the key is not the programmed one, so the factor cannot be used.
                Err(Failure::Refused(problem)) if matches!(problem.code.as_str(), "device-changed" | "wrong-code") => {}
                Err(failure) => return Err(failure),
            }
        }
        match client.ask(Call::delete(format!("{path}?device=erase")).by(authority)).await {
            Ok(_) => Ok(Vec::new()),
            Err(failure) if tells_of_another(&failure) => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }
}

/// Backup codes as they are written to their files.
fn plain(codes: Vec<SecretString>) -> Vec<String> {
    codes.iter().map(|code| code.as_str().to_owned()).collect()
}

fn with_more_codes(mut placed: ProvisionedKey, codes: Vec<String>) -> ProvisionedKey {
    placed.codes.extend(codes);
    placed
}

fn with_codes(mut placed: Vec<ProvisionedKey>, codes: Vec<String>) -> Vec<ProvisionedKey> {
    if let Some(last) = placed.last_mut() {
        last.codes.extend(codes);
    }
    placed
}
