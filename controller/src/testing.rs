//! For tests of this crate: an agent that is driven by hand, a store that dies at a chosen commit, and a clock for what is
//! to be quick; in `contended` a store in which others are quicker.

mod contended;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use contended::ContendedStore;
use longshore_common::{
    assignment::{Assignment, Intent},
    code::Code,
    digest::ReleaseDigest,
    ids::{AppName, Generation, HostId, Version},
    report::{Blame, Failure, Outcome, Report, StepName},
    slot::Slot,
    traffic::Looked,
};
use tokio::sync::{Notify, mpsc};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use uuid::Uuid;

use crate::{
    config::Tell,
    fleet::{
        BoundKey, Fleet, Host,
        words::{
            Answer, AppSeen, Facts, FromAgent, Glance, Hello, HostHold, Question, SurveyAnswer, TestAnswer,
            ToAgent, TrustFacts, Wanted,
        },
    },
    notify::{MailServer, MailTls},
    store::{
        CommitError, Entry, Key, Listing, MemoryStore, Prefix, Revision, SharedStore, Store, StoreFuture,
        Txn, Unavailable, Watch, record,
    },
};

/// Faster than any heartbeat that tests ask for.
const BEAT: Duration = Duration::from_millis(50);

/// Of a controller that knows the webhooks' keys `chat` and `other`, and sends mail.
pub fn tell() -> Tell {
    let mail = MailServer {
        host: "127.0.0.1".to_owned(),
        port: 9,
        tls: MailTls::None,
        from: "longshore@example.org".to_owned(),
        user: None,
        password_file: None,
        ca_file: None,
    };
    let keys = ["chat", "other"].map(|name| (name.to_owned(), format!("/keys/{name}").into()));
    Tell { mail: Some(mail), keys: keys.into() }
}

/// How long something took by a clock that stands still while the machine does not let us run: what waits for something is
/// told from what was kept waiting.
pub async fn clocked<T>(what: impl Future<Output = T>) -> (T, Duration) {
    const TICK: Duration = Duration::from_millis(10);
    let mut took = Duration::ZERO;
    tokio::pin!(what);
    loop {
        tokio::select! {
            biased;
            done = &mut what => return (done, took),
            () = tokio::time::sleep(TICK) => took += TICK,
        }
    }
}

/// What a host's disk holds: it survives sessions and controllers.
#[derive(Debug, Default)]
pub struct Disk {
    /// Of each app, the highest accepted.
    pub accepted: BTreeMap<AppName, Assignment>,
    pub live: BTreeMap<AppName, (Slot, Assignment)>,
    outbox: BTreeMap<u64, Report>,
    next_seq: u64,
    /// Every generation that was carried out, in order: none may be there twice.
    pub done: Vec<(AppName, Generation)>,
}

/// A host's agent without a host: it accepts, pretends, reports.
#[derive(Clone, Debug)]
pub struct HandAgent {
    pub host: Host,
    pub disk: Arc<Mutex<Disk>>,
    /// Versions whose probe fails here.
    pub bad: Arc<BTreeSet<Version>>,
    pub hold: Option<HostHold>,
    /// Commands that a survey does not find here.
    pub lacks: Arc<Mutex<Vec<String>>>,
    /// Why whoever directs traffic here could not.
    pub misdirects: Arc<Mutex<Vec<String>>>,
    /// Whoever looks at an app here finds it so.
    pub unwell: Arc<AtomicBool>,
    /// A credential that the host does not have: it refuses whatever it is to unpack.
    pub refuses: Option<String>,
    /// Why nothing new begins there, as in a frozen fleet. No hold of the host's own, which the controller is told of.
    pub declines: Option<String>,
    /// Why the fleet is frozen, as the host has heard and tells.
    pub frozen: Option<String>,
}

impl HandAgent {
    pub fn new(name: &str, bad: &[&str]) -> Self {
        let host = Host {
            id: HostId(Uuid::new_v4()),
            name: name.parse().unwrap(),
            labels: BTreeMap::from([("env".to_owned(), "prod".to_owned())]),
            keys: vec![BoundKey { spki: [1; 32], expires_ms: i64::MAX / 2, ca: String::new() }],
            enrolled_ms: 0,
            drained: None,
            rejoining: None,
            barred: None,
            recoveries: 0,
            started: None,
            renew: false,
            token: "tk_test".into(),
            machine_id: String::new(),
            recipient: String::new(),
            seen: None,
        };
        let bad = Arc::new(bad.iter().map(|version| version.parse().unwrap()).collect());
        Self {
            host,
            disk: Arc::default(),
            bad,
            hold: None,
            lacks: Arc::default(),
            misdirects: Arc::default(),
            unwell: Arc::default(),
            refuses: None,
            declines: None,
            frozen: None,
        }
    }

    pub async fn enrol(&self, store: &SharedStore) {
        let key = Key::host(&self.host.id);
        let value = record::encode(&key, &self.host).unwrap();
        store.commit(Txn::new().absent(key.clone()).put(key, value)).await.unwrap();
    }

    /// Lives in a session with this fleet until the session ends. Returns what it was told last.
    pub async fn live_with(self, fleet: Fleet) -> Option<ToAgent> {
        let (to_controller, inbound) = mpsc::channel(64);
        let inbound = Box::pin(ReceiverStream::new(inbound).map(Ok));
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let outbound = fleet.open(self.host.clone(), [1; 32], i64::MAX / 2, address, inbound);
        self.converse(to_controller, outbound).await
    }

    /// The agent's half of a session, however it travels.
    pub async fn converse(
        self,
        say: mpsc::Sender<FromAgent>,
        mut heard: mpsc::Receiver<ToAgent>,
    ) -> Option<ToAgent> {
        let mut last = None;
        if say.send(FromAgent::Hello(Box::new(self.hello()))).await.is_err() {
            return None;
        }
        for (seq, report) in self.waiting() {
            if say.send(FromAgent::Report(seq, Box::new(report))).await.is_err() {
                return None;
            }
        }
        let mut beat = tokio::time::interval(BEAT);
        loop {
            let message = tokio::select! {
                message = heard.recv() => message,
                _ = beat.tick() => {
                    drop(say.send(FromAgent::Heartbeat(0)).await); // an end is noticed by what is heard
                    continue;
                }
            };
            let Some(message) = message else { return last };
            last = Some(message.clone());
            let answers = match message {
                ToAgent::Assignment(assignment) => self.carry_out(*assignment),
                ToAgent::Ack(seq) => {
                    self.disk.lock().unwrap().outbox.remove(&seq);
                    vec![]
                }
                ToAgent::Question(id, Question::Ping) => {
                    vec![FromAgent::Answer(id, Answer::Pong { time_ms: 0, apps: self.hello().apps })]
                }
                ToAgent::Question(id, Question::Survey(wanted)) => {
                    vec![FromAgent::Answer(id, Answer::Survey(Box::new(self.survey(&wanted))))]
                }
                ToAgent::Question(id, Question::Test { app, release, .. }) => {
                    vec![FromAgent::Answer(id, Answer::Test(Box::new(self.test(&app, release))))]
                }
                ToAgent::Question(id, Question::Glance { .. }) if self.unwell.load(Ordering::SeqCst) => {
                    let failure = Failure::new(Code::B01, StepName::Probe, Blame::Version, "status 500");
                    vec![FromAgent::Answer(id, Answer::Glance(Glance::Unwell(Box::new(failure))))]
                }
                ToAgent::Question(id, Question::Glance { .. }) => {
                    vec![FromAgent::Answer(id, Answer::Glance(Glance::Well { life: String::new() }))]
                }
                ToAgent::Question(id, _) => vec![FromAgent::Answer(id, Answer::Error("not asked".into()))],
                ToAgent::Welcome { .. } | ToAgent::Checkpoint(_) | ToAgent::Farewell(_) => vec![],
            };
            for answer in answers {
                if say.send(answer).await.is_err() {
                    break;
                }
            }
        }
    }

    /// A machine that lacks nothing but what `lacks` says.
    fn survey(&self, wanted: &Wanted) -> SurveyAnswer {
        let app = &wanted.app;
        let disk = self.disk.lock().unwrap();
        let live = disk.live.get(app).map(|(slot, _)| slot.to_string()).unwrap_or_default();
        let seen = disk.accepted.get(app).map(|accepted| AppSeen {
            slots: vec![live.clone()],
            current_slot: live,
            ..seen((app, accepted))
        });
        SurveyAnswer {
            time_ms: now_ms(),
            facts: Facts { disk_free_bytes: 1 << 40, memory_bytes: 1 << 40, ..Facts::default() },
            app: seen,
            hold: self.hold.clone(),
            commands_missing: self.lacks.lock().unwrap().clone(),
            secrets_missing: self.refuses.iter().cloned().collect(),
            traffic: match wanted.directed {
                Some(_) => Looked { problems: self.misdirects.lock().unwrap().clone(), notes: vec![] },
                None => Looked::default(),
            },
            ..SurveyAnswer::default()
        }
    }

    /// Every test passes where the release is held.
    fn test(&self, app: &AppName, release: ReleaseDigest) -> TestAnswer {
        let disk = self.disk.lock().unwrap();
        let accepted = disk.accepted.get(app).is_some_and(|accepted| accepted.release == release);
        let held = accepted && self.refuses.is_none();
        let ended = if held { "exit status 0".to_owned() } else { String::new() };
        TestAnswer { passed: u32::from(held), ended, good: held, not_here: !held, ..TestAnswer::default() }
    }

    /// Says from now on that it holds this of the app.
    pub fn pretend(&self, app: &str, generation: Generation) {
        let mut disk = self.disk.lock().unwrap();
        disk.accepted.get_mut(&app.parse().unwrap()).unwrap().generation = generation;
    }

    pub fn hello(&self) -> Hello {
        let disk = self.disk.lock().unwrap();
        let seen = |(app, accepted): (&AppName, &Assignment)| AppSeen {
            current_slot: disk.live.get(app).map(|(slot, _)| slot.to_string()).unwrap_or_default(),
            verdict: disk.live.get(app).map(|_| "healthy".to_owned()).unwrap_or_default(),
            ..seen((app, accepted))
        };
        Hello {
            protocol: 1,
            agent_version: "0.0.0".into(),
            boot_id: "b".into(),
            boot_counter: 1,
            machine_id: String::new(),
            facts: Facts {
                trust: self.frozen.clone().map(|frozen| TrustFacts { frozen, ..TrustFacts::default() }),
                ..Facts::default()
            },
            apps: disk.accepted.iter().map(seen).collect(),
            hold: self.hold.clone(),
            time_ms: now_ms(),
            recipient: self.host.recipient.clone(),
        }
    }

    fn waiting(&self) -> Vec<(u64, Report)> {
        self.disk.lock().unwrap().outbox.iter().map(|(seq, report)| (*seq, report.clone())).collect()
    }

    /// Once for each generation; the result waits in the outbox until it is acknowledged.
    fn carry_out(&self, assignment: Assignment) -> Vec<FromAgent> {
        let mut disk = self.disk.lock().unwrap();
        if let Some(accepted) = disk.accepted.get(&assignment.app) {
            assert!(accepted.generation <= assignment.generation, "a lower generation was sent");
            if accepted.generation == assignment.generation {
                assert_eq!(*accepted, assignment, "one generation, two contents");
                return vec![];
            }
        }
        disk.accepted.insert(assignment.app.clone(), assignment.clone());
        disk.done.push((assignment.app.clone(), assignment.generation));
        let outcome = self.outcome(&mut disk, &assignment);
        let report = Report {
            app: assignment.app.clone(),
            rollout: assignment.rollout,
            generation: assignment.generation,
            release: assignment.release,
            time_ms: 0,
            outcome,
            live: disk.live.get(&assignment.app).map(|(slot, _)| slot.clone()),
            by: None,
        };
        disk.next_seq += 1;
        let seq = disk.next_seq;
        disk.outbox.insert(seq, report.clone());
        vec![FromAgent::Report(seq, Box::new(report))]
    }

    fn outcome(&self, disk: &mut Disk, assignment: &Assignment) -> Outcome {
        let app = &assignment.app;
        let live = disk.live.get(app).map(|(slot, _)| slot.clone());
        if let (Some(why), Intent::Stage | Intent::Run) = (&self.refuses, assignment.intent) {
            let failure = Failure::new(Code::K01, StepName::Check, Blame::Environment, why);
            return Outcome::Refused { failure };
        }
        if let (Some(why), Intent::Stage | Intent::Run) = (&self.declines, assignment.intent) {
            let failure = Failure::new(Code::P01, StepName::Check, Blame::Environment, why);
            return Outcome::Refused { failure };
        }
        match assignment.intent {
            Intent::Stage | Intent::Run if live.as_ref() == Some(&assignment.slot()) => Outcome::Unchanged,
            Intent::Stage => Outcome::Staged,
            Intent::Direct => Outcome::Healthy,
            Intent::Remove => {
                disk.live.remove(app);
                Outcome::Removed
            }
            Intent::Run if self.bad.contains(&assignment.version) => {
                let failure = Failure::new(Code::B01, StepName::Probe, Blame::Version, "status 500")
                    .with_evidence(["thread main panicked".to_owned()]);
                match disk.live.get(app) {
                    Some((slot, before)) => Outcome::Reverted {
                        failure,
                        to_slot: slot.clone(),
                        to_version: before.version.clone(),
                    },
                    None => Outcome::Failed { failure },
                }
            }
            Intent::Run => {
                disk.live.insert(app.clone(), (assignment.slot(), assignment.clone()));
                Outcome::Healthy
            }
        }
    }

    /// What runs there now.
    pub fn runs(&self, app: &str) -> Option<String> {
        let disk = self.disk.lock().unwrap();
        disk.live.get(&app.parse().unwrap()).map(|(_, assignment)| assignment.version.to_string())
    }

    /// Panics when anything was carried out twice, or out of order.
    pub fn check(&self) {
        let disk = self.disk.lock().unwrap();
        let rising = disk.done.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].1 < pair[1].1);
        assert!(rising, "{}: {:?}", self.host.name, disk.done);
    }
}

/// How an app stands of which nothing is live.
fn seen((app, accepted): (&AppName, &Assignment)) -> AppSeen {
    AppSeen {
        app: app.clone(),
        generation: accepted.generation,
        current_slot: String::new(),
        release: String::new(),
        version: String::new(),
        running: true,
        slots: vec![],
        failed_slots: vec![],
        verdict: String::new(),
        local: None,
        sides: vec![],
    }
}

fn now_ms() -> i64 {
    longshore_common::time::Clock::now_ms(&longshore_common::time::SystemClock)
}

/// A store that dies at a commit: before it lands, or after it landed and before anybody learns of it. From then on
/// it answers nothing, as a process that is gone.
pub struct MortalStore {
    inner: Arc<MemoryStore>,
    left: AtomicUsize,
    lands: bool,
    pub died: Arc<Notify>,
}

impl MortalStore {
    pub fn dying_at(inner: Arc<MemoryStore>, commit: usize, lands: bool) -> Arc<Self> {
        Arc::new(Self { inner, left: AtomicUsize::new(commit + 1), lands, died: Arc::default() })
    }

    pub fn is_dead(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    async fn live(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }
}

impl Store for MortalStore {
    fn get<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, Result<Option<Entry>, Unavailable>> {
        Box::pin(async move {
            self.live().await;
            self.inner.get(key).await
        })
    }

    fn list<'a>(&'a self, prefix: &'a Prefix) -> StoreFuture<'a, Result<Listing, Unavailable>> {
        Box::pin(async move {
            self.live().await;
            self.inner.list(prefix).await
        })
    }

    fn commit(&self, txn: Txn) -> StoreFuture<'_, Result<Revision, CommitError>> {
        Box::pin(async move {
            self.live().await;
            if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
                if self.lands {
                    // Conflicts are as good a moment to die as any.
                    drop(self.inner.commit(txn).await);
                }
                self.died.notify_waiters();
                self.died.notify_one();
                return std::future::pending().await;
            }
            self.inner.commit(txn).await
        })
    }

    fn watch<'a>(
        &'a self,
        prefix: &'a Prefix,
        after: Revision,
    ) -> StoreFuture<'a, Result<Watch, Unavailable>> {
        Box::pin(async move {
            self.live().await;
            self.inner.watch(prefix, after).await
        })
    }
}
