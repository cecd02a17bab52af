//! Golden pictures. Only the helpers at the end know how a rollout is made.

use jiff::tz::TimeZone;

use super::{
    hold_lines,
    live::picture,
    plain,
    tracker::{News, Tracker},
};
use crate::cli::{
    moment::Moment,
    output::{Page, View},
    style::{Style, width},
    view::{
        gate::Gate,
        rollout::{Hold, HostFailure, HostRow, Rollout, Wave},
    },
};
use longshore_proto::v1 as pb;

#[test]
fn a_wave_at_work_at_80_columns() {
    check(
        &at_work(),
        80,
        "
  shop 1.0 → 1.1 in harbour  rollout 019ab0c1-2345                         12.0s

  ✓ wave 1   web-1      done        1 of 1 healthy
  ▸ wave 2   2 hosts    switching   0 of 2 healthy
      web-2  ▸ fetch       ████████░░░░░░░░  3.0 MB / 6.0 MB                2.0s
          │ warming the cache
      web-3  · staged
  · wave 3   2 hosts    scheduled

    ◦ hosts switch: web-2 until 00:00:20 UTC (in 8s); then the fleet is rolled
      back
      → longshore rollout explain 019ab0c1  (waits for hosts)",
    );
}

#[test]
fn a_wave_at_work_at_120_columns() {
    check(
        &at_work(),
        120,
        "
  shop 1.0 → 1.1 in harbour  rollout 019ab0c1-2345                                             12.0s

  ✓ wave 1   web-1      done        1 of 1 healthy
  ▸ wave 2   2 hosts    switching   0 of 2 healthy
      web-2  ▸ fetch       ██████████░░░░░░░░░░  3.0 MB / 6.0 MB                                2.0s
          │ warming the cache
      web-3  · staged
  · wave 3   2 hosts    scheduled

    ◦ hosts switch: web-2 until 00:00:20 UTC (in 8s); then the fleet is rolled back
      → longshore rollout explain 019ab0c1  (waits for hosts)",
    );
}

#[test]
fn a_rollout_that_was_undone_shows_the_evidence() {
    check(
        &undone(),
        80,
        "
  shop 1.1 → 1.2 in harbour  rollout 019ab0c1-2345                         12.0s

  ✗ wave 1   web-1      failed      0 of 1 healthy, 1 failed
      web-1  ✗ reverted    back on 1.1
          LS-B01 probe: http answered 503 for 4 s
          │ shop 1.2: a trial order failed
          │ shop 1.2 is closed
  · wave 2   2 hosts    scheduled
  · wave 3   2 hosts    scheduled

  ✗ rolled-back: 1 of 1 hosts failed in wave 1, 0 are allowed",
    );
}

#[test]
fn in_a_pipe_every_change_is_a_line() {
    let page = page(100);
    let (before, after) = (at_work().rollout, undone().rollout);
    assert_eq!(
        plain::opening(&before, &page),
        [
            "00:00:12 rollout 019ab0c1-2345-7000-8000-000000000000 moves harbour to shop@1.1 from 1.0: 5 hosts in 3 waves",
            "00:00:12 wave 1 web-1 healthy",
            "00:00:12 wave 2 web-2 switching",
            "00:00:12 wave 2 web-3 staged",
            "00:00:12 wave 1 done",
            "00:00:12 wave 2 switching",
            "00:00:12 hold progress: hosts switch: web-2 -- longshore rollout explain 019ab0c1",
        ]
    );
    let mut one_out = before.clone();
    one_out.hosts[4].state = "excluded".into();
    assert!(
        plain::opening(&one_out, &page)[0].ends_with(": 4 hosts in 3 waves"),
        "who is left out is not moved"
    );
    assert_eq!(
        plain::changes(&before, &after, &page),
        [
            "00:00:12 wave 1 web-1 reverted: LS-B01 probe: http answered 503 for 4 s",
            "           | shop 1.2: a trial order failed",
            "           | shop 1.2 is closed",
            "00:00:12 wave 1 failed",
            "00:00:12 rolled-back: 1 of 1 hosts failed in wave 1, 0 are allowed (12.0s)",
        ]
    );
}

/// It fails, goes back, and is back: what the app said is one block.
#[test]
fn in_a_pipe_evidence_is_told_once() {
    let page = page(100);
    let back = undone().rollout;
    let mut failed = back.clone();
    failed.hosts[0].state = "failed".into();
    failed.outcome = None;
    let first = plain::changes(&at_work().rollout, &failed, &page);
    assert_eq!(first[0], "00:00:12 wave 1 web-1 failed: LS-B01 probe: http answered 503 for 4 s");
    assert_eq!(
        first[1..3],
        ["           | shop 1.2: a trial order failed", "           | shop 1.2 is closed"]
    );
    let then = plain::changes(&failed, &back, &page);
    assert_eq!(then[0], "00:00:12 wave 1 web-1 reverted: LS-B01 probe: http answered 503 for 4 s");
    assert!(!then.iter().any(|line| line.contains('|')), "{then:?}");
    let mut another = back.clone();
    another.hosts[0].failure.as_mut().unwrap().evidence = vec!["shop 1.1 does not start".into()];
    let another = plain::changes(&failed, &another, &page);
    assert_eq!(another[1], "           | shop 1.1 does not start");
}

/// Whoever looks a minute later is told when it was, and in that order.
#[test]
fn what_is_over_is_told_at_its_own_time() {
    let mut over = undone().rollout;
    over.hosts[1].state = "healthy".into();
    over.hosts[1].since = Some(Moment(9_000));
    let page = Page { now: Moment(72_000), ..page(100) };
    assert_eq!(
        plain::opening(&over, &page),
        [
            "00:00:00 rollout 019ab0c1-2345-7000-8000-000000000000 moves harbour to shop@1.2 from 1.1: 5 hosts in 3 waves",
            "00:00:09 wave 2 web-2 healthy",
            "00:00:10 wave 1 web-1 reverted: LS-B01 probe: http answered 503 for 4 s",
            "           | shop 1.2: a trial order failed",
            "           | shop 1.2 is closed",
            "00:00:10 wave 1 failed",
            "00:00:12 rolled-back: 1 of 1 hosts failed in wave 1, 0 are allowed (12.0s)",
        ]
    );
    let long_after = Page { now: Moment(864_000_000), ..page };
    assert!(plain::opening(&over, &long_after)[1].starts_with("1970-01-01 00:00 UTC wave 2 web-2 healthy"));
}

#[test]
fn a_hostile_name_changes_nothing_but_its_own_letters() {
    let mut tracker = undone();
    for host in &mut tracker.rollout.hosts {
        host.name = "web\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}\n\rweb".to_owned();
        if let Some(failure) = &mut host.failure {
            failure.message = "\u{1b}[31m".to_owned();
            failure.evidence = vec!["\u{1b}c\u{9b}2J".to_owned()];
        }
    }
    tracker.rollout.outcome_reason = Some("\u{1b}[1m".to_owned());
    let page = page(80);
    let lines =
        [picture(&tracker, &page), plain::opening(&tracker.rollout, &page), tracker.rollout.lines(&page)];
    for line in lines.iter().flatten() {
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
    }
}

#[test]
fn nothing_is_wider_than_the_screen() {
    let mut tracker = at_work();
    tracker.rollout.hosts[1].name = "a-very-long-name-for-a-host.in.a.very.long.domain.example".to_owned();
    tracker.rollout.env = "e".repeat(63);
    for columns in [1, 20, 40, 60, 80, 200] {
        for line in picture(&tracker, &page(columns)) {
            assert!(width(&line) <= columns, "{columns}: {line}");
        }
    }
}

#[test]
fn a_large_wave_keeps_to_the_screen_with_trouble_first() {
    let mut tracker = at_work();
    let busy = tracker.rollout.hosts[1].clone();
    tracker.rollout.hosts.truncate(1);
    for number in 0..500 {
        let (id, name) = (format!("h{number}"), format!("host-{number:03}"));
        let state = if number == 499 { "unknown" } else { "healthy" };
        tracker.rollout.hosts.push(HostRow { id, name, state: state.into(), step: None, ..busy.clone() });
    }
    let lines = picture(&tracker, &Page { rows: 24, ..page(80) });
    assert!(lines.len() < 24, "{} lines", lines.len());
    assert!(lines[4].contains("host-499"), "{}", lines[4]);
    assert!(lines.iter().any(|line| line.contains("… and 493 hosts")), "{lines:#?}");
}

#[test]
fn what_agents_say_lasts_until_the_state_moves_on() {
    let mut tracker = at_work();
    let now = Moment(13_000);
    let progress = |generation, step: &str| pb::RolloutUpdate {
        update: Some(pb::rollout_update::Update::Progress(pb::HostProgress {
            host: "2".into(),
            name: "web-2".into(),
            progress: Some(pb::Progress {
                app: "shop".into(),
                generation,
                step: step.into(),
                ..Default::default()
            }),
        })),
    };
    let news = tracker.absorb(progress(7, "probe"), now).unwrap();
    assert_eq!(plain::news(&tracker, &news, &page(80)), ["00:00:12 wave 2 web-2 probe"]);
    assert!(matches!(tracker.absorb(progress(7, "probe"), now), Some(News::Little)));
    assert!(matches!(tracker.absorb(progress(6, "fetch"), now), Some(News::Little)), "of an older round");
    assert_eq!(tracker.rollout.hosts[1].step.as_deref(), Some("probe"));
}

#[test]
fn whom_a_rollout_waits_for_before_it_begins_is_news() {
    let waiting = |what: &str| {
        let hold = Hold { kind: "not-started".into(), what: what.into(), command: None, ..hold() };
        Rollout { holds: vec![hold], ..rollout("1.1", "1.0", "ready") }
    };
    let (later, in_line) = (waiting("it was made to begin later"), waiting("it waits in line"));
    assert_eq!(plain::changes(&later, &in_line, &page(80)), ["00:00:12 hold not-started: it waits in line"]);
    assert!(plain::changes(&in_line, &in_line, &page(80)).is_empty());
}

fn check(tracker: &Tracker, columns: usize, expected: &str) {
    let lines = picture(tracker, &page(columns));
    assert_eq!(format!("\n{}", lines.join("\n")), expected);
}

fn page(columns: usize) -> Page {
    Page { style: Style::PLAIN, columns, rows: 40, now: Moment(12_000), zone: TimeZone::UTC }
}

fn at_work() -> Tracker {
    let hosts = vec![
        host(1, 1, "healthy", None),
        HostRow { bytes_done: 3_000_000, bytes_total: 6_000_000, ..host(2, 2, "switching", Some("fetch")) },
        host(3, 2, "staged", None),
        host(4, 3, "waiting", None),
        host(5, 3, "waiting", None),
    ];
    let waves = vec![wave(1, "done"), wave(2, "switching"), wave(3, "scheduled")];
    let rollout = Rollout { hosts, waves, holds: vec![hold()], ..rollout("1.1", "1.0", "switching") };
    let mut tracker = Tracker::new(rollout, Moment(10_000));
    tracker.said.insert("2".into(), "warming the cache".into());
    tracker
}

fn hold() -> Hold {
    Hold {
        kind: "progress".into(),
        what: "hosts switch: web-2".into(),
        owner: Some("hosts".into()),
        since: None,
        until: Some(Moment(20_000)),
        then: Some("the fleet is rolled back".into()),
        command: Some("longshore rollout explain 019ab0c1".into()),
        hosts: vec![],
    }
}

fn undone() -> Tracker {
    let failure = HostFailure {
        code: "LS-B01".into(),
        step: "probe".into(),
        message: "http answered 503 for 4 s".into(),
        evidence: vec!["shop 1.2: a trial order failed".into(), "shop 1.2 is closed".into()],
        blame: "version",
    };
    let bad =
        HostRow { failure: Some(failure), from_version: Some("1.1".into()), ..host(1, 1, "reverted", None) };
    let mut hosts = vec![bad];
    hosts.extend((2..=5).map(|number| host(number, number / 2 + 1, "waiting", None)));
    let waves = vec![wave(1, "failed"), wave(2, "scheduled"), wave(3, "scheduled")];
    let rollout = Rollout {
        hosts,
        waves,
        outcome: Some("rolled-back".into()),
        outcome_reason: Some("1 of 1 hosts failed in wave 1, 0 are allowed".into()),
        ended_at: Some(Moment(12_000)),
        ..rollout("1.2", "1.1", "done")
    };
    Tracker::new(rollout, Moment(10_000))
}

fn rollout(version: &str, from: &str, phase: &str) -> Rollout {
    Rollout {
        id: "019ab0c1-2345-7000-8000-000000000000".into(),
        app: "shop".into(),
        env: "harbour".into(),
        version: version.into(),
        release: "00".into(),
        from_version: Some(from.into()),
        newcomers: false,
        phase: phase.into(),
        outcome: None,
        outcome_reason: None,
        wave: 2,
        waves: vec![],
        hosts: vec![],
        holds: vec![],
        started_by: "ada".into(),
        reason: None,
        created_at: Some(Moment(0)),
        started_at: Some(Moment(0)),
        ended_at: None,
        deadline_at: None,
        revision: 9,
        plan: None,
        overrides: vec![],
        gates: vec![],
        balancing: None,
    }
}

fn wave(number: u32, state: &str) -> Wave {
    Wave { number, hosts: vec![], state: state.into(), bake_ms: 0 }
}

fn host(number: u32, wave: u32, state: &str, step: Option<&str>) -> HostRow {
    HostRow {
        id: number.to_string(),
        name: format!("web-{number}"),
        wave,
        state: state.into(),
        step: step.map(str::to_owned),
        detail: None,
        bytes_done: 0,
        bytes_total: 0,
        failure: None,
        from_version: None,
        joined: false,
        stands_in: false,
        left_out: None,
        group: None,
        weight: None,
        directed: false,
        sides: vec![],
        generation: 7,
        since: Some(Moment(10_000)),
    }
}

/// When a closed environment opens is said once, by its own clock; how long that is, beside it.
#[test]
fn a_closed_environment_opens_at_one_time_only() {
    let hold = Hold {
        kind: "closed".into(),
        what: "production is closed: outside the window night; it opens Sun 2026-11-29 01:30 CET".into(),
        owner: Some("the calendar of production".into()),
        since: None,
        until: Some(Moment(70_000)),
        then: Some("wave 2 of 3 begins".into()),
        command: Some("longshore env calendar production".into()),
        hosts: vec![],
    };
    assert_eq!(
        hold_lines(&[hold], 0, &Page::plain(Moment(10_000))),
        [
            "◦ production is closed: outside the window night; it opens Sun 2026-11-29 01:30 CET (in 1m); then",
            "  wave 2 of 3 begins",
            "  → longshore env calendar production  (waits for the calendar of production)"
        ]
    );
}

fn gate(run: u32, state: &str, note: &str) -> Gate {
    let row = pb::GateRow {
        name: "smoke".into(),
        kind: "test".into(),
        place: "after wave 1".into(),
        state: state.into(),
        note: note.into(),
        run,
        ..pb::GateRow::default()
    };
    row.into()
}

/// What was seen before the verdict may be told after it, and is no news then.
#[test]
fn a_gate_is_not_pending_after_its_verdict() {
    let with = |gates: Vec<Gate>| Rollout { gates, ..rollout("1.1", "1.0", "gating") };
    let page = Page::plain(Moment(0));
    let told = |before: Vec<Gate>, after: Vec<Gate>| plain::changes(&with(before), &with(after), &page);
    let (pending, failed) = (gate(1, "pending", "smoke runs on web-1"), gate(1, "fail", "1 failed"));
    let verdict = ["00:00:00 gate smoke (test) after wave 1: fail: 1 failed"];
    assert_eq!(told(vec![pending.clone()], vec![failed.clone()]), verdict);
    assert_eq!(
        told(vec![pending.clone()], vec![failed.clone(), pending.clone()]),
        verdict,
        "read in between"
    );
    assert!(told(vec![failed.clone()], vec![failed.clone(), pending.clone()]).is_empty());
    let again = gate(2, "pending", "");
    assert_eq!(
        told(vec![failed.clone()], vec![failed, again]),
        ["00:00:00 gate smoke (test) after wave 1: pending"]
    );
}

/// What a gate has seen so far does not run into its deadline.
#[test]
fn what_a_gate_has_seen_ends_before_its_deadline() {
    let hold = Hold {
        kind: "gate".into(),
        what: "gate smoke (test) after wave 1 has no verdict yet: web-1 does not answer".into(),
        owner: None,
        since: None,
        until: Some(Moment(60_000)),
        then: Some("the rollout pauses and asks".into()),
        command: None,
        hosts: vec![],
    };
    let lines = hold_lines(&[hold], 0, &Page::plain(Moment(0))).join(" ");
    let lines = lines.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(lines.contains("web-1 does not answer; until 00:01:00 UTC (in 1m);"), "{lines}");
}

/// Since when it is so is said, and who is waited for is not taken for whoever types the command; neither cuts that
/// off.
#[test]
fn a_hold_says_since_when_and_for_whom_it_waits() {
    let since = Some(Moment(0));
    let hold = Hold {
        since,
        until: None,
        then: None,
        owner: Some("the controller".into()),
        command: Some("longshore rollout promote 019ab0c1 --reason \"…\"".into()),
        ..hold()
    };
    let shown = |hold: &Hold, columns: usize, now: i64| {
        let page = Page { columns, ..Page::plain(Moment(now)) };
        hold_lines(std::slice::from_ref(hold), 0, &page)[1..].to_vec()
    };
    let promote = "  → longshore rollout promote 019ab0c1 --reason \"…\"";
    assert_eq!(shown(&hold, 100, 180_000), [format!("{promote}  (for 3m, waits for the controller)")]);
    assert_eq!(
        shown(&hold, 100, 500),
        [format!("{promote}  (waits for the controller)")],
        "it has just begun"
    );
    let narrow = shown(&hold, 60, 180_000);
    assert_eq!(narrow, [promote.to_owned(), "    (for 3m, waits for the controller)".to_owned()]);
    let alone = Hold { command: None, ..hold };
    assert_eq!(shown(&alone, 100, 180_000), ["  (for 3m, waits for the controller)"]);
}
