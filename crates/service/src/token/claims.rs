//! The claims of a token: their JSON form, and the rules that each kind must meet (TOK-3). The signature is checked
//! before.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use mfad_core::model::{Amr, SessionId, TokenKind, UserId};

use super::fault::TokenFault;

/// The lifetime of access and enrolment tokens, and the longest of any token (TOK-3).
pub const ACCESS_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Leeway in seconds: a token may be issued this far in the future, after a small step back of the clock (TOK-3).
/// Expiry has no leeway, since the same host issues and verifies.
const LEEWAY: i64 = 30;

/// The claims of a token whose signature and rules have been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The kind of token: `typ` and `aud`.
    pub kind: TokenKind,
    /// The user for whom the token speaks: `sub`.
    pub subject: UserId,
    /// The id of the token: `jti`. For a challenge token it is the id of the challenge.
    pub id: [u8; 16],
    /// The session: `sid`. Present in access tokens only.
    pub session: Option<SessionId>,
    /// When it was issued, in seconds since 1970: `iat` and `nbf`.
    pub issued_at: i64,
    /// When it expires, in seconds since 1970: `exp`.
    pub expires_at: i64,
    /// The user's epoch when it was issued. The token has ended once the stored epoch is higher (TOK-6).
    pub epoch: i64,
    /// How the user logged in: `amr` (RFC 8176).
    pub amr: Amr,
    /// When the user logged in, in seconds since 1970.
    pub auth_time: i64,
    /// The uid of the peer to which it was issued.
    pub peer: u32,
    /// The user's roles when it was issued, for apps to read. The daemon reads the stored ones.
    pub roles: Vec<String>,
}

/// The claims as JSON. Every member but `sid` is required, no other is allowed, and a duplicate is an error (TOK-5).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Wire {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
    typ: String,
    epoch: i64,
    amr: Vec<String>,
    auth_time: i64,
    /// The login time under its registered name (OpenID Connect Core section 2), which other verifiers look for.
    #[serde(rename = "auth_time")]
    registered_auth_time: i64,
    peer: u32,
    roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
}

impl Claims {
    pub(super) fn to_wire(&self, issuer: &str) -> Wire {
        Wire {
            iss: issuer.to_owned(),
            aud: self.kind.audience().to_owned(),
            sub: self.subject.to_string(),
            iat: self.issued_at,
            nbf: self.issued_at,
            exp: self.expires_at,
            jti: uuid::Uuid::from_bytes(self.id).to_string(),
            typ: self.kind.name().to_owned(),
            epoch: self.epoch,
            amr: self.amr.values().iter().map(|v| (*v).to_owned()).collect(),
            auth_time: self.auth_time,
            registered_auth_time: self.auth_time,
            peer: self.peer,
            roles: self.roles.clone(),
            sid: self.session.map(|s| s.to_string()),
        }
    }

    /// Checks every claim by the rules of the kind that the header fixed. `now` is in seconds since 1970.
    pub(super) fn from_wire(wire: Wire, kind: TokenKind, issuer: &str, now: i64) -> Result<Self, TokenFault> {
        if wire.auth_time != wire.registered_auth_time {
            return Err(TokenFault::Claims);
        }
        if wire.iss != issuer || wire.typ != kind.name() || wire.aud != kind.audience() {
            return Err(TokenFault::Claims);
        }
        // A lifetime beyond the limit is refused even though the signature is ours: no such token is ever issued.
        let lifetime = wire.exp.saturating_sub(wire.iat);
        let longest = i64::try_from(ACCESS_LIFETIME.as_secs()).unwrap_or(0);
        let latest_start = now.saturating_add(LEEWAY);
        if wire.nbf != wire.iat || wire.iat > latest_start || !(1..=longest).contains(&lifetime) {
            return Err(TokenFault::Claims);
        }
        if wire.exp <= now {
            return Err(TokenFault::Expired);
        }
        let id = SessionId::parse(&wire.jti).ok_or(TokenFault::Claims)?;
        let session = wire.sid.as_deref().map(|sid| SessionId::parse(sid).ok_or(TokenFault::Claims)).transpose()?;
        if session.is_some() != (kind == TokenKind::Access) {
            return Err(TokenFault::Claims);
        }
        Ok(Self {
            kind,
            subject: UserId::parse(&wire.sub).ok_or(TokenFault::Claims)?,
            id: *id.as_bytes(),
            session,
            issued_at: wire.iat,
            expires_at: wire.exp,
            epoch: wire.epoch,
            amr: Amr::from_values(&wire.amr).ok_or(TokenFault::Claims)?,
            auth_time: wire.auth_time,
            peer: wire.peer,
            roles: wire.roles,
        })
    }
}
