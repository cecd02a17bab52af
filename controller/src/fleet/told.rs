//! What hosts say that belongs on record: that somebody broke the glass there, or deployed by hand; and what we found of
//! them. It is in the audit log before anything of it counts, so no crash can come between.
//!
//! A host that is somebody else's could say such things without end, until the log has room for nothing else. Of each a
//! number is taken; what is beyond it does not count, and is heard again when the host comes back.

use std::{collections::HashMap, sync::Mutex, time::Instant};

use longshore_common::{
    code::{Code, Coded},
    ids::HostId,
};

use super::{
    Fleet, Host,
    words::{Facts, TrustFacts},
};
use crate::{
    allowance::{Allowance, Rate},
    audit::What,
};

/// Entries of one host: what an admin does in a bad night, and one a minute for as long as one likes.
const OF_ONE_HOST: Rate = Rate { burst: 60.0, a_second: 1.0 / 60.0 };

/// Breaks of one host that its record keeps.
const BREAKS_KEPT: usize = 64;

/// What each host may still have written.
#[derive(Debug, Default)]
pub(super) struct Allowances(Mutex<HashMap<HostId, Allowance>>);

impl Allowances {
    fn take(&self, host: HostId, now: Instant) -> bool {
        let mut all = self.0.lock().expect("nothing panics while it holds the lock");
        // Hosts that said nothing for an hour need not be kept in mind.
        all.retain(|_, left| !left.is_full(OF_ONE_HOST, now));
        all.entry(host).or_insert_with(|| Allowance::full(OF_ONE_HOST, now)).take(OF_ONE_HOST, now)
    }
}

impl Fleet {
    /// Something that was found of a host. On record when it returns; an error says that it must not count.
    pub(super) async fn record(&self, host: &Host, event: &str, target: &str) -> Result<(), Coded> {
        let Some(audit) = self.inner.audit.get() else { return Ok(()) };
        let actor = format!("host {} ({})", host.name, host.id);
        let what = What::Event { actor, event: event.to_owned(), target: target.to_owned() };
        audit.append(what).await.map(drop).map_err(|error| error.coded())
    }

    /// The same for what a host tells of itself, as often as one host may.
    pub(super) async fn record_told(&self, host: &Host, event: &str, target: &str) -> Result<(), Coded> {
        if !self.inner.allowances.take(host.id, Instant::now()) {
            let message = format!(
                "host {} has told so much that belongs in the audit log that no more is taken from it for a minute",
                host.name
            );
            return Err(Coded::new(Code::C01, message));
        }
        self.record(host, event, target).await
    }

    /// What is kept of a host's words. Of the breaks that it tells only those that are on record now; any other is news
    /// again when it is told the next time. And what it told once stays, whatever it says later.
    pub(super) async fn on_record(&self, host: &Host, told: &Facts) -> Facts {
        let mut kept = told.clone();
        let mut breaks = known_breaks(host).to_vec();
        let Some(trust) = &mut kept.trust else {
            kept.trust = (!breaks.is_empty()).then(|| no_longer_says(breaks));
            return kept;
        };
        for broken in std::mem::take(&mut trust.breaks) {
            if breaks.contains(&broken) {
                continue;
            }
            match self.record_told(host, "glass broken on the host", &broken).await {
                Ok(()) => breaks.push(broken),
                Err(why) => {
                    tracing::error!(host = %host.id, name = %host.name, %why, broken, "not recorded, and so not kept");
                }
            }
        }
        while breaks.len() > BREAKS_KEPT {
            breaks.remove(1); // the first and the last are what matters, as on the host itself
        }
        trust.breaks = breaks;
        kept
    }
}

/// A host that told how it knows what may run on it, and does not any more.
fn no_longer_says(breaks: Vec<String>) -> TrustFacts {
    let problem = "the host says nothing of its trust state any more".to_owned();
    TrustFacts { state: "damaged".to_owned(), breaks, problem, ..TrustFacts::default() }
}

fn known_breaks(host: &Host) -> &[String] {
    let trust = host.seen.as_ref().and_then(|seen| seen.facts.trust.as_ref());
    trust.map_or(&[], |TrustFacts { breaks, .. }| breaks)
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc, time::Duration};

    use longshore_common::{
        digest::ReleaseDigest,
        ids::Generation,
        report::{Outcome, Report},
        time::SystemClock,
    };
    use tokio::sync::mpsc;
    use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        audit::{Audit, Chained},
        fleet::{
            FleetEvent, Heartbeat,
            host::{self, Seen},
            words::{Answer, AppSeen, FromAgent, ToAgent},
        },
        store::{MemoryStore, SharedStore},
        testing::{HandAgent, MortalStore},
    };

    const SOON: Duration = Duration::from_secs(120);

    /// One controller after the other over the same disk, and one host.
    struct Desk {
        dir: tempfile::TempDir,
        disk: Arc<MemoryStore>,
        host: HandAgent,
    }

    impl Desk {
        async fn new() -> Self {
            let (disk, host) = (Arc::new(MemoryStore::new()), HandAgent::new("web-1", &[]));
            host.enrol(&(disk.clone() as SharedStore)).await;
            Self { dir: tempfile::tempdir().unwrap(), disk, host }
        }

        async fn start(&self, store: SharedStore) -> Started {
            let stop = CancellationToken::new();
            let clock = Arc::new(SystemClock);
            let (fleet, events) =
                Fleet::start(store, clock.clone(), Heartbeat::default(), stop.clone()).await.unwrap();
            fleet.record_in(Audit::open(&self.dir.path().join("audit"), self.dir.path(), clock).unwrap());
            Started { fleet, events, stop }
        }

        /// The host comes with these breaks to a controller that is whole.
        async fn comes(&self, breaks: &[&str]) {
            let started = self.start(self.disk.clone()).await;
            let (say, mut heard) = self.session(&started, breaks).await;
            while !matches!(heard.recv().await, Some(ToAgent::Welcome { .. })) {}
            drop((say, heard));
            started.end().await;
        }

        async fn session(
            &self,
            started: &Started,
            breaks: &[&str],
        ) -> (mpsc::Sender<FromAgent>, mpsc::Receiver<ToAgent>) {
            let (say, inbound) = mpsc::channel(64);
            let inbound = Box::pin(ReceiverStream::new(inbound).map(Ok));
            let known = host::get(&(self.disk.clone() as SharedStore), &self.host.host.id).await.unwrap();
            let address = SocketAddr::from(([127, 0, 0, 1], 1));
            let heard = started.fleet.open(known.unwrap().0, [1; 32], i64::MAX / 2, address, inbound);
            let mut hello = self.host.hello();
            hello.facts = facts(breaks);
            say.send(FromAgent::Hello(Box::new(hello))).await.unwrap();
            (say, heard)
        }

        fn recorded(&self) -> Vec<String> {
            let audit = Audit::open(&self.dir.path().join("audit"), self.dir.path(), Arc::new(SystemClock));
            let lines = audit.unwrap().read(0, usize::MAX).unwrap().0;
            let told = lines.iter().filter_map(|line| match Chained::parse(line)?.what {
                What::Event { event, target, .. } => Some(format!("{event}: {target}")),
                _ => None,
            });
            told.collect()
        }

        async fn kept(&self) -> Vec<String> {
            let known = host::get(&(self.disk.clone() as SharedStore), &self.host.host.id).await.unwrap();
            known_breaks(&known.unwrap().0).to_vec()
        }
    }

    struct Started {
        fleet: Fleet,
        events: mpsc::Receiver<FleetEvent>,
        stop: CancellationToken,
    }

    impl Started {
        async fn end(self) {
            self.stop.cancel();
            drop(self.events);
            tokio::time::timeout(SOON, self.fleet.stopped()).await.expect("sessions end");
        }
    }

    fn facts(breaks: &[&str]) -> Facts {
        let breaks = breaks.iter().map(|broken| (*broken).to_owned()).collect();
        Facts { trust: Some(TrustFacts { breaks, ..Default::default() }), ..Facts::default() }
    }

    fn glass(what: &[&str]) -> Vec<String> {
        what.iter().map(|broken| format!("glass broken on the host: {broken}")).collect()
    }

    #[tokio::test]
    async fn glass_that_was_broken_is_recorded_once_over_all_restarts() {
        let desk = Desk::new().await;
        desk.comes(&["root set by ann"]).await;
        desk.comes(&["root set by ann"]).await;
        desk.comes(&["root set by ann", "deployed stale by bob"]).await;
        assert_eq!(desk.recorded(), glass(&["root set by ann", "deployed stale by bob"]));
        assert_eq!(desk.kept().await, ["root set by ann", "deployed stale by bob"]);
    }

    /// The controller ends wherever it likes between what it hears and what it keeps: once it is back, nothing that
    /// is kept is missing in the log.
    #[tokio::test]
    async fn no_crash_comes_between_what_is_kept_and_what_is_recorded() {
        for (commit, lands) in (0..2).flat_map(|commit| [(commit, false), (commit, true)]) {
            let desk = Desk::new().await;
            let store = MortalStore::dying_at(desk.disk.clone(), commit, lands);
            let died = store.died.clone();
            let started = desk.start(store).await;
            let (say, mut heard) = desk.session(&started, &["root set by ann"]).await;
            let welcomed =
                async { while !matches!(heard.recv().await, None | Some(ToAgent::Welcome { .. })) {} };
            tokio::select! {
                () = died.notified() => {}
                () = welcomed => {} // there are not that many commits before
            }
            for broken in desk.kept().await {
                assert!(
                    desk.recorded().contains(&glass(&[&broken])[0]),
                    "{commit} {lands}: kept and not recorded"
                );
            }
            drop((say, started)); // nothing of it is waited for, as in a process that is gone
            desk.comes(&["root set by ann"]).await;
            assert!(desk.recorded().contains(&glass(&["root set by ann"])[0]), "{commit} {lands}");
            assert_eq!(desk.kept().await, ["root set by ann"]);
        }
    }

    /// The log takes nothing: then nothing counts, and it is news as soon as the log takes it.
    #[tokio::test]
    async fn what_cannot_be_recorded_is_not_kept_and_heard_again() {
        let desk = Desk::new().await;
        let started = desk.start(desk.disk.clone()).await;
        std::fs::remove_dir_all(desk.dir.path().join("audit")).unwrap();
        let (say, mut heard) = desk.session(&started, &["root set by ann"]).await;
        while !matches!(heard.recv().await, Some(ToAgent::Welcome { .. })) {}
        assert_eq!(desk.kept().await, [""; 0]);
        // A report of what was done by hand stays with the host.
        say.send(FromAgent::Report(1, Box::new(by_hand("ann")))).await.unwrap();
        let last = async {
            let mut last = None;
            while let Some(word) = heard.recv().await {
                last = Some(word);
            }
            last
        };
        match tokio::time::timeout(SOON, last).await.expect("the session ends") {
            Some(ToAgent::Farewell(why)) => assert_eq!(why.code, Code::S04, "{why}"),
            other => panic!("{other:?}"),
        }
        started.end().await;
        desk.comes(&["root set by ann"]).await;
        assert_eq!(desk.recorded(), glass(&["root set by ann"]));
        assert_eq!(desk.kept().await, ["root set by ann"]);
    }

    /// Forever after: also when the file in which the host has it is gone, and it says so little that nothing is left.
    #[tokio::test]
    async fn what_was_told_once_stays() {
        let desk = Desk::new().await;
        desk.comes(&["root set by ann"]).await;
        desk.comes(&[]).await;
        assert_eq!(desk.kept().await, ["root set by ann"]);
        desk.comes(&["recovered by bob"]).await;
        assert_eq!(desk.kept().await, ["root set by ann", "recovered by bob"]);
        desk.comes(&["root set by ann"]).await;
        assert_eq!(desk.recorded(), glass(&["root set by ann", "recovered by bob"]));
        let known = host::get(&(desk.disk.clone() as SharedStore), &desk.host.host.id).await.unwrap();
        let started = desk.start(desk.disk.clone()).await;
        let silent = started.fleet.on_record(&known.unwrap().0, &Facts::default()).await.trust.unwrap();
        assert_eq!((silent.state.as_str(), silent.breaks.len()), ("damaged", 2));
        assert_eq!(silent.problem, "the host says nothing of its trust state any more");
        let many: Vec<String> = (0..100).map(|n| format!("story {n}")).collect();
        let mut host = desk.host.host.clone();
        host.seen =
            Some(Seen { at_ms: 0, address: String::new(), agent_version: String::new(), facts: facts(&[]) });
        host.seen.as_mut().unwrap().facts.trust.as_mut().unwrap().breaks.clone_from(&many);
        let kept = started.fleet.on_record(&host, &facts(&["the last"])).await.trust.unwrap().breaks;
        assert_eq!((kept.len(), kept[0].as_str(), kept[63].as_str()), (64, "story 0", "the last"));
        started.end().await;
    }

    #[tokio::test]
    async fn what_is_done_by_hand_is_recorded_before_it_is_acknowledged() {
        let desk = Desk::new().await;
        let mut started = desk.start(desk.disk.clone()).await;
        let (say, _heard) = desk.session(&started, &[]).await;
        say.send(FromAgent::Report(1, Box::new(by_hand("ann")))).await.unwrap();
        while !matches!(started.events.recv().await, Some(FleetEvent::Report { .. })) {}
        let recorded = desk.recorded();
        assert!(recorded[0].starts_with("deployed on the host: shop: ann deployed release"), "{recorded:?}");
        started.end().await;
    }

    /// Slots are removed when all has ended and is reported.
    #[tokio::test]
    async fn how_apps_stand_is_taken_without_a_question() {
        let desk = Desk::new().await;
        let started = desk.start(desk.disk.clone()).await;
        let (say, mut heard) = desk.session(&started, &[]).await;
        while !matches!(heard.recv().await, Some(ToAgent::Welcome { .. })) {}
        let mut seen = AppSeen::after(None, &by_hand("ann")).expect("it says how shop stands");
        seen.slots = vec!["1.1-0a1b2c3d".to_owned()];
        let pong = Answer::Pong { time_ms: 0, apps: vec![seen.clone()] };
        say.send(FromAgent::Answer(0, pong)).await.unwrap();
        let known = async {
            let apps = || started.fleet.presence().connected(&desk.host.host.id).map(|known| known.apps);
            while apps() != Some(vec![seen.clone()]) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, known).await.expect("it is known");
        started.end().await;
    }

    /// While a session lasts, too: it need not end before the log hears of it.
    #[tokio::test]
    async fn glass_that_breaks_during_a_session_is_recorded_then() {
        let desk = Desk::new().await;
        let started = desk.start(desk.disk.clone()).await;
        let (say, mut heard) = desk.session(&started, &["root set by ann"]).await;
        while !matches!(heard.recv().await, Some(ToAgent::Welcome { .. })) {}
        let both = ["root set by ann", "recovered by bob"];
        say.send(FromAgent::Facts(facts(&both))).await.unwrap();
        let kept = async {
            while desk.kept().await.len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, kept).await.expect("it is kept");
        assert_eq!(desk.recorded(), glass(&both));
        started.end().await;
    }

    /// What it declined in a frozen fleet it takes now: that is told as the end of a hold.
    #[tokio::test]
    async fn a_host_that_hears_that_the_fleet_is_frozen_no_more_is_told_of() {
        let desk = Desk::new().await;
        let mut started = desk.start(desk.disk.clone()).await;
        let (say, mut heard) = desk.session(&started, &[]).await;
        while !matches!(heard.recv().await, Some(ToAgent::Welcome { .. })) {}
        for frozen in ["release key stolen", ""] {
            let trust = TrustFacts { frozen: frozen.to_owned(), ..Default::default() };
            say.send(FromAgent::Facts(Facts { trust: Some(trust), ..Facts::default() })).await.unwrap();
        }
        let told = async {
            let mut holds = 0; // one is of the hello
            while holds < 2 {
                holds += u32::from(matches!(started.events.recv().await, Some(FleetEvent::Hold(_, None))));
            }
        };
        tokio::time::timeout(SOON, told).await.expect("it is told");
        started.end().await;
    }

    /// Its certificate ends in the midst of what it says.
    #[tokio::test]
    async fn a_host_that_never_stops_talking_is_put_out_all_the_same() {
        let desk = Desk::new().await;
        let started = desk.start(desk.disk.clone()).await;
        let first = tokio_stream::once(Ok::<_, Coded>(FromAgent::Hello(Box::new(desk.host.hello()))));
        let talk = futures_util::stream::unfold((), |()| async {
            tokio::task::coop::consume_budget().await; // there is always a word, as from a connection
            Some((Ok::<_, Coded>(FromAgent::Heartbeat(0)), ()))
        });
        let (host, address) = (desk.host.host.clone(), SocketAddr::from(([127, 0, 0, 1], 1)));
        let ends = longshore_common::time::Clock::now_ms(&SystemClock) + 100;
        let mut heard = started.fleet.open(host, [1; 32], ends, address, Box::pin(first.chain(talk)));
        let farewell = async {
            loop {
                match heard.recv().await {
                    Some(ToAgent::Farewell(why)) => return why,
                    Some(_) => {}
                    None => panic!("it ended without a word"),
                }
            }
        };
        let why = tokio::time::timeout(SOON, farewell).await.expect("it is put out");
        assert!(why.code == Code::C02 && why.message.contains("expired"), "{why}");
        started.end().await;
    }

    /// A rogue host that would fill the log with stories.
    #[tokio::test]
    async fn of_one_host_so_much_is_recorded_and_no_more_and_others_are_heard() {
        let mut desk = Desk::new().await;
        let started = desk.start(desk.disk.clone()).await;
        let stories: Vec<String> = (0..200).map(|n| format!("story {n}")).collect();
        let stories: Vec<&str> = stories.iter().map(String::as_str).collect();
        let (say, mut heard) = desk.session(&started, &stories).await;
        while !matches!(heard.recv().await, Some(ToAgent::Welcome { .. })) {}
        assert_eq!(desk.recorded(), glass(&stories[..OF_ONE_HOST.burst as usize]));
        assert_eq!(desk.kept().await, stories[..OF_ONE_HOST.burst as usize]);
        say.send(FromAgent::Report(1, Box::new(by_hand("eve")))).await.unwrap();
        while let Some(word) = heard.recv().await {
            if let ToAgent::Farewell(why) = word {
                assert_eq!(why.code, Code::C01, "{why}");
            }
        }
        desk.host = HandAgent::new("web-2", &[]);
        desk.host.enrol(&(desk.disk.clone() as SharedStore)).await;
        let (_say, mut heard) = desk.session(&started, &["root set by ann"]).await;
        while !matches!(heard.recv().await, Some(ToAgent::Welcome { .. })) {}
        assert_eq!(desk.recorded().last(), glass(&["root set by ann"]).last());
        started.end().await;
    }

    fn by_hand(who: &str) -> Report {
        Report {
            app: "shop".parse().unwrap(),
            rollout: "0193f3a0-0000-7000-8000-000000000001".parse().unwrap(),
            generation: Generation::new(1, 1),
            release: ReleaseDigest::of(b"manifest"),
            time_ms: 0,
            outcome: Outcome::Healthy,
            live: None,
            by: Some(who.into()),
        }
    }
}
