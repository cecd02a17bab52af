//! What everybody else holds: a handle that asks the owner.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::error::{CommitError, LedgerFailed, OpenError};
use super::open::Opened;
use super::owner::{Owner, Read, Request, Standing};
use super::{Batch, Listing, Observer, Options, QUEUE_REQUESTS, Revision, Stored, open};
use crate::durable::{DurableError, Step};

/// A ledger that is open. Cheap to clone; it closes when the last handle is dropped or one of them is closed.
///
/// Each verb comes as a future, for a runtime that must not block, and as a call that blocks, for a thread of
/// one's own. A future that is dropped leaves its commit under way: only a read tells whether it landed.
#[derive(Debug, Clone)]
pub struct Ledger {
    requests: mpsc::Sender<Request>,
    standing: watch::Receiver<Standing>,
    dir: Arc<Path>,
}

impl Ledger {
    /// Open the ledger in a folder of its own, or create it. Blocks.
    pub fn open(dir: &Path, options: Options) -> Result<Ledger, OpenError> {
        Ledger::open_observed(dir, options, |_| Box::new(|_| {}))
    }

    /// Open, with somebody who is told of every commit. Who that is may depend on the revision found.
    pub fn open_observed(
        dir: &Path,
        options: Options,
        observer: impl FnOnce(Revision) -> Observer,
    ) -> Result<Ledger, OpenError> {
        let opened = open::open(dir, options)?;
        let observer = observer(opened.revision);
        Ok(Ledger::start(opened, observer)?)
    }

    /// Give what was opened to a thread of its own.
    pub(super) fn start(opened: Opened, observer: Observer) -> Result<Ledger, DurableError> {
        let dir: Arc<Path> = opened.lock.dir().into();
        let (requests, queue) = mpsc::channel(QUEUE_REQUESTS);
        let (report, standing) = watch::channel(None);
        let owner = Owner::new(opened, observer, report);
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || owner.run(queue))
            .map_err(|error| DurableError::new(Step::Open, &dir, error))?;
        Ok(Ledger { requests, standing, dir })
    }

    /// All guards hold and all writes land, or nothing happened. Durable when it returns.
    pub async fn commit(&self, batch: Batch) -> Result<Revision, CommitError> {
        let (answer, result) = oneshot::channel();
        let sent = self.requests.send(Request::Commit { batch, answer }).await;
        sent.map_err(|_| CommitError::Refused(self.gone()))?;
        result.await.map_err(|_| CommitError::Unknown(self.gone()))?
    }

    pub fn commit_blocking(&self, batch: Batch) -> Result<Revision, CommitError> {
        let (answer, result) = oneshot::channel();
        let sent = self.requests.blocking_send(Request::Commit { batch, answer });
        sent.map_err(|_| CommitError::Refused(self.gone()))?;
        result.blocking_recv().map_err(|_| CommitError::Unknown(self.gone()))?
    }

    pub async fn get(&self, key: &str) -> Result<Option<Stored>, LedgerFailed> {
        let (answer, result) = oneshot::channel();
        let sent = self.requests.send(Request::Read(Read::Get { key: key.to_owned(), answer })).await;
        sent.map_err(|_| self.gone())?;
        result.await.map_err(|_| self.gone())?
    }

    pub fn get_blocking(&self, key: &str) -> Result<Option<Stored>, LedgerFailed> {
        let (answer, result) = oneshot::channel();
        let sent = self.requests.blocking_send(Request::Read(Read::Get { key: key.to_owned(), answer }));
        sent.map_err(|_| self.gone())?;
        result.blocking_recv().map_err(|_| self.gone())?
    }

    /// Everything whose key begins with `prefix`, as of one revision.
    pub async fn list(&self, prefix: &str) -> Result<Listing, LedgerFailed> {
        let (answer, result) = oneshot::channel();
        let sent = self.requests.send(Request::Read(Read::List { prefix: prefix.to_owned(), answer })).await;
        sent.map_err(|_| self.gone())?;
        result.await.map_err(|_| self.gone())?
    }

    pub fn list_blocking(&self, prefix: &str) -> Result<Listing, LedgerFailed> {
        let (answer, result) = oneshot::channel();
        let sent =
            self.requests.blocking_send(Request::Read(Read::List { prefix: prefix.to_owned(), answer }));
        sent.map_err(|_| self.gone())?;
        result.blocking_recv().map_err(|_| self.gone())?
    }

    /// Close for every handle, after what was asked before. The folder is free when this returns.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.requests.send(Request::Close { done }).await.is_ok() {
            // An owner that is gone has closed already.
            let _ = closed.await;
        }
    }

    pub fn close_blocking(self) {
        let (done, closed) = oneshot::channel();
        if self.requests.blocking_send(Request::Close { done }).is_ok() {
            // An owner that is gone has closed already.
            let _ = closed.blocking_recv();
        }
    }

    /// Waits until the ledger has failed, and says why: then the process is to exit with 75, to be started again.
    /// Never returns for one that is closed in order.
    pub async fn failed(&self) -> LedgerFailed {
        let mut standing = self.standing.clone();
        match standing.wait_for(Option::is_some).await.map(|found| found.clone()) {
            Ok(Some(failed)) => failed,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    fn gone(&self) -> LedgerFailed {
        let known = self.standing.borrow().clone();
        known.unwrap_or_else(|| LedgerFailed {
            dir: self.dir.clone(),
            cause: "it was closed".into(),
            is_full: false,
        })
    }
}
