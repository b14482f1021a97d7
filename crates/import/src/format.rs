//! The formats, and how a file shows its own.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

use crate::draft::Draft;
use crate::{
    Fault, Secrets, aegis, andotp, authelia, bitwarden, fernet, freeotp, google_authenticator, kanidm, keepassxc_xml,
    keycloak, kratos, migration, otpauth, own, pam_oath, privacyidea, pskc, qr, seed_list, stratum, table, twofas,
    yaml, yubico,
};

/// How many lines are looked at for the key of a YAML file. Comments may come before it.
const LINES_LOOKED_AT: usize = 20;

/// A format of factors that are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The export of another mfad.
    Mfad,
    /// otpauth URIs, one in each line.
    Otpauth,
    /// `otpauth-migration` URIs.
    Migration,
    /// A picture with QR codes (PNG) of otpauth URIs.
    Picture,
    /// Aegis, plain or encrypted.
    Aegis,
    /// 2FAS, plain or encrypted.
    TwoFas,
    /// andOTP, plain or encrypted.
    AndOtp,
    /// The JSON of FreeOTP+.
    FreeOtpPlus,
    /// Stratum (Authenticator Pro), plain or encrypted.
    Stratum,
    /// The plain JSON of Bitwarden.
    Bitwarden,
    /// The CSV of Bitwarden.
    BitwardenCsv,
    /// The CSV of KeePassXC.
    KeePassXcCsv,
    /// The XML of KeePassXC and KeePass 2.
    KeePassXcXml,
    /// A table of seeds, as token makers send it.
    OathCsv,
    /// The file of `pam_google_authenticator`.
    GoogleAuthenticator,
    /// The users file of `pam_oath`.
    PamOath,
    /// PSKC (RFC 6030), plain or encrypted.
    Pskc,
    /// A realm export of Keycloak with users.
    Keycloak,
    /// Identities of Ory Kratos.
    Kratos,
    /// The YAML or the encrypted export of privacyIDEA.
    PrivacyIdea,
    /// The YAML of Authelia.
    Authelia,
    /// A backup of Kanidm.
    Kanidm,
    /// The log of the YubiKey Personalization Tool.
    YubicoCsv,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 23] = [
        Self::Mfad,
        Self::Otpauth,
        Self::Migration,
        Self::Picture,
        Self::Aegis,
        Self::TwoFas,
        Self::AndOtp,
        Self::FreeOtpPlus,
        Self::Stratum,
        Self::Bitwarden,
        Self::BitwardenCsv,
        Self::KeePassXcCsv,
        Self::KeePassXcXml,
        Self::OathCsv,
        Self::GoogleAuthenticator,
        Self::PamOath,
        Self::Pskc,
        Self::Keycloak,
        Self::Kratos,
        Self::PrivacyIdea,
        Self::Authelia,
        Self::Kanidm,
        Self::YubicoCsv,
    ];

    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mfad => "mfad",
            Self::Otpauth => "otpauth",
            Self::Migration => "otpauth-migration",
            Self::Picture => "qr",
            Self::Aegis => "aegis",
            Self::TwoFas => "2fas",
            Self::AndOtp => "andotp",
            Self::FreeOtpPlus => "freeotp+",
            Self::Stratum => "stratum",
            Self::Bitwarden => "bitwarden",
            Self::BitwardenCsv => "bitwarden-csv",
            Self::KeePassXcCsv => "keepassxc-csv",
            Self::KeePassXcXml => "keepassxc-xml",
            Self::OathCsv => "oath-csv",
            Self::GoogleAuthenticator => "google-authenticator",
            Self::PamOath => "pam_oath",
            Self::Pskc => "pskc",
            Self::Keycloak => "keycloak",
            Self::Kratos => "kratos",
            Self::PrivacyIdea => "privacyidea",
            Self::Authelia => "authelia",
            Self::Kanidm => "kanidm",
            Self::YubicoCsv => "yubico-csv",
        }
    }

    /// Reads the name that [`Format::name`] returns.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format of a file by its content. JSON comes with what it was parsed into.
    pub(crate) fn recognise(bytes: &[u8]) -> Result<(Self, Option<Value>), Fault> {
        let without_json = |format| Ok((format, None));
        if qr::is(bytes) {
            return without_json(Self::Picture);
        }
        if stratum::is_encrypted(bytes) {
            return without_json(Self::Stratum);
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return Err(Fault::Unknown(of_bytes(bytes))) };
        let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let Some(first) = first else { return Err(Fault::Unknown("it is empty; did the program that wrote it fail?")) };
        match () {
            () if own::is(first) => without_json(Self::Mfad),
            () if first.starts_with(['{', '[']) => of_json(bytes),
            () if first.starts_with('<') && text.contains("KeyContainer") => without_json(Self::Pskc),
            () if first.starts_with('<') && text.contains("<KeePassFile") => without_json(Self::KeePassXcXml),
            () if text.contains("<keycontainer") => Err(Fault::Unsupported(
                Self::PrivacyIdea,
                "its PSKC has no owners, and its names are no PSKC; export the tokens as YAML instead",
            )),
            () if first.starts_with('<') => Err(Fault::Unknown("XML of another program")),
            () if migration::is_uri(first) => without_json(Self::Migration),
            () if otpauth::is_uri(first) => without_json(Self::Otpauth),
            () if google_authenticator::is(text) => without_json(Self::GoogleAuthenticator),
            () if pam_oath::is(text) => without_json(Self::PamOath),
            () if privacyidea::is_yaml(text) || privacyidea::is_csv(text) || fernet::is(text) => {
                without_json(Self::PrivacyIdea)
            }
            () if has_key(text, "totp_configurations") => without_json(Self::Authelia),
            () if yubico::is(text) => without_json(Self::YubicoCsv),
            () if seed_list::is(text) => without_json(Self::OathCsv),
            () => table::recognise(text)
                .ok_or(Fault::Unknown("text that is neither URIs nor a table of a known kind"))
                .and_then(without_json),
        }
    }

    /// Reads a file of this format.
    pub(crate) fn read(
        self,
        bytes: &[u8],
        json: Option<Value>,
        secrets: &Secrets<'_>,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Draft>, Fault> {
        match self {
            Self::Mfad => own::read(bytes, 0).map(|part| part.drafts),
            Self::Otpauth => otpauth::read(bytes, 0),
            Self::Migration => migration::read(bytes),
            Self::Picture => {
                let texts = qr::texts(bytes)?;
                let (format, json) = Self::recognise(texts.as_bytes())?;
                format.read(texts.as_bytes(), json, secrets, notes)
            }
            Self::Aegis => aegis::read(bytes, json, secrets),
            Self::TwoFas => twofas::read(bytes, json, secrets),
            Self::AndOtp => andotp::read(bytes, json, secrets),
            Self::FreeOtpPlus => freeotp::read(bytes, json),
            Self::Stratum => stratum::read(bytes, json, secrets),
            Self::Bitwarden => bitwarden::read(bytes, json, notes),
            Self::OathCsv if std::str::from_utf8(bytes).is_ok_and(seed_list::is) => seed_list::read(bytes, 0),
            Self::BitwardenCsv | Self::KeePassXcCsv | Self::OathCsv => table::read(bytes, self, 0, notes),
            Self::KeePassXcXml => keepassxc_xml::read(bytes, notes),
            Self::GoogleAuthenticator => google_authenticator::read(bytes),
            Self::PamOath => pam_oath::read(bytes, 0),
            Self::Pskc => pskc::read(bytes, secrets, notes),
            Self::Keycloak => keycloak::read(bytes, json),
            Self::Kratos => kratos::read(bytes, json),
            Self::PrivacyIdea => privacyidea::read(bytes, secrets, notes),
            Self::Authelia => authelia::read(&json.map_or_else(|| yaml::parse(bytes, self), Ok)?),
            Self::Kanidm => kanidm::read(bytes, json),
            Self::YubicoCsv => yubico::read(bytes),
        }
    }
}

impl Display for Format {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether JSON is of a format.
type Recogniser = fn(&Value) -> bool;

fn of_json(bytes: &[u8]) -> Result<(Format, Option<Value>), Fault> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|_| Fault::Unknown("damaged JSON, or its end is missing"))?;
    let readers: [(Format, Recogniser); 10] = [
        (Format::Aegis, aegis::is),
        (Format::TwoFas, twofas::is),
        (Format::FreeOtpPlus, freeotp::is),
        (Format::Stratum, stratum::is),
        (Format::Bitwarden, bitwarden::is),
        (Format::Keycloak, keycloak::is),
        (Format::Kratos, kratos::is),
        (Format::Kanidm, kanidm::is),
        (Format::Authelia, authelia::is),
        (Format::AndOtp, andotp::is),
    ];
    let found = readers.into_iter().find(|(_, is)| is(&value)).map(|(format, _)| format);
    found.map(|format| (format, Some(value))).ok_or(Fault::Unknown("JSON of another program"))
}

/// Whether one of the first lines of YAML begins with this key.
fn has_key(text: &str, key: &str) -> bool {
    let mut lines = text.lines().take(LINES_LOOKED_AT);
    lines.any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')))
}

/// Names bytes that are no text.
fn of_bytes(bytes: &[u8]) -> &'static str {
    // JPEG, GIF, and RIFF, which WebP uses.
    let pictures: [&[u8]; 3] = [&[0xff, 0xd8, 0xff], b"GIF89a", b"RIFF"];
    if pictures.iter().any(|magic| bytes.starts_with(magic)) {
        "a picture that is no PNG; save it as PNG"
    } else if bytes.starts_with(b"age-encryption.org/v1") {
        "it is encrypted with age; decrypt it first: age -d -i IDENTITY FILE | mfactl import ... -"
    } else if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        "UTF-16 text; save it as UTF-8"
    } else {
        "bytes that are no text; if it is an encrypted file of andOTP, say --format andotp"
    }
}
