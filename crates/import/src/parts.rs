//! Long files of lines, read in parts, so that a million entries need no more memory than a thousand.

use crate::{Document, Fault, Format, draft, otpauth, own, pam_oath, seed_list, table};

/// How the parts of a long file are read.
pub struct Parts {
    format: Format,
    /// Lines that each part needs before it: the head of a table.
    head: Vec<u8>,
    has_columns: bool,
}

impl Parts {
    /// How to read a file whose first lines these are. `None` if it cannot be read in parts: its format has no lines of
    /// their own, or a value may have several lines.
    pub fn of(first: &[u8], format: Option<Format>) -> Option<Self> {
        let format = match format {
            Some(format) => format,
            None => Format::recognise(first).ok()?.0,
        };
        let is_list = || std::str::from_utf8(first).is_ok_and(seed_list::is);
        match format {
            Format::Otpauth | Format::PamOath | Format::Mfad => {
                Some(Self { format, head: Vec::new(), has_columns: false })
            }
            Format::OathCsv if is_list() => {
                let head = first.split_inclusive(|byte| *byte == b'\n').next().filter(|line| line.starts_with(b"#"));
                Some(Self { format, head: head.unwrap_or_default().to_vec(), has_columns: false })
            }
            Format::OathCsv => {
                let head = first.split_inclusive(|byte| *byte == b'\n').next()?;
                Some(Self { format, head: head.to_vec(), has_columns: true })
            }
            _ => None,
        }
    }

    /// Reads a part of whole lines, of which `before` come before it in the file.
    pub fn read(&self, part: &[u8], before: usize) -> Result<Document, Fault> {
        let mut notes = Vec::new();
        let part = if before == 0 { part.strip_prefix(b"\xef\xbb\xbf").unwrap_or(part) } else { part };
        let with_head;
        // The first part has the head itself.
        let (part, before) = if self.head.is_empty() || before == 0 {
            (part, before)
        } else {
            if part.contains(&b'"') {
                let why = "a quoted value, which may have several lines; split the file".to_owned();
                return Err(Fault::Damaged(self.format, why));
            }
            with_head = [&self.head, part].concat();
            (with_head.as_slice(), before.saturating_sub(1))
        };
        if self.format == Format::Mfad {
            let part = own::read(part, before)?;
            notes.extend(part.notes);
            let entries = part.drafts.into_iter().map(draft::Draft::finish).collect();
            let (accounts, is_complete) = (part.accounts, part.is_complete);
            return Ok(Document { format: self.format, entries, notes, accounts, is_complete });
        }
        let lines = u64::try_from(before).unwrap_or(u64::MAX);
        let drafts = match self.format {
            Format::PamOath => pam_oath::read(part, before)?,
            Format::OathCsv if self.has_columns => table::read(part, self.format, lines, &mut notes)?,
            Format::OathCsv => seed_list::read(part, before)?,
            _ => otpauth::read(part, before)?,
        };
        let entries = drafts.into_iter().map(draft::Draft::finish).collect();
        Ok(Document { format: self.format, entries, notes, accounts: Vec::new(), is_complete: true })
    }
}
