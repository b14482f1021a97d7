//! `master-key …`: shows and rotates the master key. The daemon re-encrypts the store; this module only generates the
//! new key and puts it in place where the daemon cannot write it.

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
use crate::secret_text::Hidden;

/// The encrypted credential that the package creates. systemd decrypts it for the daemon.
const CREDENTIAL: &str = "/etc/credstore.encrypted/mfad.key";
/// Name of the credential. systemd encrypts it along, so a credential of another name does not decrypt.
const CREDENTIAL_NAME: &str = "mfad.key";

/// Master key and rotation, as the daemon reports them.
#[derive(Deserialize)]
struct Key {
    /// `file` if the daemon can write the master key itself; otherwise it is replaced here.
    source: String,
    version: u32,
    /// `settled`, `resealing` or `awaiting-key`.
    state: String,
    sealed: Sealed,
    /// The daemon's state directory; empty if the daemon does not say.
    #[serde(default, rename = "stateDir")]
    state_dir: String,
}

/// Counts of encrypted values.
#[derive(Deserialize)]
struct Sealed {
    total: u64,
    /// Number of values that are already encrypted under the newest key.
    current: u64,
}

pub(crate) async fn run(context: &mut Context, command: &MasterKeyCommand) -> Result<(), Failure> {
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
        "settled" => "no rotation in progress",
        "resealing" => "rotation in progress; mfactl master-key rotate resumes it",
        "awaiting-key" => "rotated; put the new master key in place and restart the daemon",
        other => other,
    };
    out.pairs(&[
        ("kept in", visible(&key.source)),
        ("version", key.version.to_string()),
        ("state", visible(state)),
        ("encrypted values", format!("{}, of which under the newest key: {}", key.sealed.total, key.sealed.current)),
    ])
}

async fn rotate(context: &mut Context, args: &RotateArgs) -> Result<(), Failure> {
    let before: Key = context.client.ask(Call::get("/v1/key")).await?.read()?;
    context.prompter.confirm(question(&before, args.to.is_some())).await?;
    let authority = Authority::Reason(args.reason.clone());
    let place = match (before.source.as_str(), &args.to) {
        ("file", None) => None,
        ("file", Some(_)) => {
            return Err(Failure::Usage(
                "--to is only for a master key that the daemon cannot write; here it is the daemon's own file"
                    .to_owned(),
            ));
        }
        (_, Some(path)) => Some(NewKey::plain(path)),
        (_, None) => Some(NewKey::credential()),
    };
    let mut body = None;
    // Two rotations at once would each write a new key, and one of the keys would decrypt nothing.
    let _turn = place.as_ref().map(NewKey::lock).transpose()?;
    if let Some(place) = &place {
        let key = if place.written.exists() {
            // An interrupted run wrote it. The daemon accepts it again if it is the staged key, and refuses any other.
            place.read()?
        } else if before.state == "settled" {
            let key = new_key()?;
            place.write(&key)?;
            key
        } else {
            return Err(Failure::Denied(format!(
                "a rotation is in progress, but its new master key is not in {}; nothing was changed",
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
    context.out.note(&format!(
        "{} of {} values are encrypted under master key {}",
        after.sealed.current, after.sealed.total, after.version
    ))?;
    match place {
        None => context.out.note("the new master key is in place; copy it to a safe location, and make a backup"),
        Some(place) => context.out.note(&place.what_is_left()),
    }
}

/// The question before a rotation. It names the file that the old key is lost from, since backups need that key.
fn question(before: &Key, is_elsewhere: bool) -> String {
    let lost = match before.source.as_str() {
        _ if is_elsewhere => {
            return "rotate the master key? Keep the old one as long as you keep backups made with it".to_owned();
        }
        "file" if before.state_dir.is_empty() => "master.key".to_owned(),
        "file" => format!("{}/master.key", before.state_dir),
        _ => CREDENTIAL.to_owned(),
    };
    format!(
        "rotate the master key? The new key overwrites {}; copy it first if you keep backups made with it",
        visible(&lost)
    )
}

/// Repeats the request until everything is re-encrypted. The daemon does a part per request; the key is sent only once.
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

/// Destination of a new master key that the daemon cannot write.
struct NewKey {
    /// File that is written before the rotation.
    written: PathBuf,
    /// Credential that it replaces after the rotation; none with `--to`, where the admin puts the key in place.
    place: Option<PathBuf>,
}

impl NewKey {
    fn plain(path: &Path) -> Self {
        Self { written: path.to_owned(), place: None }
    }

    fn credential() -> Self {
        Self { written: PathBuf::from(format!("{CREDENTIAL}.new")), place: Some(PathBuf::from(CREDENTIAL)) }
    }

    /// Writes the key and syncs it to disk. It must survive a crash from the moment that the daemon encrypts the first
    /// value under it.
    fn write(&self, key: &[u8; 32]) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Denied(format!(
                "cannot write the new master key to {}: {error}; nothing was changed",
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
            .map_err(|error| failed(&format!("systemd-creds: {error}; use --to FILE to write it unencrypted")))?;
        // The key goes through a pipe, never through arguments or a temporary file (MEM-5). The pipe is dropped at the
        // end of the statement, so that the program sees the end of its input.
        running.stdin.take().map_or(Ok(()), |mut input| input.write_all(key)).map_err(|error| failed(&error))?;
        let status = running.wait().map_err(|error| failed(&error))?;
        if !status.success() {
            return Err(failed(&"systemd-creds could not encrypt it (it needs root)"));
        }
        let only_owner = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&self.written, only_owner).map_err(|error| failed(&error))?;
        File::open(&self.written).and_then(|file| file.sync_all()).map_err(|error| failed(&error))
    }

    /// Takes the lock file of this destination. It is held until the returned file is dropped.
    fn lock(&self) -> Result<File, Failure> {
        let mut path = self.written.as_os_str().to_owned();
        path.push(".lock");
        let failed = |error: &dyn std::fmt::Display| {
            Failure::Denied(format!("cannot lock the new master key: {error}; is another rotation running?"))
        };
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(PathBuf::from(path));
        let file = options.map_err(|error| failed(&error))?;
        let locked = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        locked.map_err(|error| failed(&error))?;
        Ok(file)
    }

    /// Reads a key that an earlier run wrote.
    fn read(&self) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let failed = |why: &dyn std::fmt::Display| {
            Failure::Denied(format!(
                "{} exists and cannot be used as the new master key: {why}; move it away",
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
        let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| failed(&"it is not 32 bytes long"))?;
        Ok(Zeroizing::new(key))
    }

    /// Replaces the credential with the new one in one step, and syncs the directory.
    fn take_effect(&self) -> Result<(), Failure> {
        let Some(place) = &self.place else { return Ok(()) };
        let moved = fs::rename(&self.written, place).and_then(|()| {
            File::open(place.parent().unwrap_or(Path::new("/"))).and_then(|directory| directory.sync_all())
        });
        moved.map_err(|error| {
            Failure::Denied(format!("cannot move {} to {}: {error}", self.written.display(), place.display()))
        })
    }

    fn what_is_left(&self) -> String {
        match &self.place {
            Some(_) => {
                "the new master key is in place; the old one stays valid until: systemctl restart mfad".to_owned()
            }
            None => format!(
                "replace the old master key with {} and restart the daemon; until then the old one opens the store",
                visible(&self.written.display().to_string())
            ),
        }
    }
}

fn new_key() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut key = Zeroizing::new([0u8; 32]);
    getrandom::fill(key.as_mut_slice())
        .map_err(|error| Failure::Internal(format!("cannot get random bytes: {error}")))?;
    Ok(key)
}
