//! The files of an import, and what they hold. A long file of lines is read in parts, so that it needs no more memory
//! than a short one.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER_PERMISSIVE;
use mfad_import::{Document, Fault, Format, Parts, Secrets};
use zeroize::{Zeroize, Zeroizing};

use crate::context::Context;
use crate::failure::Failure;
use crate::import_args::ImportArgs;
use crate::output::visible;
use crate::prompt::{Source, Wanted};

/// Length of a part of a long file, in bytes.
const PART: usize = 1024 * 1024;
/// Longest file that is read at once, in bytes.
const LONGEST: usize = 64 * 1024 * 1024;
const FILE_PASSWORD: Wanted = Wanted { label: "password of the file", instead: "use --password-file" };

/// A file that was read, or that will be read in parts.
pub(super) enum Piece {
    Whole {
        name: String,
        document: Document,
    },
    /// A long file. Each of its parts was read once already, and can be read.
    Long {
        path: PathBuf,
        entries: usize,
    },
    /// Standard input, if it is long. It cannot be read twice.
    Stream(PartReader),
}

impl Piece {
    /// The number of entries, if it is known.
    pub(super) fn entries(&self) -> Option<usize> {
        match self {
            Self::Whole { document, .. } => Some(document.entries.len()),
            Self::Long { entries, .. } => Some(*entries),
            Self::Stream(_) => None,
        }
    }

    /// What it holds, document by document.
    pub(super) fn documents(self, format: Option<Format>) -> Result<Documents, Failure> {
        Ok(match self {
            Self::Whole { name, document } => Documents::Whole(Some((name, document))),
            Self::Stream(parts) => Documents::Parts(parts),
            Self::Long { path, .. } => match Start::of(&path, format)? {
                Start::Parts(parts) => Documents::Parts(parts),
                Start::Short(..) => return Err(Failure::Usage(format!("{} changed meanwhile", path.display()))),
            },
        })
    }
}

/// The documents of a piece.
pub(super) enum Documents {
    Whole(Option<(String, Document)>),
    Parts(PartReader),
}

impl Documents {
    /// The next document, with the name of its file.
    pub(super) fn next(&mut self) -> Result<Option<(String, Document)>, Failure> {
        match self {
            Self::Whole(document) => Ok(document.take()),
            Self::Parts(parts) => Ok(parts.next()?.map(|document| (parts.name.clone(), document))),
        }
    }
}

/// Whether the flags fit what a file is. An export of mfad brings users with roles and passwords, so its content alone must
/// not choose that.
pub(super) fn allow(args: &ImportArgs, name: &str, format: Format) -> Result<(), Failure> {
    if format != Format::Mfad {
        return Ok(());
    }
    if args.at_login || args.user.is_some() || args.map.is_some() {
        let why = "is an export of mfad, which is taken over as it is: use --trusted, without --user and --map";
        return Err(Failure::Usage(format!("{} {why}", visible(name))));
    }
    if args.dry_run || args.format.as_deref() == Some(Format::Mfad.name()) {
        return Ok(());
    }
    let why = "is an export of mfad. It creates users with their roles and passwords. Look at the plan with --dry-run; if you \
               know who made the file, say --format mfad";
    Err(Failure::Usage(format!("{} {why}", visible(name))))
}

/// Reads all files, or checks that they can be read. Nothing was sent yet when one is damaged.
pub(super) async fn pieces(context: &Context, args: &ImportArgs) -> Result<Vec<Piece>, Failure> {
    let format = args.format.as_deref().and_then(Format::parse);
    let stdin = [Path::new("-").to_owned()];
    let files = if args.files.is_empty() { &stdin } else { args.files.as_slice() };
    let mut pieces = Vec::new();
    // A transfer may have its parts in several pictures, so their texts are read together.
    let mut pictures = Zeroizing::new(String::new());
    for path in files {
        match Start::of(path, format)? {
            Start::Parts(parts) if is_stdin(path) => pieces.push(Piece::Stream(parts)),
            Start::Parts(mut parts) => {
                let mut entries = 0_usize;
                while let Some(document) = parts.next()? {
                    allow(args, &parts.name, document.format)?;
                    entries = entries.saturating_add(document.entries.len());
                }
                pieces.push(Piece::Long { path: path.clone(), entries });
            }
            Start::Short(name, bytes) => match mfad_import::texts_of_picture(&bytes) {
                Some(texts) => pictures.push_str(&Zeroizing::new(texts.map_err(|fault| named(&name, &fault))?)),
                None => pieces.push(document(context, args, name, &bytes).await?),
            },
        }
    }
    if !pictures.is_empty() {
        pieces.push(document(context, args, "the pictures".to_owned(), pictures.as_bytes()).await?);
    }
    Ok(pieces)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn named(name: &str, fault: &Fault) -> Failure {
    Failure::Usage(format!("{}: {fault}", visible(name)))
}

/// Reads what a short file holds. If it is encrypted, asks for its password.
async fn document(context: &Context, args: &ImportArgs, name: String, bytes: &[u8]) -> Result<Piece, Failure> {
    // The texts of a picture show their own format.
    let format = args.format.as_deref().and_then(Format::parse).filter(|format| *format != Format::Picture);
    let read = match mfad_import::read(bytes, format, &Secrets::default()) {
        Err(Fault::NeedsPassword(_)) => {
            let source = Source::chosen(false, args.password_file.as_deref());
            let password = context.prompter.secret(FILE_PASSWORD, &source).await?;
            let secrets = Secrets { password: Some(password.as_str().as_bytes()), ..Secrets::default() };
            mfad_import::read(bytes, format, &secrets)
        }
        Err(Fault::NeedsKey(_)) if args.key_file.is_some() => {
            let key = key(args)?;
            mfad_import::read(bytes, format, &Secrets { key: Some(&key), ..Secrets::default() })
        }
        read => read,
    };
    let document = read.map_err(|fault| named(&name, &fault))?;
    allow(args, &name, document.format)?;
    Ok(Piece::Whole { name, document })
}

/// The key in the file of `--key-file`.
fn key(args: &ImportArgs) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let path = args.key_file.as_deref().unwrap_or(Path::new("-"));
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| unreadable(&path.to_string_lossy(), &error))?);
    let text = std::str::from_utf8(&bytes).ok().map(str::trim);
    let hex = text.and_then(|text| HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok());
    Ok(hex.filter(|key| !key.is_empty()).map_or(bytes, Zeroizing::new))
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::Usage(format!("cannot read {name}: {error}"))
}

/// How a file begins.
enum Start {
    Short(String, Zeroizing<Vec<u8>>),
    Parts(PartReader),
}

impl Start {
    fn of(path: &Path, format: Option<Format>) -> Result<Self, Failure> {
        let name = if is_stdin(path) { "standard input".to_owned() } else { path.to_string_lossy().into_owned() };
        let source: Box<dyn Read> = if is_stdin(path) {
            Box::new(io::stdin())
        } else {
            Box::new(fs::File::open(path).map_err(|error| unreadable(&name, &error))?)
        };
        let mut reader = BufReader::new(source);
        let mut first = part(&mut reader).map_err(|error| unreadable(&name, &error))?;
        if first.len() >= PART
            && let Some(parts) = Parts::of(&first, format)
        {
            return Ok(Self::Parts(PartReader {
                name,
                reader,
                parts,
                first: Some(first),
                before: 0,
                is_complete: true,
            }));
        }
        let room = u64::try_from(LONGEST.saturating_sub(first.len())).unwrap_or(0);
        let mut rest = Zeroizing::new(Vec::new());
        reader.take(room.saturating_add(1)).read_to_end(&mut rest).map_err(|error| unreadable(&name, &error))?;
        first = Zeroizing::new([first.as_slice(), &rest].concat());
        if first.len() > LONGEST {
            return Err(Failure::Usage(format!("{name} is longer than {LONGEST} bytes; split it")));
        }
        Ok(Self::Short(name, first))
    }
}

/// Reads a long file in parts of whole lines.
pub(super) struct PartReader {
    name: String,
    reader: BufReader<Box<dyn Read>>,
    parts: Parts,
    /// The first part, until it was asked for.
    first: Option<Zeroizing<Vec<u8>>>,
    /// Lines before the next part.
    before: usize,
    /// Whether the file may end here.
    is_complete: bool,
}

impl PartReader {
    fn next(&mut self) -> Result<Option<Document>, Failure> {
        let part = match self.first.take() {
            Some(first) => first,
            None => part(&mut self.reader).map_err(|error| unreadable(&self.name, &error))?,
        };
        if part.is_empty() {
            let cut_off = || Failure::Usage(format!("{}: {}", visible(&self.name), mfad_import::CUT_OFF));
            return if self.is_complete { Ok(None) } else { Err(cut_off()) };
        }
        let document = self.parts.read(&part, self.before).map_err(|fault| named(&self.name, &fault))?;
        let lines = part.iter().filter(|byte| **byte == b'\n').count();
        self.before = self.before.saturating_add(lines);
        self.is_complete = document.is_complete;
        Ok(Some(document))
    }
}

/// Reads some whole lines. A line that is longer than a part is cut; it is no entry, and is refused as such.
fn part(reader: &mut BufReader<Box<dyn Read>>) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut part = Zeroizing::new(Vec::with_capacity(PART.saturating_mul(2)));
    let size = u64::try_from(PART).unwrap_or(u64::MAX);
    reader.by_ref().take(size).read_to_end(&mut part)?;
    if part.len() == PART {
        reader.by_ref().take(size).read_until(b'\n', &mut part)?;
    }
    Ok(part)
}

impl Drop for PartReader {
    fn drop(&mut self) {
        self.first.zeroize();
    }
}
