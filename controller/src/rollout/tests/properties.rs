//! What holds for every strategy, fleet and course of events.

use proptest::{prelude::*, test_runner::Config};

use super::{
    transcript::Play,
    walk::{KINDS, line, names},
};
use crate::rollout::{
    Ask, Cause, Event, HostState, LastFailure, Phase, Rollout, Transition, UnderWay, changed_hosts, desired,
    next_deadline, step,
};
use longshore_common::{
    assignment::{Assignment, Intent},
    ids::HostId,
    report::Blame,
    time::Millis,
};

fn strategy() -> impl Strategy<Value = String> {
    let share = |from: u32| {
        prop_oneof![(from..5).prop_map(|n| n.to_string()), (1u8..=100).prop_map(|p| format!("{p}%"))]
    };
    let waves = (share(0), share(1), share(1), 0u32..3);
    let budget = (0u32..3, proptest::option::of(0u8..60), proptest::option::of(0u32..2), 1u8..4);
    let times = (0u32..40, 0u32..20, 5u32..90, 5u32..90, 5u32..90);
    let policy = (
        prop_oneof![Just("wait"), Just("count"), Just("skip")],
        prop_oneof![Just("wait"), Just("skip")],
        prop_oneof![Just("auto"), Just("every-wave")],
        prop_oneof![Just("rollback"), Just("pause")],
        any::<bool>(),
        proptest::option::of(proptest::sample::select(&GATES[..])),
        prop_oneof![3 => Just(""), 1 => Just(BEHIND[0]), 1 => Just(BEHIND[1])],
        prop_oneof![3 => Just(100u8), 1 => 30u8..100],
        prop_oneof![2 => Just(""), 1 => Just(TRAFFIC)],
    );
    (waves, budget, times, policy).prop_map(|(waves, budget, times, policy)| {
        let (canary, wave, down, ahead) = waves;
        let (count, percent, of_wave, attempts) = budget;
        let (canary_bake, bake, progress, stage, back) = times;
        let (unknown, held, promotion, on_spent, auto, gates, behind, enough, traffic) = policy;
        let gates = gates.unwrap_or_default();
        let percent = percent.map_or(String::new(), |percent| format!("budget.percent={percent}"));
        let of_wave = of_wave.map_or(String::new(), |count| format!("wave_budget.count={count}"));
        format!(
            "canary={canary} wave={wave} max_unavailable={down} stage_ahead={ahead} budget.count={count} {percent} \
             {of_wave} attempts={attempts} canary_bake={canary_bake}s bake={bake}s progress_deadline={progress}s \
             stage_deadline={stage}s rollback_deadline={back}s unknown={unknown} held={held} promotion={promotion} \
             on_spent={on_spent} auto_rollback={auto} enough={enough} {gates} {traffic} {behind}"
        )
    })
}

const TRAFFIC: &str =
    "traffic.director=haproxy traffic.backend=shop traffic.drain=5s traffic.hold=3s traffic.steps=10+50";

/// Drains are shorter than every deadline above.
const BEHIND: [&str; 2] = [
    "traffic.director=haproxy traffic.backend=shop traffic.drain=4s traffic.hold=10s traffic.steps=50+80 balancers=",
    "traffic.director=haproxy traffic.backend=shop traffic.drain=4s traffic.hold=10s traffic.steps=20+60 \
     balancers=groups.blue=\"b\"+groups.green=\"g\"+groups.warm=\"20s\"",
];

const GATES: [&str; 4] = [
    "watch=20s gate=errors:every-wave:beside:watch:promotable",
    "gate=early:before gate=errors:canary:fail=pause:deadline=7s gate=smoke:last-wave:test:promotable",
    "watch=9s gate=smoke:every-wave:test:beside gate=errors:last-wave:approval:no-data=continue:inconclusive=rollback",
    "gate=early:before:promotable gate=errors:every-wave:promotable:fail=continue gate=smoke:canary:beside:deadline=3s",
];

fn fleet() -> impl Strategy<Value = String> {
    let mark = prop_oneof![
        10 => Just(""), 2 => Just(":new"), 2 => Just(":2"), 1 => Just(":sick"), 1 => Just(":silent"),
        1 => Just(":held"), 1 => Just(":excluded"), 1 => Just(":late"),
    ];
    proptest::collection::vec(mark, 1..10).prop_map(|marks| {
        let name = |mark: &str| if mark == ":late" { "n" } else { "h" };
        let hosts = marks.iter().enumerate().map(|(number, mark)| format!("{}{number}{mark}", name(mark)));
        hosts.chain(["h".to_owned()]).collect::<Vec<_>>().join(" ")
    })
}

fn course() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
    proptest::collection::vec((0..KINDS, 0usize..10, 0usize..1 << 20), 0..60)
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_step_keeps_its_promises(fleet in fleet(), strategy in strategy(), course in course()) {
        let mut watched = Watched::start(&format!("{fleet} | {strategy}"));
        for (kind, host, amount) in course {
            watched.act(&line(kind, host, amount, &watched.names.clone()));
        }
        watched.end_in_calm();
    }

    #[test]
    fn a_commit_torn_by_a_crash_is_mended_by_the_next_tick(
        fleet in fleet(), strategy in strategy(), course in course(), landed in 0usize..6, at in 0usize..60,
    ) {
        let mut watched = Watched::start(&format!("{fleet} | {strategy}"));
        for (number, (kind, host, amount)) in course.into_iter().enumerate() {
            let before = watched.play.rollout.clone();
            watched.act(&line(kind, host, amount, &watched.names.clone()));
            if number == at {
                watched.play.rollout = torn(&before, &watched.play.rollout, landed);
                watched.said.push(format!("crash after {landed} hosts"));
                watched.act("+0s");
            }
        }
        watched.end_in_calm();
    }

    #[test]
    fn it_ends_although_no_host_ever_answers(fleet in fleet(), strategy in strategy()) {
        let mut watched = Watched::start(&format!("{fleet} | {strategy}"));
        watched.end(|_| vec![]);
    }
}

/// A large change takes several commits: the header first (last, when it is the end), then hosts in order. A crash
/// between them leaves a state from which the next tick draws the same conclusions, and nothing is asked twice.
fn torn(before: &Rollout, after: &Rollout, landed: usize) -> Rollout {
    let mut state = before.clone();
    if !after.phase().is_done() {
        state.header = after.header.clone();
    }
    for id in changed_hosts(before, after).into_iter().take(landed) {
        state.hosts.insert(id, after.hosts[&id].clone());
    }
    state
}

/// A play in which every step is checked. It panics with the whole transcript.
struct Watched {
    play: Play,
    names: Vec<String>,
    said: Vec<String>,
}

impl Watched {
    fn start(setup: &str) -> Self {
        let play = Play::new(setup);
        let names = names(&play);
        let mut watched = Self { play, names, said: vec![setup.to_owned()] };
        watched.act("start");
        watched
    }

    fn act(&mut self, line: &str) {
        let before = self.play.rollout.clone();
        let right = self.play.act(line);
        self.said.push(format!("{line} -> {right}"));
        let (after, now) = (&self.play.rollout, self.play.now);
        let broken = [
            generations_rise(&before, after),
            what_is_over_is_over(&before, after),
            slots_are_kept(&before, after),
            a_pause_begins_nothing(&before, after),
            nobody_begins_beyond_the_budget(&before, after),
            the_way_back_is_one_way(&before, after),
            only_the_version_is_undone(&before, after),
            time_is_ahead(after, now),
            what_is_closed_is_left_alone(&before, after),
            super::explained::explained_is_awaited(after, now),
        ];
        let broken: Vec<String> = broken.into_iter().flatten().collect();
        assert!(broken.is_empty(), "{}\n{}", self.said.join("\n"), broken.join("\n"));
        self.play.reload();
    }

    /// Faults stop: every host is back, nobody holds it, and what it is asked works.
    fn end_in_calm(&mut self) {
        self.act("open");
        for name in self.names.clone() {
            self.act(&format!("{name} back"));
            self.act(&format!("{name} unheld"));
        }
        self.end(|rollout| {
            let busy = |state: &HostState| {
                matches!(state, HostState::Staging | HostState::Switching | HostState::RollingBack)
            };
            let busy = rollout.hosts.values().filter(|host| busy(&host.state));
            let awaited =
                rollout.balancers().filter(|_| !rollout.balancers_awaited(&Default::default()).is_empty());
            let balancers = awaited.map(|(_, balancer)| format!("{} good", balancer.name));
            busy.map(|host| format!("{} good", host.name)).chain(balancers).collect()
        });
    }

    /// However it stands, it ends within bounded time when an operator says "go on" wherever one is asked and gates
    /// pass in the end.
    fn end(&mut self, answers: impl Fn(&Rollout) -> Vec<String>) {
        let spec = self.play.rollout.spec().clone();
        let longest = [
            spec.stage_deadline,
            spec.progress_deadline,
            spec.bake,
            spec.canary_bake,
            spec.rollback_deadline,
            spec.watch.max(longshore_common::time::Span::secs(60)),
        ];
        let gates: Millis = spec.gates.iter().map(|gate| gate.deadline.as_ms()).sum();
        let longest: Millis = gates + longest.iter().map(|span| span.as_ms()).sum::<Millis>();
        let rounds = 20 + 8 * self.names.len();
        let begun = self.play.now;
        for _ in 0..rounds {
            match self.play.rollout.phase() {
                Phase::Done(_) => {
                    assert!(self.play.now - begun <= longest * rounds as Millis);
                    return;
                }
                Phase::Paused(_) => self.act("resume"),
                Phase::Awaiting(_) => self.act("promote"),
                Phase::Ready => self.act("start"),
                Phase::Staging(_)
                | Phase::Switching(_)
                | Phase::Baking(_)
                | Phase::Gating(_)
                | Phase::Watching(_)
                | Phase::RollingBack(_) => {}
            }
            let mut lines = answers(&self.play.rollout);
            if !matches!(self.play.rollout.phase(), Phase::Watching(_)) {
                let due = self.play.rollout.due_gates().into_iter();
                lines.extend(due.map(|(_, gate, _)| format!("gate {} pass", gate.name)));
            }
            if lines.is_empty() {
                let left = next_deadline(&self.play.rollout).map_or(0, |at| at - self.play.now);
                self.act(&format!("+{left}ms"));
            }
            for line in lines {
                self.act(&line);
            }
        }
        panic!("it does not end:\n{}", self.said.join("\n"));
    }
}

/// A host's generation never falls, and the same generation always says the same.
fn generations_rise(before: &Rollout, after: &Rollout) -> Option<String> {
    let old = desired(before);
    let told = |host: HostId| old.iter().find(|assignment| assignment.host == host);
    desired(after).into_iter().find_map(|new| {
        let old = told(new.host)?;
        let sound = new.generation > old.generation || new == *old;
        (!sound).then(|| format!("generation {} of {} after {}", new.generation, new.host, old.generation))
    })
}

fn asked(before: &Rollout, after: &Rollout) -> Vec<Assignment> {
    let old = desired(before);
    desired(after).into_iter().filter(|assignment| !old.contains(assignment)).collect()
}

/// Of the host's ask before; one that joined had none.
fn round(before: &Rollout, id: &HostId) -> u16 {
    before.hosts.get(id).map_or(0, |host| host.round)
}

/// Finished rollouts never ask a host anew. Balancers may hear of one that came back late.
fn what_is_over_is_over(before: &Rollout, after: &Rollout) -> Option<String> {
    let anew = asked(before, after).iter().any(|assignment| assignment.intent != Intent::Direct);
    let over = before.phase().is_done() && (before.phase() != after.phase() || anew);
    over.then(|| "a finished rollout moved".to_owned())
}

/// Nobody who is up is taken down while as many as allowed are down.
fn slots_are_kept(before: &Rollout, after: &Rollout) -> Option<String> {
    let down = |rollout: &Rollout, id: &HostId| {
        rollout.hosts.get(id).is_some_and(|host| host.is_down(rollout.spec()))
    };
    let taken = after.hosts.iter().filter(|(id, host)| {
        let moved = host.round > round(before, id) && host.silent.is_none();
        moved && matches!(host.state, HostState::Switching | HostState::RollingBack) && !down(before, id)
    });
    let taken = taken.filter(|(_, host)| !host.declined && !host.sick).count(); // a sick one was down already
    let all = after.hosts.keys().filter(|id| down(after, id)).count();
    let allowed = after.spec().max_unavailable.at_most(after.total());
    (taken > 0 && all > allowed).then(|| format!("{all} hosts are down, {allowed} may be"))
}

/// While paused, nothing that runs is touched.
fn a_pause_begins_nothing(before: &Rollout, after: &Rollout) -> Option<String> {
    let paused = matches!(before.phase(), Phase::Paused(_)) && matches!(after.phase(), Phase::Paused(_));
    let begun = after.hosts.iter().any(|(id, host)| {
        host.round > round(before, id) && host.ask != Some(Ask::Stage) && host.state != HostState::Unchanged
    });
    (paused && begun).then(|| "a paused rollout began something".to_owned())
}

/// While its environment is closed a rollout begins nothing: no fetch, no switch, no share of traffic, and no way back
/// where that is closed as well. But what it was left to finish.
pub(super) fn what_is_closed_is_left_alone(before: &Rollout, after: &Rollout) -> Option<String> {
    let closed = after.header.closed.as_ref().filter(|_| before.header.closed.is_some())?;
    let under_way = before.header.finishing && before.phase().is_switching();
    let finishes = closed.under_way == UnderWay::Finish && under_way;
    let begun = after.hosts.iter().find(|(id, host)| {
        let staged = before.hosts.get(*id).is_some_and(|old| old.state == HostState::Staging);
        // One that says that it runs the release already is asked to run it, and nothing moves there.
        let forward = host.ask == Some(Ask::Run) && host.state == HostState::Switching;
        let forward = forward || (host.state == HostState::Staging && !staged);
        let back = host.ask == Some(Ask::Return) && !closed.rollback;
        host.round > round(before, id) && ((forward && !finishes) || back)
    });
    begun.map(|(_, host)| format!("{} was begun while closed", host.name))
}

/// No host begins to run the release while more have failed than may: so failures pass the budget by no more than was
/// under way, which slots and waves bound.
fn nobody_begins_beyond_the_budget(before: &Rollout, after: &Rollout) -> Option<String> {
    let begun = after.hosts.iter().any(|(id, host)| {
        host.round > round(before, id) && host.ask == Some(Ask::Run) && host.state != HostState::Unchanged
    });
    let failed = after.hosts.values().filter(|host| host.counts_as_failed(after.spec()).is_some()).count();
    let allowed = after.spec().budget.of(after.total()).unwrap_or(0);
    (begun && failed > allowed).then(|| format!("a host begins though {failed} failed and {allowed} may"))
}

/// The way back is one way: nothing is asked but to return.
fn the_way_back_is_one_way(before: &Rollout, after: &Rollout) -> Option<String> {
    let back = matches!(before.phase(), Phase::RollingBack(_)) && !after.phase().is_done();
    let forward = after.hosts.iter().find(|(id, host)| {
        let moved = host.round > round(before, id) && host.ask == Some(Ask::Run);
        moved && host.state != HostState::Unchanged
    });
    let turned = back && !matches!(after.phase(), Phase::RollingBack(_) | Phase::Paused(_));
    (turned || (back && forward.is_some())).then(|| "it turned round while rolling back".to_owned())
}

/// By itself it rolls back for failures of the version, or for hosts that ran it and never became healthy.
fn only_the_version_is_undone(before: &Rollout, after: &Rollout) -> Option<String> {
    let begins = !matches!(before.phase(), Phase::RollingBack(_) | Phase::Paused(_));
    let (Phase::RollingBack(back), true) = (after.phase(), begins) else { return None };
    let automatic = matches!(back.cause, Cause::VersionFailures(_) | Cause::Deadline);
    let by_version = |last: &LastFailure| last.failure.blame == Blame::Version;
    let blamed = after.hosts.values().any(|host| host.failure.as_ref().is_some_and(by_version));
    (automatic && !blamed).then(|| "it rolls back though no host blames the version".to_owned())
}

/// The one timer is never in the past, and coming before it changes nothing.
fn time_is_ahead(after: &Rollout, now: Millis) -> Option<String> {
    let tick = |at| step(after, Event::Tick, at).expect("a tick is never refused");
    let idle = |transition: &Transition| transition.next == *after && transition.assign.is_empty();
    if !idle(&tick(now)) {
        return Some("it was not settled: a tick moves it".to_owned());
    }
    let at = next_deadline(after)?;
    if at <= now {
        return Some(format!("its deadline {at} is not after {now}"));
    }
    let early = tick(at - 1);
    let late = tick(at);
    if !idle(&early) || !changed_hosts(after, &early.next).is_empty() {
        return Some("it moves before its deadline".to_owned());
    }
    (late.next == *after).then(|| "its deadline changes nothing".to_owned())
}
