//! A rollout as a log: one line for each change, each with its time, so that it reads well piped, saved or grepped.

use longshore_common::text::visible;

use super::{
    sentence,
    tracker::{News, Tracker},
};
use crate::cli::{
    moment::{Moment, count, took},
    output::Page,
    view::{
        gate::Gate,
        rollout::{Hold, HostFailure, HostRow, Rollout},
    },
};

/// What to print when the watch begins.
pub fn opening(rollout: &Rollout, page: &Page) -> Vec<String> {
    let from = rollout.other_before().map(|from| format!(" from {from}")).unwrap_or_default();
    let begun = rollout.started_at.or(rollout.created_at);
    let mut lines = vec![stamp(
        begun.filter(|_| rollout.is_over()).unwrap_or(page.now),
        page,
        &format!(
            "rollout {} moves {} to {}@{}{from}: {} in {}",
            rollout.id,
            rollout.env,
            rollout.app,
            rollout.version,
            count(rollout.of_it(), "host"),
            count(rollout.waves.len(), "wave")
        ),
    )];
    let nothing = Rollout {
        waves: vec![],
        hosts: vec![],
        holds: vec![],
        gates: vec![],
        outcome: None,
        ..rollout.clone()
    };
    let mut told = entries(&nothing, rollout, page);
    if rollout.is_over() {
        told.sort_by_key(|entry| entry.at); // stable: what came at one moment stays in its order
    }
    lines.extend(told.into_iter().flat_map(|entry| entry.lines));
    lines
}

/// Something that came about, with the lines that tell of it.
struct Entry {
    at: Moment,
    lines: Vec<String>,
}

impl Entry {
    fn new(at: Moment, page: &Page, text: &str) -> Self {
        Self { at, lines: vec![stamp(at, page, text)] }
    }

    /// What it rests on, beneath it.
    fn with(mut self, evidence: &[String], page: &Page) -> Self {
        let indent = " ".repeat(self.at.stamp(&page.zone, page.now).len() + 3);
        self.lines.extend(evidence.iter().map(|line| format!("{indent}| {}", visible(line))));
        self
    }
}

/// What to print for an update.
pub fn news(tracker: &Tracker, news: &News, page: &Page) -> Vec<String> {
    match news {
        News::State(before) => changes(before, &tracker.rollout, page),
        News::Step(host) => {
            host.step.iter().map(|step| stamp(page.now, page, &of_host(host, step))).collect()
        }
        News::Said(line) => {
            let source = if line.source.is_empty() { "app" } else { &line.source };
            let text = format!("{} [{source}] {}", line.name, line.error.as_ref().unwrap_or(&line.line));
            vec![stamp(line.at.unwrap_or(page.now), page, &text)]
        }
        News::Little => vec![],
    }
}

/// Everything that differs, in the order in which it came about: hosts, waves, the whole, why it waits, the end.
pub fn changes(before: &Rollout, after: &Rollout, page: &Page) -> Vec<String> {
    entries(before, after, page).into_iter().flat_map(|entry| entry.lines).collect()
}

/// What differs came about now; of a rollout that was over before anybody watched, at its own time.
fn entries(before: &Rollout, after: &Rollout, page: &Page) -> Vec<Entry> {
    let was_over = before.hosts.is_empty() && after.is_over();
    let end = after.ended_at.unwrap_or(page.now);
    let at = |own: Option<Moment>| if was_over { own.unwrap_or(end) } else { page.now };
    let mut told = vec![];
    for host in &after.hosts {
        let known = before.hosts.iter().find(|known| known.id == host.id);
        if known.is_none_or(|known| known.state != host.state) && host.state != "waiting" {
            let shown = known.and_then(|known| known.failure.as_ref());
            told.push(host_change(host, shown, at(host.since), page));
        }
    }
    for wave in &after.waves {
        let known = before.waves.iter().find(|known| known.number == wave.number);
        if known.is_none_or(|known| known.state != wave.state) && !wave.is_untouched() {
            let of_it = after.hosts.iter().filter(|host| host.wave == wave.number);
            let at = at(of_it.filter_map(|host| host.since).max());
            told.push(Entry::new(at, page, &format!("wave {} {}", wave.number, wave.state)));
        }
    }
    for gate in &after.gates {
        let same = |known: &&Gate| known.run == gate.run;
        let settled = |known: &&Gate| same(known) && !known.is_pending();
        if gate.is_pending() && before.gates.iter().chain(&after.gates).any(|known| settled(&known)) {
            continue; // it has its verdict
        }
        let known = before.gates.iter().find(same);
        if known.is_none_or(|known| (&known.state, &known.note) != (&gate.state, &gate.note)) {
            let entry = Entry::new(at(gate.until), page, &gate.sentence());
            told.push(if gate.state == "pass" { entry } else { entry.with(&gate.evidence, page) });
        }
    }
    if before.phase != after.phase && is_of_the_whole(&after.phase) {
        told.push(Entry::new(at(None), page, &format!("rollout {}", after.phase)));
    }
    for hold in after.holds.iter().filter(|hold| !is_plain_work(hold)) {
        // Until it begins, whom it waits for is the news; afterwards numbers of hosts change, and their own lines say so.
        let same =
            |known: &Hold| known.kind == hold.kind && (hold.kind != "not-started" || known.what == hold.what);
        if !before.holds.iter().any(same) {
            let command = hold.command.as_deref().map(|command| format!(" -- {command}")).unwrap_or_default();
            told.push(Entry::new(at(None), page, &format!("hold {}: {}{command}", hold.kind, hold.what)));
        }
    }
    if before.outcome != after.outcome
        && let Some(outcome) = &after.outcome
    {
        told.push(Entry::new(at(None), page, &ending(after, outcome)));
    }
    told
}

/// Phases that the lines of waves and hosts do not tell.
fn is_of_the_whole(phase: &str) -> bool {
    matches!(phase, "paused" | "rolling-back" | "awaiting-promotion" | "watching")
}

/// Waiting for hosts that are at work: their own lines say so.
fn is_plain_work(hold: &Hold) -> bool {
    matches!(hold.kind.as_str(), "staging" | "switching" | "rolling-back" | "gate")
}

/// A host that failed goes through more states; what its failure rests on is `shown` once.
fn host_change(host: &HostRow, shown: Option<&HostFailure>, at: Moment, page: &Page) -> Entry {
    let Some(failure) = &host.failure else {
        return Entry::new(at, page, &of_host(host, &host.state));
    };
    let text = format!("{}: {}", host.state, sentence(failure));
    let entry = Entry::new(at, page, &of_host(host, &text));
    if shown.is_some_and(|shown| shown.evidence == failure.evidence) {
        return entry;
    }
    entry.with(&failure.evidence, page)
}

fn of_host(host: &HostRow, what: &str) -> String {
    format!("wave {} {} {what}", host.wave, host.name)
}

fn ending(rollout: &Rollout, outcome: &str) -> String {
    let reason = rollout.outcome_reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let length =
        rollout.started_at.zip(rollout.ended_at).map(|(start, end)| format!(" ({})", took(end.0 - start.0)));
    format!("{outcome}{reason}{}", length.unwrap_or_default())
}

/// `10:31:02 text`, the text made safe; of what is long past with its date.
pub fn stamp(at: Moment, page: &Page, text: &str) -> String {
    format!("{} {}", at.stamp(&page.zone, page.now), visible(text))
}
