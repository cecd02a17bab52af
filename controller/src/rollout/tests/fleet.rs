//! A fleet that does what assignments say, in its own time and with its own mishaps; and the controller's engine in
//! one function: step, keep, dispatch.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use longshore_common::{
    assignment::{Assignment, Intent},
    code::Code,
    ids::{Generation, HostId},
    report::{Blame, Outcome, StepName},
    time::Millis,
};

use super::{
    setup::{member, new},
    walk::Dice,
    world::{SimHost, World, failure},
};
use crate::rollout::{
    Event, HostState, Member, Phase, Promote, Rollout, Spec, Transition, UnknownHosts, desired,
    next_deadline, step,
};

/// No rollout of these tests takes longer: a day of the fleet's time.
const LONGEST_MS: Millis = 86_400_000;
/// Three missed heartbeats.
const SILENT_AFTER_MS: Millis = 15_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// The standing assignment reaches the host.
    Deliver(usize),
    Finish(usize, Generation),
    /// The oldest words of the host reach the controller.
    Hear(usize),
    HearAgain(usize, Generation),
    Cut(usize),
    NoticeSilence(usize),
    Heal(usize),
    Tick,
    Operator,
    Exclude(usize),
}

pub(super) struct Fleet {
    pub rollout: Rollout,
    pub hosts: Vec<SimHost>,
    world: World,
    dice: Dice,
    now: Millis,
    standing: BTreeMap<HostId, Assignment>,
    ahead: BinaryHeap<Reverse<(Millis, u64, Happening)>>,
    count: u64,
    /// When the timer is set for, and when an operator will look.
    timer: Option<Millis>,
    operator: bool,
}

impl Fleet {
    pub fn new(seed: u64, count: usize, spec: Spec, world: World) -> Self {
        let mut dice = Dice(seed);
        let members: Vec<Member> =
            (0..count).map(|n| member(&format!("web-{n:04}"), n as u128 + 1)).collect();
        let hosts = members.iter().map(|member| SimHost {
            id: member.id,
            live: Some("1".to_owned()),
            busy: false,
            broken: false,
            linked: true,
            accepted: Generation::default(),
            outbox: vec![],
            bad: dice.percent(world.bad),
            passed_over: false,
            switched: 0,
            went_back: 0,
        });
        let hosts = hosts.collect();
        let rollout = Rollout::new(new(spec), &members, 0).expect("the strategy is sound");
        let (now, count, timer, operator) = (0, 0, None, false);
        let (standing, ahead) = (BTreeMap::new(), BinaryHeap::new());
        Self { rollout, hosts, world, dice, now, standing, ahead, count, timer, operator }
    }

    /// Until it is done and everybody has said what there is to say.
    pub fn run(&mut self) {
        if let Some(at) = self.world.split_at {
            for host in (0..self.hosts.len()).filter(|host| host % 3 == 0) {
                self.at(at, Happening::Cut(host));
            }
        }
        self.happens(Event::Start);
        while let Some(Reverse((at, _, happening))) = self.ahead.pop() {
            self.now = at;
            assert!(self.now < LONGEST_MS, "not over after a day: {}", self.rollout.phase().as_str());
            self.turn(happening);
        }
    }

    fn at(&mut self, at: Millis, happening: Happening) {
        self.count += 1;
        self.ahead.push(Reverse((at, self.count, happening)));
    }

    fn after(&mut self, least_ms: usize, most_ms: usize, happening: Happening) {
        let delay = least_ms + self.dice.below(most_ms - least_ms + 1);
        self.at(self.now + delay as Millis, happening);
    }

    fn turn(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver(host) => self.deliver(host),
            Happening::Finish(host, generation) => self.finish(host, generation),
            Happening::Hear(host) => self.hear(host),
            Happening::HearAgain(host, generation) => {
                let event = Event::Report { host: self.hosts[host].id, generation, outcome: Outcome::Staged };
                self.happens(event);
            }
            Happening::Cut(host) => self.cut(host),
            Happening::NoticeSilence(host) => {
                if !self.hosts[host].linked {
                    self.happens(Event::Silent(self.hosts[host].id));
                }
            }
            Happening::Heal(host) => self.heal(host),
            Happening::Tick => {
                self.timer = None;
                self.happens(Event::Tick);
            }
            Happening::Operator => self.operate(),
            Happening::Exclude(host) => {
                if !self.rollout.phase().is_done() {
                    self.happens(Event::Exclude([self.hosts[host].id].into()));
                }
            }
        }
    }

    /// The engine: step, keep, dispatch.
    fn happens(&mut self, event: Event) {
        let Transition { next, assign, .. } =
            step(&self.rollout, event, self.now).expect("what happens here is allowed");
        self.rollout = next;
        for assignment in assign {
            let host = assignment.host.0.as_u128() as usize - 1;
            let before = self.standing.insert(assignment.host, assignment.clone());
            assert!(before.is_none_or(|before| before.generation < assignment.generation));
            self.after(1, 50, Happening::Deliver(host));
        }
        if self.dice.percent(self.world.crash) {
            self.crash();
        }
        self.check_limit();
        self.set_timers();
    }

    /// From its records the controller owes exactly what stands.
    fn crash(&mut self) {
        let text = serde_json::to_string(&self.rollout.header).expect("a header is JSON");
        let header = serde_json::from_str(&text).expect("what was written can be read");
        let hosts = self.rollout.hosts.iter().map(|(id, host)| (*id, (**host).clone()));
        self.rollout = Rollout::from_parts(header, hosts);
        for assignment in desired(&self.rollout) {
            assert_eq!(self.standing.get(&assignment.host), Some(&assignment));
        }
        self.timer = None;
    }

    fn set_timers(&mut self) {
        if let Some(at) = next_deadline(&self.rollout)
            && self.timer.is_none_or(|timer| at < timer)
        {
            self.timer = Some(at);
            self.at(at, Happening::Tick);
        }
        let asked = matches!(self.rollout.phase(), Phase::Paused(_) | Phase::Awaiting(_));
        if asked && !self.operator {
            self.operator = true;
            self.after(10_000, 120_000, Happening::Operator);
        }
    }

    fn operate(&mut self) {
        self.operator = false;
        match self.rollout.phase() {
            Phase::Paused(_) => self.happens(Event::Resume),
            Phase::Awaiting(_) => self.happens(Event::Promote(Promote {
                by: "ann".to_owned(),
                reason: String::new(),
                full: false,
            })),
            Phase::Ready
            | Phase::Staging(_)
            | Phase::Switching(_)
            | Phase::Baking(_)
            | Phase::RollingBack(_)
            | Phase::Gating(_)
            | Phase::Watching(_)
            | Phase::Done(_) => {}
        }
    }

    fn deliver(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        let Some(assignment) = self.standing.get(&host.id) else { return };
        if !host.linked || assignment.generation <= host.accepted {
            return;
        }
        host.accepted = assignment.generation;
        let (generation, intent) = (assignment.generation, assignment.intent);
        host.busy = intent != Intent::Stage && host.live.as_deref() != Some(assignment.version.as_str());
        let (least, most) = if intent == Intent::Stage { (500, 20_000) } else { (2_000, 12_000) };
        let some = self.world.excluded > 0 && self.hosts[number].busy; // no dice for nothing: seeds mean what they did
        let excluded = some && self.dice.percent(self.world.excluded);
        self.after(least, most, Happening::Finish(number, generation));
        if excluded {
            self.after(0, 5_000, Happening::Exclude(number));
        }
    }

    fn finish(&mut self, number: usize, generation: Generation) {
        let (full, broken) = (self.dice.percent(self.world.full), self.dice.percent(self.world.broken));
        let host = &mut self.hosts[number];
        if generation != host.accepted {
            return; // a newer assignment has overtaken it
        }
        host.busy = false;
        let assignment = &self.standing[&host.id];
        let outcome = match (assignment.intent, assignment.version.as_str()) {
            (Intent::Stage, _) if full => {
                Outcome::Failed { failure: failure(Code::D01, StepName::Fetch, Blame::Environment) }
            }
            (Intent::Stage, _) => Outcome::Staged,
            (Intent::Run, "2") => host.switch(broken),
            (Intent::Run, old) => {
                host.went_back += 1;
                host.live = Some(old.to_owned());
                host.broken = false;
                Outcome::Healthy
            }
            (Intent::Direct, _) => Outcome::Healthy,
            (Intent::Remove, _) => {
                host.live = None;
                Outcome::Removed
            }
        };
        host.outbox.push((generation, outcome));
        self.after(1, 50, Happening::Hear(number));
        if self.dice.percent(self.world.doubled) {
            self.after(1, 60_000, Happening::HearAgain(number, generation));
        }
        if self.dice.percent(self.world.cut) && self.hosts[number].linked {
            self.after(0, 5_000, Happening::Cut(number));
        }
    }

    fn hear(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if !host.linked || host.outbox.is_empty() {
            return;
        }
        let (id, (generation, outcome)) = (host.id, host.outbox.remove(0));
        self.happens(Event::Report { host: id, generation, outcome });
    }

    fn cut(&mut self, number: usize) {
        self.hosts[number].linked = false;
        self.at(self.now + SILENT_AFTER_MS, Happening::NoticeSilence(number));
        let least = if self.world.split_at.is_some() { 600_000 } else { 1_000 };
        self.after(least, 600_000, Happening::Heal(number));
    }

    /// It is back: says what it has to say and is told what stands.
    fn heal(&mut self, number: usize) {
        self.hosts[number].linked = true;
        self.happens(Event::Back(self.hosts[number].id));
        for _ in 0..self.hosts[number].outbox.len() {
            self.after(1, 50, Happening::Hear(number));
        }
        self.after(1, 50, Happening::Deliver(number));
    }

    /// Never are more hosts in the middle of a change than may be down, those aside that were passed over as unknown,
    /// by strategy or by an operator: they do what stood for them when they return. Those that were excluded in the midst
    /// of it are counted like all others.
    fn check_limit(&mut self) {
        let skips = self.rollout.spec().unknown == UnknownHosts::Skip;
        let silent = self.rollout.hosts.values().enumerate().filter(|(_, host)| host.silent.is_some());
        for (number, _) in silent.filter(|(_, host)| skips || host.forgiven || host.is_out()) {
            self.hosts[number].passed_over = true; // hosts are numbered in the order of their ids
        }
        let busy = self.hosts.iter().filter(|host| host.busy && !host.passed_over).count();
        let allowed = self.rollout.spec().max_unavailable.at_most(self.hosts.len());
        assert!(busy <= allowed, "{busy} hosts are being changed, {allowed} may");
    }

    /// What the controller says of each host is so.
    pub fn check_end(&self) {
        assert!(
            self.rollout.phase().is_done(),
            "nothing is ahead, but it is {}",
            self.rollout.phase().as_str()
        );
        for host in &self.hosts {
            let said = &self.rollout.hosts[&host.id].state;
            match said {
                HostState::Healthy => assert_eq!(host.runs(), Some("2"), "{host:?}"),
                HostState::RolledBack
                | HostState::Reverted { .. }
                | HostState::Waiting
                | HostState::Staging
                | HostState::Staged => assert_eq!(host.runs(), Some("1"), "{host:?}"),
                HostState::Switching
                | HostState::Unchanged
                | HostState::Failed
                | HostState::Inconsistent
                | HostState::Excluded { .. }
                | HostState::RollingBack
                | HostState::Left => {}
            }
        }
    }
}
