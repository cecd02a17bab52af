//! Looks again and again at hosts that have to stay healthy while their rollout goes on, and says which are so no more:
//! a host's own verdict is of the moment in which it switched.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use longshore_common::{
    code::Code,
    ids::{AppName, Generation, HostId},
    report::{Blame, Failure, Outcome, StepName},
    time::Millis,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    fleet::{
        Asked, Fleet,
        words::{Answer, Glance, Question},
    },
    rollout::{Event, LastLook, Rollout, last_look, look_every, watched},
};

/// So many looks in a row have to find it unwell: one alone may be an accident.
const IN_A_ROW: u32 = 3;
/// Between those.
const AGAIN: Duration = Duration::from_secs(1);
/// One restart may be an accident as well.
const RESTARTS: u32 = 2;
/// Longer than the agent takes for one look.
const ANSWER: Duration = Duration::from_secs(25);
/// Looks under way.
const PARALLEL: usize = 64;
/// Of a fleet that is larger than what can be looked at in time, each host is looked at less often.
const LOOKS_A_SECOND: u32 = 200;

type Watched = (HostId, Generation);

/// One rollout's.
pub(super) struct Watchman {
    round: watch::Sender<Round>,
    looked: watch::Receiver<Option<LastLook>>,
    _looking: AbortOnDropHandle<()>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Round {
    hosts: Vec<Watched>,
    every: Duration,
    /// One has to begin at once, and that it is over is said.
    last: Option<LastLook>,
}

/// Which process a host was found well with, and how often it was another one.
#[derive(Debug, Default)]
struct Life {
    word: String,
    restarts: u32,
}

impl Watchman {
    /// What hosts come to comes out of the receiver, each once.
    pub fn new(fleet: Fleet, app: AppName) -> (Self, mpsc::Receiver<Event>) {
        let (round, rounds) = watch::channel(Round::default());
        let (say, said) = mpsc::channel(PARALLEL);
        let (tell, looked) = watch::channel(None);
        let looking = tokio::spawn(look_on(fleet, app, rounds, say, tell));
        (Self { round, looked, _looking: AbortOnDropHandle::new(looking) }, said)
    }

    /// Looks at what has to stay healthy now, and at nothing else.
    pub fn keep_up(&mut self, rollout: &Rollout, now: Millis) {
        let last = last_look(rollout, now);
        let round = Round { hosts: watched(rollout), every: look_every(rollout).0, last };
        self.round.send_if_modified(|known| {
            let changed = *known != round;
            *known = round;
            changed
        });
    }

    /// Returns when a last look is over. Whoever it found unwell came out of the receiver before.
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
    fleet: Fleet,
    app: AppName,
    mut rounds: watch::Receiver<Round>,
    say: mpsc::Sender<Event>,
    tell: watch::Sender<Option<LastLook>>,
) {
    let mut lives: HashMap<Watched, Life> = HashMap::new();
    let mut told: HashSet<Watched> = HashSet::new();
    loop {
        let Round { hosts, last, .. } = rounds.borrow_and_update().clone();
        let present: HashSet<Watched> = hosts.iter().copied().collect();
        lives.retain(|host, _| present.contains(host));
        told.retain(|host| present.contains(host));
        let begun = Instant::now();
        let left = hosts.iter().copied().filter(|host| !told.contains(host));
        let looks: Vec<_> = left.map(|host| (host, lives.remove(&host).unwrap_or_default())).collect();
        let mut looks =
            stream::iter(looks).map(|(host, life)| look(&fleet, &app, host, life)).buffer_unordered(PARALLEL);
        while let Some((host, life, failed)) = looks.next().await {
            lives.insert(host, life);
            let Some(failure) = failed else { continue };
            told.insert(host);
            let (id, generation) = host;
            let event = Event::Report { host: id, generation, outcome: Outcome::Failed { failure } };
            if say.send(event).await.is_err() {
                return;
            }
        }
        if last.is_some() {
            tell.send_replace(last);
        }
        let again = match hosts.is_empty() {
            true => rounds.changed().await.is_ok(),
            false => due(&mut rounds, begun, last).await,
        };
        if !again {
            return;
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

/// One host, again while it is unwell. Whoever does not answer is silent, which others notice.
async fn look(
    fleet: &Fleet,
    app: &AppName,
    host: Watched,
    mut life: Life,
) -> (Watched, Life, Option<Failure>) {
    let (id, generation) = host;
    for times in 1..=IN_A_ROW {
        let question = Question::Glance { app: app.clone(), generation };
        let Asked::Answered { answer: Answer::Glance(glance), .. } = fleet.ask(id, question, ANSWER).await
        else {
            return (host, life, None);
        };
        match glance {
            Glance::Busy => return (host, life, None),
            Glance::Well { life: word } => {
                let failed = life.note(word);
                return (host, life, failed);
            }
            Glance::Unwell(failure) if times == IN_A_ROW => {
                let message = format!("it was healthy and is no more: {}", failure.message);
                return (host, life, Some(Failure { message, ..*failure }));
            }
            Glance::Unwell(_) => sleep(AGAIN).await,
        }
    }
    unreachable!("the last look returns")
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
    use super::*;

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
