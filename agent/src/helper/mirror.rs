//! What the agent knows of its helper without asking.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Mutex, MutexGuard},
};

use longshore_common::{assignment::Assignment, code::Coded, ids::AppName, report::Report};
use longshore_proto::v1 as pb;
use tokio::sync::{Notify, broadcast, watch};

use super::words::Snapshot;
use crate::{
    plan::Hold,
    run::{Standing, Told},
    uplink::Uplink,
};

/// What a slow watcher may fall behind before it misses something.
const WATCH_BACKLOG: usize = 256;
/// Assignments that wait for a helper that is away.
const ASSIGNMENTS: usize = 256;

pub struct Mirror {
    pub socket: PathBuf,
    /// Below which the helper keeps its state.
    pub data: PathBuf,
    pub uplink: Uplink,
    pub told: broadcast::Sender<Told>,
    /// The highest number of a report.
    pub outbox: watch::Sender<u64>,
    pub hold: watch::Sender<Option<Hold>>,
    /// None: never attached.
    pub snapshot: watch::Sender<Option<Snapshot>>,
    /// There are assignments to hand on.
    pub due: Notify,
    known: Mutex<Known>,
}

#[derive(Default)]
pub struct Known {
    pub attached: bool,
    /// Why it is not.
    pub why: Option<Coded>,
    pub reports: BTreeMap<u64, Report>,
    pub assignments: VecDeque<Assignment>,
    /// As each app stood when it was asked about last.
    pub standings: BTreeMap<AppName, Standing>,
    /// As it stood with trust when that was asked last.
    pub trust: pb::TrustFacts,
}

impl Mirror {
    pub fn new(socket: PathBuf, data: PathBuf, uplink: Uplink) -> Self {
        Self {
            socket,
            data,
            uplink,
            told: broadcast::Sender::new(WATCH_BACKLOG),
            outbox: watch::Sender::new(0),
            hold: watch::Sender::new(None),
            snapshot: watch::Sender::new(None),
            due: Notify::new(),
            known: Mutex::default(),
        }
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder panics")
    }

    /// What was known before is as old as the connection before.
    pub fn begin(&self, snapshot: Snapshot) {
        {
            let mut known = self.known();
            known.attached = true;
            known.reports.clear();
        }
        self.hold.send_if_modified(|hold| {
            let news = *hold != snapshot.hold;
            hold.clone_from(&snapshot.hold);
            news
        });
        self.snapshot.send_replace(Some(snapshot));
    }

    pub fn note_report(&self, seq: u64, report: Report) {
        self.known().reports.insert(seq, report);
        self.outbox.send_replace(seq);
    }

    pub fn note_apps(&self, apps: Vec<AppName>) {
        self.snapshot.send_modify(|snapshot| {
            if let Some(snapshot) = snapshot {
                snapshot.apps = apps;
            }
        });
    }

    /// In their order; the oldest goes when there are too many, as the controller says a newer one again.
    pub fn queue(&self, assignment: Assignment) {
        let mut known = self.known();
        if known.assignments.len() >= ASSIGNMENTS {
            tracing::warn!("dropped an assignment: {ASSIGNMENTS} wait for the helper already");
            known.assignments.pop_front();
        }
        known.assignments.push_back(assignment);
        drop(known);
        self.due.notify_one();
    }
}
