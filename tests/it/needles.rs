//! Secrets that were planted, in every form in which a program may let them lie about.

use std::collections::HashMap;

use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

use crate::people::Factor;

/// What a search begins with; no needle is shorter.
const START: usize = 4;
const PAGE: usize = 4096;

/// What is looked for, and what to call it when it is found.
struct Needle {
    what: String,
    bytes: Vec<u8>,
    /// A run of digits: what stands in a longer run is another number.
    digits: bool,
}

#[derive(Default)]
pub struct Needles {
    all: Vec<Needle>,
    secrets: usize,
}

impl Needles {
    /// Just these bytes.
    pub fn put(&mut self, what: &str, bytes: &[u8]) {
        let digits = bytes.iter().all(u8::is_ascii_digit);
        self.all.push(Needle { what: what.to_owned(), bytes: bytes.to_vec(), digits });
    }

    /// How many secrets were planted, each counted once for all its forms.
    pub fn secrets(&self) -> usize {
        self.secrets
    }

    /// In how many forms they are looked for: ten of each, and some in which they are written.
    pub fn forms(&self) -> usize {
        self.all.len()
    }

    /// A secret as it may lie about: as it is, and in the usual encodings. The last characters of a Base64
    /// text depend on what follows, so they are left off.
    pub fn secret(&mut self, what: &str, bytes: &[u8]) {
        self.secrets += 1;
        self.all_forms(what, bytes);
    }

    fn all_forms(&mut self, what: &str, bytes: &[u8]) {
        let without_end = |encoded: String| {
            encoded.trim_end_matches('=').as_bytes()[..encoded.trim_end_matches('=').len() - 2].to_vec()
        };
        let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
        let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
        let wide: Vec<u8> = bytes.iter().flat_map(|byte| [*byte, 0]).collect();
        self.put(what, bytes);
        self.put(&format!("{what} in hexadecimal"), HEXLOWER.encode(bytes).as_bytes());
        self.put(&format!("{what} in upper hexadecimal"), HEXUPPER.encode(bytes).as_bytes());
        self.put(&format!("{what} in Base64"), &without_end(BASE64.encode(bytes)));
        self.put(&format!("{what} in Base64url"), &without_end(BASE64URL_NOPAD.encode(bytes)));
        self.put(&format!("{what} in Base32"), BASE32_NOPAD.encode(bytes).as_bytes());
        self.put(&format!("{what} in lower Base32"), BASE32_NOPAD.encode(bytes).to_lowercase().as_bytes());
        self.put(&format!("{what} as a list"), list.join(", ").as_bytes());
        self.put(&format!("{what} in UTF-16"), &wide);
        self.put(&format!("{what} reversed"), &reversed);
    }

    pub fn seed(&mut self, factor: &Factor) {
        self.secret("a seed", &factor.seed);
    }

    pub fn code(&mut self, code: &str) {
        self.secret("a one-time password", code.as_bytes());
    }

    pub fn backup_codes(&mut self, codes: &[String]) {
        for code in codes {
            let plain = code.replace('-', "");
            self.secret("a backup code", plain.as_bytes());
            for written in [code.clone(), code.to_lowercase(), plain.to_lowercase()] {
                self.put("a backup code as it is written", written.as_bytes());
            }
        }
    }

    /// The part of a token that nobody can make.
    pub fn token(&mut self, what: &str, token: &str) {
        self.secrets += 1;
        let signature = token.rsplit('.').next().unwrap();
        self.put(what, signature.as_bytes());
        if let Ok(bytes) = BASE64URL_NOPAD.decode(signature.trim_start_matches("mfad_").as_bytes()) {
            self.all_forms(&format!("{what}, decoded"), &bytes);
        }
    }

    /// One pass over the haystack, whatever the number of needles.
    pub fn hits(&self, file: &str, haystack: &[u8]) -> Vec<String> {
        let pair = |start: &[u8]| usize::from(start[0]) << 8 | usize::from(start[1]);
        let mut begins = vec![false; 1 << 16];
        let mut by_start: HashMap<&[u8], Vec<&Needle>> = HashMap::new();
        for needle in &self.all {
            begins[pair(&needle.bytes)] = true;
            by_start.entry(&needle.bytes[..START]).or_default().push(needle);
        }
        let mut hits = Vec::new();
        // Memory is mostly empty pages, in which nothing begins.
        for page in (0..haystack.len()).step_by(PAGE) {
            let end = (page + PAGE).min(haystack.len());
            if haystack[page..end] == [0; PAGE][..end - page] {
                continue;
            }
            for (at, start) in (page..end).zip(haystack[page..].windows(START)) {
                if begins[pair(start)]
                    && let Some(needles) = by_start.get(start)
                {
                    let found = needles.iter().filter(|needle| needle.is_at(haystack, at));
                    hits.extend(found.map(|needle| format!("{} in {file}", needle.what)));
                }
            }
        }
        hits
    }

    /// Every needle is found where it was put: in the midst of other bytes, and no number in a longer one.
    pub fn check(&self) {
        for needle in &self.all {
            let found =
                |before: &[u8], after: &[u8]| self.hits("the control", &[before, &needle.bytes, after].concat());
            assert!(
                found(b"\x00\xffbefore\n", b"\nafter\x00").iter().any(|hit| hit.starts_with(&needle.what)),
                "{}",
                needle.what
            );
            assert!(!needle.digits || found(b"1", b"2").is_empty(), "a part of a longer number is another number");
        }
    }
}

impl Needle {
    fn is_at(&self, haystack: &[u8], at: usize) -> bool {
        let digit_at = |at: Option<usize>| at.and_then(|at| haystack.get(at)).is_some_and(u8::is_ascii_digit);
        let part_of_longer = self.digits && (digit_at(at.checked_sub(1)) || digit_at(at.checked_add(self.bytes.len())));
        haystack[at..].starts_with(&self.bytes) && !part_of_longer
    }
}
