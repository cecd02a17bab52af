//! `docs/rollout-states.md` says what `step` does: its tables are made by trying every event in every phase, many times
//! over, from where rollouts come to at random.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use longshore_common::assignment::Intent;

use super::{
    transcript::Play,
    walk::{Dice, FLEETS, RARE, STRATEGIES, all_lines, names, random_line},
};
use crate::rollout::{Event, HostProgress, Phase, Rollout, desired};

/// (phase, event) -> the phases that it led to, `refused` among them.
type Steps = BTreeMap<(&'static str, &'static str), BTreeSet<&'static str>>;

#[derive(Default)]
struct Seen {
    steps: Steps,
    /// What hosts in a state are asked to do.
    asks: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// What a state of a host became.
    becomes: BTreeMap<&'static str, BTreeSet<&'static str>>,
}

/// Some hundred thousand steps; a step that the docs do not know fails.
#[test]
fn the_docs_know_every_step() {
    let seen = explore(&SHORT);
    let doc = doc();
    let unknown = |name: &str, table: &str| other_words(&part(&doc, name), table);
    let missing = [unknown("phases", &phases(&seen.steps)), unknown("hosts", &hosts(&seen))].concat();
    assert!(missing.is_empty(), "docs/rollout-states.md does not say: {missing:#?}");
    assert_eq!(refusals(&part(&doc, "phases")), refusals(&phases(&seen.steps)), "what is refused differs");
}

/// Some ten million steps; the tables in the docs are what they show.
#[test]
#[ignore = "takes minutes: it makes the tables of docs/rollout-states.md anew"]
fn the_docs_claim_nothing_else() {
    let seen = explore(&LONG);
    for (name, table) in [("phases", phases(&seen.steps)), ("hosts", hosts(&seen))] {
        let unseen = other_words(&table, &part(&doc(), name));
        assert!(
            part(&doc(), name) == table,
            "docs/rollout-states.md, {name}: nobody saw {unseen:#?}; the table should be:\n\n{table}"
        );
    }
}

fn doc() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rollout-states.md");
    std::fs::read_to_string(path).expect("docs/rollout-states.md is there")
}

/// What stands between `<!-- name -->` and `<!-- /name -->`.
fn part(doc: &str, name: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let found = doc.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end));
    found.unwrap_or_else(|| panic!("the docs have no table of {name}")).0.to_owned()
}

fn cells(table: &str) -> Vec<Vec<BTreeSet<&str>>> {
    fn words(cell: &str) -> BTreeSet<&str> {
        cell.trim().split(", ").collect()
    }
    table.lines().map(|line| line.trim_matches('|').split('|').map(words).collect()).collect()
}

/// `row: word` for every word that `seen` has and `written` has not in the same place.
fn other_words(written: &str, seen: &str) -> Vec<String> {
    let (written, seen) = (cells(written), cells(seen));
    if written.len() != seen.len() {
        return vec![format!("{} rows where {} are", written.len(), seen.len())];
    }
    let mut missing = vec![];
    for (written, seen) in written.iter().zip(&seen) {
        for (column, words) in seen.iter().enumerate() {
            let known = written.get(column).cloned().unwrap_or_default();
            let none = BTreeSet::from(["nothing", "nothing else"]);
            let new = words.iter().filter(|word| !known.contains(*word) && !none.contains(*word));
            missing.extend(new.map(|word| format!("{:?}, column {column}: {word}", seen[0])));
        }
    }
    missing
}

fn refusals(table: &str) -> Vec<Vec<bool>> {
    cells(table).iter().map(|row| row.iter().map(|cell| cell.contains("*refused*")).collect()).collect()
}

/// How much is tried.
struct Effort {
    /// Random walks from the start.
    walks: u64,
    /// Walks from where something new was seen.
    branches: usize,
    /// Rollouts of each phase from which every line there is is tried.
    per_phase: usize,
}

const LONG: Effort = Effort { walks: 40_000, branches: 400_000, per_phase: 5_000 };
const SHORT: Effort = Effort { walks: 3_000, branches: 15_000, per_phase: 60 };

/// Random walks, always the same ones; walks from where those saw something new, for there is more of it; what is too
/// rare for both; then every line from each of the rollouts that were found.
fn explore(effort: &Effort) -> Seen {
    let mut seen = Seen::default();
    let mut found: BTreeMap<&str, Vec<Play>> = BTreeMap::new();
    let mut keep = |play: &Play, dice: &mut Dice, chance: usize| {
        let phase = found.entry(name(&play.rollout)).or_default();
        if phase.len() < effort.per_phase && dice.percent(chance) {
            phase.push(play.clone());
        }
    };
    let mut fresh: Vec<Play> = vec![];
    for (seed, strategy) in (0..effort.walks).zip(STRATEGIES.iter().cycle()) {
        let mut dice = Dice(seed);
        let mut play = Play::new(&format!("{} | {strategy}", FLEETS[dice.below(FLEETS.len())]));
        let names = names(&play);
        if dice.percent(90) {
            seen.step(&mut play, "start");
        }
        for _ in 0..25 {
            let before = play.clone();
            if seen.step(&mut play, &random_line(&mut dice, &names)) {
                fresh.extend([before, play.clone()]);
            }
            keep(&play, &mut dice, 3);
        }
    }
    let mut dice = Dice(effort.walks);
    for _ in 0..effort.branches {
        let mut play = fresh[dice.below(fresh.len())].clone();
        let names = names(&play);
        for _ in 0..8 {
            let before = play.clone();
            if seen.step(&mut play, &random_line(&mut dice, &names)) {
                fresh.extend([before, play.clone()]);
            }
        }
        keep(&play, &mut dice, 20);
    }
    for (setup, lines) in RARE {
        let mut play = Play::new(setup);
        for line in lines.iter() {
            seen.step(&mut play, line);
        }
    }
    for play in found.values().flatten() {
        for line in all_lines(&names(play)) {
            seen.step(&mut play.clone(), &line);
        }
    }
    seen
}

impl Seen {
    /// Whether it showed anything new.
    fn step(&mut self, play: &mut Play, line: &str) -> bool {
        let mut new_to_us = false;
        let before = play.rollout.clone();
        let event = play.event(line);
        let refused = play.act(line).starts_with("refused");
        let after = if refused { "refused" } else { name(&play.rollout) };
        new_to_us |= self.steps.entry((name(&before), event)).or_default().insert(after);
        for (id, host) in &play.rollout.hosts {
            let new = host.as_str();
            self.asks.entry(new).or_default();
            let old = before.hosts.get(id).map_or(new, |host| host.as_str());
            if old != new {
                new_to_us |= self.becomes.entry(old).or_default().insert(new);
            }
        }
        for assignment in desired(&play.rollout) {
            let Some(host) = play.rollout.hosts.get(&assignment.host) else { continue }; // a balancer
            let back = assignment.version != play.rollout.header.target.version;
            new_to_us |= self.asks.entry(host.as_str()).or_default().insert(match assignment.intent {
                Intent::Stage => "stage",
                Intent::Run if back => "run the previous release",
                Intent::Run => "run",
                Intent::Remove => "remove",
                Intent::Direct => "direct traffic",
            });
        }
        new_to_us
    }
}

fn name(rollout: &Rollout) -> &'static str {
    rollout.phase().as_str()
}

fn phases(steps: &Steps) -> String {
    let mut table = format!("| event | {} |\n", Phase::NAMES.join(" | "));
    table += &format!("|---|{}\n", "---|".repeat(Phase::NAMES.len()));
    for event in Event::NAMES {
        let cells = Phase::NAMES.map(|phase| {
            let led =
                steps.get(&(phase, event)).unwrap_or_else(|| panic!("{event} never came while {phase}"));
            let stays = led.contains(phase).then_some("stays");
            let moves = Phase::NAMES.into_iter().filter(|next| *next != phase && led.contains(next));
            let refused = led.contains("refused").then_some("*refused*");
            stays.into_iter().chain(moves).chain(refused).collect::<Vec<_>>().join(", ")
        });
        table += &format!("| `{event}` | {} |\n", cells.join(" | "));
    }
    table
}

fn hosts(seen: &Seen) -> String {
    let mut table = "| state | is asked to | may become |\n|---|---|---|\n".to_owned();
    for state in HostProgress::NAMES {
        let asks = seen.asks.get(state).unwrap_or_else(|| panic!("no host was ever {state}"));
        let asks: Vec<&str> = asks.iter().copied().collect();
        let asks = if asks.is_empty() { "nothing".to_owned() } else { asks.join(", ") };
        let next = HostProgress::NAMES
            .into_iter()
            .filter(|next| seen.becomes.get(state).is_some_and(|becomes| becomes.contains(next)));
        let next: Vec<&str> = next.collect();
        let next = if next.is_empty() { "nothing else".to_owned() } else { next.join(", ") };
        table += &format!("| `{state}` | {asks} | {next} |\n");
    }
    table
}
