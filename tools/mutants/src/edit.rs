//! Texts put into a source around its expressions, one within the other.

use std::cmp::Reverse;
use std::ops::Range;

/// A text to put in, and the mutant it is there for.
pub type Piece = (String, Option<usize>);

struct Edit {
    /// What it stands for; empty where something is added only.
    replaces: Range<usize>,
    /// Where it stands among others at the same place: ends before beginnings, inner ends first, outer beginnings first.
    rank: (u8, Reverse<usize>, usize),
    pieces: Vec<Piece>,
}

#[derive(Default)]
pub struct Edits {
    edits: Vec<Edit>,
    count: usize,
}

impl Edits {
    /// Puts `before` and `after` around a range. What is asked for first is outside of what is asked for later.
    pub fn around(&mut self, range: Range<usize>, before: Vec<Piece>, after: Vec<Piece>) {
        self.count += 1;
        let extent = range.len();
        self.edits.push(Edit {
            replaces: range.start..range.start,
            rank: (1, Reverse(extent), self.count),
            pieces: before,
        });
        // The shorter an extent, the further in it is; and so is what came later.
        self.edits.push(Edit {
            replaces: range.end..range.end,
            rank: (0, Reverse(usize::MAX - extent), usize::MAX - self.count),
            pieces: after,
        });
    }

    /// Puts a text in place of a range that nothing else touches.
    pub fn replace(&mut self, range: Range<usize>, pieces: Vec<Piece>) {
        self.edits.push(Edit { replaces: range, rank: (2, Reverse(0), 0), pieces });
    }

    /// The new text, and which of its bytes belong to which mutant.
    pub fn carry_out(mut self, text: &str) -> (String, Vec<(Range<usize>, usize)>) {
        self.edits.sort_by_key(|edit| (edit.replaces.start, edit.rank));
        let (mut new, mut belongs, mut done) = (String::new(), Vec::new(), 0);
        for edit in self.edits {
            new.push_str(&text[done..edit.replaces.start]);
            done = edit.replaces.end;
            for (piece, mutant) in edit.pieces {
                let start = new.len();
                new.push_str(&piece);
                belongs.extend(mutant.map(|number| (start..new.len(), number)));
            }
        }
        new.push_str(&text[done..]);
        (new, belongs)
    }
}
