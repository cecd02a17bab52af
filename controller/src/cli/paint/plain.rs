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
        rollout::{Hold, HostRow, Rollout},
    },
};

/// What to print when the watch begins.
pub fn opening(rollout: &Rollout, page: &Page) -> Vec<String> {
    let from = rollout.other_before().map(|from| format!(" from {from}")).unwrap_or_default();
    let mut lines = vec![stamp(
        page.now,
        page,
        &format!(
            "rollout {} moves {} to {}@{}{from}: {} in {}",
            rollout.id,
            rollout.env,
            rollout.app,
            rollout.version,
            count(rollout.hosts.len(), "host"),
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
    lines.extend(changes(&nothing, rollout, page));
    lines
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
    let mut lines = vec![];
    for host in &after.hosts {
        let known = before.hosts.iter().find(|known| known.id == host.id);
        if known.is_none_or(|known| known.state != host.state) && host.state != "waiting" {
            lines.extend(host_change(host, page));
        }
    }
    for wave in &after.waves {
        let known = before.waves.iter().find(|known| known.number == wave.number);
        if known.is_none_or(|known| known.state != wave.state) && !wave.is_untouched() {
            lines.push(stamp(page.now, page, &format!("wave {} {}", wave.number, wave.state)));
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
            lines.push(stamp(page.now, page, &gate.sentence()));
            if gate.state != "pass" {
                let indent = " ".repeat(page.now.clock(&page.zone).len() + 3);
                lines.extend(gate.evidence.iter().map(|line| format!("{indent}| {}", visible(line))));
            }
        }
    }
    if before.phase != after.phase && is_of_the_whole(&after.phase) {
        lines.push(stamp(page.now, page, &format!("rollout {}", after.phase)));
    }
    for hold in after.holds.iter().filter(|hold| !is_plain_work(hold)) {
        // Until it begins, whom it waits for is the news; afterwards numbers of hosts change, and their own lines say so.
        let same =
            |known: &Hold| known.kind == hold.kind && (hold.kind != "not-started" || known.what == hold.what);
        if !before.holds.iter().any(same) {
            let command = hold.command.as_deref().map(|command| format!(" -- {command}")).unwrap_or_default();
            lines.push(stamp(page.now, page, &format!("hold {}: {}{command}", hold.kind, hold.what)));
        }
    }
    if before.outcome != after.outcome
        && let Some(outcome) = &after.outcome
    {
        lines.push(stamp(page.now, page, &ending(after, outcome)));
    }
    lines
}

/// Phases that the lines of waves and hosts do not tell.
fn is_of_the_whole(phase: &str) -> bool {
    matches!(phase, "paused" | "rolling-back" | "awaiting-promotion" | "watching")
}

/// Waiting for hosts that are at work: their own lines say so.
fn is_plain_work(hold: &Hold) -> bool {
    matches!(hold.kind.as_str(), "staging" | "switching" | "rolling-back" | "gate")
}

fn host_change(host: &HostRow, page: &Page) -> Vec<String> {
    let at = page.now;
    let Some(failure) = &host.failure else {
        return vec![stamp(at, page, &of_host(host, &host.state))];
    };
    let text = format!("{}: {}", host.state, sentence(failure));
    let mut lines = vec![stamp(at, page, &of_host(host, &text))];
    let indent = " ".repeat(at.clock(&page.zone).len() + 3);
    lines.extend(failure.evidence.iter().map(|line| format!("{indent}| {}", visible(line))));
    lines
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

/// `10:31:02 text`, the text made safe.
pub fn stamp(at: Moment, page: &Page, text: &str) -> String {
    format!("{} {}", at.clock(&page.zone), visible(text))
}
