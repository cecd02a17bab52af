//! Rollouts as lines: pure functions of what is known and of the page. `live` is a picture that is painted over and
//! over on a terminal, `plain` a line for each change, for pipes and logs; both say the same.

pub mod live;
pub mod plain;
#[cfg(test)]
mod tests;
pub mod tracker;

use longshore_common::{text::visible, time::Millis};

use super::{
    line::Line,
    moment::coarse,
    output::Page,
    style::{Ink, wrap},
    view::rollout::{Hold, HostFailure},
};

/// For less than that a wait is not said to last: it has just begun.
const LASTS_MS: Millis = 1_000;
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

/// Each reason why a rollout waits: what, until when, what then; beneath it what an operator can type, since when it
/// is so, and who is waited for, which need not be whoever types.
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
    let beneath = || Line::indented(indent + 2);
    let waits = waits(hold, page);
    match hold.command.as_deref().map(visible) {
        Some(command) => {
            let line = beneath().then(Ink::Faint, "→ ").then(Ink::Plain, command);
            let with = line.clone().then(Ink::Faint, format!("  ({waits})"));
            match (waits.is_empty(), with.width() <= page.columns) {
                (true, _) => lines.push(line),
                (false, true) => lines.push(with),
                // The command is never cut off for it.
                (false, false) => lines.extend([line, beneath().then(Ink::Faint, format!("  ({waits})"))]),
            }
        }
        None if !waits.is_empty() => lines.push(beneath().then(Ink::Faint, format!("({waits})"))),
        None => {}
    }
    lines.iter().map(|line| line.paint(page.style, page.columns)).collect()
}

/// `for 3m, waits for the hosts`; what has only begun is not said to last.
fn waits(hold: &Hold, page: &Page) -> String {
    let lasts = hold.since.map(|since| page.now.0 - since.0).filter(|lasts| *lasts >= LASTS_MS);
    let lasts = lasts.map(|lasts| format!("for {}", coarse(lasts)));
    let owner = hold.owner.as_deref().map(|owner| format!("waits for {}", visible(owner)));
    lasts.into_iter().chain(owner).collect::<Vec<_>>().join(", ")
}
