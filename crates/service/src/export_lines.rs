//! The plaintext of an export, in each of its forms. It is written into memory that is wiped, and read by nobody but the
//! encryption.

use data_encoding::{BASE32_NOPAD, BASE64};
use mfad_api as api;
use mfad_api::{EXPORT_VERSION, ExportEnd, ExportHead, MovedCodes, MovedFactor, MovedUser, SecretString};
use mfad_core::model::{OtpKind, Profile, Sensitive, Text, UserId};
use mfad_core::oath::otpauth_uri;
use mfad_store::{Fault, SecretRow, SecretType, Status, UserRow, View};
use zeroize::Zeroizing;

use crate::error::Error;

/// Users that are read in one piece.
const PAGE: u32 = 64;

/// The form of the plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Everything, as lines of JSON.
    Mfad,
    /// A line with an otpauth URI for each factor.
    Otpauth,
    /// A PSKC document (RFC 6030).
    Pskc,
}

impl ExportFormat {
    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mfad => "mfad",
            Self::Otpauth => "otpauth",
            Self::Pskc => "pskc",
        }
    }

    /// Reads the name that [`ExportFormat::name`] returns.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Mfad, Self::Otpauth, Self::Pskc].into_iter().find(|format| format.name() == name)
    }
}

/// A user as the store has it.
pub(super) struct Exported {
    user: UserRow,
    password: Option<Sensitive<Vec<u8>>>,
    codes: Option<(Sensitive<Vec<u8>>, u32)>,
    factors: Vec<ExportedFactor>,
    security_keys: u64,
    api_keys: u64,
    pending_factors: u64,
}

struct ExportedFactor {
    row: SecretRow,
    profile: Profile,
    seed: Sensitive<Vec<u8>>,
    is_on_key: bool,
}

/// Reads the next users, and returns the id of the last one; `None` at the end.
pub(super) fn users_after(view: &View<'_>, after: Option<UserId>) -> Result<(Vec<Exported>, Option<UserId>), Fault> {
    let users = view.users(after, PAGE)?;
    let last = users.last().map(|user| user.id);
    Ok((users.into_iter().map(|user| exported(view, user)).collect::<Result<_, _>>()?, last))
}

/// Reads one user, who may be gone.
pub(super) fn one_user(view: &View<'_>, id: UserId) -> Result<Vec<Exported>, Fault> {
    view.user(id)?.map(|user| exported(view, user)).into_iter().collect()
}

fn exported(view: &View<'_>, user: UserRow) -> Result<Exported, Fault> {
    let id = user.id;
    // Compared with the summary: an export must not hide that a factor was lost.
    let factors = view.active_factors(id)?.into_iter().map(|row| {
        let profile = row.profile.ok_or(Fault::Corrupt("a factor without parameters"))?;
        let (seed, is_on_key) = (view.open_secret(&row)?, view.oath_account(row.id)?.is_some());
        Ok(ExportedFactor { row, profile, seed, is_on_key })
    });
    let mut factors = factors.collect::<Result<Vec<_>, Fault>>()?;
    // Ids of one moment have no order, so the same users give the same lines only by the names.
    factors.sort_by(|one, other| one.row.name.cmp(&other.row.name));
    let password = view.active_secret(id, SecretType::Password)?;
    let password = password.map(|row| view.open_secret(&row)).transpose()?;
    let codes = view.backup_set(id)?.map(|(row, set)| (set.record, row.used));
    let others = view.secrets(id)?;
    let count = |kind: SecretType, status: Status| {
        let found = others.iter().filter(|row| row.kind == kind && row.status == status).count();
        u64::try_from(found).unwrap_or(u64::MAX)
    };
    Ok(Exported {
        password,
        codes,
        factors,
        security_keys: count(SecretType::Fido2, Status::Active),
        api_keys: count(SecretType::ApiKey, Status::Active),
        pending_factors: count(SecretType::Mfa, Status::Pending),
        user,
    })
}

/// Writes the lines, and counts.
pub(super) struct Lines {
    format: ExportFormat,
    with_hardware: bool,
    issuer: String,
    created: i64,
    is_begun: bool,
    end: ExportEnd,
}

impl Lines {
    pub(super) fn new(format: ExportFormat, with_hardware: bool, issuer: String, created: i64) -> Self {
        let end = ExportEnd { mfad_export_end: true, ..ExportEnd::default() };
        Self { format, with_hardware, issuer, created, is_begun: false, end }
    }

    /// The lines of these users.
    pub(super) fn of(&mut self, users: &[Exported]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut out = Zeroizing::new(Vec::new());
        self.begin(&mut out)?;
        for exported in users {
            let left = &mut self.end.left_out;
            left.security_keys = left.security_keys.saturating_add(exported.security_keys);
            left.api_keys = left.api_keys.saturating_add(exported.api_keys);
            left.pending_factors = left.pending_factors.saturating_add(exported.pending_factors);
            self.end.users = self.end.users.saturating_add(1);
            let (kept, left_behind): (Vec<_>, Vec<_>) =
                exported.factors.iter().partition(|factor| self.with_hardware || !factor.is_on_key);
            let number = |list: &[&ExportedFactor]| u64::try_from(list.len()).unwrap_or(u64::MAX);
            self.end.factors = self.end.factors.saturating_add(number(&kept));
            let left = &mut self.end.left_out;
            left.hardware_factors = left.hardware_factors.saturating_add(number(&left_behind));
            match self.format {
                ExportFormat::Mfad => json_line(&mut out, &moved(exported, &kept))?,
                ExportFormat::Otpauth => {
                    for factor in kept {
                        self.uri_line(&mut out, &exported.user, factor)?;
                    }
                }
                ExportFormat::Pskc => {
                    for factor in kept {
                        self.key_package(&mut out, &exported.user, factor);
                    }
                }
            }
        }
        Ok(out)
    }

    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        if std::mem::replace(&mut self.is_begun, true) {
            return Ok(());
        }
        match self.format {
            ExportFormat::Mfad => {
                let (created, issuer) = (self.created, self.issuer.clone());
                return json_line(out, &ExportHead { mfad_export: EXPORT_VERSION, created, issuer });
            }
            ExportFormat::Otpauth => out.extend_from_slice(
                b"# One-time password factors. Not in this file: used steps, backup codes, passwords, and all else of the \
                  users.\n",
            ),
            ExportFormat::Pskc => out.extend_from_slice(
                b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- Not in this file: used steps, backup codes, passwords, \
                  and all else of the users. -->\n<KeyContainer Version=\"1.0\" \
                  xmlns=\"urn:ietf:params:xml:ns:keyprov:pskc\">\n",
            ),
        }
        Ok(())
    }

    /// The last lines. They say what was left out.
    pub(super) fn end(&mut self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut out = Zeroizing::new(Vec::new());
        self.begin(&mut out)?;
        let api::LeftOut { hardware_factors, security_keys, api_keys, pending_factors } = &self.end.left_out;
        let left = format!(
            "Left out: {hardware_factors} factors on hardware keys, {security_keys} security keys, {api_keys} API keys, \
             {pending_factors} factors that were not confirmed."
        );
        match self.format {
            ExportFormat::Mfad => json_line(&mut out, &self.end)?,
            ExportFormat::Otpauth => out.extend_from_slice(format!("# {left}\n").as_bytes()),
            ExportFormat::Pskc => out.extend_from_slice(format!("<!-- {left} -->\n</KeyContainer>\n").as_bytes()),
        }
        Ok(out)
    }

    fn uri_line(&self, out: &mut Vec<u8>, user: &UserRow, factor: &ExportedFactor) -> Result<(), Error> {
        let text = |text: &str| Text::parse_label_part(text).map_err(|why| Error::Internal(why.to_owned()));
        let uri = otpauth_uri(&factor.profile, factor.seed.expose(), &text(&self.issuer)?, &text(&user.name)?);
        let uri = uri.expose();
        match (factor.profile.moving, uri.strip_suffix("counter=0")) {
            (OtpKind::Hotp, Some(rest)) => {
                out.extend_from_slice(rest.as_bytes());
                out.extend_from_slice(format!("counter={}", factor.row.counter.unwrap_or(0)).as_bytes());
            }
            _ => out.extend_from_slice(uri.as_bytes()),
        }
        out.push(b'\n');
        Ok(())
    }

    fn key_package(&self, out: &mut Vec<u8>, user: &UserRow, factor: &ExportedFactor) {
        let (id, profile) = (factor.row.id, factor.profile);
        let (kind, digits) = (profile.kind(), profile.digits.count());
        let data = match profile.moving {
            OtpKind::Totp(period) => format!(
                "<Time><PlainValue>0</PlainValue></Time><TimeInterval><PlainValue>{}</PlainValue></TimeInterval>",
                period.seconds()
            ),
            OtpKind::Hotp => {
                format!("<Counter><PlainValue>{}</PlainValue></Counter>", factor.row.counter.unwrap_or(0))
            }
        };
        let secret = Zeroizing::new(BASE64.encode(factor.seed.expose()));
        let begin = format!(
            "<KeyPackage><DeviceInfo><SerialNo>{id}</SerialNo></DeviceInfo><Key Id=\"{id}\" \
             Algorithm=\"urn:ietf:params:xml:ns:keyprov:pskc:{kind}\"><Issuer>{}</Issuer><AlgorithmParameters>\
             <Suite>HMAC-{}</Suite><ResponseFormat Encoding=\"DECIMAL\" Length=\"{digits}\"/></AlgorithmParameters>\
             <Data><Secret><PlainValue>",
            escaped(&self.issuer),
            profile.algorithm.name(),
        );
        let end = format!(
            "</PlainValue></Secret>{data}</Data><UserId>UID={}</UserId></Key></KeyPackage>\n",
            escaped(&value_of_name(&user.name))
        );
        for part in [begin.as_str(), &secret, &end] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

fn json_line(out: &mut Vec<u8>, value: &impl serde::Serialize) -> Result<(), Error> {
    serde_json::to_writer(&mut *out, value).map_err(|cause| Error::Internal(cause.to_string()))?;
    out.push(b'\n');
    Ok(())
}

/// A value in a distinguished name (RFC 4514 section 2.4).
fn value_of_name(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for symbol in text.chars() {
        if ",+\"\\<>;=#".contains(symbol) {
            value.push('\\');
        }
        value.push(symbol);
    }
    value
}

/// A text between the tags of XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn moved(exported: &Exported, factors: &[&ExportedFactor]) -> MovedUser {
    let base64 = |bytes: &Sensitive<Vec<u8>>| SecretString::new(BASE64.encode(bytes.expose()));
    let user = &exported.user;
    MovedUser {
        name: user.name.clone(),
        display_name: user.display_name.clone(),
        email: user.email.clone(),
        roles: user.roles.clone(),
        disabled: user.disabled,
        password: exported.password.as_ref().map(base64),
        backup_codes: exported.codes.as_ref().map(|(record, used)| MovedCodes { record: base64(record), used: *used }),
        factors: factors.iter().map(|factor| moved_factor(factor)).collect(),
    }
}

fn moved_factor(factor: &ExportedFactor) -> MovedFactor {
    let (row, profile) = (&factor.row, factor.profile);
    MovedFactor {
        name: row.name.clone(),
        description: row.description.clone(),
        kind: profile.kind().to_owned(),
        algorithm: profile.algorithm.name().to_owned(),
        digits: profile.digits.count(),
        period: profile.period_seconds(),
        used_step: row.last_step,
        counter: row.counter,
        counter_ahead_by: (row.ahead > 0).then_some(row.ahead),
        secret: SecretString::new(BASE32_NOPAD.encode(factor.seed.expose())),
        imported: row.is_unproved,
    }
}
