//! Parses the part of server-sent events that the daemon uses (HTML standard section 9.2.6): blocks of lines, of which
//! only the `data` lines matter.

use crate::failure::Failure;

/// Maximum size of an unfinished block, in bytes.
const LONGEST_BLOCK: usize = 1024 * 1024;

/// Collects bytes until a block is complete.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    unfinished: Vec<u8>,
}

impl Blocks {
    /// Takes more bytes, and returns the data of the blocks that they complete.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Vec<String>, Failure> {
        let mut whole = Vec::new();
        for byte in bytes {
            self.unfinished.push(*byte);
            if self.unfinished.ends_with(b"\n\n") {
                whole.extend(data(&self.unfinished));
                self.unfinished.clear();
            }
        }
        if self.unfinished.len() > LONGEST_BLOCK {
            return Err(Failure::Internal("an event of the daemon's stream is too long".to_owned()));
        }
        Ok(whole)
    }
}

fn data(block: &[u8]) -> Option<String> {
    let block = String::from_utf8_lossy(block);
    let lines: Vec<&str> = block
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_comes_when_its_block_is_whole() {
        let mut blocks = Blocks::default();

        assert!(blocks.take(b": keep-alive\n\nid: 1\nevent: audit\nda").unwrap().is_empty());
        assert_eq!(blocks.take(b"ta: {\"a\":1}\n\nid: 2\ndata:x\n\n").unwrap(), ["{\"a\":1}", "x"]);
    }
}
