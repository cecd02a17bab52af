//! Looks again and again at hosts that have to stay healthy while their rollout goes on, and says which are so no more:
//! a host's own verdict is of the moment in which it switched.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use longshore_common::{
    code::Code,
    ids::{AppName, Generation, HostId},
    report::{Blame, Failure, Outcome, StepName},
    time::{Clock, Millis},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    fleet::{
        Asked, Fleet,
        words::{Answer, Glance, Question},
    },
    rollout::{Event, LastLook, Rollout, look_every, watched},
};

/// So many looks, and no good one between them, have to find it unwell: one alone may be an accident.
const IN_A_ROW: u32 = 3;
/// Between those.
const AGAIN: Duration = Duration::from_secs(1);
/// One restart may be an accident as well.
const RESTARTS: u32 = 2;
/// Longer than the agent takes for one look.
const ANSWER: Duration = Duration::from_secs(25);
/// A last look is over so long before its time is: what it found has to be written down before that.
const MARGIN_MS: Millis = 5_000;
/// Looks under way.
const PARALLEL: usize = 64;
/// Of a fleet that is larger than what can be looked at in time, each host is looked at less often.
const LOOKS_A_SECOND: u32 = 200;

type Watched = (HostId, Generation);

/// One rollout's.
pub(super) struct Watchman {
    round: watch::Sender<Round>,
    looked: watch::Receiver<Option<LastLook>>,
    _looking: AbortOnDropHandle<Result<(), Gone>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Round {
    hosts: Vec<Watched>,
    every: Duration,
    /// One has to begin at once, and that it is over is said.
    last: Option<LastLook>,
}

/// Whoever looks, and what they know.
struct Lookout {
    fleet: Fleet,
    app: AppName,
    clock: Arc<dyn Clock>,
    lives: HashMap<Watched, Life>,
    /// Said to have failed.
    told: HashSet<Watched>,
    say: mpsc::Sender<Event>,
}

/// Which process a host was found well with, and how often it was another one.
#[derive(Debug, Default)]
struct Life {
    word: String,
    restarts: u32,
}

/// What a look at a host comes to.
enum Found {
    Well,
    /// It is being changed, or was told something else: how that ends is said by others. Or it cannot say.
    Busy,
    Unwell(Failure),
    /// It could not be asked, and why.
    Unseen(String),
}

/// Nobody listens any more.
struct Gone;

impl Watchman {
    /// What hosts come to comes out of the receiver, each once.
    pub fn new(fleet: Fleet, app: AppName, clock: Arc<dyn Clock>) -> (Self, mpsc::Receiver<Event>) {
        let (round, rounds) = watch::channel(Round::default());
        let (say, said) = mpsc::channel(PARALLEL);
        let (tell, looked) = watch::channel(None);
        let (lives, told) = (HashMap::new(), HashSet::new());
        let lookout = Lookout { fleet, app, clock, lives, told, say };
        let looking = tokio::spawn(look_on(lookout, rounds, tell));
        (Self { round, looked, _looking: AbortOnDropHandle::new(looking) }, said)
    }

    /// Looks at what has to stay healthy now, and at nothing else.
    pub fn keep_up(&mut self, rollout: &Rollout, last: Option<LastLook>) {
        let round = Round { hosts: watched(rollout), every: look_every(rollout).0, last };
        self.round.send_if_modified(|known| {
            let changed = *known != round;
            *known = round;
            changed
        });
    }

    /// Returns when a last look is over. Whoever it found unwell, or could not look at, came out of the
    /// receiver before.
    pub async fn looked(&mut self) -> LastLook {
        while self.looked.changed().await.is_ok() {
            let last = *self.looked.borrow_and_update();
            if let Some(last) = last {
                return last;
            }
        }
        std::future::pending().await
    }
}

/// Until nobody listens any more.
async fn look_on(
    mut lookout: Lookout,
    mut rounds: watch::Receiver<Round>,
    tell: watch::Sender<Option<LastLook>>,
) -> Result<(), Gone> {
    let mut over = None;
    loop {
        let Round { hosts, last, .. } = rounds.borrow_and_update().clone();
        let begun = Instant::now();
        let left = lookout.begin(&hosts);
        match last {
            Some(last) if over != Some(last) => {
                if lookout.look_once_more(left, last, &rounds).await? {
                    over = Some(last);
                    tell.send_replace(over);
                }
            }
            Some(_) | None => {
                lookout.look_at(&left, None).await?; // who cannot be asked now is in the next round as well
            }
        }
        let again = match hosts.is_empty() {
            true => rounds.changed().await.is_ok(),
            false => due(&mut rounds, begun, last).await,
        };
        if !again {
            return Err(Gone);
        }
    }
}

/// When the round after that of `begun` is due: hosts that join or leave meanwhile, one after the other in a wave, do not
/// make it come sooner; a last look other than that of `begun` does. False when nobody asks for rounds any more.
async fn due(rounds: &mut watch::Receiver<Round>, begun: Instant, last: Option<LastLook>) -> bool {
    loop {
        let round = rounds.borrow_and_update().clone();
        if round.last.is_some() && round.last != last {
            return true;
        }
        let next = begun + round.pause();
        tokio::select! {
            () = sleep_until(next) => return true,
            changed = rounds.changed() => if changed.is_err() {
                return false;
            },
        }
    }
}

impl Round {
    /// From the beginning of one to that of the next.
    fn pause(&self) -> Duration {
        let share = Duration::from_secs(1) / LOOKS_A_SECOND;
        self.every.max(share.saturating_mul(u32::try_from(self.hosts.len()).unwrap_or(u32::MAX)))
    }
}

impl Lookout {
    /// Hosts of a round of which nothing was said yet. What is known of hosts that are not of it is forgotten.
    fn begin(&mut self, hosts: &[Watched]) -> Vec<Watched> {
        let present: HashSet<Watched> = hosts.iter().copied().collect();
        self.lives.retain(|host, _| present.contains(host));
        self.told.retain(|host| present.contains(host));
        hosts.iter().copied().filter(|host| !self.told.contains(host)).collect()
    }

    /// The last look. Who cannot be asked is asked again while there is time, and has failed then: nobody
    /// knows that it is healthy, and nothing speaks against the release. False when the look was called off.
    async fn look_once_more(
        &mut self,
        mut hosts: Vec<Watched>,
        last: LastLook,
        rounds: &watch::Receiver<Round>,
    ) -> Result<bool, Gone> {
        let left = (last.until - MARGIN_MS - self.clock.now_ms()).max(0).unsigned_abs();
        let until = Instant::now() + Duration::from_millis(left);
        loop {
            let unseen = self.look_at(&hosts, Some(until)).await?;
            let Round { hosts: present, last: wanted, .. } = rounds.borrow().clone();
            if wanted != Some(last) {
                return Ok(false);
            }
            let present: HashSet<Watched> = present.into_iter().collect(); // who is silent by now is not
            hosts.retain(|host| unseen.contains_key(host) && present.contains(host));
            if hosts.is_empty() {
                return Ok(true);
            }
            if Instant::now() + AGAIN >= until {
                for host in hosts {
                    let words = format!("it could not be looked at once more: {}", unseen[&host]);
                    let failure = Failure::new(Code::C01, StepName::Probe, Blame::Environment, words);
                    self.report(host, failure).await?;
                }
                return Ok(true);
            }
            sleep(AGAIN).await;
        }
    }

    /// Each of them, until then. Says who is unwell; returns who could not be asked, and why.
    async fn look_at(
        &mut self,
        hosts: &[Watched],
        until: Option<Instant>,
    ) -> Result<HashMap<Watched, String>, Gone> {
        let mut unseen: HashMap<Watched, String> =
            hosts.iter().map(|host| (*host, "it did not answer in time".to_owned())).collect();
        let (fleet, app) = (self.fleet.clone(), self.app.clone());
        let looks: Vec<_> =
            hosts.iter().map(|host| (*host, self.lives.remove(host).unwrap_or_default())).collect();
        let mut looks =
            stream::iter(looks).map(|(host, life)| look(&fleet, &app, host, life)).buffer_unordered(PARALLEL);
        loop {
            let next = match until {
                Some(until) => timeout_at(until, looks.next()).await.ok().flatten(),
                None => looks.next().await,
            };
            let Some((host, life, found)) = next else { return Ok(unseen) };
            self.lives.insert(host, life);
            match found {
                Found::Unseen(why) => {
                    unseen.insert(host, why);
                    continue;
                }
                Found::Well | Found::Busy => {}
                Found::Unwell(failure) => self.report(host, failure).await?,
            }
            unseen.remove(&host);
        }
    }

    async fn report(&mut self, watched: Watched, failure: Failure) -> Result<(), Gone> {
        self.told.insert(watched);
        let (host, generation) = watched;
        let event = Event::Report { host, generation, outcome: Outcome::Failed { failure } };
        self.say.send(event).await.map_err(|_| Gone)
    }
}

async fn look(fleet: &Fleet, app: &AppName, host: Watched, mut life: Life) -> (Watched, Life, Found) {
    let found = see(fleet, app, host, &mut life).await;
    (host, life, found)
}

/// One host, again while it is unwell or being changed.
async fn see(fleet: &Fleet, app: &AppName, (id, generation): Watched, life: &mut Life) -> Found {
    let (mut unwell, mut busy) = (0, 0);
    loop {
        let question = Question::Glance { app: app.clone(), generation };
        let answer = match fleet.ask(id, question, ANSWER).await {
            Asked::Answered { answer, .. } => answer,
            Asked::Silent => return Found::Unseen("it does not answer".to_owned()),
        };
        match answer {
            Answer::Glance(Glance::Well { life: word }) => {
                return life.note(word).map_or(Found::Well, Found::Unwell);
            }
            Answer::Glance(Glance::Busy) => {
                busy += 1;
                if busy == IN_A_ROW {
                    return Found::Busy;
                }
            }
            Answer::Glance(Glance::Unwell(failure)) => {
                unwell += 1;
                if unwell == IN_A_ROW {
                    let message = format!("it was healthy and is no more: {}", failure.message);
                    return Found::Unwell(Failure { message, ..*failure });
                }
            }
            Answer::Error(why) => return Found::Unseen(why),
            // It does not know this question, and never will: what it said of itself has to do.
            _ => return Found::Busy,
        }
        sleep(AGAIN).await;
    }
}

impl Life {
    /// Another process than before is a restart; the same release that is restarted again and again is not healthy,
    /// however well it is in between.
    fn note(&mut self, word: String) -> Option<Failure> {
        let another = !self.word.is_empty() && !word.is_empty() && self.word != word;
        self.word = word;
        self.restarts += u32::from(another);
        (self.restarts >= RESTARTS).then(|| {
            let words = format!("it was restarted {} times since it was found healthy", self.restarts);
            Failure::new(Code::U01, StepName::Probe, Blame::Version, words)
        })
    }
}

#[cfg(test)]
mod tests {
    use longshore_common::time::SystemClock;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        fleet::Heartbeat,
        store::{MemoryStore, SharedStore},
        testing::HandAgent,
    };

    fn round(hosts: u128, every: Duration) -> Round {
        let host = |n| (HostId(uuid::Uuid::from_u128(n)), Generation::new(1, 1));
        Round { hosts: (0..hosts).map(host).collect(), every, last: None }
    }

    /// As in a wave in which one switches after the other.
    #[tokio::test]
    async fn a_host_that_joins_does_not_bring_the_next_round_forward() {
        const EVERY: Duration = Duration::from_millis(200);
        let (tell, mut rounds) = watch::channel(round(1, EVERY));
        let begun = Instant::now();
        let joining = tokio::spawn(async move {
            for hosts in 2..10 {
                sleep(Duration::from_millis(5)).await;
                tell.send(round(hosts, EVERY)).unwrap();
            }
            tell
        });
        assert!(due(&mut rounds, begun, None).await);
        assert!(begun.elapsed() >= EVERY, "{:?}", begun.elapsed());
        drop(joining.await.unwrap());
        assert!(!due(&mut rounds, Instant::now(), None).await, "nobody asks any more");
    }

    #[tokio::test]
    async fn a_bake_that_begins_brings_it_forward() {
        let (tell, mut rounds) = watch::channel(round(1, Duration::from_secs(3600)));
        tell.send(round(1, Duration::from_millis(1))).unwrap();
        assert!(due(&mut rounds, Instant::now(), None).await);
    }

    /// And once: the round that was the last look is followed at the usual pace.
    #[tokio::test]
    async fn a_last_look_begins_at_once() {
        let last = Some(LastLook { since: 6_000, until: 9_000 });
        let hour = Duration::from_secs(3600);
        let (tell, mut rounds) = watch::channel(round(1, hour));
        tell.send(Round { last, ..round(1, hour) }).unwrap();
        assert!(due(&mut rounds, Instant::now(), None).await);
        let again = tokio::time::timeout(Duration::from_millis(50), due(&mut rounds, Instant::now(), last));
        assert!(again.await.is_err(), "it was made already");
    }

    /// One last look at a host of a fleet, which has so much time: what was said when it was over.
    async fn looked_once_more(agent: &HandAgent, connects_after: Duration, left: Millis) -> Vec<Event> {
        let store: SharedStore = Arc::new(MemoryStore::new());
        agent.enrol(&store).await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let beat = Heartbeat { every: Duration::from_secs(5), missed: 3 };
        let stop = CancellationToken::new();
        let (fleet, _events) = Fleet::start(store, clock.clone(), beat, stop).await.unwrap();
        let (mut watchman, mut said) = Watchman::new(fleet.clone(), "shop".parse().unwrap(), clock.clone());
        let since = clock.now_ms();
        let last = LastLook { since, until: since + left + MARGIN_MS };
        let hosts = vec![(agent.host.id, Generation::new(1, 1))];
        watchman.round.send_replace(Round { hosts, every: Duration::from_secs(3600), last: Some(last) });
        let late = agent.clone();
        let _connecting = AbortOnDropHandle::new(tokio::spawn(async move {
            sleep(connects_after).await;
            late.live_with(fleet).await
        }));
        let looked = tokio::time::timeout(Duration::from_secs(20), watchman.looked()).await;
        assert_eq!(looked.expect("it is over at its end"), last);
        std::iter::from_fn(|| said.try_recv().ok()).collect()
    }

    /// It is connected, as far as anybody knows, and nobody can say that it is healthy.
    #[tokio::test]
    async fn a_host_that_cannot_be_asked_does_not_pass_for_healthy() {
        let agent = HandAgent::new("web-000", &[]);
        let said = looked_once_more(&agent, Duration::from_secs(3600), 1_500).await;
        let [Event::Report { host, outcome: Outcome::Failed { failure }, .. }] = said.as_slice() else {
            panic!("{said:?}")
        };
        assert_eq!((*host, failure.blame), (agent.host.id, Blame::Environment));
        assert_eq!(failure.message, "it could not be looked at once more: it does not answer");
    }

    #[tokio::test]
    async fn a_host_that_cannot_be_asked_for_a_moment_is_asked_again() {
        let (moment, minute) = (Duration::from_millis(300), 60_000);
        let agent = HandAgent::new("web-000", &[]);
        let said = looked_once_more(&agent, moment, minute).await;
        assert!(said.is_empty(), "{said:?}");
        agent.unwell.store(true, std::sync::atomic::Ordering::SeqCst);
        let said = looked_once_more(&agent, moment, minute).await;
        let [Event::Report { outcome: Outcome::Failed { failure }, .. }] = said.as_slice() else {
            panic!("{said:?}")
        };
        assert_eq!(failure.message, "it was healthy and is no more: status 500");
    }

    #[test]
    fn a_large_fleet_is_looked_at_less_often() {
        assert_eq!(round(10, Duration::from_secs(1)).pause(), Duration::from_secs(1));
        assert_eq!(round(10_000, Duration::from_secs(5)).pause(), Duration::from_secs(50));
    }

    #[test]
    fn the_second_restart_is_one_too_many() {
        let mut life = Life::default();
        assert_eq!(life.note("10 1".into()), None);
        assert_eq!(life.note("10 1".into()), None);
        assert_eq!(life.note("11 5".into()), None);
        let failure = life.note("12 9".into()).unwrap();
        assert_eq!(failure.message, "it was restarted 2 times since it was found healthy");
        let mut content = Life::default();
        assert!((0..9).all(|_| content.note(String::new()).is_none()), "no process, so none that ends");
    }
}
