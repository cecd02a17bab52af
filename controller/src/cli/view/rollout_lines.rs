//! A rollout printed once: `rollout show`, `list`, `explain`.

use longshore_common::text::visible;

use super::{
    digest,
    gate::Gate,
    rollout::{Asked, Balancer, Balancing, Explanation, HostRow, Override, Rollout, RolloutList, Standing},
    short,
};
use crate::cli::{
    exit::Exit,
    moment::{Moment, count, took},
    output::{Page, View},
    paint,
    style::wrap,
    table::{Cell, Facts, Table},
};

impl View for Rollout {
    const SCHEMA: &'static str = "longshore.cli.rollout/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut lines = facts(self, page).lines(page.style);
        lines.push(String::new());
        lines.extend(hosts(self, page).lines(page.style));
        lines.extend(sides(self, page));
        for host in &self.hosts {
            if let Some(failure) = &host.failure {
                lines.push(String::new());
                lines.push(page.style.paint(Standing::Bad.ink(), &visible(&host.name)));
                lines.extend(paint::failure_lines(failure, usize::MAX, 2, page));
            }
        }
        lines.extend(gates(&self.gates, page));
        lines.extend(paint::hold_lines(&self.holds, 0, page));
        lines
    }
}

impl Rollout {
    /// Of one that an operator has told to go back.
    pub fn exit_of_return(&self) -> Exit {
        match self.outcome.as_deref() {
            Some("rolled-back") => Exit::Done,
            _ => self.exit(),
        }
    }

    /// The version that was live before; none where it is the same one with other settings, or nothing was.
    pub fn other_before(&self) -> Option<&str> {
        self.from_version.as_deref().filter(|from| *from != self.version)
    }
}

fn facts(rollout: &Rollout, page: &Page) -> Facts {
    let mut facts = Facts::default();
    let from = match rollout.other_before() {
        Some(from) => format!(" (from {from})"),
        None if rollout.was_live() => format!(" ({})", rollout.already()),
        None => String::new(),
    };
    let state = match &rollout.outcome_reason {
        Some(reason) => format!("{}: {reason}", rollout.state()),
        None => rollout.state().to_owned(),
    };
    facts
        .add("rollout", visible(&rollout.id))
        .add("moves", visible(&format!("{} to {}@{}{from}", rollout.env, rollout.app, rollout.version)))
        .add("state", page.style.paint(rollout.standing().ink(), &visible(&state)))
        .add("hosts", format!("{} of {} on {}", rollout.good(), rollout.of_it(), visible(&rollout.version)))
        .add_some("not counted", not_counted(rollout));
    facts.add_some("plan", rollout.plan.as_deref().map(digest));
    let by = |at: Moment| format!("{} by {}", at.date(&page.zone), visible(&rollout.started_by));
    // When one that has not started does is what it waits for, below.
    match (rollout.started_at, rollout.created_at) {
        (Some(at), _) => {
            let length = took(rollout.ended_at.unwrap_or(page.now).0 - at.0);
            facts.add("started", format!("{}, {length}", by(at)));
        }
        (None, created) => {
            facts.add_some("made", created.map(by));
        }
    }
    if let Some(balancing) = &rollout.balancing {
        let (how, balancers) = traffic(balancing);
        facts.add("traffic", visible(&how)).add("balancers", visible(&balancers));
    }
    for Override { name, reason } in &rollout.overrides {
        facts.add("in spite of", visible(&format!("{name}: {reason}")));
    }
    let joined: Vec<String> = rollout
        .hosts
        .iter()
        .filter(|host| host.joined)
        .map(|host| match host.takes_part() {
            true => format!("{} in wave {}", host.name, host.wave),
            false => format!("{} ({})", host.name, host.state),
        })
        .collect();
    if !joined.is_empty() {
        facts.add("joined since", visible(&some_of(&joined)));
    }
    let stand_in = rollout.hosts.iter().filter(|host| host.stands_in && host.takes_part());
    let stand_in: Vec<&str> = stand_in.map(|host| host.name.as_str()).collect();
    if !stand_in.is_empty() {
        facts.add("canary", visible(&format!("nobody of it was left; in its place: {}", some_of(&stand_in))));
    }
    facts.add_some("reason", rollout.reason.as_deref().map(visible)).add_some(
        "deadline",
        rollout
            .deadline_at
            .map(|at| format!("{} ({})", at.clock_or_date(&page.zone, page.now), at.relative(page.now))),
    );
    facts
}

/// Hosts that take no part any more, for whatever they run.
fn not_counted(rollout: &Rollout) -> Option<String> {
    let out: Vec<&HostRow> = rollout.hosts.iter().filter(|host| !host.takes_part()).collect();
    let why = |host: &HostRow| host.left_out.clone().unwrap_or_else(|| host.state.clone());
    (!out.is_empty()).then(|| names_and_why(&out, |host| Some(why(host))))
}

/// Who directs the traffic, where it goes, and how far each balancer is with it.
fn traffic(balancing: &Balancing) -> (String, String) {
    let Balancing { director, backend, gets, share, moves, balancers } = balancing;
    let goes = match (gets.as_deref(), moves) {
        (None, _) => "hosts are drained before they are changed, and join when they are healthy".to_owned(),
        (Some(gets), false) => format!("{gets} has it and gets what it lacks"),
        (Some(gets), true) => {
            let other = if gets == "blue" { "green" } else { "blue" };
            format!("{gets} gets the release and has {share}% of it; {other} has {}%", 100 - share.min(&100))
        }
    };
    let said = balancers.iter().map(|Balancer { name, state, note }| match note {
        Some(note) => format!("{name} {state} ({note})"),
        None => format!("{name} {state}"),
    });
    (format!("backend {backend} of {director}: {goes}"), said.collect::<Vec<_>>().join(", "))
}

/// Every gate with its evidence.
fn gates(gates: &[Gate], page: &Page) -> Vec<String> {
    let lines: Vec<String> = gates.iter().flat_map(|gate| gate.lines(true, page)).collect();
    if lines.is_empty() { lines } else { std::iter::once(String::new()).chain(lines).collect() }
}

fn hosts(rollout: &Rollout, page: &Page) -> Table {
    let Some(balancing) = &rollout.balancing else {
        let mut table = Table::new(["WAVE", "HOST", "STATE", "STEP", "FROM", "SINCE"]);
        for host in &rollout.hosts {
            table.row(cells(host, page));
        }
        return table;
    };
    let mut table = Table::new(["WAVE", "HOST", "STATE", "STEP", "FROM", "SINCE", "WEIGHT", "GROUP"]);
    for host in &rollout.hosts {
        let [wave, name, state, step, from, since] = cells(host, page);
        let group = visible(host.group.as_deref().unwrap_or_default());
        table.row([wave, name, state, step, from, since, weight(host).into(), group.into()]);
    }
    if balancing.gets.is_none() {
        table.drop_column("GROUP");
    }
    table
}

/// Which side has the traffic on each host, and until when the other is warm.
fn sides(rollout: &Rollout, page: &Page) -> Vec<String> {
    let told: Vec<&HostRow> = rollout.hosts.iter().filter(|host| !host.sides.is_empty()).collect();
    if told.is_empty() {
        return vec![];
    }
    let mut table = Table::new(["HOST", "SIDES"]);
    for host in told {
        let sides: Vec<String> = host.sides.iter().map(|side| side.standing(page)).collect();
        table.row([visible(&host.name).into(), sides.join(", ").into()]);
    }
    std::iter::once(String::new()).chain(table.lines(page.style)).collect()
}

/// `100`, or while balancers have not carried it out yet, `100 soon`.
fn weight(host: &HostRow) -> String {
    match (host.weight, host.directed) {
        (None, _) => String::new(),
        (Some(weight), true) => weight.to_string(),
        (Some(weight), false) => format!("{weight} soon"),
    }
}

fn cells(host: &HostRow, page: &Page) -> [Cell; 6] {
    // Whoever is left out is moved in none.
    let wave = if host.takes_part() { host.wave.to_string() } else { "-".to_owned() };
    [
        wave.into(),
        visible(&host.name).into(),
        Cell::new(host.standing().ink(), visible(&host.state)),
        visible(host.step.as_deref().unwrap_or_default()).into(),
        visible(host.from_version.as_deref().unwrap_or_default()).into(),
        host.since.map(|at| at.relative(page.now)).unwrap_or_default().into(),
    ]
}

impl View for RolloutList {
    const SCHEMA: &'static str = "longshore.cli.rollout-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.rollouts.is_empty() {
            let none = match self.asked {
                Asked::All => "No rollouts. Start one: longshore rollout start APP@VERSION --to ENVIRONMENT",
                Asked::UnderWay => "No rollout is under way.",
                Asked::Narrowed => "No such rollouts. All of them: longshore rollout list",
            };
            return vec![none.to_owned()];
        }
        let mut table = Table::new(["ROLLOUT", "RELEASE", "FROM", "ENVIRONMENT", "STATE", "STARTED", "BY"]);
        for rollout in &self.rollouts {
            table.row([
                short(&rollout.id).into(),
                visible(&format!("{}@{}", rollout.app, rollout.version)).into(),
                visible(rollout.word_of_from()).into(),
                visible(&rollout.env).into(),
                Cell::new(rollout.standing().ink(), visible(rollout.state())),
                match rollout.started_at {
                    Some(at) => at.relative(page.now).into(),
                    None if rollout.is_over() => "never".into(),
                    None => "not yet".into(),
                },
                visible(&rollout.started_by).into(),
            ]);
        }
        table.lines(page.style)
    }
}

impl View for Explanation {
    const SCHEMA: &'static str = "longshore.cli.explanation/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let columns = page.columns.min(paint::PROSE);
        // The summary ends with what the first hold begins with.
        let first = self.holds.first().map_or("", |hold| hold.what.as_str());
        let summary = self.summary.strip_suffix(first).unwrap_or(&self.summary).trim_end();
        let mut lines = wrap(&visible(summary), columns);
        lines.extend(paint::hold_lines(&self.holds, 0, page));
        // What stopped it, or the last that was said of every gate that did not pass.
        let gates = &self.rollout.gates;
        let is_last = |at: usize| !gates[at + 1..].iter().any(|later| later.is_of(&gates[at]));
        let told = gates
            .iter()
            .enumerate()
            .filter(|(at, gate)| is_last(*at) && gate.state != "pass" && !gate.is_pending());
        lines.extend(told.flat_map(|(_, gate)| self.unsaid(gate).lines(true, page)));
        if let Some(first) = &self.first_failure {
            let at = first
                .at
                .map(|at| format!(" at {}", at.clock_or_date(&page.zone, page.now)))
                .unwrap_or_default();
            let name = visible(&first.name);
            lines.push(String::new());
            lines.push(page.style.paint(Standing::Bad.ink(), &format!("First failure: {name}{at}")));
            if let Some(failure) = &first.failure {
                lines.extend(paint::failure_lines(failure, usize::MAX, 2, page));
            }
        }
        if self.rollout.is_over() {
            return lines; // the summary has said it all
        }
        // One that fetches the release, or has it, has begun.
        let standing = |state: &str| self.rollout.hosts.iter().filter(|host| host.state == state).count();
        let staged = match standing("staged") {
            0 => String::new(),
            staged => format!(", {staged} staged"),
        };
        lines.push(String::new());
        lines.push(format!(
            "{} of {} on {}{staged}, {} not begun",
            self.rollout.good(),
            count(self.rollout.of_it(), "host"),
            visible(&self.rollout.version),
            standing("waiting")
        ));
        lines.extend(left_behind(&self.rollout, page));
        lines
    }
}

impl Explanation {
    /// The gate without its note, where a sentence above has that: it stopped the rollout.
    fn unsaid(&self, gate: &Gate) -> Gate {
        let above = |note: &String| {
            let stop = format!("gate {}: {}: {note}", gate.name, gate.state);
            self.summary.contains(&stop) || self.holds.iter().any(|hold| hold.what.contains(&stop))
        };
        Gate { note: gate.note.clone().filter(|note| !above(note)), ..gate.clone() }
    }
}

/// Hosts that are not on their way: the rollout may go on without them, but whoever asks why should see them.
fn left_behind(rollout: &Rollout, page: &Page) -> Vec<String> {
    let mut lines = vec![];
    // Of two groups, nobody has excluded the one that does not get the release.
    let gets = rollout.hosts.iter().find(|host| host.takes_part()).and_then(|host| host.group.as_ref());
    let is_other = |host: &HostRow| gets.is_some() && host.group.as_ref() != gets;
    for word in
        ["refused", "unknown", "failed", "reverted", "inconsistent", "in the other group", "excluded", "left"]
    {
        let is = |host: &&HostRow| match (host.state.as_str(), is_other(host)) {
            ("excluded", true) => word == "in the other group",
            (state, _) => state == word,
        };
        let hosts: Vec<&HostRow> = rollout.hosts.iter().filter(is).collect();
        let Some(first) = hosts.first() else { continue };
        let mark = page.style.paint(first.standing().ink(), first.standing().mark());
        let names = names_and_why(&hosts, |host| match &host.failure {
            Some(failure) if word == "refused" => Some(failure.message.clone()),
            _ => host.left_out.clone(),
        });
        lines.push(format!("{mark} {} {word}: {names}", hosts.len()));
    }
    lines
}

/// `web-1, web-2 and 7 more: why`, or `web-1 (why), web-2 (why)` where that differs.
fn names_and_why(hosts: &[&HostRow], why: impl Fn(&HostRow) -> Option<String>) -> String {
    let whys: Vec<Option<String>> = hosts.iter().map(|host| why(host)).collect();
    let is_shared = hosts.len() > 1 && whys.iter().all(|why| why.is_some() && *why == whys[0]);
    let names: Vec<String> = hosts
        .iter()
        .zip(&whys)
        .map(|(host, why)| match why {
            Some(why) if !is_shared => format!("{} ({why})", host.name),
            Some(_) | None => host.name.clone(),
        })
        .collect();
    let shared = whys.first().cloned().flatten().filter(|_| is_shared);
    let shared = shared.map(|why| format!(": {why}")).unwrap_or_default();
    visible(&format!("{}{shared}", some_of(&names)))
}

/// Hosts named in a line; the rest are counted.
const NAMES_MAX: usize = 5;

/// `web-1, web-2 and 7 more`
fn some_of<T: AsRef<str>>(names: &[T]) -> String {
    let more = match names.len().saturating_sub(NAMES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    names.iter().take(NAMES_MAX).map(AsRef::as_ref).collect::<Vec<_>>().join(", ") + &more
}

#[cfg(test)]
mod tests {
    use longshore_proto::v1 as pb;

    use super::*;

    #[test]
    fn a_list_without_rollouts_says_which_it_would_have_had() {
        let none = |asked| {
            let list = RolloutList::from(pb::ListRolloutsReply::default()).asked(asked);
            list.lines(&Page::plain(Moment(0))).remove(0)
        };
        assert!(none(Asked::All).contains("Start one"));
        assert_eq!(none(Asked::UnderWay), "No rollout is under way.");
        assert!(none(Asked::Narrowed).contains("All of them: longshore rollout list"));
    }

    /// What was said of a gate before it was looked at again is no reason any more.
    #[test]
    fn explain_tells_of_each_gate_what_was_said_last() {
        let gate = |name: &str, state: &str| pb::GateRow {
            name: name.into(),
            kind: "approval".into(),
            place: "after wave 1".into(),
            state: state.into(),
            ..pb::GateRow::default()
        };
        let gates = vec![gate("go", "no-data"), gate("look", "no-data"), gate("go", "pass")];
        let rollout = pb::Rollout { outcome: "succeeded".into(), gates, ..pb::Rollout::default() };
        let reply = pb::ExplainReply { rollout: Some(rollout), ..pb::ExplainReply::default() };
        let lines = Explanation::new(reply).unwrap().lines(&Page::plain(Moment(0)));
        let told: Vec<&String> = lines.iter().filter(|line| line.contains("gate ")).collect();
        assert_eq!(told, ["! gate look (approval) after wave 1: no-data"]);
    }

    /// What keeps it, and what was said of the gate that does, are on the screen once each.
    #[test]
    fn explain_says_nothing_twice() {
        let said = "1 of 3 tests failed: basket";
        let gate = pb::GateRow {
            name: "smoke".into(),
            kind: "test".into(),
            place: "after wave 1".into(),
            state: "fail".into(),
            note: said.into(),
            evidence: vec!["not ok 2 basket".into()],
            ..pb::GateRow::default()
        };
        let what = format!("paused while gating in wave 1: gate smoke: fail: {said}");
        let reply = pb::ExplainReply {
            summary: format!("shop@1.1 to prod: paused. {what}"),
            holds: vec![pb::HoldRow { what, ..pb::HoldRow::default() }],
            rollout: Some(pb::Rollout {
                phase: "paused".into(),
                gates: vec![gate],
                ..pb::Rollout::default()
            }),
            ..pb::ExplainReply::default()
        };
        let lines = Explanation::new(reply).unwrap().lines(&Page::plain(Moment(0)));
        assert_eq!(lines[0], "shop@1.1 to prod: paused.");
        assert_eq!(lines.join("\n").matches(said).count(), 1, "{lines:#?}");
        assert!(lines.contains(&"✗ gate smoke (test) after wave 1: fail".to_owned()), "{lines:#?}");
    }

    /// A rollout that goes on without hosts is asked about as often as one that waits for them.
    #[test]
    fn explain_names_who_is_left_behind() {
        let host = |name: &str, state: &str| pb::HostRow {
            name: name.into(),
            state: state.into(),
            ..pb::HostRow::default()
        };
        let held = pb::Failure { message: "held: disk swap".into(), ..pb::Failure::default() };
        let lost = (0..7).map(|n| host(&format!("lost-{n}"), "unknown"));
        let hosts = [
            host("web-1", "healthy"),
            host("web-2", "waiting"),
            host("web-5", "staged"),
            pb::HostRow { failure: Some(held), ..host("web-3", "refused") },
            pb::HostRow { left_out: "LS-K01 no key".into(), ..host("web-4", "excluded") },
        ];
        let rollout = pb::Rollout {
            version: "1.1".into(),
            phase: "baking".into(),
            hosts: hosts.into_iter().chain(lost).collect(),
            ..pb::Rollout::default()
        };
        let reply = pb::ExplainReply { rollout: Some(rollout), ..pb::ExplainReply::default() };
        let lines = Explanation::new(reply).unwrap().lines(&Page::plain(Moment(0)));
        assert_eq!(
            lines[lines.len() - 4..],
            [
                "1 of 11 hosts on 1.1, 1 staged, 1 not begun",
                "? 1 refused: web-3 (held: disk swap)",
                "? 7 unknown: lost-0, lost-1, lost-2, lost-3, lost-4 and 2 more",
                "· 1 excluded: web-4 (LS-K01 no key)",
            ]
        );
    }

    /// `0 of 1` is no lie about the one that was excluded and runs it.
    #[test]
    fn show_says_who_is_not_counted() {
        let host = |name: &str, state: &str, left_out: &str| pb::HostRow {
            name: name.into(),
            state: state.into(),
            left_out: left_out.into(),
            ..pb::HostRow::default()
        };
        let shown = |hosts: Vec<pb::HostRow>| {
            let rollout = pb::Rollout { version: "1.1".into(), hosts, ..pb::Rollout::default() };
            let lines = Rollout::from(rollout).lines(&Page::plain(Moment(0)));
            let told = lines.into_iter().filter(|line| line.contains("counted") || line.starts_with("hosts"));
            told.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        let why = "excluded by an operator; it ran 1.1 then";
        let waiting = host("web-2", "waiting", "");
        assert_eq!(
            shown(vec![host("web-1", "excluded", why), waiting.clone()]),
            ["hosts 0 of 1 on 1.1", "not counted web-1 (excluded by an operator; it ran 1.1 then)"]
        );
        assert_eq!(shown(vec![waiting]), ["hosts 0 of 1 on 1.1"]);
        let others = (1..8).map(|n| host(&format!("web-{n}"), "excluded", "drained")).collect();
        assert_eq!(
            shown(others),
            ["hosts 0 of 0 on 1.1", "not counted web-1, web-2, web-3, web-4, web-5 and 2 more: drained"]
        );
    }

    #[test]
    fn who_is_left_out_is_in_no_wave() {
        let host = |name: &str, state: &str| pb::HostRow {
            name: name.into(),
            state: state.into(),
            ..pb::HostRow::default()
        };
        let hosts = vec![host("web-1", "waiting"), host("web-2", "excluded")];
        let rollout = Rollout::from(pb::Rollout { version: "1.1".into(), hosts, ..pb::Rollout::default() });
        let lines = rollout.lines(&Page::plain(Moment(0)));
        let row = |end: &str| lines.iter().any(|line| line.split_whitespace().take(3).eq(end.split(' ')));
        assert!(row("1 web-1 waiting") && row("- web-2 excluded"), "{lines:#?}");
    }
}
