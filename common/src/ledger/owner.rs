//! The thread that owns the database: takes what has queued, writes it, syncs once, then answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::error::{CommitError, Fault, LedgerFailed, Malformed};
use super::index::Guarded;
use super::open::{Opened, caught};
use super::{
    Batch, Committed, GROUP_REQUESTS_MAX, KEY_BYTES_MAX, Listing, Observer, Revision, Stored,
    VALUE_BYTES_MAX, Write,
};

/// What callers ask of the owner. An answer that nobody waits for any more is dropped.
pub(super) enum Request {
    Read(Read),
    Commit { batch: Batch, answer: CommitAnswer },
    Close { done: oneshot::Sender<()> },
}

/// What only looks.
pub(super) enum Read {
    Get { key: String, answer: Answer<Option<Stored>> },
    List { prefix: String, answer: Answer<Listing> },
}

type Answer<T> = oneshot::Sender<Result<T, LedgerFailed>>;

type CommitAnswer = oneshot::Sender<Result<Revision, CommitError>>;

/// How the ledger stands, for whoever waits for its end.
pub(super) type Standing = Option<LedgerFailed>;

pub(super) struct Owner {
    opened: Opened,
    /// The revision of the last commit that was applied.
    revision: Revision,
    observer: Observer,
    standing: watch::Sender<Standing>,
}

/// What happened to one commit of a group, before the group is durable.
type Outcome = Result<Kept, CommitError>;

/// What a commit that was not refused came to.
struct Kept {
    /// The one it took, or the one as of which its guards held.
    revision: Revision,
    /// Nothing where nothing changed.
    committed: Option<Committed>,
}

/// One group: what shares a turn of the disk.
#[derive(Default)]
struct Group {
    commits: Vec<(Batch, CommitAnswer)>,
    /// Answered after the commits, so that they see what was asked for before them.
    reads: Vec<Read>,
    close: Option<oneshot::Sender<()>>,
}

impl Owner {
    pub(super) fn new(opened: Opened, observer: Observer, standing: watch::Sender<Standing>) -> Self {
        Owner { revision: opened.revision, opened, observer, standing }
    }

    /// Serve until the last handle is gone, somebody closes the ledger, or it fails.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let group = Group::gather(first, &mut requests);
            match self.serve(group) {
                Ok(None) => {}
                Ok(Some(done)) => {
                    requests.close();
                    drop(self);
                    tell(done, ());
                    return;
                }
                Err(failed) => return refuse_all(requests, self, failed),
            }
        }
    }

    /// Serve one group. An error means that nothing after it can be served.
    fn serve(&mut self, group: Group) -> Result<Option<oneshot::Sender<()>>, LedgerFailed> {
        let Group { commits, reads, close } = group;
        let (batches, answers): (Vec<Batch>, Vec<CommitAnswer>) = commits.into_iter().unzip();
        match caught(|| self.commit_all(batches)) {
            Ok(outcomes) => self.acknowledge(outcomes, answers),
            Err(fault) => {
                let failed = self.fail(fault);
                for answer in answers {
                    tell(answer, Err(CommitError::Unknown(failed.clone())));
                }
                reads.into_iter().for_each(|read| read.refuse(&failed));
                return Err(failed);
            }
        }
        // Those behind a read that fails see their sender dropped, which their handle knows to be the end.
        reads.into_iter().try_for_each(|read| self.answer(read))?;
        Ok(close)
    }

    /// THE commit: guards, one atomic batch each, then one sync for all of them.
    fn commit_all(&mut self, batches: Vec<Batch>) -> Result<Vec<Outcome>, Fault> {
        let before = self.revision;
        let outcomes = batches.into_iter().map(|batch| self.apply(batch)).collect::<Result<Vec<_>, _>>()?;
        if self.revision != before {
            self.opened.index.sync()?;
        }
        Ok(outcomes)
    }

    /// Apply one batch if its guards hold. The outer error is the ledger's end, the inner one the caller's.
    fn apply(&mut self, batch: Batch) -> Result<Outcome, Fault> {
        if let Err(reason) = check(&batch) {
            return Ok(Err(CommitError::Malformed { reason }));
        }
        let index = &self.opened.index;
        if let Guarded::Conflict(key) = index.check(&batch.guards)? {
            return Ok(Err(CommitError::Conflict { key }));
        }
        let mut writes = Vec::with_capacity(batch.writes.len());
        for write in batch.writes {
            match &write {
                Write::Delete(key) if !index.contains(key)? => {}
                Write::Delete(_) | Write::Put(..) => writes.push(write),
            }
        }
        if writes.is_empty() {
            return Ok(Ok(Kept { revision: self.revision, committed: None }));
        }
        let revision = self.revision.next();
        index.apply(&writes, revision)?;
        self.revision = revision;
        Ok(Ok(Kept { revision, committed: Some(committed(revision, writes)) }))
    }

    /// The group is durable: tell the observer, then the callers.
    fn acknowledge(&mut self, outcomes: Vec<Outcome>, answers: Vec<CommitAnswer>) {
        let mut results = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            results.push(outcome.map(|kept| {
                kept.committed.into_iter().for_each(&mut self.observer);
                kept.revision
            }));
        }
        for (answer, result) in answers.into_iter().zip(results) {
            tell(answer, result);
        }
    }

    fn answer(&mut self, read: Read) -> Result<(), LedgerFailed> {
        let index = &self.opened.index;
        match read {
            Read::Get { key, answer } => self.settle(caught(|| index.get(&key)), answer),
            Read::List { prefix, answer } => self.settle(caught(|| index.list(&prefix)), answer),
        }
    }

    /// Tell what was found. Damage that a read met is the ledger's end.
    fn settle<T>(&self, found: Result<T, Fault>, answer: Answer<T>) -> Result<(), LedgerFailed> {
        match found {
            Ok(found) => {
                tell(answer, Ok(found));
                Ok(())
            }
            Err(fault) => {
                let failed = self.fail(fault);
                tell(answer, Err(failed.clone()));
                Err(failed)
            }
        }
    }

    fn fail(&self, fault: Fault) -> LedgerFailed {
        let failed =
            LedgerFailed { dir: Arc::from(self.opened.lock.dir()), cause: Arc::from(fault.to_string()) };
        self.standing.send_replace(Some(failed.clone()));
        failed
    }
}

impl Group {
    /// What has queued up to now, up to a limit.
    fn gather(first: Request, requests: &mut mpsc::Receiver<Request>) -> Group {
        let mut group = Group::default();
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(request) = next {
            taken += 1;
            match request {
                Request::Commit { batch, answer } => group.commits.push((batch, answer)),
                Request::Close { done } => group.close = Some(done),
                Request::Read(read) => group.reads.push(read),
            }
            let full = taken == GROUP_REQUESTS_MAX || group.close.is_some();
            next = if full { None } else { requests.try_recv().ok() };
        }
        group
    }
}

/// What is wrong with a batch whatever lies in the ledger.
fn check(batch: &Batch) -> Result<(), Malformed> {
    let mut keys = BTreeSet::new();
    for write in &batch.writes {
        let key = write.key();
        if key.len() > KEY_BYTES_MAX {
            return Err(Malformed::LongKey { bytes: key.len() });
        }
        if !keys.insert(key) {
            return Err(Malformed::WrittenTwice { key: key.to_owned() });
        }
        if let Write::Put(_, value) = write
            && value.len() > VALUE_BYTES_MAX
        {
            return Err(Malformed::LargeValue { key: key.to_owned(), bytes: value.len() });
        }
    }
    Ok(())
}

fn committed(revision: Revision, writes: Vec<Write>) -> Committed {
    let mut changes: Vec<_> = writes
        .into_iter()
        .map(|write| match write {
            Write::Put(key, value) => (key, Some(value)),
            Write::Delete(key) => (key, None),
        })
        .collect();
    changes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Committed { revision, changes }
}

/// The ledger has failed: answer everything that still comes with that, until nobody asks any more.
fn refuse_all(mut requests: mpsc::Receiver<Request>, owner: Owner, failed: LedgerFailed) {
    // The database is not closed in order: that would write to it. The lock goes with the process.
    std::mem::forget(owner);
    while let Some(request) = requests.blocking_recv() {
        refuse(request, &failed);
    }
}

fn refuse(request: Request, failed: &LedgerFailed) {
    match request {
        Request::Read(read) => read.refuse(failed),
        Request::Commit { answer, .. } => tell(answer, Err(CommitError::Refused(failed.clone()))),
        Request::Close { done } => tell(done, ()),
    }
}

impl Read {
    fn refuse(self, failed: &LedgerFailed) {
        match self {
            Read::Get { answer, .. } => tell(answer, Err(failed.clone())),
            Read::List { answer, .. } => tell(answer, Err(failed.clone())),
        }
    }
}

/// Answer whoever asked, unless it stopped waiting: then it finds out by reading.
fn tell<T>(answer: oneshot::Sender<T>, what: T) {
    drop(answer.send(what));
}
