//! Every event in every phase, many times over, from where rollouts come to at random; and what that showed.

use std::collections::{BTreeMap, BTreeSet};

use longshore_common::assignment::Intent;

use super::{
    transcript::Play,
    walk::{Dice, FLEETS, RARE, STRATEGIES, all_lines, names, random_line},
};
use crate::rollout::{Rollout, desired};

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fact {
    /// A phase, an event, and the phase that it led to, or `refused`.
    Step(&'static str, &'static str, &'static str),
    /// What a host in a state is asked to do; empty: that there was one in this state.
    Asks(&'static str, &'static str),
    /// What a state of a host became.
    Becomes(&'static str, &'static str),
}

/// A rollout, and how it came to where it is: as text, `fleet | strategy > line > line`.
#[derive(Clone)]
pub(super) struct Walk {
    pub play: Play,
    pub text: String,
}

impl Walk {
    pub fn new(setup: &str) -> Self {
        Self { play: Play::new(setup), text: setup.split_whitespace().collect::<Vec<_>>().join(" ") }
    }
}

/// What was seen, and the walk that showed it first.
#[derive(Default)]
pub(super) struct Seen(pub BTreeMap<Fact, String>);

/// How much is tried.
pub(super) struct Effort {
    /// Random walks from the start.
    pub walks: u64,
    /// Walks from where something new was seen.
    pub branches: usize,
    /// Rollouts of each phase from which every line there is is tried.
    pub per_phase: usize,
}

/// Random walks, always the same ones; walks from where those saw something new, for there is more of it; what is too
/// rare for both; then every line from each of the rollouts that were found.
pub(super) fn explore(effort: &Effort, seen: &mut Seen) {
    let mut found: BTreeMap<&str, Vec<Walk>> = BTreeMap::new();
    let mut keep = |walk: &Walk, dice: &mut Dice, chance: usize| {
        let phase = found.entry(name(&walk.play.rollout)).or_default();
        if phase.len() < effort.per_phase && dice.percent(chance) {
            phase.push(walk.clone());
        }
    };
    let mut fresh: Vec<Walk> = vec![];
    for (seed, strategy) in (0..effort.walks).zip(STRATEGIES.iter().cycle()) {
        let mut dice = Dice(seed);
        let mut walk = Walk::new(&format!("{} | {strategy}", FLEETS[dice.below(FLEETS.len())]));
        let names = names(&walk.play);
        if dice.percent(90) {
            seen.step(&mut walk, "start");
        }
        for _ in 0..25 {
            let before = walk.clone();
            if seen.step(&mut walk, &random_line(&mut dice, &names)) {
                fresh.extend([before, walk.clone()]);
            }
            keep(&walk, &mut dice, 3);
        }
    }
    let mut dice = Dice(effort.walks);
    for _ in 0..effort.branches {
        let mut walk = fresh[dice.below(fresh.len())].clone();
        let names = names(&walk.play);
        for _ in 0..8 {
            let before = walk.clone();
            if seen.step(&mut walk, &random_line(&mut dice, &names)) {
                fresh.extend([before, walk.clone()]);
            }
        }
        keep(&walk, &mut dice, 20);
    }
    for (setup, lines) in RARE {
        let mut walk = Walk::new(setup);
        for line in lines.iter() {
            seen.step(&mut walk, line);
        }
    }
    for walk in found.values().flatten() {
        for line in all_lines(&names(&walk.play)) {
            seen.step(&mut walk.clone(), &line);
        }
    }
}

impl Seen {
    /// Whether it showed anything new.
    pub fn step(&mut self, walk: &mut Walk, line: &str) -> bool {
        walk.text += " > ";
        walk.text += line;
        let facts = facts(&mut walk.play, line);
        let new: Vec<Fact> = facts.into_iter().filter(|fact| !self.0.contains_key(fact)).collect();
        let any = !new.is_empty();
        self.0.extend(new.into_iter().map(|fact| (fact, walk.text.clone())));
        any
    }

    /// Plays a walk that was written down.
    pub fn replay(&mut self, text: &str) {
        let (setup, lines) = text.split_once(" > ").unwrap_or((text, ""));
        let mut walk = Walk::new(setup);
        for line in lines.split(" > ").filter(|line| !line.is_empty()) {
            self.step(&mut walk, line);
        }
    }

    /// A few of the walks, which show all of it: always the one that shows most of what is left, without the lines that it
    /// does not need for that.
    pub fn witnesses(&self) -> Vec<String> {
        let walks: BTreeSet<&String> = self.0.values().collect();
        let mut shows: Vec<(&String, BTreeSet<Fact>)> =
            walks.into_iter().map(|text| (text, shown(text))).collect();
        let mut left: BTreeSet<Fact> = self.0.keys().cloned().collect();
        let mut chosen = vec![];
        while !left.is_empty() {
            shows.iter_mut().for_each(|(_, facts)| facts.retain(|fact| left.contains(fact)));
            let best = shows.iter().max_by_key(|(text, facts)| (facts.len(), std::cmp::Reverse(text.len())));
            let (text, facts) = best.expect("every fact has its walk").clone();
            left.retain(|fact| !facts.contains(fact));
            chosen.push(shortened(text, &facts));
        }
        chosen.sort();
        chosen
    }
}

fn shown(text: &str) -> BTreeSet<Fact> {
    let mut seen = Seen::default();
    seen.replay(text);
    seen.0.into_keys().collect()
}

/// The walk without lines, the last first, that nothing of this depends on.
fn shortened(text: &str, facts: &BTreeSet<Fact>) -> String {
    let mut lines: Vec<&str> = text.split(" > ").collect();
    for at in (1..lines.len()).rev() {
        let line = lines.remove(at);
        if !shown(&lines.join(" > ")).is_superset(facts) {
            lines.insert(at, line);
        }
    }
    lines.join(" > ")
}

/// What a line shows, played on.
fn facts(play: &mut Play, line: &str) -> BTreeSet<Fact> {
    let before = play.rollout.clone();
    let event = play.event(line);
    let refused = play.act(line).starts_with("refused");
    let after = if refused { "refused" } else { name(&play.rollout) };
    let mut facts = BTreeSet::from([Fact::Step(name(&before), event, after)]);
    for (id, host) in &play.rollout.hosts {
        let new = host.as_str();
        facts.insert(Fact::Asks(new, ""));
        let old = before.hosts.get(id).map_or(new, |host| host.as_str());
        if old != new {
            facts.insert(Fact::Becomes(old, new));
        }
    }
    for assignment in desired(&play.rollout) {
        let Some(host) = play.rollout.hosts.get(&assignment.host) else { continue }; // a balancer
        let back = assignment.version != play.rollout.header.target.version;
        let asked = match assignment.intent {
            Intent::Stage => "stage",
            Intent::Run if back => "run the previous release",
            Intent::Run => "run",
            Intent::Remove => "remove",
            Intent::Direct => "direct traffic",
        };
        facts.insert(Fact::Asks(host.as_str(), asked));
    }
    facts
}

fn name(rollout: &Rollout) -> &'static str {
    rollout.phase().as_str()
}
