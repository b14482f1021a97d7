//! Making what proves a login: access, challenge and enrolment tokens, refresh tokens, API keys.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::token::{ACCESS_LIFETIME, Claims, KeySet, SigningKey};
use mfad_core::entropy;
use mfad_core::model::{Amr, ChallengeId, Moment, SecretId, Sensitive, SessionId, TokenKind, UserId};
use mfad_core::sync::PoisonError;
use mfad_store::{
    AuditEntry, ChallengeRow, Fault, Outcome, Purpose, SessionRow, SigningKeyRow, Tx, UserRow, Vault, View, same_tag,
};

use super::{AuthView, RequestContext, Service};

/// How long a challenge waits for its second factor (AUT-2).
pub(super) const CHALLENGE_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Wrong answers that end a challenge (AUT-2).
pub(super) const CHALLENGE_ANSWERS: u32 = 5;
/// Challenges a user may have open (AUT-2).
const OPEN_CHALLENGES: u32 = 5;
/// Sessions a user may have open.
const OPEN_SESSIONS: u32 = 32;
/// How long a session lasts without being refreshed.
const SESSION_IDLE: Duration = Duration::from_secs(24 * 3600);
/// How long an exchanged refresh token still gets its successor, in milliseconds: an answer may be lost, and two tabs may ask
/// at once.
pub(super) const REFRESH_GRACE: i64 = 10_000;
/// How long a session lasts at the most.
const SESSION_LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
/// How old the newest signing key may get before another takes over.
const KEY_ROTATION: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long an older key still verifies: longer than any token it signed.
const KEY_OVERLAP: Duration = Duration::from_secs(3600);

const API_KEY_PREFIX: &str = "mfad_";
const SESSION_BYTES: usize = 16;
const GENERATION_BYTES: usize = 4;

/// An API key taken apart.
pub(super) struct ApiKeyParts {
    pub(super) id: SecretId,
    pub(super) secret: Sensitive<Vec<u8>>,
}

/// A refresh token whose tag was right: which session, which generation of it.
pub(super) struct RefreshParts {
    pub(super) session: SessionId,
    pub(super) generation: u32,
}

/// What a writing job made, before it is signed.
pub(super) enum Granted {
    /// A session, with its user.
    Session(SessionRow, UserRow),
    /// A challenge, with its user and what answers it.
    Challenge(ChallengeRow, UserRow, Vec<&'static str>),
    /// Nothing but an enrolment.
    Enrolment(UserRow),
}

/// Opens a session inside a writing job.
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

/// Opens a challenge inside a writing job.
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

/// What the user can answer a challenge with.
fn methods_of(view: &View<'_>, user: UserId) -> Result<Vec<&'static str>, Fault> {
    let factors = view.active_factors(user)?;
    let programmed = view.oath_accounts_of(user)?;
    let on_device = factors.iter().any(|row| programmed.iter().any(|credential| credential.id == row.id));
    let keys = !view.active_keys(user)?.is_empty();
    let offered = [(!factors.is_empty(), "totp"), (on_device, "device"), (true, "recovery"), (keys, "fido2")];
    Ok(offered.into_iter().filter_map(|(has, method)| has.then_some(method)).collect())
}

/// When a refreshed session ends: a day on, but never a month after it was opened.
pub(super) fn extended(session: &SessionRow, now: i64) -> i64 {
    later(now, SESSION_IDLE).min(later(session.created, SESSION_LONGEST))
}

impl Service {
    /// Signs what was granted, and says what goes with it.
    pub(super) fn sign_grant(&self, context: &RequestContext, granted: &Granted) -> Result<AuthView, Error> {
        match granted {
            Granted::Session(session, user) => {
                let mut view = self.access_view(context, session, user)?;
                view.refresh = Some(refresh_token(self.store.vault(), session));
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

    /// A fresh access token of a session, without a refresh token.
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
            receipt: None,
        })
    }

    /// Takes a refresh token apart if this host made it.
    pub(super) fn refresh_parts(&self, token: &str) -> Result<RefreshParts, Error> {
        refresh_parts(self.store.vault(), token).ok_or(Error::RefreshEnded)
    }

    /// Housekeeping that needs doing now and then: rotates the signing key when it is old (TOK-7),
    /// forgets what has expired.
    pub fn tend(&self, now: &Moment) -> Result<(), Error> {
        let patience = Duration::from_secs(30);
        self.passwords.tend();
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
        // The present set knows tokens whose signatures hold; another begins without.
        if !self.with_keys(|set| set.is_of(&keys)) {
            let policy = self.policy();
            let set = KeySet::new(policy.issuer.clone(), keys).in_format(policy.token_format);
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = set;
        }
        // Also what a crash or a caller that went away left in the middle.
        // A change of the key that is stuck is told, and keeps nobody from logging in.
        if let Err(error) = self.go_on_with_rotation(&RequestContext::of_host(now), patience, u32::MAX) {
            tracing::error!(%error, "the change of the master key does not go on");
        }
        Ok(())
    }
}

/// The wall clock was set, by so many milliseconds (TIME-1).
fn clock_entry(at: i64, millis: i64) -> AuditEntry {
    let seconds = millis.checked_div(1000).unwrap_or(0);
    AuditEntry {
        at,
        event: "clock.step",
        subject: None,
        object: None,
        peer_uid: None,
        peer_pid: None,
        request: None,
        outcome: Outcome::Ok,
        detail: Some(format!("the wall clock moved by {seconds} s against the boot clock")),
    }
}

/// Drops the keys that were followed by another one long enough ago.
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

/// The refresh token of a session's present generation: session, generation and a tag over both, so
/// that nothing of it has to be stored and an old one is still known as ours.
#[inline(never)]
pub(super) fn refresh_token(vault: &Vault, session: &SessionRow) -> Sensitive<String> {
    let tag = vault.refresh_tag(session.id.as_bytes(), session.generation);
    let generation = session.generation.to_be_bytes();
    let bytes = Sensitive::new([session.id.as_bytes().as_slice(), &generation, tag.expose()].concat());
    Sensitive::new(BASE64URL_NOPAD.encode(bytes.expose()))
}

fn refresh_parts(vault: &Vault, token: &str) -> Option<RefreshParts> {
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

/// The text of an API key: a prefix that scanners can find, the entry's id, 256 random bits.
pub(super) fn api_key(id: SecretId, secret: &Sensitive<Vec<u8>>) -> Sensitive<String> {
    let bytes = Sensitive::new([id.as_bytes().as_slice(), secret.expose().as_slice()].concat());
    Sensitive::new(format!("{API_KEY_PREFIX}{}", Sensitive::new(BASE64URL_NOPAD.encode(bytes.expose())).expose()))
}

/// Takes a text apart if it looks like an API key.
pub(super) fn api_key_parts(text: &str) -> Option<ApiKeyParts> {
    let encoded = text.strip_prefix(API_KEY_PREFIX).filter(|rest| rest.len() == 64)?;
    let bytes = Sensitive::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?);
    let (id, secret) = bytes.expose().split_first_chunk::<16>()?;
    Some(ApiKeyParts { id: SecretId::from_slice(id)?, secret: Sensitive::new(secret.to_vec()) })
}

/// SHA-256. Enough for what has 256 random bits.
pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// `millis` and so much later, in milliseconds.
pub(super) fn later(millis: i64, by: Duration) -> i64 {
    millis.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}

fn earlier(millis: i64, by: Duration) -> i64 {
    millis.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}
