//! Making access, challenge and enrolment tokens, refresh tokens and API keys, and rotating the keys that sign tokens.
//! The format of signed tokens is in `token`.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::token::{ACCESS_LIFETIME, Claims, KeySet, SigningKey};
use mfad_api::AuditEvent;
use mfad_core::entropy;
use mfad_core::model::{Amr, ChallengeId, Moment, SecretId, Sensitive, SessionId, TokenKind, UserId};
use mfad_core::sync::PoisonError;
use mfad_store::{
    AuditEntry, ChallengeRow, Fault, Outcome, Purpose, SessionRow, SigningKeyRow, Tx, UserRow, Vault, View, same_tag,
};

use super::{AuthView, RequestContext, Service};

/// How long a challenge accepts answers (AUT-2).
pub(super) const CHALLENGE_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Wrong answers after which a challenge ends (AUT-2).
pub(super) const CHALLENGE_ANSWERS: u32 = 5;
/// Open challenges of one user from one peer uid (AUT-2); a new one beyond that ends the oldest.
const OPEN_CHALLENGES: u32 = 5;
/// Open sessions of one user; a new one beyond that ends the oldest.
pub(super) const OPEN_SESSIONS: u32 = 32;
/// How long a session lasts without a refresh.
const SESSION_IDLE: Duration = Duration::from_secs(24 * 3600);
/// How long an exchanged refresh token still gets the same successor, in milliseconds. The answer may be lost, or two
/// tabs may refresh at once; without this, both would look like the reuse of a stolen token.
pub(super) const REFRESH_GRACE: i64 = 10_000;
/// Generation of a session that has no refresh token. All others begin with 1.
const FIRST_FACTOR: u32 = 0;
/// How long a session lasts at most, however often it is refreshed.
const SESSION_LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// Age at which the newest signing key is replaced (TOK-7).
const KEY_ROTATION: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a replaced signing key still verifies: longer than the longest lifetime of a token that it signed.
const KEY_OVERLAP: Duration = Duration::from_secs(3600);

/// Begins every API key, so that secret scanners can find a leaked one.
const API_KEY_PREFIX: &str = "mfad_";
/// The layout of a refresh token: session id, generation (big-endian), tag.
const SESSION_BYTES: usize = 16;
const GENERATION_BYTES: usize = 4;

/// The parts of a well-formed API key. The secret is not checked yet.
pub(super) struct ApiKeyParts {
    pub(super) id: SecretId,
    pub(super) secret: Sensitive<Vec<u8>>,
}

/// The parts of a refresh token whose tag is correct, so this daemon made it. The session may have ended, or the
/// generation may be an old one.
pub(super) struct RefreshParts {
    pub(super) session: SessionId,
    pub(super) generation: u32,
}

/// The outcome of a login inside a writing job, before its token is signed outside of the transaction.
pub(super) enum Granted {
    /// A session, with its user.
    Session(SessionRow, UserRow),
    /// A challenge, with its user and the methods that can answer it.
    Challenge(ChallengeRow, UserRow, Vec<&'static str>),
    /// A token that can only enrol a first factor (AUT-7).
    Enrolment(UserRow),
}

/// Opens a session for the peer of this request, inside a writing job.
pub(super) fn open_session(tx: &Tx<'_>, context: &RequestContext, user: UserRow, amr: Amr) -> Result<Granted, Fault> {
    let now = context.now.wall_ms;
    let session = SessionRow {
        id: SessionId::at(now, &entropy::public()?),
        user: user.id,
        epoch: user.epoch,
        peer: context.caller.peer.uid,
        generation: 1,
        rotated: None,
        amr,
        auth_time: context.now.unix_seconds(),
        created: now,
        expires: later(now, SESSION_IDLE),
    };
    tx.insert_session(&session, OPEN_SESSIONS)?;
    Ok(Granted::Session(session, user))
}

/// Opens a session in place of an earlier login at `auth_time` (seconds since 1970), which had these methods. If there is
/// a session `old` with a second factor, the new one lasts no longer than `old` could have. Without one, this session
/// begins with the user's first factor: it ends with its access token, has no refresh token, and makes no lasting API keys.
pub(super) fn renew_session(
    tx: &Tx<'_>,
    context: &RequestContext,
    user: UserRow,
    (amr, auth_time): (Amr, i64),
    old: Option<SessionRow>,
) -> Result<Granted, Fault> {
    let now = context.now.wall_ms;
    let (generation, created, expires) = match old {
        Some(old) => (1, old.created, extended(&old, now)),
        None => (FIRST_FACTOR, now, later(now, ACCESS_LIFETIME)),
    };
    let id = SessionId::at(now, &entropy::public()?);
    let (peer, epoch) = (context.caller.peer.uid, user.epoch);
    let session =
        SessionRow { id, user: user.id, epoch, peer, generation, rotated: None, amr, auth_time, created, expires };
    tx.insert_session(&session, OPEN_SESSIONS)?;
    Ok(Granted::Session(session, user))
}

/// Whether a session began with the first factor itself, so that there is no other proof of it.
pub(super) fn is_of_first_factor(view: &View<'_>, session: Option<SessionId>) -> Result<bool, Fault> {
    // Time 0: also a session that has expired.
    let session = session.map(|id| view.session(id, 0)).transpose()?.flatten();
    Ok(session.is_some_and(|session| session.generation == FIRST_FACTOR))
}

/// Opens a challenge for the peer of this request, inside a writing job, and lists the methods that can answer it.
pub(super) fn open_challenge(tx: &Tx<'_>, context: &RequestContext, user: UserRow) -> Result<Granted, Fault> {
    let now = context.now.wall_ms;
    let challenge = ChallengeRow {
        id: ChallengeId::at(now, &entropy::public()?),
        user: user.id,
        peer: context.caller.peer.uid,
        epoch: user.epoch,
        wrong: 0,
        created: now,
        expires: later(now, CHALLENGE_LIFETIME),
    };
    tx.insert_challenge(&challenge, OPEN_CHALLENGES)?;
    let methods = methods_of(tx, user.id)?;
    Ok(Granted::Challenge(challenge, user, methods))
}

/// The methods with which the user can answer a challenge, as the API names them. The one that was used last comes
/// first. Backup codes are always offered, and come last.
pub(super) fn methods_of(view: &View<'_>, user: UserId) -> Result<Vec<&'static str>, Fault> {
    let factors = view.active_factors(user)?;
    let programmed = view.oath_accounts_of(user)?;
    let on_device = factors.iter().any(|row| programmed.iter().any(|credential| credential.id == row.id));
    let keys = view.active_keys(user)?;
    let by_code = factors.iter().filter_map(|row| row.last_used).max();
    let by_key = keys.iter().filter_map(|(row, _)| row.last_used).max();
    let mut offered = [(!factors.is_empty(), "totp"), (on_device, "device"), (!keys.is_empty(), "fido2")];
    if by_key > by_code {
        offered.rotate_right(1);
    }
    Ok(offered.into_iter().chain([(true, "recovery")]).filter_map(|(has, method)| has.then_some(method)).collect())
}

/// Returns when a refreshed session expires: a day from now, but at most 30 days after it was opened.
pub(super) fn extended(session: &SessionRow, now: i64) -> i64 {
    later(now, SESSION_IDLE).min(later(session.created, SESSION_LONGEST))
}

impl Service {
    /// Signs the token of a grant, and returns it with what belongs to it, such as the refresh token or the methods.
    pub(super) fn sign_grant(&self, context: &RequestContext, granted: &Granted) -> Result<AuthView, Error> {
        match granted {
            Granted::Session(session, user) => {
                let mut view = self.access_view(context, session, user)?;
                view.refresh = (session.generation != FIRST_FACTOR).then(|| refresh_token(self.store.vault(), session));
                Ok(view)
            }
            Granted::Challenge(challenge, user, methods) => {
                let claims = Claims { id: *challenge.id.as_bytes(), ..claims(context, TokenKind::Challenge, user)? };
                let mut view = self.view_of(&claims, CHALLENGE_LIFETIME)?;
                view.methods = Some(methods.clone());
                Ok(view)
            }
            Granted::Enrolment(user) => self.view_of(&claims(context, TokenKind::Enroll, user)?, ACCESS_LIFETIME),
        }
    }

    /// Signs a new access token for a session, without a refresh token.
    pub(super) fn access_view(
        &self,
        context: &RequestContext,
        session: &SessionRow,
        user: &UserRow,
    ) -> Result<AuthView, Error> {
        let claims = Claims {
            session: Some(session.id),
            amr: session.amr,
            auth_time: session.auth_time,
            peer: session.peer,
            ..claims(context, TokenKind::Access, user)?
        };
        self.view_of(&claims, ACCESS_LIFETIME)
    }

    fn view_of(&self, claims: &Claims, lifetime: Duration) -> Result<AuthView, Error> {
        let lifetime_seconds = lifetime.as_secs();
        let claims = Claims {
            expires_at: claims.issued_at.saturating_add(i64::try_from(lifetime_seconds).unwrap_or(0)),
            ..claims.clone()
        };
        Ok(AuthView {
            token: self.with_keys(|keys| keys.sign(&claims))?,
            kind: claims.kind,
            expires_in: lifetime_seconds,
            refresh: None,
            user: claims.subject,
            methods: None,
            remaining: None,
            is_weak: false,
            receipt: None,
        })
    }

    /// Takes a refresh token apart if its tag shows that this daemon made it; [`Error::RefreshEnded`] otherwise.
    pub(super) fn refresh_parts(&self, token: &str) -> Result<RefreshParts, Error> {
        refresh_parts(self.store.vault(), token).ok_or(Error::RefreshEnded)
    }

    /// Runs the periodic housekeeping: rotates an old signing key (TOK-7), deletes what has expired, records a step of
    /// the wall clock (TIME-1), and resumes an unfinished rotation of the master key.
    pub fn tend(&self, now: &Moment) -> Result<(), Error> {
        let patience = Duration::from_secs(30);
        self.passwords.tend();
        // Random bytes are drawn outside of the writing job, which decides whether the key is needed.
        let newest = self.with_keys(KeySet::newest_created);
        let new_key = match newest {
            Some(created) if later(created, KEY_ROTATION) > now.wall_ms => None,
            Some(_) | None => Some(entropy::secret::<32>()?),
        };
        let at = now.wall_ms;
        let stepped = self.clock.step(now);
        let rows = self.store.write(patience, move |tx| {
            if let Some(millis) = stepped {
                tx.audit(&clock_entry(at, millis))?;
            }
            tx.sweep_logins(at)?;
            tx.sweep_secrets(at, earlier(at, Duration::from_secs(24 * 3600)))?;
            let mut rows = tx.signing_keys(Purpose::Token)?;
            let is_due = rows.last().is_none_or(|key| later(key.created, KEY_ROTATION) <= at);
            if let Some(seed) = new_key.filter(|_| is_due) {
                let kid = SigningKey::new(&seed, at).kid().to_owned();
                let row = SigningKeyRow { kid, created: at, seed };
                tx.insert_signing_key(Purpose::Token, &row)?;
                rows.push(row);
            }
            retire(tx, &mut rows, at)?;
            Ok(mfad_store::Decision::Commit(rows))
        })?;
        let keys: Vec<SigningKey> = rows.iter().map(|row| SigningKey::new(&row.seed, row.created)).collect();
        // An unchanged set keeps its cache of verified signatures; a new set starts with an empty one.
        if !self.with_keys(|set| set.is_of(&keys)) {
            let policy = self.policy();
            let set = KeySet::new(policy.issuer.clone(), keys).in_format(policy.token_format);
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = set;
        }
        // A crash or a client that disconnected may have left a rotation of the master key unfinished. If it cannot go
        // on, that is logged and not returned: logins must not depend on it.
        if let Err(error) = self.go_on_with_rotation(&RequestContext::of_host(now), patience, u32::MAX) {
            tracing::error!(%error, "the rotation of the master key could not be resumed");
        }
        Ok(())
    }
}

/// The audit row for a wall clock that was set, by this many milliseconds against the boot clock (TIME-1).
fn clock_entry(at: i64, millis: i64) -> AuditEntry {
    let seconds = millis.checked_div(1000).unwrap_or(0);
    AuditEntry {
        at,
        event: AuditEvent::ClockStep,
        subject: None,
        object: None,
        peer_uid: None,
        peer_pid: None,
        request: None,
        outcome: Outcome::Ok,
        detail: Some(format!("the wall clock moved by {seconds} s against the boot clock")),
        used: None,
    }
}

/// Deletes the signing keys whose successor is older than [`KEY_OVERLAP`]. The newest key has no successor and stays.
fn retire(tx: &Tx<'_>, rows: &mut Vec<SigningKeyRow>, now: i64) -> Result<(), Fault> {
    let successors: Vec<i64> = rows.iter().skip(1).map(|key| key.created).collect();
    let is_over = |index: usize| successors.get(index).is_some_and(|created| later(*created, KEY_OVERLAP) <= now);
    let over: Vec<String> =
        rows.iter().enumerate().filter(|(index, _)| is_over(*index)).map(|(_, key)| key.kid.clone()).collect();
    for kid in &over {
        tx.delete_signing_key(kid)?;
    }
    rows.retain(|key| !over.contains(&key.kid));
    Ok(())
}

/// The claims that all kinds of tokens share. The caller sets the expiry, and for an access token the session.
fn claims(context: &RequestContext, kind: TokenKind, user: &UserRow) -> Result<Claims, Error> {
    let now = context.now.unix_seconds();
    Ok(Claims {
        kind,
        subject: user.id,
        id: entropy::public()?,
        session: None,
        issued_at: now,
        expires_at: now,
        epoch: user.epoch,
        amr: Amr::Password,
        auth_time: now,
        peer: context.caller.peer.uid,
        roles: user.roles.clone(),
    })
}

/// Makes the refresh token of a session's present generation: session, generation and a keyed tag over both. No token
/// has to be stored, and an old one is still recognised, so its reuse can end the session.
// Not inlined: what it leaves on the stack must lie below the caller's frame, where `scrub_stack` wipes it (MEM-3).
#[inline(never)]
pub(super) fn refresh_token(vault: &Vault, session: &SessionRow) -> Sensitive<String> {
    let tag = vault.refresh_tag(session.id.as_bytes(), session.generation);
    let generation = session.generation.to_be_bytes();
    let bytes = Sensitive::new([session.id.as_bytes().as_slice(), &generation, tag.expose()].concat());
    Sensitive::new(BASE64URL_NOPAD.encode(bytes.expose()))
}

fn refresh_parts(vault: &Vault, token: &str) -> Option<RefreshParts> {
    // A refresh token has 70 characters; bound the work on hostile input.
    if token.len() > 128 {
        return None;
    }
    let bytes = Sensitive::new(BASE64URL_NOPAD.decode(token.as_bytes()).ok()?);
    let (session, rest) = bytes.expose().split_first_chunk::<SESSION_BYTES>()?;
    let (generation, tag) = rest.split_first_chunk::<GENERATION_BYTES>()?;
    let generation = u32::from_be_bytes(*generation);
    if !same_tag(vault.refresh_tag(session, generation).expose(), tag) {
        return None;
    }
    Some(RefreshParts { session: SessionId::from_slice(session)?, generation })
}

/// The text of an API key: the prefix, then the id of its secret and 256 random bits in base64url.
pub(super) fn api_key(id: SecretId, secret: &Sensitive<Vec<u8>>) -> Sensitive<String> {
    let bytes = Sensitive::new([id.as_bytes().as_slice(), secret.expose().as_slice()].concat());
    Sensitive::new(format!("{API_KEY_PREFIX}{}", Sensitive::new(BASE64URL_NOPAD.encode(bytes.expose())).expose()))
}

/// Takes a text apart if it has the form of an API key. It proves nothing about the secret.
pub(super) fn api_key_parts(text: &str) -> Option<ApiKeyParts> {
    let encoded = text.strip_prefix(API_KEY_PREFIX).filter(|rest| rest.len() == 64)?;
    let bytes = Sensitive::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?);
    let (id, secret) = bytes.expose().split_first_chunk::<16>()?;
    Some(ApiKeyParts { id: SecretId::from_slice(id)?, secret: Sensitive::new(secret.to_vec()) })
}

/// SHA-256. It suffices for values of 256 random bits, which cannot be guessed, and for texts that are no secret.
/// Passwords and backup codes need the slow hash.
pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Returns `millis` plus `by`, in milliseconds, saturating.
pub(super) fn later(millis: i64, by: Duration) -> i64 {
    millis.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}

fn earlier(millis: i64, by: Duration) -> i64 {
    millis.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}
