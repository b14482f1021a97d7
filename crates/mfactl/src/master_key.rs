//! `key …`: the master key, shown and changed.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::call::{Authority, Body, Call};
use crate::cli::{MasterKeyCommand, RotateArgs};
use crate::client::Answer;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, visible};
use crate::prompt::Hidden;

/// The credential that the package makes, and that systemd gives to the daemon.
const CREDENTIAL: &str = "/etc/credstore.encrypted/mfad.key";
/// What systemd calls it.
const CREDENTIAL_NAME: &str = "mfad.key";

/// Where the master key is, and how far a change of it is.
#[derive(Deserialize)]
struct Key {
    source: String,
    version: u32,
    state: String,
    sealed: Sealed,
}

#[derive(Deserialize)]
struct Sealed {
    total: u64,
    current: u64,
}

/// `key …`.
pub async fn run(context: &mut Context, command: &MasterKeyCommand) -> Result<(), Failure> {
    match command {
        MasterKeyCommand::Show => {
            let answer = context.client.ask(Call::get("/v1/key")).await?;
            if context.out.is_json() { context.out.document(answer.text()) } else { tell(context.out, &answer.read()?) }
        }
        MasterKeyCommand::Rotate(args) => rotate(context, args).await,
    }
}

fn tell(out: Output, key: &Key) -> Result<(), Failure> {
    let state = match key.state.as_str() {
        "settled" => "no change under way",
        "resealing" => "being changed; mfactl key rotate goes on with it",
        "awaiting-key" => "changed; the new one has to be put in the place of the old one",
        other => other,
    };
    out.pairs(&[
        ("kept in", visible(&key.source)),
        ("version", key.version.to_string()),
        ("state", visible(state)),
        ("sealed values", format!("{}, of them under the newest key {}", key.sealed.total, key.sealed.current)),
    ])
}

async fn rotate(context: &mut Context, args: &RotateArgs) -> Result<(), Failure> {
    let before: Key = context.client.ask(Call::get("/v1/key")).await?.read()?;
    let question = "change the master key? Keep the old one for as long as you keep backups of before";
    context.prompter.confirm(question.to_owned()).await?;
    let authority = Authority::Reason(args.reason.clone());
    let place = match (before.source.as_str(), &args.to) {
        ("file", None) => None,
        ("file", Some(_)) => {
            return Err(Failure::Usage(
                "--to is for a key that the daemon cannot write; this one is its own file".to_owned(),
            ));
        }
        (_, Some(path)) => Some(NewKey::plain(path)),
        (_, None) => Some(NewKey::credential()),
    };
    let mut body = None;
    // Two of these at once would each put a key outside, and one of them opens nothing.
    let _turn = place.as_ref().map(NewKey::lock).transpose()?;
    if let Some(place) = &place {
        let key = if place.written.exists() {
            // It may be the one that is noted: it is given again, and the daemon knows.
            place.read()?
        } else if before.state == "settled" {
            let key = new_key()?;
            place.write(&key)?;
            key
        } else {
            return Err(Failure::Denied(format!(
                "a change is under way, and its new key is not in {}; nothing was changed",
                place.written.display()
            )));
        };
        body = Some(Body::new().secret("key", &Hidden::new(BASE64.encode(key.as_slice())), "$KEY"));
    }
    let answer = reseal(context, &authority, body).await?;
    if let Some(place) = &place {
        place.take_effect()?;
    }
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    let after: Key = answer.read()?;
    context
        .out
        .note(&format!("{} of {} values are under key {}", after.sealed.current, after.sealed.total, after.version))?;
    match place {
        None => context.out.note("the new key is in its place; make a copy of it, and a backup"),
        Some(place) => context.out.note(&place.what_is_left()),
    }
}

/// Asks again until nothing is left to seal.
async fn reseal(context: &mut Context, authority: &Authority, mut body: Option<Body>) -> Result<Answer, Failure> {
    loop {
        let mut call = Call::post("/v1/key/rotation").by(authority);
        if let Some(body) = body.take() {
            call = call.with(body);
        }
        let answer = context.client.ask(call).await?;
        let key: Key = answer.read()?;
        if key.state != "resealing" {
            return Ok(answer);
        }
        if !context.out.is_json() && !context.out.is_quiet() {
            context.out.aside(&format!("{} of {} values", key.sealed.current, key.sealed.total));
        }
    }
}

/// Where a key that the daemon cannot write goes.
struct NewKey {
    /// What is written before the change.
    written: PathBuf,
    /// What takes its name afterwards, if that is done here.
    place: Option<PathBuf>,
}

impl NewKey {
    fn plain(path: &Path) -> Self {
        Self { written: path.to_owned(), place: None }
    }

    fn credential() -> Self {
        Self { written: PathBuf::from(format!("{CREDENTIAL}.new")), place: Some(PathBuf::from(CREDENTIAL)) }
    }

    /// Writes the key where it outlives a crash, before the daemon seals anything under it.
    fn write(&self, key: &[u8; 32]) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Denied(format!(
                "the new key cannot be written to {}: {error}; nothing was changed",
                self.written.display()
            ))
        };
        if self.place.is_none() {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&self.written);
            let mut file = file.map_err(|error| failed(&error))?;
            return file.write_all(key).and_then(|()| file.sync_all()).map_err(|error| failed(&error));
        }
        let mut encrypt = Command::new("systemd-creds");
        encrypt.args(["encrypt", "--name", CREDENTIAL_NAME, "-"]).arg(&self.written).stdin(Stdio::piped());
        let mut running = encrypt
            .spawn()
            .map_err(|error| failed(&format!("systemd-creds: {error}; with --to FILE it is written as it is")))?;
        // Dropped at the end of the statement, so that the program sees the end of its input.
        running.stdin.take().map_or(Ok(()), |mut input| input.write_all(key)).map_err(|error| failed(&error))?;
        let status = running.wait().map_err(|error| failed(&error))?;
        if !status.success() {
            return Err(failed(&"systemd-creds could not encrypt it (it needs root)"));
        }
        let only_owner = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&self.written, only_owner).map_err(|error| failed(&error))?;
        File::open(&self.written).and_then(|file| file.sync_all()).map_err(|error| failed(&error))
    }

    /// Held while the key is changed.
    fn lock(&self) -> Result<File, Failure> {
        let mut path = self.written.as_os_str().to_owned();
        path.push(".lock");
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Denied(format!("another change of the key is under way, or: {error}"))
        };
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(PathBuf::from(path));
        let file = options.map_err(|error| failed(&error))?;
        let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        locked.map_err(|error| failed(&error))?;
        Ok(file)
    }

    /// A key that an earlier run wrote.
    fn read(&self) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let failed = |why: &dyn std::fmt::Display| {
            Failure::Denied(format!(
                "{} is there and cannot be used as the new key: {why}; move it away",
                self.written.display()
            ))
        };
        let bytes = if self.place.is_none() {
            Zeroizing::new(fs::read(&self.written).map_err(|error| failed(&error))?)
        } else {
            let mut decrypt = Command::new("systemd-creds");
            decrypt.args(["decrypt", "--name", CREDENTIAL_NAME]).arg(&self.written).arg("-").stderr(Stdio::inherit());
            let output = decrypt.output().map_err(|error| failed(&error))?;
            if !output.status.success() {
                return Err(failed(&"systemd-creds could not decrypt it"));
            }
            Zeroizing::new(output.stdout)
        };
        let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| failed(&"it has not 32 bytes"))?;
        Ok(Zeroizing::new(key))
    }

    fn take_effect(&self) -> Result<(), Failure> {
        let Some(place) = &self.place else { return Ok(()) };
        let moved = fs::rename(&self.written, place).and_then(|()| {
            File::open(place.parent().unwrap_or(Path::new("/"))).and_then(|directory| directory.sync_all())
        });
        moved.map_err(|error| {
            Failure::Denied(format!("move {} to {}: {error}", self.written.display(), place.display()))
        })
    }

    fn what_is_left(&self) -> String {
        match &self.place {
            Some(_) => "the new key is in its place; the old one ends with: systemctl restart mfad".to_owned(),
            None => format!(
                "put {} in the place of the old key and restart the daemon; until then the old one opens the store",
                visible(&self.written.display().to_string())
            ),
        }
    }
}

fn new_key() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut key = Zeroizing::new([0u8; 32]);
    getrandom::fill(key.as_mut_slice()).map_err(|error| Failure::Internal(format!("no random bytes: {error}")))?;
    Ok(key)
}
