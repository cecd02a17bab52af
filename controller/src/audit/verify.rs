//! Finds the first entry that is not what it was. Pure: lines and checkpoints in, verdict out.

use std::fmt;

use longshore_common::digest::hex;

use super::{
    checkpoint::Checkpoint,
    entry::{Chained, GENESIS, What, line_hash},
};

/// Where the chain breaks first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The entry at which it shows: the first one that cannot be believed.
    pub index: u64,
    pub why: String,
}

/// A chain that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The first entry that was seen; older ones were pruned.
    pub first: u64,
    /// The next number.
    pub entries: u64,
    pub head: [u8; 32],
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}: {}", self.index, self.why)
    }
}

/// Takes the log line by line. Witnesses are given before the lines.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    /// By number of entries, with the name of who holds it.
    witnesses: Vec<(Checkpoint, String)>,
    first: Option<u64>,
    /// Where the log says that it begins, since older entries were taken away.
    pruned: u64,
    next: u64,
    head: [u8; 32],
}

impl Verifier {
    /// Checkpoints with the names of their holders; those that are not signed by the key they name count as broken.
    pub fn new(witnesses: impl IntoIterator<Item = (Checkpoint, String)>) -> Result<Self, Broken> {
        let mut witnesses: Vec<_> = witnesses.into_iter().collect();
        witnesses.sort_by_key(|(checkpoint, _)| checkpoint.entries);
        if let Some((forged, holder)) = witnesses.iter().find(|(checkpoint, _)| !checkpoint.is_sound()) {
            let why = format!("the checkpoint that {holder} holds is not signed by the key it names");
            return Err(Broken { index: forged.entries, why });
        }
        Ok(Self { witnesses, first: None, pruned: 0, next: 0, head: GENESIS })
    }

    /// The next line, without its newline.
    pub fn line(&mut self, line: &str) -> Result<(), Broken> {
        let index = self.next;
        let broken = |why: String| Err(Broken { index, why });
        let Some(entry) = Chained::parse(line) else {
            return broken("cannot be read as an entry".to_owned());
        };
        match self.first {
            None => {
                if entry.i == 0 && entry.prev != GENESIS {
                    return Err(Broken { index: 0, why: "the first entry names a predecessor".to_owned() });
                }
                self.first = Some(entry.i);
                self.next = entry.i;
            }
            Some(_) if entry.i != self.next => {
                return broken(format!("is missing: the log goes on with entry {}", entry.i));
            }
            Some(_) if entry.prev != self.head => {
                return broken(
                    "does not follow from the entry before it: one of the two was changed".to_owned(),
                );
            }
            Some(_) => {}
        }
        if let What::Pruned { before } = entry.what {
            self.pruned = before;
        }
        let Some(next) = self.next.checked_add(1) else {
            return broken("has a number that nothing could follow".to_owned());
        };
        self.head = line_hash(line);
        self.next = next;
        self.against_witnesses()
    }

    fn against_witnesses(&self) -> Result<(), Broken> {
        let here = self.witnesses.iter().filter(|(checkpoint, _)| checkpoint.entries == self.next);
        for (checkpoint, holder) in here {
            if checkpoint.head != self.head {
                let why = format!(
                    "differs from what {holder} keeps: hash {} here, {} there; it or one before it was changed",
                    hex(&self.head[..8]),
                    hex(&checkpoint.head[..8])
                );
                return Err(Broken { index: self.next - 1, why });
            }
        }
        Ok(())
    }

    /// After the last line.
    pub fn end(self) -> Result<Verified, Broken> {
        if let Some((beyond, holder)) = self.witnesses.last().filter(|(last, _)| last.entries > self.next) {
            let why = format!(
                "is missing: the log ends before it, and {holder} keeps a checkpoint over {} entries",
                beyond.entries
            );
            return Err(Broken { index: self.next, why });
        }
        let first = self.first.unwrap_or(0);
        if first != self.pruned {
            let why = format!("the log begins with entry {first}, and by its own word with {}", self.pruned);
            return Err(Broken { index: first.min(self.pruned), why });
        }
        Ok(Verified { first: self.first.unwrap_or(0), entries: self.next, head: self.head })
    }
}
