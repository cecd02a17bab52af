//! The thread that owns the database: takes what has queued, writes it, syncs once, then answers.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::error::{CommitError, Fault, LedgerFailed};
use super::group::{Group, Outcome};
use super::open::{Opened, caught};
use super::{Batch, GROUP_REQUESTS_MAX, Listing, Observer, Revision, Stored, stopped};

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

/// What queued while the disk was busy, and now shares its next turn.
#[derive(Default)]
struct Turn {
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
        let mut closing = None;
        while closing.is_none()
            && let Some(first) = requests.blocking_recv()
        {
            match self.serve(Turn::gather(first, &mut requests)) {
                Ok(close) => closing = close,
                Err(failed) => return refuse_all(requests, self, failed),
            }
        }
        requests.close();
        self.stop();
        closing.into_iter().for_each(|done| tell(done, ()));
    }

    /// Serve one turn. An error means that nothing after it can be served.
    fn serve(&mut self, turn: Turn) -> Result<Option<oneshot::Sender<()>>, LedgerFailed> {
        let Turn { commits, reads, close } = turn;
        let (batches, answers): (Vec<Batch>, Vec<CommitAnswer>) = commits.into_iter().unzip();
        match caught(|| self.commit_all(batches)) {
            Ok(outcomes) => {
                answers.into_iter().zip(outcomes).for_each(|(answer, outcome)| tell(answer, outcome));
            }
            Err(fault) => {
                let failed = self.fail(fault);
                let unknown = |answer| tell(answer, Err(CommitError::Unknown(failed.clone())));
                answers.into_iter().for_each(unknown);
                reads.into_iter().for_each(|read| read.refuse(&failed));
                return Err(failed);
            }
        }
        // Those behind a read that fails see their sender dropped, which their handle knows to be the end.
        reads.into_iter().try_for_each(|read| self.answer(read))?;
        if self.opened.journal.is_worth_renewing() {
            caught(|| self.renew_journal()).map_err(|fault| self.fail(fault))?;
        }
        Ok(close)
    }

    /// THE commit: decide on all, make them durable in one turn of the disk, let the database know, and then the
    /// observer. Only after this are they acknowledged.
    fn commit_all(&mut self, batches: Vec<Batch>) -> Result<Vec<Outcome>, Fault> {
        let mut group = Group::after(&self.opened.index, self.revision);
        let outcomes = batches.into_iter().map(|batch| group.admit(batch)).collect::<Result<Vec<_>, _>>()?;
        let commits = group.commits;
        if let Some(last) = commits.last() {
            let revision = last.revision;
            self.opened.journal.append(&commits)?;
            self.opened.index.apply(&commits)?;
            self.revision = revision;
            commits.into_iter().for_each(&mut self.observer);
        }
        Ok(outcomes)
    }

    fn renew_journal(&mut self) -> Result<(), Fault> {
        let end = self.opened.journal.renew()?;
        debug_assert_eq!(end.revision, self.revision, "the journal holds every commit");
        Ok(())
    }

    /// Close in order: everything to the disk, then the note that says so. Where that fails there is no note, and
    /// the next start makes the database anew.
    fn stop(self) {
        let dir = self.opened.lock.dir();
        let end = self.opened.journal.end(self.revision);
        let synced = caught(|| self.opened.index.sync().and_then(|()| Ok(stopped::leave(dir, end)?)));
        if let Err(fault) = synced {
            tracing::warn!(dir = %dir.display(), %fault, "the state was not closed in order");
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
        let is_full = matches!(&fault, Fault::Disk(error) if error.is_full());
        let (dir, cause) = (Arc::from(self.opened.lock.dir()), Arc::from(fault.to_string()));
        let failed = LedgerFailed { dir, cause, is_full };
        self.standing.send_replace(Some(failed.clone()));
        failed
    }
}

impl Turn {
    /// What has queued up to now, up to a limit.
    fn gather(first: Request, requests: &mut mpsc::Receiver<Request>) -> Turn {
        let mut turn = Turn::default();
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(request) = next {
            taken += 1;
            match request {
                Request::Commit { batch, answer } => turn.commits.push((batch, answer)),
                Request::Close { done } => turn.close = Some(done),
                Request::Read(read) => turn.reads.push(read),
            }
            let full = taken == GROUP_REQUESTS_MAX || turn.close.is_some();
            next = if full { None } else { requests.try_recv().ok() };
        }
        turn
    }
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
