//! Finds the first entry that is not what it was. Pure: lines and checkpoints in, verdict out.

use std::{collections::BTreeSet, fmt};

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
    /// By number of entries, with the name of who holds it; all are signed.
    witnesses: Vec<(Checkpoint, String)>,
    /// Who holds others, which prove nothing.
    forged: BTreeSet<String>,
    /// So many entries are what a witness saw.
    agreed: u64,
    /// The first entry since then that was written later than the checkpoint that is said to be over it.
    late: Option<u64>,
    first: Option<u64>,
    /// Where the log says that it begins, since older entries were taken away.
    pruned: u64,
    next: u64,
    head: [u8; 32],
}

impl Verifier {
    /// Checkpoints with the names of their holders. Those that are not signed by the key they name say nothing of the log.
    pub fn new(witnesses: impl IntoIterator<Item = (Checkpoint, String)>) -> Self {
        let (mut witnesses, forged): (Vec<_>, Vec<_>) =
            witnesses.into_iter().partition(|(checkpoint, _)| checkpoint.is_sound());
        witnesses.sort_by_key(|(checkpoint, _)| checkpoint.entries);
        let forged = forged.into_iter().map(|(_, holder)| holder).collect();
        Self { witnesses, forged, head: GENESIS, ..Self::default() }
    }

    /// Those that the log is held against.
    pub fn witnesses(&self) -> &[(Checkpoint, String)] {
        &self.witnesses
    }

    /// Who holds them, each once.
    pub fn holders(&self) -> Vec<String> {
        let holders: BTreeSet<&String> = self.witnesses.iter().map(|(_, holder)| holder).collect();
        holders.into_iter().cloned().collect()
    }

    /// Who holds checkpoints that were edited or damaged there: the log was not held against those.
    pub fn forged(&self) -> &BTreeSet<String> {
        &self.forged
    }

    /// The next line, without its newline.
    pub fn line(&mut self, line: &str) -> Result<(), Broken> {
        let index = self.next;
        let broken = |why: String| Err(Broken { index, why });
        // Space around it is no part of an entry, and JSON would not mind.
        let Some(entry) = Chained::parse(line).filter(|_| line.trim() == line) else {
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
        let over_it = self.after(entry.i).first();
        if self.late.is_none() && over_it.is_some_and(|(checkpoint, _)| entry.at_ms > checkpoint.at_ms) {
            self.late = Some(entry.i);
        }
        self.against_witnesses()
    }

    /// The checkpoints over more than so many entries.
    fn after(&self, entries: u64) -> &[(Checkpoint, String)] {
        &self.witnesses[self.witnesses.partition_point(|(checkpoint, _)| checkpoint.entries <= entries)..]
    }

    fn against_witnesses(&mut self) -> Result<(), Broken> {
        let here =
            self.after(self.next - 1).iter().take_while(|(checkpoint, _)| checkpoint.entries == self.next);
        let (mut seen, mut differs) = (false, None);
        for (checkpoint, holder) in here {
            seen = true;
            if checkpoint.head != self.head {
                differs = Some((checkpoint, holder));
                break;
            }
        }
        let Some((checkpoint, holder)) = differs else {
            if seen {
                (self.agreed, self.late) = (self.next, None);
            }
            return Ok(());
        };
        if let Some(late) = self.late {
            return Err(lost(late, checkpoint, holder));
        }
        let why = format!(
            "differs from what {holder} keeps: hash {} here, {} there, by audit key {}; it or one before it, down to \
             entry {}, was changed",
            hex(&self.head[..8]),
            hex(&checkpoint.head[..8]),
            hex(&checkpoint.key[..4]),
            self.agreed
        );
        Err(Broken { index: self.next - 1, why })
    }

    /// After the last line.
    pub fn end(self) -> Result<Verified, Broken> {
        if let Some((beyond, holder)) = self.witnesses.last().filter(|(last, _)| last.entries > self.next) {
            if let Some(late) = self.late {
                return Err(lost(late, beyond, holder));
            }
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

/// The tail was cut off here, and others were written after it: no entry is later than a checkpoint over it.
fn lost(index: u64, checkpoint: &Checkpoint, holder: &str) -> Broken {
    let why = format!(
        "was lost, and so were those after it: what stands here was written later than the checkpoint over {} entries \
         that {holder} keeps",
        checkpoint.entries
    );
    Broken { index, why }
}
