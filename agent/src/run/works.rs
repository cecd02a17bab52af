//! What the session and the local socket ask of whoever makes this host true: a crew of this process, or the one of
//! the helper's (`helper::Remote`).

use std::{future::Future, time::Duration};

use longshore_common::{
    assignment::Assignment,
    code::{Code, Coded},
    digest::ReleaseDigest,
    ids::{AppName, Generation},
    report::{Failure, Report},
    settings::Secrets,
    slot::Slot,
    time::Millis,
    traffic::{Directed, Looked},
};
use longshore_proto::v1 as pb;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use super::{Crew, Glance, Standing, Told};
use crate::{
    host::{Follow, Host, Sink, Usage, account::Account, requires, suite},
    offline::{HandOrder, Ordered, Pieces, Trusting, order},
    plan::{Drain, Hold},
    state::Row,
    trust::bring_all,
};

/// For what is new of signed documents, when somebody asks what is verified.
const BRING: Duration = Duration::from_secs(20);

/// Which start this is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// Of the machine. Empty where the kernel does not tell.
    pub id: String,
    /// Rises with every start of whoever makes this host true.
    pub counter: u64,
}

/// Users that a release needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    pub users: Vec<String>,
    /// Empty: it names none.
    pub run_as: String,
    /// What would run it.
    pub driver: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    pub missing: Vec<String>,
    /// Why it could not run as that user here.
    pub problem: Option<String>,
}

/// Cheap to clone.
pub trait Works: Clone + Send + Sync + 'static {
    /// The controller says so. Whether it is taken shows in the reports.
    fn assign(&self, assignment: Assignment);

    /// Somebody on this host wants an app back on its last good slot, or on `to`.
    fn revert(
        &self,
        app: &AppName,
        to: Option<Slot>,
        by: String,
    ) -> impl Future<Output = Result<(), Coded>> + Send;

    /// Everything that is told from now on.
    fn watch(&self) -> broadcast::Receiver<Told>;

    fn apps(&self) -> Vec<AppName>;

    fn standing(&self, app: &AppName) -> impl Future<Output = Standing> + Send;

    /// See [`Host::logs`].
    fn logs(
        &self,
        app: &AppName,
        lines: usize,
        follow: Follow,
        sink: &Sink,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// See [`Host::usage`].
    fn usage(&self, app: &AppName, since: Millis) -> impl Future<Output = Result<Usage, Failure>> + Send;

    /// See [`Crew::glance`].
    fn glance(
        &self,
        app: &AppName,
        generation: Generation,
    ) -> impl Future<Output = Result<Glance, Failure>> + Send;

    /// See [`Host::test`].
    fn test(
        &self,
        app: &AppName,
        release: &ReleaseDigest,
        test: &str,
        limit: Duration,
        sink: &Sink,
    ) -> impl Future<Output = Result<Option<suite::Outcome>, Failure>> + Send;

    fn hold(&self) -> Option<Hold>;

    /// Tells of every change of the hold.
    fn watch_hold(&self) -> watch::Receiver<Option<Hold>>;

    /// Whether anything changed. `by` is who wants it so.
    fn set_hold(&self, hold: Option<Hold>, by: &str) -> impl Future<Output = Result<bool, Coded>> + Send;

    /// An operator wants this host's apps stopped; `None`: no longer.
    fn drain(&self, drain: Option<Drain>) -> impl Future<Output = Result<(), Coded>> + Send;

    /// Reports that the controller has not acknowledged, after this number, in order.
    fn outbox_after(&self, seq: u64) -> Vec<(u64, Report)>;

    fn outbox_len(&self) -> usize;

    /// Changes whenever there is a new report.
    fn watch_outbox(&self) -> watch::Receiver<u64>;

    /// The controller has committed this report.
    fn acknowledge(&self, seq: u64) -> impl Future<Output = Result<(), Coded>> + Send;

    /// The latest rows first: of an app, or of the host itself.
    fn history(
        &self,
        app: Option<&AppName>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Row>, Coded>> + Send;

    /// How this host knows what may run on it.
    fn trust(&self) -> impl Future<Output = pb::TrustFacts> + Send;

    /// A release that somebody on this host brings in a bundle.
    fn deploy(
        &self,
        wanted: HandOrder,
        pieces: Pieces,
    ) -> impl Future<Output = Result<Ordered, Coded>> + Send;

    /// What this host has verified, after what is new was asked for.
    fn verified(&self) -> impl Future<Output = Result<pb::TrustAnswer, Coded>> + Send;

    /// What a release would find of the users that it needs.
    fn accounts(&self, wanted: Accounts) -> impl Future<Output = Found> + Send;

    /// See [`Host::secrets_missing`].
    fn secrets_missing(&self, secrets: Secrets) -> impl Future<Output = Vec<String>> + Send;

    /// See [`Host::look_at_director`].
    fn look_at_director(&self, app: &AppName, asked: Directed) -> impl Future<Output = Looked> + Send;

    fn boot(&self) -> Boot;

    fn now_ms(&self) -> Millis;

    /// Where the host has two processes the version of the other one, the helper; empty while it is away.
    fn helper(&self) -> Option<String>;

    /// Why it is away, when it is.
    fn away(&self) -> Coded {
        crate::helper::away()
    }

    /// The error for an app that this host does not have.
    fn unknown(&self, app: &AppName) -> Coded {
        let apps = self.apps();
        let known: Vec<&str> = apps.iter().map(AppName::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Coded::new(Code::N01, format!("no app \"{app}\" on this host (there are: {known})"))
    }
}

impl<H: Host> Works for Crew<H> {
    fn assign(&self, assignment: Assignment) {
        self.assign(assignment);
    }

    async fn revert(&self, app: &AppName, to: Option<Slot>, by: String) -> Result<(), Coded> {
        self.revert(app, to, by).await
    }

    fn watch(&self) -> broadcast::Receiver<Told> {
        self.watch()
    }

    fn apps(&self) -> Vec<AppName> {
        self.apps()
    }

    async fn standing(&self, app: &AppName) -> Standing {
        self.standing(app).await
    }

    async fn logs(&self, app: &AppName, lines: usize, follow: Follow, sink: &Sink) -> Result<(), Failure> {
        self.host().logs(app, lines, follow, sink).await
    }

    async fn usage(&self, app: &AppName, since: Millis) -> Result<Usage, Failure> {
        self.host().usage(app, since).await
    }

    async fn glance(&self, app: &AppName, generation: Generation) -> Result<Glance, Failure> {
        Ok(self.glance(app, generation).await)
    }

    async fn test(
        &self,
        app: &AppName,
        release: &ReleaseDigest,
        test: &str,
        limit: Duration,
        sink: &Sink,
    ) -> Result<Option<suite::Outcome>, Failure> {
        self.host().test(app, release, test, limit, sink).await
    }

    fn hold(&self) -> Option<Hold> {
        self.state().hold()
    }

    fn watch_hold(&self) -> watch::Receiver<Option<Hold>> {
        self.state().watch_hold()
    }

    async fn set_hold(&self, hold: Option<Hold>, by: &str) -> Result<bool, Coded> {
        let changed = self.state().set_hold(hold, by).await;
        changed.map_err(|e| Coded::new(Code::S04, e.to_string()))
    }

    async fn drain(&self, drain: Option<Drain>) -> Result<(), Coded> {
        self.drain(drain).await.map_err(|e| Coded::new(Code::S04, e.to_string()))
    }

    fn outbox_after(&self, seq: u64) -> Vec<(u64, Report)> {
        self.state().outbox_after(seq)
    }

    fn outbox_len(&self) -> usize {
        self.state().outbox_len()
    }

    fn watch_outbox(&self) -> watch::Receiver<u64> {
        self.state().watch_outbox()
    }

    async fn acknowledge(&self, seq: u64) -> Result<(), Coded> {
        let done = self.state().acknowledge(seq).await;
        done.map_err(|e| Coded::new(Code::S04, e.to_string()))
    }

    async fn history(&self, app: Option<&AppName>, limit: usize) -> Result<Vec<Row>, Coded> {
        self.state().history(app, limit).await
    }

    async fn trust(&self) -> pb::TrustFacts {
        self.host().trust().await
    }

    async fn deploy(&self, wanted: HandOrder, pieces: Pieces) -> Result<Ordered, Coded> {
        order(self, wanted, pieces).await
    }

    async fn verified(&self) -> Result<pb::TrustAnswer, Coded> {
        let Some(Trusting { gate, supply, .. }) = self.host().trusting() else {
            return Ok(pb::TrustAnswer { facts: Some(self.host().trust().await), ..Default::default() });
        };
        let bringing = async {
            match supply.open().await {
                Ok(source) => bring_all(&gate, &source).await.map_err(|error| error.to_string()),
                Err(closed) => Err(closed.to_string()),
            }
        };
        let late = |_| Err(format!("no answer within {BRING:?}"));
        if let Err(why) = tokio::time::timeout(BRING, bringing).await.unwrap_or_else(late) {
            tracing::warn!("signed documents were not brought up to date: {why}");
        }
        let looked = tokio::task::spawn_blocking(move || gate.answer()).await;
        looked.map_err(|died| Coded::new(Code::X01, format!("reading trust state ended: {died}")))
    }

    async fn accounts(&self, wanted: Accounts) -> Found {
        let looked = tokio::task::spawn_blocking(move || {
            let Accounts { users, run_as, driver } = wanted;
            let missing = users.into_iter().filter(|user| Account::look_up(user).is_err()).collect();
            Found { missing, problem: requires::run_as_problem(&run_as, &driver) }
        });
        looked.await.expect("looking at users does not panic")
    }

    async fn secrets_missing(&self, secrets: Secrets) -> Vec<String> {
        self.host().secrets_missing(&secrets).await
    }

    async fn look_at_director(&self, app: &AppName, asked: Directed) -> Looked {
        self.host().look_at_director(app, asked).await
    }

    fn boot(&self) -> Boot {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Boot { id: id.trim().to_owned(), counter: self.state().boot_counter() }
    }

    fn now_ms(&self) -> Millis {
        self.state().now_ms()
    }

    fn helper(&self) -> Option<String> {
        None
    }
}
