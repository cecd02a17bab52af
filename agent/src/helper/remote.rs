//! The agent's half: the helper's crew as it looks from here.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use longshore_common::{
    assignment::Assignment,
    code::{Code, Coded},
    digest::ReleaseDigest,
    ids::{AppName, Generation},
    report::{Failure, Report, StepName},
    settings::Secrets,
    slot::Slot,
    time::{Clock as _, Millis, SystemClock},
    traffic::{Directed, Looked},
};
use longshore_proto::v1 as pb;
use prost::Message as _;
use tokio::{
    io::AsyncWriteExt as _,
    net::UnixStream,
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    VERSION,
    away::{away, away_over},
    bring, expand,
    frame::{self, FrameError},
    mirror::Mirror,
    words::{Ask, Call, Say, Snapshot},
};
use crate::{
    host::{Follow, Sink, Usage, fault, suite},
    offline::{HandOrder, Ordered, Pieces},
    plan::{Drain, Hold},
    run::{Accounts, Activity, Boot, Found, Glance, Standing, Told, Works},
    state::Row,
    uplink::Uplink,
};

/// For an answer that takes no work.
const ANSWER: Duration = Duration::from_secs(60);
/// For the helper to be started by its socket, with all that a crash left to clean.
const ATTACH: Duration = Duration::from_secs(60);
/// For a whole bundle to be examined once it has come.
const DEPLOY: Duration = Duration::from_secs(600);
/// For one part of it to be taken: each is written to the disk before the next.
const PART: Duration = Duration::from_secs(120);
/// Parts of it, expanded, that wait for the helper.
const PARTS_AHEAD: usize = 4;
/// For a helper that is away to be back, when something is asked of it: one that restarts needs a moment.
const BACK: Duration = Duration::from_secs(5);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(250);
/// Longest that a log is followed.
const FOLLOW: Duration = Duration::from_secs(24 * 3600);

/// Cheap to clone.
#[derive(Clone)]
pub struct Remote(Arc<Mirror>);

impl Remote {
    /// Waits for the helper, which keeps its state below `data`, and stays attached until `shutdown`.
    pub async fn attach(
        socket: &Path,
        data: &Path,
        uplink: Uplink,
        shutdown: CancellationToken,
    ) -> Result<Self, Coded> {
        let remote = Self(Arc::new(Mirror::new(socket.to_owned(), data.to_owned(), uplink)));
        let (told, given_up) = (remote.clone(), shutdown.clone());
        tokio::spawn(async move { given_up.run_until_cancelled_owned(told.stay()).await });
        let handing = remote.clone();
        tokio::spawn(async move { shutdown.run_until_cancelled_owned(handing.hand_on()).await });
        let mut snapshot = remote.0.snapshot.subscribe();
        let there = timeout(ATTACH, snapshot.wait_for(Option::is_some)).await.is_ok();
        if there {
            return Ok(remote);
        }
        let (why, heard) = (remote.why_away(), remote.0.known().why.take());
        Err(heard.filter(|_| why.code == Code::C01).unwrap_or(why)) // it says more of the socket
    }

    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot.borrow().clone().expect("nobody has a remote before it was attached")
    }

    /// Never returns.
    async fn stay(self) {
        let mut said = false;
        loop {
            let mut errands = JoinSet::new();
            let ended = self.attach_once(&mut errands).await;
            let was = std::mem::replace(&mut self.0.known().attached, false);
            if let Err(why) = ended {
                if was || !said {
                    tracing::warn!("{why}");
                    said = true;
                }
                self.0.known().why = Some(why);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Until the connection ends.
    async fn attach_once(&self, errands: &mut JoinSet<()>) -> Result<(), Coded> {
        let mut stream = self.call(Ask::Attach {}).await?;
        loop {
            let say = frame::hear(&mut stream, frame::SAY_BYTES).await.map_err(|e| lost(&e))?;
            while errands.try_join_next().is_some() {}
            match say {
                Some(Say::Snapshot(snapshot)) => self.0.begin(*snapshot),
                Some(Say::Report { seq, report }) => self.0.note_report(seq, *report),
                Some(Say::Hold { hold }) => drop(self.0.hold.send_replace(hold)),
                Some(Say::Apps { apps }) => self.0.note_apps(apps),
                // Nobody watching is not an error.
                Some(Say::Told(told)) => drop(self.0.told.send(told)),
                Some(Say::Errand { ticket, errand }) => {
                    let (socket, uplink) = (self.0.socket.clone(), self.0.uplink.clone());
                    errands.spawn(bring::run(socket, uplink, ticket, errand));
                }
                Some(Say::No(wrong)) => return Err(wrong.into()),
                Some(_) => return Err(out_of_turn()),
                None => return Err(away()),
            }
        }
    }

    /// Assignments, one after the other, each until the helper has it. Never returns.
    async fn hand_on(self) {
        loop {
            let next = self.0.known().assignments.front().cloned();
            let Some(assignment) = next else {
                self.0.due.notified().await;
                continue;
            };
            let ask = Ask::Assign { assignment: Box::new(assignment.clone()) };
            let handed = match self.there().await {
                Ok(()) => self.talk(ask, ANSWER, &Sink::nowhere()).await,
                // Whatever keeps the helper away, it has not seen this one.
                Err(why) => Err(Coded::new(Code::C01, why.message)),
            };
            match handed {
                Ok(_) => {}
                Err(refused) if refused.code != Code::C01 => {
                    tracing::error!(app = %assignment.app, "the helper does not take an assignment: {refused}");
                }
                Err(_) => {
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            }
            let mut known = self.0.known();
            if known.assignments.front() == Some(&assignment) {
                known.assignments.pop_front();
            }
        }
    }

    async fn call(&self, ask: Ask) -> Result<UnixStream, Coded> {
        let away = |e: std::io::Error| Coded::new(Code::C01, format!("{}: {e}", away().message));
        let mut stream = UnixStream::connect(&self.0.socket).await.map_err(away)?;
        frame::say(&mut stream, &Call { version: VERSION, ask }).await.map_err(away)?;
        Ok(stream)
    }

    /// A socket takes questions also where the service behind it cannot start, and nobody answers them.
    async fn there(&self) -> Result<(), Coded> {
        let mut snapshots = self.0.snapshot.subscribe(); // before the look, so that one that comes now is not missed
        let attached = self.0.known().attached;
        if attached || timeout(BACK, snapshots.changed()).await.is_ok() {
            return Ok(());
        }
        Err(self.why_away())
    }

    fn why_away(&self) -> Coded {
        let said = self.0.known().why.clone();
        said.filter(|why| why.code != Code::C01).unwrap_or_else(|| away_over(&self.0.data))
    }

    async fn ask(&self, ask: Ask) -> Result<Say, Coded> {
        self.ask_within(ask, ANSWER, &Sink::nowhere()).await
    }

    async fn ask_within(&self, ask: Ask, within: Duration, sink: &Sink) -> Result<Say, Coded> {
        self.there().await?;
        self.talk(ask, within, sink).await
    }

    /// With a helper that is there.
    async fn talk(&self, ask: Ask, within: Duration, sink: &Sink) -> Result<Say, Coded> {
        let talk = async {
            let mut stream = self.call(ask).await?;
            loop {
                match frame::hear(&mut stream, frame::SAY_BYTES).await {
                    Ok(Some(Say::Event(event))) => sink.send(event),
                    Ok(Some(Say::No(wrong))) => return Err(wrong.into()),
                    Ok(Some(say)) => return Ok(say),
                    Ok(None) => return Err(away()),
                    Err(e) => return Err(Coded::new(Code::C01, format!("the helper's answer: {e}"))),
                }
            }
        };
        let late = || Coded::new(Code::C01, format!("the helper did not answer within {within:?}"));
        timeout(within, talk).await.unwrap_or_else(|_| Err(late()))
    }

    async fn try_within(&self, ask: Ask, within: Duration, sink: &Sink) -> Result<Say, Failure> {
        match self.ask_within(ask, within, sink).await {
            Ok(Say::Failed(failure)) => Err(failure),
            Ok(say) => Ok(say),
            Err(e) => Err(fault::host(e.code, StepName::Check, e.message)),
        }
    }
}

/// One that ends in the midst of a word is away like one that ends between two.
fn lost(error: &FrameError) -> Coded {
    match error {
        FrameError::Broken(_) | FrameError::Torn => {
            Coded::new(Code::C01, format!("{}: {error}", away().message))
        }
        FrameError::TooLong { .. }
        | FrameError::Kind(_)
        | FrameError::Senseless(_)
        | FrameError::OutOfTurn => error.coded(),
    }
}

fn out_of_turn() -> Coded {
    Coded::new(Code::X01, "the helper spoke out of turn")
}

fn unexpected() -> Failure {
    let wrong = out_of_turn();
    fault::host(wrong.code, StepName::Check, wrong.message)
}

impl Works for Remote {
    fn assign(&self, assignment: Assignment) {
        self.0.queue(assignment);
    }

    async fn revert(&self, app: &AppName, to: Option<Slot>, by: String) -> Result<(), Coded> {
        self.ask(Ask::Revert { app: app.clone(), to, by }).await.map(drop)
    }

    fn watch(&self) -> broadcast::Receiver<Told> {
        self.0.told.subscribe()
    }

    fn apps(&self) -> Vec<AppName> {
        self.0.snapshot.borrow().as_ref().map(|snapshot| snapshot.apps.clone()).unwrap_or_default()
    }

    async fn standing(&self, app: &AppName) -> Standing {
        let why = match self.ask(Ask::Standing { app: app.clone() }).await {
            Ok(Say::Standing(standing)) => {
                self.0.known().standings.insert(app.clone(), (*standing).clone());
                return *standing;
            }
            Ok(_) => unexpected(),
            Err(e) => fault::host(e.code, StepName::Check, e.message),
        };
        let known = self.0.known().standings.get(app).map(|known| known.record.clone());
        Standing { record: known.unwrap_or_default(), activity: Activity::default(), seen: Err(why) }
    }

    async fn logs(&self, app: &AppName, lines: usize, follow: Follow, sink: &Sink) -> Result<(), Failure> {
        let (follow, within) = match follow {
            Follow::Yes => (true, FOLLOW),
            Follow::No => (false, ANSWER),
        };
        let ask = Ask::Logs { app: app.clone(), lines: lines as u32, follow };
        self.try_within(ask, within, sink).await.map(drop)
    }

    async fn usage(&self, app: &AppName, since: Millis) -> Result<Usage, Failure> {
        match self
            .try_within(Ask::Usage { app: app.clone(), since_ms: since }, ANSWER, &Sink::nowhere())
            .await?
        {
            Say::Usage(usage) => Ok(usage),
            _ => Err(unexpected()),
        }
    }

    async fn glance(&self, app: &AppName, generation: Generation) -> Result<Glance, Failure> {
        let ask = Ask::Glance { app: app.clone(), generation };
        match self.try_within(ask, ANSWER, &Sink::nowhere()).await? {
            Say::Glance(glance) => Ok(glance),
            _ => Err(unexpected()),
        }
    }

    async fn test(
        &self,
        app: &AppName,
        release: &ReleaseDigest,
        test: &str,
        limit: Duration,
        sink: &Sink,
    ) -> Result<Option<suite::Outcome>, Failure> {
        let limit_ms = limit.as_millis() as u64;
        let ask = Ask::Test { app: app.clone(), release: *release, test: test.to_owned(), limit_ms };
        match self.try_within(ask, limit + ANSWER, sink).await? {
            Say::Tested { outcome } => Ok(outcome),
            _ => Err(unexpected()),
        }
    }

    fn hold(&self) -> Option<Hold> {
        self.0.hold.borrow().clone()
    }

    fn watch_hold(&self) -> watch::Receiver<Option<Hold>> {
        self.0.hold.subscribe()
    }

    async fn set_hold(&self, hold: Option<Hold>, by: &str) -> Result<bool, Coded> {
        match self.ask(Ask::Hold { hold: hold.clone(), by: by.to_owned() }).await? {
            Say::Changed { changed } => {
                if changed {
                    // The helper says so as well; whoever asks next must not hear the old word.
                    self.0.hold.send_replace(hold);
                }
                Ok(changed)
            }
            _ => Err(out_of_turn()),
        }
    }

    async fn drain(&self, drain: Option<Drain>) -> Result<(), Coded> {
        self.ask(Ask::Drain { drain }).await.map(drop)
    }

    fn outbox_after(&self, seq: u64) -> Vec<(u64, Report)> {
        self.0.known().reports.range(seq + 1..).map(|(seq, report)| (*seq, report.clone())).collect()
    }

    fn outbox_len(&self) -> usize {
        self.0.known().reports.len()
    }

    fn watch_outbox(&self) -> watch::Receiver<u64> {
        self.0.outbox.subscribe()
    }

    async fn acknowledge(&self, seq: u64) -> Result<(), Coded> {
        self.ask(Ask::Acknowledge { seq }).await?;
        self.0.known().reports.remove(&seq);
        Ok(())
    }

    async fn history(&self, app: Option<&AppName>, limit: usize) -> Result<Vec<Row>, Coded> {
        match self.ask(Ask::History { app: app.cloned(), limit: limit as u32 }).await? {
            Say::Rows { rows } => Ok(rows),
            _ => Err(out_of_turn()),
        }
    }

    async fn trust(&self) -> pb::TrustFacts {
        let why = match self.ask(Ask::Trust {}).await {
            Ok(Say::Trust(trust)) => {
                let trust = pb::TrustFacts::from(trust);
                self.0.known().trust.clone_from(&trust);
                return trust;
            }
            Ok(_) => out_of_turn(),
            Err(why) => why,
        };
        // What was told stays told: glass that was broken before is no news when the helper is back.
        let before = self.0.known().trust.clone();
        pb::TrustFacts { state: "unknown".into(), problem: why.to_string(), ..before }
    }

    async fn deploy(&self, wanted: HandOrder, pieces: Pieces) -> Result<Ordered, Coded> {
        self.there().await?;
        let told = self.watch(); // before the order, so that nothing is missed
        let broken = |e: std::io::Error| Coded::new(Code::C01, format!("{}: {e}", away().message));
        let mut stream = self.call(Ask::Deploy { wanted: Box::new(wanted) }).await?;
        let (parts, mut coming) = mpsc::channel(PARTS_AHEAD);
        let expanding = tokio::task::spawn_blocking(move || expand::bundle(pieces, parts));
        let mut listens = true;
        while let Some(part) = coming.recv().await {
            listens = frame::pass_within(PART, &mut stream, &part).await?;
            if !listens {
                break;
            }
        }
        drop(coming);
        let died = |died| Coded::new(Code::X01, format!("expanding the bundle ended: {died}"));
        let expanded = expanding.await.map_err(died)?;
        drop(stream.shutdown().await.map_err(broken));
        let answer = timeout(DEPLOY, frame::hear(&mut stream, frame::SAY_BYTES)).await;
        // What is wrong with the bundle, said when the helper has let go of what came of it; why it listens no more is in
        // its answer.
        if listens {
            expanded?;
        }
        let late = |_| Coded::new(Code::C01, "the helper did not answer in time: longshore-agent status");
        match answer.map_err(late)?.map_err(|e| lost(&e))? {
            Some(Say::Ordered { app, version, generation }) => Ok(Ordered { app, version, generation, told }),
            Some(Say::No(wrong)) => Err(wrong.into()),
            Some(_) => Err(out_of_turn()),
            None => Err(away()),
        }
    }

    async fn verified(&self) -> Result<pb::TrustAnswer, Coded> {
        match self.ask(Ask::Verified {}).await? {
            Say::Verified { answer } => {
                let read = pb::TrustAnswer::decode(&answer[..]);
                read.map_err(|e| Coded::new(Code::X01, format!("the helper's answer: {e}")))
            }
            _ => Err(out_of_turn()),
        }
    }

    async fn accounts(&self, wanted: Accounts) -> Found {
        let problem = match self.ask(Ask::Accounts(wanted)).await {
            Ok(Say::Accounts(found)) => return found,
            Ok(_) => out_of_turn().message,
            Err(why) => why.message,
        };
        Found { missing: vec![], problem: Some(problem) }
    }

    async fn secrets_missing(&self, secrets: Secrets) -> Vec<String> {
        if secrets.is_empty() {
            return vec![];
        }
        match self.ask(Ask::Secrets { secrets }).await {
            Ok(Say::Missing { secrets }) => secrets,
            Ok(_) => vec![out_of_turn().message],
            Err(why) => vec![format!("the helper did not say which secrets are there: {}", why.message)],
        }
    }

    async fn look_at_director(&self, app: &AppName, asked: Directed) -> Looked {
        let why = match self.ask(Ask::Look { app: app.clone(), asked: Box::new(asked) }).await {
            Ok(Say::Looked(looked)) => return looked,
            Ok(_) => out_of_turn().message,
            Err(why) => why.message,
        };
        let why = format!("the helper did not say whether traffic can be directed there: {why}");
        Looked { problems: vec![why], notes: vec![] }
    }

    fn boot(&self) -> Boot {
        let snapshot = self.snapshot();
        Boot { id: snapshot.boot_id, counter: snapshot.boot_counter }
    }

    fn now_ms(&self) -> Millis {
        SystemClock.now_ms()
    }

    fn away(&self) -> Coded {
        self.why_away()
    }

    fn helper(&self) -> Option<String> {
        let version = self.snapshot().helper_version;
        Some(if self.0.known().attached { version } else { String::new() })
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let socket: &PathBuf = &self.0.socket;
        write!(f, "Remote({})", socket.display())
    }
}
