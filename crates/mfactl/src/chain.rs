//! Verifies the hash chain of the audit log, by computing the hash of each row again. It must not send requests.

use mfad_api::AuditRecord;

/// Position in the chain up to which every row was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Number of the last verified row; 0 before the first.
    pub seq: i64,
    /// Hash of that row, in hexadecimal; zeros before the first.
    pub hash: String,
}

/// The first row that does not follow from the row before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Break {
    /// Number of the row, as the daemon reports it.
    pub seq: i64,
    /// The check that failed, as the end of a sentence.
    pub reason: &'static str,
}

impl Chain {
    /// Starts before the first row.
    pub(crate) fn start() -> Self {
        Self { seq: 0, hash: "0".repeat(64) }
    }

    /// Verifies the next row against the last one, and moves on to it.
    pub(crate) fn follow(&mut self, event: &AuditRecord) -> Result<(), Break> {
        let broken = |reason| Err(Break { seq: event.seq, reason });
        if Some(event.seq) != self.seq.checked_add(1) {
            return broken("rows before it are missing");
        }
        if event.prev != self.hash {
            return broken("it does not name the hash of the row before");
        }
        match row_hash(event) {
            Some(hash) if hash == event.hash => {}
            Some(_) => return broken("its hash is not that of its fields"),
            None => return broken("its time or hash is not in the agreed form"),
        }
        self.seq = event.seq;
        self.hash.clone_from(&event.hash);
        Ok(())
    }
}

fn row_hash(event: &AuditRecord) -> Option<String> {
    event.computed_hash(milliseconds(&event.time)?)
}

/// Parses a time into milliseconds since 1970. Accepts only three decimals: the hash covers milliseconds, and other
/// digits would not be covered.
fn milliseconds(time: &str) -> Option<i64> {
    let moment: jiff::Timestamp = time.parse().ok()?;
    (format!("{moment:.3}") == time).then(|| moment.as_millisecond())
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use sha2::{Digest, Sha256};

    use super::*;

    fn event(seq: i64, prev: &str) -> AuditRecord {
        let mut event = AuditRecord {
            seq,
            time: "2026-01-02T03:04:05.678Z".to_owned(),
            event: "login.password".to_owned(),
            subject: Some("00000000-0000-0000-0000-000000000000".to_owned()),
            object: None,
            peer_uid: Some(1000),
            peer_pid: None,
            request_id: Some("r".to_owned()),
            outcome: "ok".to_owned(),
            detail: Some("a \"quoted\"\u{7f} détail\n".to_owned()),
            used: None,
            prev: prev.to_owned(),
            hash: String::new(),
        };
        event.hash = row_hash(&event).unwrap();
        event
    }

    fn two() -> [AuditRecord; 2] {
        let first = event(1, &"0".repeat(64));
        let second = event(2, &first.hash);
        [first, second]
    }

    #[test]
    fn the_hash_is_over_the_raw_hash_and_the_compact_array() {
        let subject = "00000000-0000-0000-0000-000000000000";
        let detail = "a \\\"quoted\\\"\u{7f} d\u{e9}tail\\n";
        let json = format!(r#"[1,1767323045678,"login.password","{subject}",null,1000,null,"r","ok","{detail}"]"#);
        let expected = HEXLOWER.encode(&Sha256::new().chain_update([0u8; 32]).chain_update(json).finalize());

        assert_eq!(event(1, &"0".repeat(64)).hash, expected);
    }

    #[test]
    fn a_whole_chain_is_followed_to_its_end() {
        let [first, second] = two();
        let mut chain = Chain::start();

        chain.follow(&first).unwrap();
        chain.follow(&second).unwrap();

        assert_eq!(chain, Chain { seq: 2, hash: second.hash });
    }

    #[test]
    fn a_changed_field_breaks_the_chain_there() {
        let [first, mut second] = two();
        second.outcome = "refused".to_owned();
        let mut chain = Chain::start();

        chain.follow(&first).unwrap();

        assert_eq!(chain.follow(&second).unwrap_err().seq, 2);
    }

    #[test]
    fn a_missing_row_breaks_the_chain() {
        let [_, second] = two();

        assert_eq!(Chain::start().follow(&second).unwrap_err().reason, "rows before it are missing");
    }

    #[test]
    fn a_row_computed_anew_breaks_the_next() {
        let [mut first, second] = two();
        first.outcome = "refused".to_owned();
        first.hash = row_hash(&first).unwrap();
        let mut chain = Chain::start();

        chain.follow(&first).unwrap();

        assert_eq!(chain.follow(&second).unwrap_err().reason, "it does not name the hash of the row before");
    }

    #[test]
    fn a_time_has_exactly_three_decimals() {
        assert_eq!(milliseconds("1970-01-01T00:00:01.000Z"), Some(1000));
        for odd in ["1970-01-01T00:00:01Z", "1970-01-01T00:00:01.0001Z", "1970-01-01T01:00:01.000+01:00", ""] {
            assert_eq!(milliseconds(odd), None, "{odd}");
        }
    }
}
