//! Rollouts as lines: pure functions of what is known and of the page. `live` is a picture that is painted over and
//! over on a terminal, `plain` a line for each change, for pipes and logs; both say the same.

pub mod live;
pub mod plain;
#[cfg(test)]
mod tests;
pub mod tracker;

use longshore_common::text::visible;

use super::{
    line::Line,
    output::Page,
    style::{Ink, wrap},
    view::rollout::{Hold, HostFailure},
};

/// Columns of text beyond which reading gets hard.
pub const PROSE: usize = 100;

/// What failed and the last `evidence` lines, indented.
pub fn failure_lines(failure: &HostFailure, evidence: usize, indent: usize, page: &Page) -> Vec<String> {
    let text = visible(&sentence(failure));
    let room = page.columns.min(PROSE).saturating_sub(indent).max(20);
    let mut lines: Vec<Line> =
        wrap(&text, room).into_iter().map(|part| Line::indented(indent).then(Ink::Bad, part)).collect();
    let skipped = failure.evidence.len().saturating_sub(evidence);
    lines.extend(
        failure
            .evidence
            .iter()
            .skip(skipped)
            .map(|line| Line::indented(indent).then(Ink::Faint, "│ ").then(Ink::Plain, visible(line))),
    );
    lines.iter().map(|line| line.paint(page.style, page.columns)).collect()
}

/// `LS-B01 probe: http answered 503`, the step once.
pub fn sentence(failure: &HostFailure) -> String {
    let HostFailure { code, step, message, .. } = failure;
    if message.starts_with(step.as_str()) {
        format!("{code} {message}")
    } else {
        format!("{code} {step}: {message}")
    }
}

/// Each reason why a rollout waits: what, until when, what then, who can act, and the command.
pub fn hold_lines(holds: &[Hold], indent: usize, page: &Page) -> Vec<String> {
    holds.iter().flat_map(|hold| hold_line(hold, indent, page)).collect()
}

fn hold_line(hold: &Hold, indent: usize, page: &Page) -> Vec<String> {
    let mut text = visible(&hold.what);
    if let Some(until) = hold.until.filter(|_| hold.kind == "closed") {
        text.push_str(&format!(" ({})", until.relative(page.now))); // when it opens has been said, by its own clock
    } else if let Some(until) = hold.until {
        let apart = if hold.kind == "gate" { ";" } else { "" }; // what it has seen so far comes before
        text.push_str(&format!(
            "{apart} until {} ({})",
            until.clock_or_date(&page.zone, page.now),
            until.relative(page.now)
        ));
    }
    if let Some(then) = &hold.then {
        text.push_str(&format!("; then {}", visible(then)));
    }
    let room = page.columns.min(PROSE).saturating_sub(indent + 2).max(20);
    let mut lines: Vec<Line> = wrap(&text, room)
        .into_iter()
        .enumerate()
        .map(|(at, part)| {
            Line::indented(indent).then(Ink::Warn, if at == 0 { "◦ " } else { "  " }).then(Ink::Plain, part)
        })
        .collect();
    let owner = hold.owner.as_deref().map(visible);
    match (&hold.command, owner) {
        (Some(command), owner) => {
            let who = owner.map(|owner| format!("  ({owner})")).unwrap_or_default();
            let line = Line::indented(indent + 2).then(Ink::Faint, "→ ").then(Ink::Plain, visible(command));
            lines.push(line.then(Ink::Faint, who));
        }
        (None, Some(owner)) => lines.push(Line::indented(indent + 2).then(Ink::Faint, format!("→ {owner}"))),
        (None, None) => {}
    }
    lines.iter().map(|line| line.paint(page.style, page.columns)).collect()
}
