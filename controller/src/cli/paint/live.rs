//! The picture of a moving rollout: one line for a wave that is over or has not begun, a line per host for those at
//! work, the reason for each hold beneath.

use longshore_common::text::visible;

use super::{failure_lines, hold_lines, tracker::Tracker};
use crate::cli::{
    line::{Line, bar},
    moment::{bytes, count, took},
    output::Page,
    style::{Ink, clip, width},
    view::{
        rollout::{HostRow, Rollout, Standing, Wave},
        short,
    },
};

/// The widest a host's name is shown.
const NAME_COLUMNS: usize = 28;
/// As wide as the longest state or step, with its mark.
const STATE_COLUMNS: usize = 14;
/// Evidence beneath a host while things still move; the end shows all.
const EVIDENCE: usize = 4;
/// Nobody reads a line that ends far to the right of where it began.
const WIDEST: usize = 100;
/// Lines of gates that are over; the last are shown.
const GATE_ROWS: usize = 12;
/// Lines that header, waves and holds need beside the hosts.
const FRAME_ROWS: usize = 14;

pub fn picture(tracker: &Tracker, page: &Page) -> Vec<String> {
    let rollout = &tracker.rollout;
    let page = &Page { columns: page.columns.min(WIDEST), ..page.clone() };
    let mut lines = vec![header(rollout, page), String::new()];
    for wave in &rollout.waves {
        lines.push(wave_line(rollout, wave, page));
        lines.extend(host_lines(tracker, wave, page));
    }
    // Gates that wait say so among the reasons below.
    let beneath = Page { columns: page.columns.saturating_sub(4), ..page.clone() };
    let settled: Vec<String> = rollout
        .gates
        .iter()
        .filter(|gate| !gate.is_pending())
        .flat_map(|gate| gate.lines(false, &beneath))
        .collect();
    if !settled.is_empty() {
        lines.push(String::new());
        lines.extend(settled.iter().map(|line| format!("    {line}")).rev().take(GATE_ROWS).rev());
    }
    let holds = hold_lines(&rollout.holds, 4, page);
    if !holds.is_empty() {
        lines.push(String::new());
        lines.extend(holds);
    }
    if let Some(outcome) = &rollout.outcome {
        lines.push(String::new());
        lines.extend(end_lines(rollout, outcome, page));
    }
    lines
}

fn header(rollout: &Rollout, page: &Page) -> String {
    let (from, arrow) = match rollout.other_before() {
        Some(from) => (visible(from), " → "),
        None => (String::new(), ""),
    };
    let time = rollout.started_at.map(|started| took(rollout.ended_at.unwrap_or(page.now).0 - started.0));
    Line::indented(2)
        .then(Ink::Strong, visible(&rollout.app))
        .then(Ink::Plain, " ")
        .then(Ink::Faint, format!("{from}{arrow}"))
        .then(Ink::Strong, visible(&rollout.version))
        .then(Ink::Plain, format!(" in {}", visible(&rollout.env)))
        .then(Ink::Faint, format!("  rollout {}", short(&rollout.id)))
        .right(Ink::Faint, &time.unwrap_or_default(), page.columns)
        .paint(page.style, page.columns)
}

fn wave_line(rollout: &Rollout, wave: &Wave, page: &Page) -> String {
    let hosts: Vec<&HostRow> = rollout.in_wave(wave.number).collect();
    let good = hosts.iter().filter(|host| host.standing() == Standing::Good).count();
    let bad = hosts.iter().filter(|host| host.standing() == Standing::Bad).count();
    let standing = wave_standing(wave, &hosts);
    let mut tally = vec![];
    if standing != Standing::Idle {
        tally.push(format!("{good} of {} healthy", hosts.len()));
    }
    if bad > 0 {
        tally.push(format!("{bad} failed"));
    }
    let name = if hosts.len() == 1 { visible(&hosts[0].name) } else { count(hosts.len(), "host") };
    Line::indented(2)
        .then(standing.ink(), standing.mark())
        .then(Ink::Strong, format!(" wave {}", wave.number))
        .to_column(13)
        .then(Ink::Plain, clip(&name, NAME_COLUMNS))
        .to_column(24)
        .then(standing.ink(), visible(&wave.state))
        .to_column(36)
        .then(Ink::Faint, tally.join(", "))
        .paint(page.style, page.columns)
}

/// A wave that was undone is told by its hosts, not by how far it had come.
fn wave_standing(wave: &Wave, hosts: &[&HostRow]) -> Standing {
    let any = |standing| hosts.iter().any(|host| host.standing() == standing);
    match wave.standing() {
        Standing::Good if any(Standing::Bad) || any(Standing::Doubtful) => Standing::Doubtful,
        standing => standing,
    }
}

/// A line per host that moves or is in trouble. Where they do not fit, trouble goes first and the rest is counted.
fn host_lines(tracker: &Tracker, wave: &Wave, page: &Page) -> Vec<String> {
    let rollout = &tracker.rollout;
    let current = wave.number == rollout.wave && !rollout.is_over() && rollout.phase != "ready";
    let mut shown: Vec<&HostRow> = rollout
        .in_wave(wave.number)
        .filter(|host| match host.standing() {
            Standing::Bad | Standing::Doubtful | Standing::Undone => true,
            Standing::Busy => true,
            Standing::Good | Standing::Idle => current,
        })
        .collect();
    let room = page.rows.saturating_sub(FRAME_ROWS + rollout.waves.len()).max(3);
    let folded = shown.len().saturating_sub(room);
    if folded > 0 {
        shown.sort_by_key(|host| match host.standing() {
            Standing::Bad => 0,
            Standing::Doubtful => 1,
            Standing::Busy => 2,
            Standing::Idle => 3,
            Standing::Undone => 4,
            Standing::Good => 5,
        });
        shown.truncate(room);
    }
    let names = shown.iter().map(|host| width(&visible(&host.name)).min(NAME_COLUMNS)).max().unwrap_or(0);
    let mut lines: Vec<String> =
        shown.iter().flat_map(|host| host_block(tracker, host, names, page)).collect();
    if folded > 0 {
        let rest = format!("… and {}", count(folded, "host"));
        lines.push(Line::indented(6).then(Ink::Faint, rest).paint(page.style, page.columns));
    }
    lines
}

fn host_block(tracker: &Tracker, host: &HostRow, names: usize, page: &Page) -> Vec<String> {
    let standing = host.standing();
    let word = match (standing, &host.step) {
        (Standing::Busy, Some(step)) => visible(step),
        _ => visible(&host.state),
    };
    let since = host.since.map(|since| took(page.now.0 - since.0)).filter(|_| standing == Standing::Busy);
    let line = Line::indented(6)
        .then(Ink::Plain, clip(&visible(&host.name), NAME_COLUMNS))
        .to_column(6 + names + 2)
        .then(standing.ink(), format!("{} {word}", standing.mark()))
        .to_column(6 + names + 2 + STATE_COLUMNS);
    let line = middle(host, line, page).right(Ink::Faint, &since.unwrap_or_default(), page.columns);
    let mut lines = vec![line.paint(page.style, page.columns)];
    if let Some(failure) = &host.failure {
        let evidence = if tracker.rollout.is_over() { usize::MAX } else { EVIDENCE };
        lines.extend(failure_lines(failure, evidence, 10, page));
    } else if let Some(said) = tracker.said.get(&host.id).filter(|_| standing == Standing::Busy) {
        let said = Line::indented(10).then(Ink::Faint, format!("│ {}", visible(said)));
        lines.push(said.paint(page.style, page.columns));
    }
    lines
}

/// The transfer while there is one, else what the step says of itself.
fn middle(host: &HostRow, line: Line, page: &Page) -> Line {
    if host.standing() == Standing::Busy && host.bytes_total > 0 && host.step.as_deref() == Some("fetch") {
        let columns = (page.columns / 5).clamp(8, 24);
        let sizes = format!("  {} / {}", bytes(host.bytes_done), bytes(host.bytes_total));
        return line.then(Ink::Busy, bar(host.bytes_done, host.bytes_total, columns)).then(Ink::Faint, sizes);
    }
    let text = match (host.state.as_str(), &host.from_version) {
        ("reverted" | "rolled-back", Some(from)) => format!("back on {}", visible(from)),
        ("rolled-back", None) => "removed again".to_owned(),
        _ => host.detail.as_deref().map(visible).unwrap_or_default(),
    };
    line.then(Ink::Faint, text)
}

fn end_lines(rollout: &Rollout, outcome: &str, page: &Page) -> Vec<String> {
    let standing = rollout.standing();
    let reason = rollout.outcome_reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let text = visible(&format!("{outcome}{reason}"));
    super::wrap(&text, page.columns.saturating_sub(4))
        .into_iter()
        .enumerate()
        .map(|(at, part)| {
            let mark = if at == 0 { format!("{} ", standing.mark()) } else { "  ".to_owned() };
            Line::indented(2).then(standing.ink(), format!("{mark}{part}")).paint(page.style, page.columns)
        })
        .collect()
}
