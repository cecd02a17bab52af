//! One session, from its hello to its end.

use std::{num::NonZeroU32, time::Duration};

use longshore_common::{
    assignment::Assignment,
    code::{Code, Coded},
    label::Labels,
    text::visible,
    time::{Millis, Span, rounded},
    wire,
};
use longshore_proto::v1::{
    self as pb, answer::About, from_agent::Message as Say, session_client::SessionClient,
    to_agent::Message as Hear,
};
use tokio::{
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{
    Connection, Link,
    answer::Answerer,
    dial::{explain, in_few_words},
    duties::{Done, Duties, Duty},
    renew, words,
};
use crate::{
    host::lean,
    identity::{Pair, machine_id},
    plan::{Drain, Hold},
    run::{Boot, Told, Works},
};

/// Messages that wait for the connection. Reports wait until there is room; progress and lines are dropped instead.
const OUTBOUND: usize = 64;
/// From opening the stream to the welcome.
const WELCOME_DEADLINE: Duration = Duration::from_secs(15);
/// When the controller names none.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Bytes of one message from the controller.
const MESSAGE_BYTES: usize = 1 << 20;
/// A clock that is further off than this is said to be wrong; certificates are back-dated by as much.
const CLOCK_TOLERANCE_MS: Millis = 5 * 60_000;
const PROTOCOL: u32 = 1;
/// Of an answer to no question: what stands here has changed, and no report tells of it.
const UNASKED: u64 = 0;
/// Between two looks at how this host knows what may run on it: a minute, where the controller wants a word every ten
/// seconds. Root changes it without us.
const BEATS_BETWEEN_LOOKS: u32 = 6;

/// Why a session ended.
pub(super) enum End {
    /// The controller said so.
    Told(Coded),
    /// The connection is gone.
    Lost(Coded),
}

pub(super) struct Session<'l, W> {
    link: &'l mut Link<W>,
    address: String,
    channel: Channel,
    say: mpsc::Sender<pb::FromAgent>,
    hear: Streaming<pb::ToAgent>,
    told: broadcast::Receiver<Told>,
    outbox: watch::Receiver<u64>,
    hold: watch::Receiver<Option<Hold>>,
    heartbeat: Interval,
    beats: u32,
    /// Beats in a row at which the helper was away.
    without_helper: u32,
    /// What the controller was told last of what is trusted here.
    trust: pb::TrustFacts,
    answerer: Answerer<W>,
    duties: Duties<W>,
    /// The last report that was put on this connection.
    sent: u64,
    renew_at: Instant,
    /// The clock on the wall and the one that timers go by, at the last beat.
    clocks: (Millis, Instant),
    /// The controller wants another key here soon, and to see it.
    asked_to_renew: bool,
    renewing: JoinSet<Result<Pair, Coded>>,
}

impl<'l, W: Works> Session<'l, W> {
    /// Up to the welcome.
    pub(super) async fn open(link: &'l mut Link<W>, address: &str, channel: Channel) -> Result<Self, Coded> {
        let told = link.crew.watch();
        let (mut outbox, mut hold) = (link.crew.watch_outbox(), link.crew.watch_hold());
        outbox.mark_changed(); // what lies there already has to be sent as well
        hold.mark_unchanged(); // the hello says it
        let (say, messages) = mpsc::channel(OUTBOUND);
        let (hello, under_way) = hello(link).await;
        let trust = hello.facts.as_ref().and_then(|facts| facts.trust.clone()).unwrap_or_default();
        if trust.state == "unknown" {
            // The helper went just now: the rest of that hello would say that nothing runs here.
            return Err(link.crew.away());
        }
        let hello = say_of(Say::Hello(hello));
        say.try_send(hello).expect("the queue is new and empty");
        for progress in under_way {
            drop(say.try_send(say_of(Say::Progress(progress)))); // what finds no room is told again as it goes on
        }
        let mut client = SessionClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES);
        let welcomed = async {
            let mut hear = client
                .open(ReceiverStream::new(messages))
                .await
                .map_err(|s| of_status(address, &s))?
                .into_inner();
            let first = hear.message().await.map_err(|s| of_status(address, &s))?;
            Ok((hear, first.and_then(|message| message.message)))
        };
        let welcomed = tokio::time::timeout(WELCOME_DEADLINE, welcomed).await;
        let silent = || {
            Coded::new(Code::C01, format!("the controller at {address} did not welcome this host in time"))
        };
        let (hear, first) = welcomed.unwrap_or_else(|_| Err(silent()))?;
        let welcome = match first {
            Some(Hear::Welcome(welcome)) => welcome,
            Some(Hear::Farewell(farewell)) => return Err(of_farewell(farewell)),
            Some(_) | None => {
                return Err(Coded::new(Code::X01, "the controller's first word was not a welcome"));
            }
        };
        let renew_at = renew::at(link);
        let answerer =
            Answerer::new(link.crew.clone(), link.facts.clone(), link.witness.clone(), say.clone());
        let duties = Duties::new(link.crew.clone());
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay); // of those that were missed none is made up
        let mut session = Self {
            address: address.to_owned(),
            channel,
            say,
            hear,
            told,
            outbox,
            hold,
            heartbeat,
            beats: 0,
            without_helper: 0,
            trust,
            answerer,
            duties,
            sent: 0,
            renew_at,
            clocks: (link.crew.now_ms(), Instant::now()),
            asked_to_renew: false,
            renewing: JoinSet::new(),
            link,
        };
        session.welcomed(&welcome);
        session.link.uplink.send_replace(Some(session.channel.clone()));
        Ok(session)
    }

    /// Until it ends.
    pub(super) async fn live(mut self) -> End {
        let now = self.link.crew.now_ms();
        tracing::info!(controller = self.address, "connected");
        let (address, validity) = (self.address.clone(), self.link.pair.validity);
        let fingerprint = self.link.pair.fingerprint();
        self.link.connection.send_modify(|connection| {
            *connection = Connection {
                controller: address,
                connected: true,
                since_ms: now,
                error: String::new(),
                certificate_expires_ms: validity.not_after_ms,
                certificate_renew_by_ms: validity.renew_by(),
                fingerprint,
                labels_out_of_force: std::mem::take(&mut connection.labels_out_of_force),
            };
        });
        loop {
            let end = tokio::select! {
                message = self.hear.message(), if self.duties.has_room() => self.heard(message).await,
                done = self.duties.next() => self.did(done).await,
                Ok(()) = self.outbox.changed() => self.hand_out().await,
                told = self.told.recv() => self.pass_on(told),
                Ok(()) = self.hold.changed() => self.say_hold().await,
                _ = self.heartbeat.tick() => self.beat().await,
                () = tokio::time::sleep_until(self.renew_at), if self.renewing.is_empty() => self.begin_renewal(),
                Some(renewed) = self.renewing.join_next() => self.renewed(renewed),
            };
            lean::stirred();
            if let Err(end) = end {
                return end;
            }
        }
    }

    /// A host that could change its own labels could move itself into any environment, so those that it enrolled with,
    /// as operators have changed them since, are the ones that count.
    fn compare_labels(&mut self, counting: &Labels) {
        let differs = |(key, value): &(&String, &String)| counting.get(*key) != Some(*value);
        let changed: Vec<String> =
            self.link.labels.iter().filter(differs).map(|(key, value)| format!("{key}={value}")).collect();
        if self.link.connection.borrow().labels_out_of_force == changed {
            return; // said already
        }
        self.link.connection.send_modify(|connection| connection.labels_out_of_force.clone_from(&changed));
        if !changed.is_empty() {
            let (name, changed) = (&self.link.pair.name, changed.join(" "));
            tracing::warn!(
                "labels in agent.toml count at enrolment only, and the controller has others: {changed} is not in force. \
                 On the controller: longshore host label {name} {changed}"
            );
        }
    }

    /// Also said later in a session, when something in it changes.
    fn welcomed(&mut self, welcome: &pb::Welcome) {
        self.compare_labels(&welcome.labels);
        let now = self.link.crew.now_ms();
        let drain = welcome.drain.clone().map(|pb::Drain { by, reason, since_ms, stop_ms }| Drain {
            by,
            reason,
            since_ms,
            stop_ms,
            here_ms: now + (stop_ms - welcome.server_time_ms).clamp(0, Span::MAX_MS as Millis),
        });
        self.duties.take(Duty::Drain(drain));
        let every = match welcome.heartbeat_ms {
            0 => HEARTBEAT,
            ms => Duration::from_millis(ms.into()),
        };
        if self.heartbeat.period() != every {
            self.heartbeat = tokio::time::interval_at(Instant::now() + every, every);
            self.heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        if let Some(within) = NonZeroU32::new(welcome.renew_within_ms) {
            let at = Instant::now() + renew::within(Duration::from_millis(within.get().into()));
            self.renew_at = self.renew_at.min(at);
            self.asked_to_renew = true;
        }
        let ahead = self.link.crew.now_ms() - welcome.server_time_ms;
        if welcome.server_time_ms != 0 && ahead.abs() > CLOCK_TOLERANCE_MS {
            tracing::warn!("{}", super::wrong_clock(ahead));
        }
    }

    async fn heard(&mut self, message: Result<Option<pb::ToAgent>, tonic::Status>) -> Result<(), End> {
        let lost = |why| End::Lost(Coded::new(Code::C01, why));
        let message = match message {
            Ok(Some(message)) => message.message,
            Ok(None) => return Err(lost("the controller closed the session".to_owned())),
            Err(status) => return Err(End::Lost(of_status(&self.address, &status))),
        };
        match message {
            Some(Hear::Welcome(welcome)) => self.welcomed(&welcome),
            Some(Hear::Assignment(assignment)) => match Assignment::try_from(assignment) {
                Ok(assignment) => self.duties.take(Duty::Assign(Box::new(assignment))),
                Err(invalid) => {
                    tracing::error!("the controller sent an assignment that does not read: {invalid}")
                }
            },
            Some(Hear::Ack(ack)) => self.duties.take(Duty::Acknowledge(ack.seq)),
            Some(Hear::Question(question)) => self.answerer.answer(question),
            Some(Hear::Checkpoint(checkpoint)) => {
                let witness = self.link.witness.clone();
                // One after the other: an older one that comes last would look like a log that was rewritten.
                let kept = tokio::task::spawn_blocking(move || witness.keep(checkpoint)).await;
                kept.expect("keeping a checkpoint does not panic");
            }
            Some(Hear::Farewell(farewell)) => return Err(End::Told(of_farewell(farewell))),
            None => tracing::debug!("the controller sent a message that this version does not know"),
        }
        Ok(())
    }

    /// What was not kept is said again in the next session.
    async fn did(&mut self, done: Done) -> Result<(), End> {
        match done {
            Done::Duty(Ok(())) => Ok(()),
            // Its process may be about to end; see `State::failed`.
            Done::Duty(Err(failed)) => Err(End::Lost(failed)),
            Done::Trust(now) => self.trust_is(*now).await,
            Done::Apps(_) if self.link.helper_away() => Ok(()), // it went while it was asked
            Done::Apps(apps) => {
                let about = Some(About::Pong(pb::Pong { time_ms: self.link.crew.now_ms(), apps }));
                self.send(Say::Answer(pb::Answer { id: UNASKED, about })).await
            }
        }
    }

    async fn hand_out(&mut self) -> Result<(), End> {
        for (seq, report) in self.link.crew.outbox_after(self.sent) {
            self.send(Say::Report(report.to_message(seq))).await?;
            self.sent = seq;
        }
        Ok(())
    }

    /// Dropped when the connection is slower than what there is to tell.
    fn pass_on(&mut self, told: Result<Told, broadcast::error::RecvError>) -> Result<(), End> {
        let message = match told {
            Ok(Told::Progress { app, generation, step, done, total, detail }) => {
                Say::Progress(pb::Progress {
                    app: app.to_string(),
                    generation: generation.0,
                    step: step.to_string(),
                    bytes_done: done,
                    bytes_total: total,
                    detail,
                })
            }
            Ok(Told::Line(told)) => Say::Log(words::line(told)),
            Ok(Told::Tidied { .. }) => {
                self.duties.look_at_apps();
                return Ok(());
            }
            // The report says it; what was missed is gone; and the crew outlives the session.
            Ok(Told::Concluded { .. }) | Err(_) => return Ok(()),
        };
        drop(self.say.try_send(say_of(message)));
        Ok(())
    }

    async fn say_hold(&mut self) -> Result<(), End> {
        let hold = words::hold_state(self.hold.borrow_and_update().as_ref());
        self.send(Say::Hold(hold)).await
    }

    async fn beat(&mut self) -> Result<(), End> {
        let time_ms = self.link.crew.now_ms();
        self.look_at_clocks(time_ms);
        self.send(Say::Heartbeat(pb::Heartbeat { time_ms })).await?;
        self.beats += 1;
        if self.link.helper_away() {
            self.without_helper += 1;
            return self.say_helper_away().await;
        }
        self.without_helper = 0;
        if self.beats.is_multiple_of(BEATS_BETWEEN_LOOKS) {
            self.duties.look_at_trust();
        }
        Ok(())
    }

    /// Of a host without its helper nothing can be told but that: the controller hears it, and then the session ends. A
    /// helper that only restarts is back before the second beat.
    async fn say_helper_away(&mut self) -> Result<(), End> {
        let why = self.link.crew.away();
        match self.without_helper {
            0 | 1 => Ok(()),
            2 => {
                let (state, problem) = ("unknown".to_owned(), why.to_string());
                self.trust = pb::TrustFacts { state, problem, ..self.trust.clone() };
                let facts = self.link.facts.gather(self.trust.clone()).await;
                self.send(Say::Facts(facts)).await
            }
            _ => Err(End::Lost(why)),
        }
    }

    /// Certificates run out by the clock on the wall. When it jumps (a machine that slept, a clock that was set), what is
    /// due by it is due now, whatever the timers say.
    fn look_at_clocks(&mut self, wall_ms: Millis) {
        let (then_ms, then) = std::mem::replace(&mut self.clocks, (wall_ms, Instant::now()));
        let passed = self.clocks.1.duration_since(then).as_millis() as Millis;
        if (wall_ms - then_ms - passed).abs() > CLOCK_TOLERANCE_MS {
            self.renew_at = self.renew_at.min(renew::at(self.link));
        }
    }

    /// Glass that is broken during a session is told in it.
    async fn trust_is(&mut self, now: pb::TrustFacts) -> Result<(), End> {
        let alike = pb::TrustFacts { verified_ms: self.trust.verified_ms, ..now.clone() };
        if alike == self.trust {
            return Ok(());
        }
        for broken in now.breaks.iter().filter(|broken| !self.trust.breaks.contains(broken)) {
            tracing::warn!("glass broken on this host: {}", visible(broken));
        }
        self.trust.clone_from(&now);
        let facts = self.link.facts.gather(now).await;
        self.send(Say::Facts(facts)).await
    }

    fn begin_renewal(&mut self) -> Result<(), End> {
        self.renewing.spawn(renew::renew(self.link.folder.clone(), self.channel.clone()));
        Ok(())
    }

    fn renewed(&mut self, renewed: Result<Result<Pair, Coded>, tokio::task::JoinError>) -> Result<(), End> {
        match renewed.unwrap_or_else(|e| Err(Coded::new(Code::X01, format!("the renewal ended early: {e}"))))
        {
            Ok(pair) => {
                let left = pair.validity.not_after_ms - self.link.crew.now_ms();
                tracing::info!("certificate renewed; it is good for {}", rounded(left));
                self.link.take_over(pair);
                self.renew_at = renew::at(self.link).max(Instant::now() + renew::PAUSE);
                if self.asked_to_renew {
                    let why = "connecting anew, with the key and certificate that the controller asked for";
                    return Err(End::Lost(Coded::new(Code::C01, why)));
                }
            }
            Err(error) => {
                // By a certificate that has run out nobody renews; there is another way back, over a new connection.
                if let Some(expired) = self.link.expired() {
                    return Err(End::Lost(expired));
                }
                tracing::warn!("certificate not renewed, tried again later: {error}");
                self.renew_at = renew::again(self.link);
            }
        }
        Ok(())
    }

    /// Waits for room; the connection's own keepalive ends a wait that would be endless.
    async fn send(&mut self, message: Say) -> Result<(), End> {
        let gone = || End::Lost(Coded::new(Code::C01, "the connection to the controller is gone"));
        self.say.send(say_of(message)).await.map_err(|_| gone())
    }
}

/// The first word, and what is under way.
async fn hello<W: Works>(link: &Link<W>) -> (pb::Hello, Vec<pb::Progress>) {
    let Boot { id, counter } = link.crew.boot();
    let (apps, under_way): (Vec<_>, Vec<_>) = words::standings(&link.crew).await.into_iter().unzip();
    let hello = pb::Hello {
        protocol: PROTOCOL,
        agent_version: env!("CARGO_PKG_VERSION").into(),
        boot_id: id,
        boot_counter: counter,
        name: link.pair.name.clone(),
        labels: link.labels.clone(),
        facts: Some(link.facts.gather(link.crew.trust().await).await),
        apps,
        hold: Some(words::hold_state(link.crew.hold().as_ref())),
        time_ms: link.crew.now_ms(),
        recipient: link.recipient.clone(),
        machine_id: machine_id(),
    };
    (hello, under_way.into_iter().flatten().collect())
}

fn say_of(message: Say) -> pb::FromAgent {
    pb::FromAgent { message: Some(message) }
}

fn of_farewell(farewell: pb::Farewell) -> Coded {
    let code = farewell.code.parse().unwrap_or(Code::C01);
    Coded::new(code, format!("the controller ended the session: {}", visible(&farewell.message)))
}

/// TLS 1.3 tells of a refused client certificate only after the handshake, in the first thing that is read.
fn of_status(address: &str, status: &tonic::Status) -> Coded {
    explain(address, status).unwrap_or_else(|| {
        let told = wire::from_status(status);
        match told.code == Code::C01 && !status.metadata().contains_key(wire::CODE_KEY) {
            true => broken_off(address, &in_few_words(&told.message)),
            false => told,
        }
    })
}

fn broken_off(address: &str, why: &str) -> Coded {
    let message = format!(
        "the connection to the controller at {address} broke off: {why}. It is tried again; whether the \
         controller runs is said there by: systemctl status longshore-controller"
    );
    Coded::new(Code::C01, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_breaks_off_names_the_controller_and_the_cause() {
        let cause = std::io::Error::other("connection reset by peer");
        let lost = of_status("ctl.example:7440", &tonic::Status::from_error(Box::new(cause)));
        assert_eq!(lost.code, Code::C01);
        let said = "the connection to the controller at ctl.example:7440 broke off: connection reset by peer";
        assert!(lost.message.starts_with(said), "{lost}");
        let told = wire::to_status(&Coded::new(Code::C01, "another took over"));
        assert_eq!(of_status("ctl.example:7440", &told).message, "another took over");
    }
}
