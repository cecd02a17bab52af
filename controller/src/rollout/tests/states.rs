//! `docs/rollout-states.md` says what `step` does. Its tables say what the walks of `witnesses.txt` show, no word more and
//! no word less; and many more walks show nothing else.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use longshore_common::durable::write_atomic;

use super::explore::{Effort, Fact, Seen, explore};
use crate::rollout::{Event, HostProgress, Phase};

const LONG: Effort = Effort { walks: 40_000, branches: 400_000, per_phase: 5_000 };
const SHORT: Effort = Effort { walks: 3_000, branches: 15_000, per_phase: 60 };
const WITNESSES: &str = include_str!("witnesses.txt");
/// How the tables and the walks are made anew; the tests say it where they differ.
const ANEW: &str =
    "made anew by: cargo test -p longshore-controller --lib -- --ignored the_tables_are_made_anew";

/// What is claimed was seen, and what was seen is claimed.
#[test]
fn the_docs_say_what_was_seen() {
    let mut seen = Seen::default();
    WITNESSES.lines().for_each(|walk| seen.replay(walk));
    for (name, table) in tables(&seen) {
        let (claimed, shown) = (part(&doc(), name), table);
        let (unseen, unsaid) = (other_words(&shown, &claimed), other_words(&claimed, &shown));
        assert!(
            claimed == shown,
            "docs/rollout-states.md, {name}: nobody saw {unseen:#?}, and it does not say {unsaid:#?}; {ANEW}"
        );
    }
}

/// Some hundred thousand steps; a step that the docs do not know fails.
#[test]
fn the_docs_know_every_step() {
    let mut seen = Seen::default();
    explore(&SHORT, &mut seen);
    let doc = doc();
    let unknown = |(name, table): (&str, String)| other_words(&part(&doc, name), &table);
    let missing: Vec<String> = tables(&seen).into_iter().flat_map(unknown).collect();
    assert!(missing.is_empty(), "docs/rollout-states.md does not say: {missing:#?}; {ANEW}");
    assert_eq!(refusals(&part(&doc, "phases")), refusals(&phases(&seen)), "what is refused differs");
}

/// Some ten million steps: what they show is written into the docs, with walks that show it.
#[test]
#[ignore = "takes minutes and writes: docs/rollout-states.md and witnesses.txt are made anew"]
fn the_tables_are_made_anew() {
    let mut seen = Seen::default();
    for effort in [&SHORT, &LONG] {
        explore(effort, &mut seen);
    }
    let mut text = doc();
    for (name, table) in tables(&seen) {
        text = text.replace(&part(&text, name), &table);
    }
    write_atomic(&doc_path(), text.as_bytes(), 0o644).expect("the docs can be written");
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rollout/tests/witnesses.txt");
    let walks = seen.witnesses().join("\n") + "\n";
    write_atomic(&here, walks.as_bytes(), 0o644).expect("the walks can be written");
}

fn doc_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rollout-states.md")
}

fn doc() -> String {
    std::fs::read_to_string(doc_path()).expect("docs/rollout-states.md is there")
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

fn tables(seen: &Seen) -> [(&'static str, String); 2] {
    [("phases", phases(seen)), ("hosts", hosts(seen))]
}

fn phases(seen: &Seen) -> String {
    let mut table = format!("| event | {} |\n", Phase::NAMES.join(" | "));
    table += &format!("|---|{}\n", "---|".repeat(Phase::NAMES.len()));
    for event in Event::NAMES {
        let cells = Phase::NAMES.map(|phase| {
            let led = |to: &&'static str| seen.0.contains_key(&Fact::Step(phase, event, to));
            let stays = led(&phase).then_some("stays");
            let moves = Phase::NAMES.into_iter().filter(|next| *next != phase).filter(led);
            let refused = led(&"refused").then_some("*refused*");
            let cell = stays.into_iter().chain(moves).chain(refused).collect::<Vec<_>>().join(", ");
            assert!(!cell.is_empty(), "{event} never came while {phase}");
            cell
        });
        table += &format!("| `{event}` | {} |\n", cells.join(" | "));
    }
    table
}

fn hosts(seen: &Seen) -> String {
    let mut table = "| state | is asked to | may become |\n|---|---|---|\n".to_owned();
    for state in HostProgress::NAMES {
        assert!(seen.0.contains_key(&Fact::Asks(state, "")), "no host was ever {state}");
        let asked = |fact: &Fact| match fact {
            Fact::Asks(of, what) if *of == state && !what.is_empty() => Some(*what),
            _ => None,
        };
        let asks: Vec<&str> = seen.0.keys().filter_map(asked).collect();
        let asks = if asks.is_empty() { "nothing".to_owned() } else { asks.join(", ") };
        let becomes = |next: &&'static str| seen.0.contains_key(&Fact::Becomes(state, next));
        let next: Vec<&str> = HostProgress::NAMES.into_iter().filter(becomes).collect();
        let next = if next.is_empty() { "nothing else".to_owned() } else { next.join(", ") };
        table += &format!("| `{state}` | {asks} | {next} |\n");
    }
    table
}
