//! What can be done on a host, and what it shows.
//!
//! [`Host`] has two real implementations: `real` (disk, systemd or our own supervisor, programs, probes) and [`sim`],
//! its twin in memory, on which every crash can be tried. `fetch` and `stage` are the half of `real` that gets bytes.

pub mod account;
pub mod direct;
pub mod environment;
pub mod evidence;
pub mod fault;
pub mod fetch;
pub mod hook;
pub mod keeper;
pub mod launch;
pub mod layout;
pub mod lean;
pub mod lines;
pub mod mounts;
pub mod ports;
pub mod probe;
pub mod process;
pub mod procfs;
pub mod real;
pub mod reexec;
pub mod render;
pub mod requires;
pub mod secrets;
pub mod sim;
mod sink;
pub mod slots;
pub mod stage;
pub mod suite;
pub mod sys;
pub mod systemd;
pub mod tree;
pub mod unit;
mod usage;

use std::{future::Future, time::Duration};

use longshore_common::{
    assignment::Assignment,
    digest::ReleaseDigest,
    ids::AppName,
    report::Failure,
    settings::Secrets,
    slot::Slot,
    time::Millis,
    traffic::{Directed, Looked},
};

use longshore_proto::v1 as pb;

pub use sink::{Event, Sink, Stream};
pub use usage::Usage;

use crate::{
    offline::Trusting,
    plan::{Past, Seen, Step},
};

/// One implementation serves all apps of the host; calls for different apps may run at the same time, calls that
/// perform something for one app never do.
pub trait Host: Send + Sync + 'static {
    /// What is there now, looked at afresh.
    fn observe(&self, app: &AppName) -> impl Future<Output = Result<Seen, Failure>> + Send;

    /// Whether an assignment may be begun at all, by what this host trusts and its admin allows. Asks nobody.
    fn admit(&self, assignment: &Assignment) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether an order given on this host may go back to a slot.
    fn may_return(
        &self,
        app: &AppName,
        slot: &Slot,
        past: Past,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// What it takes bundles by, and knows what is trusted from; `None`: a twin in memory.
    fn trusting(&self) -> Option<Trusting> {
        None
    }

    /// Of these secrets, those that cannot be had here: each with why, and the way out.
    fn secrets_missing(&self, _: &Secrets) -> impl Future<Output = Vec<String>> + Send {
        std::future::ready(vec![])
    }

    /// Whether whoever directs traffic here could be told this of an app. Asks it, and changes nothing.
    fn look_at_director(&self, _: &AppName, _: Directed) -> impl Future<Output = Looked> + Send {
        std::future::ready(Looked::default())
    }

    /// How this host knows what may run on it.
    fn trust(&self) -> impl Future<Output = pb::TrustFacts> + Send;

    /// Do one step. Idempotent, durable when it returns. Dropping the future of a hook ends its process tree;
    /// dropping that of an interruptible step leaves nothing behind that a repeat could stumble over.
    fn perform(
        &self,
        app: &AppName,
        step: &Step,
        sink: &Sink,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// The last lines the app wrote, oldest first, each as an `Event::Line`. With `follow`, go on until dropped.
    fn logs(
        &self,
        app: &AppName,
        lines: usize,
        follow: Follow,
        sink: &Sink,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Looks once whether what runs from this slot is well, and changes nothing. Says which life of it that is: another
    /// word for another process, empty where there is none.
    fn glance(&self, app: &AppName, slot: &Slot) -> impl Future<Output = Result<String, Failure>> + Send;

    /// What the app uses now, and the error lines among the last of its log that came after `since`.
    fn usage(&self, app: &AppName, since: Millis) -> impl Future<Output = Result<Usage, Failure>> + Send;

    /// Runs a test that the release brings along, from the slot that holds the release; `None` where none does. It
    /// touches nothing that runs.
    fn test(
        &self,
        app: &AppName,
        release: &ReleaseDigest,
        test: &str,
        limit: Duration,
        sink: &Sink,
    ) -> impl Future<Output = Result<Option<suite::Outcome>, Failure>> + Send;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    No,
    Yes,
}
