//! One connected agent: one task from its hello to its end.
//!
//! It pushes what the store assigns to the host, passes results on and acknowledges them once they are committed,
//! puts questions, and notices silence. `greet` is its beginning. What ends it is said to the agent in a farewell
//! where that still arrives.

mod ahead;
mod greet;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream::FuturesUnordered};
use longshore_common::{
    assignment::Assignment,
    code::{Code, Coded},
    ids::{AppName, Generation},
    report::Report,
    time::Millis,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    Fleet, FleetEvent, Host,
    presence::COMMAND_QUEUE,
    words::{Answer, FromAgent, Live, Question, ToAgent},
};
use crate::{
    store::{Change, Prefix, Watch, WatchEvent, record},
    trouble::Trouble,
};

/// Messages that wait for one agent; it takes them as fast as its connection goes.
pub const OUTBOUND_QUEUE: usize = 64;
/// An agent that takes no message for this long is as good as gone.
const SEND_DEADLINE: Duration = Duration::from_secs(20);
/// Reports of one host that may wait for their commit. Beyond it the agent's stream is not read.
const REPORTS_IN_FLIGHT: usize = 16;
/// Questions of one host that may wait for their answer; the oldest gives way.
const QUESTIONS_IN_FLIGHT: usize = 64;

/// Of an answer to no question: how the host's apps stand, where something has changed that no report tells of.
const UNASKED: u64 = 0;

/// When all hosts are to renew, each has this much of the time that they share, up to the most it may take.
const RENEWAL_SHARE_MS: u32 = 20;
const RENEWAL_MS_MAX: u32 = 600_000;

/// What an agent sends, decoded and checked.
pub type Inbound = Pin<Box<dyn Stream<Item = Result<FromAgent, Coded>> + Send>>;

/// What others ask of a session.
#[derive(Debug)]
pub(super) enum Command {
    Ask(Question, oneshot::Sender<Answer>),
    /// The host's record has changed.
    Welcome(Box<Host>),
    /// End now, and say why.
    Cut(Coded),
}

/// Sessions are numbered so that the end of one is never taken for that of its successor.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// Why a session ended.
enum End {
    /// The agent went away.
    Closed,
    /// The agent is told why.
    Said(Coded),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        End::Said(trouble.coded())
    }
}

type Done = Pin<Box<dyn Future<Output = (u64, Result<(), Trouble>)> + Send>>;

struct Session {
    fleet: Fleet,
    host: Host,
    number: u64,
    address: SocketAddr,
    /// SHA-256 of the public key that the session was opened with.
    key: [u8; 32],
    /// It was asked to renew its certificate, once.
    told_to_renew: bool,
    /// The end of the certificate that the session was opened with.
    expires_ms: Millis,
    inbound: Inbound,
    outbound: mpsc::Sender<ToAgent>,
    commands: mpsc::Receiver<Command>,
    /// The highest generation of each app that the agent holds or was sent.
    sent: BTreeMap<AppName, Generation>,
    committing: FuturesUnordered<Done>,
    questions: HashMap<u64, oneshot::Sender<Answer>>,
    next_question: u64,
}

impl Fleet {
    /// Begins a session; what the agent is to be told comes out of the receiver until the session ends.
    pub fn open(
        &self,
        host: Host,
        key: [u8; 32],
        expires_ms: Millis,
        address: SocketAddr,
        inbound: Inbound,
    ) -> mpsc::Receiver<ToAgent> {
        let (outbound, receiver) = mpsc::channel(OUTBOUND_QUEUE);
        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let session = Session {
            fleet: self.clone(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            host,
            address,
            key,
            told_to_renew: false,
            expires_ms,
            inbound,
            outbound,
            commands: queue,
            sent: BTreeMap::new(),
            committing: FuturesUnordered::new(),
            questions: HashMap::new(),
            next_question: UNASKED + 1,
        };
        self.inner.tasks.spawn(session.run(commands));
        receiver
    }
}

impl Session {
    async fn run(mut self, commands: mpsc::Sender<Command>) {
        let (host, name) = (self.host.id, self.host.name.clone());
        let end = match self.greet(commands).await {
            Ok(watch) => self.live(watch).await,
            Err(end) => end,
        };
        self.fleet.inner.presence.disconnect(&host, self.number);
        match end {
            End::Closed => tracing::info!(%host, %name, "session ended by the agent"),
            End::Said(why) => {
                tracing::info!(%host, %name, %why, "session ended");
                drop(self.outbound.send_timeout(ToAgent::Farewell(why), SEND_DEADLINE).await);
            }
        }
    }

    /// Everything until the end.
    async fn live(&mut self, mut watch: Watch) -> End {
        let stop = self.fleet.inner.stop.clone();
        let silence = self.fleet.inner.heartbeat.silence();
        let left = (self.expires_ms - self.fleet.inner.clock.now_ms()).max(0);
        let expiry = tokio::time::sleep(Duration::from_millis(left as u64));
        tokio::pin!(expiry);
        let mut heard = Instant::now();
        let mut checkpoints = self.fleet.inner.checkpoints.subscribe();
        checkpoints.mark_changed(); // the one that stands is told to whoever comes
        let mut signs = self.fleet.inner.signs.subscribe();
        if signs.borrow().is_some() {
            signs.mark_changed(); // it may have changed since the welcome
        }
        loop {
            let reading = self.committing.len() < REPORTS_IN_FLIGHT;
            let step = tokio::select! {
                // A word that has arrived counts before the silence that it ends; and whoever never stops talking is told
                // what there is, and put out, all the same.
                biased;
                () = stop.cancelled() => Err(End::Said(Trouble::Stopping.coded())),
                () = &mut expiry => Err(End::Said(expired())),
                command = self.commands.recv() => self.obey(command).await,
                Some((seq, result)) = self.committing.next() => self.settle(seq, result).await,
                event = watch.next() => self.changed(event, &mut watch).await,
                Ok(()) = checkpoints.changed() => {
                    let latest = checkpoints.borrow_and_update().clone();
                    match latest {
                        Some(checkpoint) => self.send(ToAgent::Checkpoint(checkpoint)).await,
                        None => Ok(()),
                    }
                }
                Ok(()) = signs.changed() => {
                    self.welcome(self.host.clone()).await
                }
                message = self.inbound.next(), if reading => {
                    heard = Instant::now();
                    self.take(message).await
                }
                () = tokio::time::sleep_until(heard + silence), if reading => Err(End::Said(silent(silence))),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn welcome(&mut self, host: Host) -> Result<(), End> {
        let heartbeat = self.fleet.inner.heartbeat.every.as_millis();
        self.host.labels.clone_from(&host.labels);
        self.host.drained.clone_from(&host.drained);
        let renew_within_ms = self.renew_within_ms();
        self.send(ToAgent::Welcome {
            server_time_ms: self.fleet.inner.clock.now_ms(),
            heartbeat_ms: u32::try_from(heartbeat).unwrap_or(u32::MAX),
            renew_within_ms,
            labels: host.labels,
            drained: host.drained,
        })
        .await
    }

    /// Not 0 when the host should have another key soon: its own may be a copy's as well, or its certificate is of a
    /// root that is on its way out. Said once in a session; the whole fleet takes its time.
    fn renew_within_ms(&mut self) -> u32 {
        let signs = self.fleet.inner.signs.borrow().clone();
        let ca = self.host.key(&self.key).map(|key| key.ca.as_str());
        let of_older_root = signs.is_some_and(|signs| ca != Some(signs.as_str()));
        if self.told_to_renew || !(self.host.renew || of_older_root) {
            return 0;
        }
        self.told_to_renew = true;
        let connected = u32::try_from(self.fleet.inner.presence.connected_count()).unwrap_or(u32::MAX);
        connected.saturating_mul(RENEWAL_SHARE_MS).clamp(1, RENEWAL_MS_MAX)
    }

    async fn obey(&mut self, command: Option<Command>) -> Result<(), End> {
        match command {
            None => Err(End::Said(Coded::new(Code::C01, "another session has taken this one's place"))),
            Some(Command::Cut(why)) => Err(End::Said(why)),
            Some(Command::Welcome(host)) => self.welcome(*host).await,
            Some(Command::Ask(question, answer)) => {
                let id = self.next_question;
                self.next_question += 1;
                self.questions.retain(|_, waiting| !waiting.is_closed());
                if self.questions.len() >= QUESTIONS_IN_FLIGHT
                    && let Some(oldest) = self.questions.keys().min().copied()
                {
                    self.questions.remove(&oldest);
                }
                self.questions.insert(id, answer);
                self.send(ToAgent::Question(id, question)).await
            }
        }
    }

    /// A report's commit has ended: only then may the agent forget it.
    async fn settle(&mut self, seq: u64, result: Result<(), Trouble>) -> Result<(), End> {
        match result {
            Ok(()) => self.send(ToAgent::Ack(seq)).await,
            // The agent keeps the report and says it again when it is back.
            Err(trouble) => Err(trouble.into()),
        }
    }

    async fn take(&mut self, message: Option<Result<FromAgent, Coded>>) -> Result<(), End> {
        let message = match message {
            None => return Err(End::Closed),
            Some(Err(why)) => return Err(End::Said(why)),
            Some(Ok(message)) => message,
        };
        let presence = &self.fleet.inner.presence;
        presence.heard(&self.host.id, self.fleet.inner.clock.now_ms());
        match message {
            FromAgent::Hello(_) => {
                return Err(End::Said(Coded::new(Code::V01, "a session has one hello")));
            }
            FromAgent::Heartbeat(_) => {}
            FromAgent::Report(seq, report) => self.report(seq, report).await?,
            FromAgent::Progress(progress) => {
                presence.update(&self.host.id, |connected| connected.note_step(&progress));
                self.fleet.say(self.host.id, &self.host.name, Live::Progress(progress));
            }
            FromAgent::Log(line) => self.fleet.say(self.host.id, &self.host.name, Live::Log(line)),
            FromAgent::Answer(UNASKED, answer) => {
                if let Answer::Pong { apps, .. } = answer {
                    presence.update(&self.host.id, |connected| connected.apps = apps);
                }
            }
            FromAgent::Answer(id, answer) => {
                if let Some(waiting) = self.questions.remove(&id) {
                    drop(waiting.send(answer)); // the asker may have given up
                }
            }
            FromAgent::Facts(facts) => {
                let was_frozen = self.is_frozen();
                self.remember_breaks(&facts).await;
                if was_frozen && !self.is_frozen() {
                    // What it declined for that it takes now.
                    let connected = self.fleet.presence().connected(&self.host.id);
                    let hold = connected.and_then(|connected| connected.hold);
                    self.fleet.tell(FleetEvent::Hold(self.host.id, hold)).await;
                }
            }
            FromAgent::Hold(hold) => {
                presence.update(&self.host.id, |connected| connected.hold = hold.clone());
                self.fleet.tell(FleetEvent::Hold(self.host.id, hold)).await;
            }
        }
        Ok(())
    }

    fn is_frozen(&self) -> bool {
        let connected = self.fleet.presence().connected(&self.host.id);
        connected.is_some_and(|connected| connected.is_frozen())
    }

    async fn report(&mut self, seq: u64, report: Box<Report>) -> Result<(), End> {
        if let Some(by) = &report.by {
            let live =
                report.live.as_ref().map_or("nothing is live".to_owned(), |live| format!("{live} is live"));
            let what = format!("{by} deployed release {} from a bundle; {live}", report.release.short());
            let event = format!("deployed on the host: {}", report.app);
            // Before it is acknowledged: a host that is not heard says it again.
            self.fleet.record_told(&self.host, &event, &what).await.map_err(End::Said)?;
        }
        let presence = &self.fleet.inner.presence;
        presence.update(&self.host.id, |connected| {
            connected.progress.remove(&report.app);
            connected.note(&report);
        });
        let (done, committed) = oneshot::channel();
        self.fleet.tell(FleetEvent::Report { host: self.host.id, report, done }).await;
        self.committing.push(Box::pin(async move {
            (seq, committed.await.unwrap_or(Err(Trouble::Stopping))) // dropped unanswered: the engine is gone
        }));
        Ok(())
    }

    async fn changed(&mut self, event: Option<WatchEvent>, watch: &mut Watch) -> Result<(), End> {
        match event {
            Some(WatchEvent::Changes(changes)) => {
                for change in &changes.changes {
                    if let Change::Put(entry) = change {
                        let assignment = record::decode_entry(entry).map_err(Trouble::from)?;
                        self.push(assignment).await?;
                    }
                }
            }
            Some(WatchEvent::Gap) | None => *watch = self.push_all().await?,
        }
        Ok(())
    }

    /// Sends whatever the agent does not hold, and watches from there.
    async fn push_all(&mut self) -> Result<Watch, End> {
        let (assignments, revision) = self.assigned().await?;
        for assignment in assignments {
            self.push(assignment).await?;
        }
        let prefix = Prefix::assignments_of(&self.host.id);
        let watch = self.fleet.inner.store.watch(&prefix, revision).await;
        Ok(watch.map_err(Trouble::from)?)
    }

    async fn assigned(&mut self) -> Result<(Vec<Assignment>, crate::store::Revision), Trouble> {
        let listing = self.fleet.inner.store.list(&Prefix::assignments_of(&self.host.id)).await?;
        let assignments = listing.entries.iter().map(record::decode_entry).collect::<Result<_, _>>()?;
        Ok((assignments, listing.revision))
    }

    async fn push(&mut self, assignment: Assignment) -> Result<(), End> {
        let held = self.sent.entry(assignment.app.clone()).or_default();
        if assignment.generation <= *held {
            return Ok(());
        }
        *held = assignment.generation;
        self.send(ToAgent::Assignment(Box::new(assignment))).await
    }

    async fn send(&mut self, message: ToAgent) -> Result<(), End> {
        // A full queue for this long, or a closed one: either way nobody is reading.
        self.outbound.send_timeout(message, SEND_DEADLINE).await.map_err(|_| End::Closed)
    }
}

fn expired() -> Coded {
    Coded::new(Code::C02, "the certificate of this session has expired; renew it and connect again")
}

fn silent(silence: Duration) -> Coded {
    Coded::new(Code::C01, format!("nothing heard for {silence:?}"))
}
