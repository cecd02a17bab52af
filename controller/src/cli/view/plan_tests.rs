//! How plans look: three hosts and five hundred, at 80 columns and at 120.

use jiff::tz::TimeZone;
use longshore_common::time::Span;
use longshore_proto::v1 as pb;

use super::plan::{PlanList, PlanView};
use crate::{
    cli::{
        moment::Moment,
        output::{Page, View},
        style::{Style, width},
    },
    plan::{Against, Approval, CalendarNote, Changed, Demanded, Surveyed, plan, tests::setup::world},
};

fn page(columns: usize) -> Page {
    Page { style: Style::PLAIN, columns, rows: 50, now: Moment(1_060_000), zone: TimeZone::UTC }
}

fn shown(setup: &str, columns: usize) -> Vec<String> {
    let mut world = world(setup);
    world.past = vec![];
    PlanView::of(plan(&world)).lines(&page(columns))
}

#[test]
fn a_small_plan_says_everything() {
    let lines =
        shown("a@east b@west:full c@west:silent | canary=1 spread=zone canary_bake=60s | disk=500", 80);
    let text = lines.join("\n");
    for part in [
        "shop@2 to prod (from 1)",
        "It may not start: a precondition does not hold.",
        "3: 3 to update",
        "2, one zone at a time, 2 in all",
        "at least 1m; no rollout of shop in prod has succeeded yet to learn from",
        "  - disk: 1 host has too little free disk",
        "b  has 1.0 MB free, 560.5 MB are needed",
        "  1     1      34%    34%     east    1m    15.7 MB  a",
        "  2     2      67%    100%    west    0s    31.5 MB  b c",
        "unknown: its wave waits for it",
        "files since 1: 1 changed, 1 the same\n    changed  bin\n",
        "service.exec: [\"./bin\",\"--release=1\"] -> [\"./bin\",\"--release=2\"]",
        "to 1 on 3 hosts, unpacked there still on 2, 1 unknown",
        "longshore plan shop@2 --to prod",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

/// Of a release that stays, what goes back are its settings.
#[test]
fn the_way_back_of_settings_alone_says_so() {
    let mut world = world("a:2 b");
    let previous = world.hosts[0].member.previous.as_mut().unwrap();
    previous.values.insert("workers".into(), "8".into());
    let text = PlanView::of(plan(&world)).lines(&page(120)).join("\n");
    for part in ["to 2 with the settings of before on 1 host, unpacked", "to 1 on 1 host, unpacked"] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

/// A release that is live already goes to hosts that lack it in whole.
#[test]
fn what_is_live_already_is_told_by_what_hosts_get() {
    for (fleet, says) in [
        ("a:2", "(live already)"),
        ("a:2 b:new", "(live already: to hosts that lack it)"),
        ("a b", "(live already: to hosts that lack it)"),
    ] {
        let mut world = world(fleet);
        world.live = Some(world.target.clone());
        let head = PlanView::of(plan(&world)).lines(&page(120)).remove(0);
        assert!(head.ends_with(&format!("shop@2 to prod {says}")), "{fleet}: {head}");
    }
}

/// What is no way back comes last, and is as much a line of the way back as the others.
#[test]
fn a_refused_way_back_follows_those_that_are_some() {
    let mut world = world("a b c:new");
    world.against.insert("1".parse().unwrap(), Against::Refused("was withdrawn by ada: bad".into()));
    let lines = PlanView::of(plan(&world)).lines(&page(120));
    let title = lines.iter().position(|line| line == "Way back").expect("there is one");
    assert_eq!(lines[title + 1], "  to nothing on 1 host: the app is removed");
    assert_eq!(
        lines[title + 2],
        "  to 1 on 2 hosts: no way back: it was withdrawn by ada: bad; they would keep 2"
    );
}

/// A place is told by itself: a gate may come before the first wave as well.
#[test]
fn gates_say_when_they_are_met() {
    let text =
        shown("a b c | wave=1 gate=early:before gate=each:every-wave gate=last:last-wave", 120).join("\n");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["WHEN GATE", "before wave 1 early", "after every wave each", "after wave 3 last"] {
        assert!(words.contains(part), "{part}\nis not in\n{text}");
    }
}

#[test]
fn the_way_out_of_what_a_host_lacks_is_shown_on_the_smallest_screen() {
    let mut world = world("a b:secretless");
    let Surveyed::Answered(survey) = &mut world.hosts[1].surveyed else { panic!("b answers") };
    survey.secrets_missing = vec![
        "secret db: everybody may read db on this host: chmod 0600 /etc/longshore/credentials/db".into(),
    ];
    let text = PlanView::of(plan(&world)).lines(&page(60)).join("\n");
    let wanted = "      b  secret db: everybody may read db on this host:\n         chmod 0600 /etc/longshore/credentials/db";
    assert!(text.contains(wanted), "{text}");
}

/// What is met is said as well as what is not: whoever approves has to see all of it.
#[test]
fn a_plan_shows_all_of_the_policy() {
    let mut world = world("a b");
    let demanded = |env: &str, lacking: Option<&str>| Demanded {
        env: env.parse().unwrap(),
        lived: Span::secs(86_400),
        gates: vec!["smoke".to_owned()],
        lacking: lacking.map(str::to_owned),
        due_ms: None,
    };
    let lacking = "it was live in staging for 2h, and 1d are asked for; it still is, so wait until tomorrow";
    world.promotion = vec![demanded("test", None), demanded("staging", Some(lacking))];
    let note = |kind: &str, what: &str, closed| CalendarNote {
        kind: kind.to_owned(),
        what: what.to_owned(),
        closed,
        until_ms: None,
    };
    world.calendar = vec![
        note("freeze", "closed now, and the rollout would wait: frozen by eve: stock-taking", true),
        note("lock", "prod is locked by bob, since 5m: looking", true),
    ];
    world.approval = Some(Approval { count: 2, by: "approver".to_owned(), expires_after: None });
    let view = PlanView::of(plan(&world));
    let text = view.lines(&page(200)).join("\n");
    for part in [
        "Policy",
        "after test, live there for 1d, with gate smoke: met",
        "after staging, live there for 1d, with gate smoke: not met: it was live in staging for 2h",
        "frozen by eve: stock-taking",
        "prod is locked by bob",
        "2 approvals by approver, not by the plan's author, nor by whoever starts it",
        "promotion: it was live in staging for 2h",
        "It may not start: a precondition does not hold. It has to be approved as well, and nobody was asked",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

/// Whoever mends what does not hold learns at once what people have yet to say; what was used up is none of it.
#[test]
fn a_plan_that_may_not_start_says_what_people_have_said() {
    let mut world = world("a b:full | canary=1 | disk=500");
    world.approval = Some(Approval { count: 1, by: "bob".to_owned(), expires_after: None });
    let word = |answer: &str| pb::ApprovalWord {
        by: "bob".to_owned(),
        answer: answer.to_owned(),
        reason: String::new(),
        at_ms: 1_054_000,
    };
    let shown = |state: &str, lacking: &str, word: pb::ApprovalWord| {
        let (state, lacking, words) = (state.to_owned(), lacking.to_owned(), vec![word]);
        let row = pb::ApprovalRow { state, lacking, words, ..pb::ApprovalRow::default() };
        let view = PlanView { approval: Some(row.into()), ..PlanView::of(plan(&world)) };
        let lines = view.lines(&page(120));
        let said = lines.iter().find(|line| line.contains("(6s ago)")).cloned().unwrap_or_default();
        let head = lines[1].strip_prefix("It may not start: a precondition does not hold. ");
        (head.unwrap_or_default().to_owned(), said)
    };
    let (head, said) = shown("used", "", word("approved"));
    assert_eq!(head, "Its approvals were used up: it has to be approved anew as well.");
    assert_eq!(said, "  - bob approved it (6s ago), which the rollout that it started has used up");
    assert_eq!(shown("approved", "", word("approved")).0, "It is approved.");
    assert_eq!(shown("denied", "", word("denied")).0, "And bob denied it.");
    let (head, said) = shown("pending", "lacks 1 more", word("approved"));
    assert_eq!(head, "It has to be approved as well: lacks 1 more.");
    assert_eq!(said, "  - bob approved it (6s ago)");
}

/// Preconditions are one thing, people another: a plan that nobody has approved does not say that it may start.
#[test]
fn a_plan_says_how_it_stands_with_those_who_are_asked() {
    let mut world = world("a b");
    world.approval = Some(Approval { count: 1, by: "bob".to_owned(), expires_after: None });
    let word = |answer: &str| pb::ApprovalWord {
        by: "bob".to_owned(),
        answer: answer.to_owned(),
        reason: "read it".to_owned(),
        at_ms: 1_054_000,
    };
    let row = |state: &str| pb::ApprovalRow { state: state.to_owned(), ..pb::ApprovalRow::default() };
    let shown = |row: pb::ApprovalRow, rollout: Option<&str>| {
        let view = PlanView {
            approval: Some(row.into()),
            rollout: rollout.map(str::to_owned),
            ..PlanView::of(plan(&world))
        };
        let lines = view.lines(&page(120));
        let last = lines.last().unwrap().split(':').next().unwrap().to_owned();
        let said = lines.iter().find(|line| line.contains("(6s ago)")).cloned().unwrap_or_default();
        [lines[1].clone(), said, last]
    };
    let start = "Start it";
    let pending = pb::ApprovalRow { lacking: "lacks 1 more".to_owned(), ..row("pending") };
    assert_eq!(shown(pending, None), ["It may start when it is approved: lacks 1 more.", "", start]);
    let approved = pb::ApprovalRow { until_ms: 1_120_000, words: vec![word("approved")], ..row("approved") };
    assert_eq!(
        shown(approved, None),
        [
            "It is approved, until 1970-01-01 00:18 UTC, and may start.",
            "  - bob approved it: read it (6s ago)",
            start
        ]
    );
    let denied = pb::ApprovalRow { words: vec![word("denied")], ..row("denied") };
    let no = ["It may not start: bob denied it: read it.", "  - bob denied it: read it (6s ago)", start];
    assert_eq!(shown(denied, None), no);
    let stale = pb::ApprovalRow { stale: "what is live was 1, and is 3".to_owned(), ..row("approved") };
    let gone = ["It can no longer start as it is: what is live was 1, and is 3.", "", "Plan again"];
    assert_eq!(shown(stale, None), gone);
    let unasked = PlanView::of(plan(&world)).lines(&page(120));
    assert_eq!(unasked[1], "It may start when it is approved, and nobody was asked yet.");
    assert_eq!(unasked.last().unwrap(), "Have it approved: longshore plan shop@2 --to prod");
    let rollout = "01a22bf6-7d33-75ef-a48a-49222fb3ab55";
    assert_eq!(
        shown(row("used"), Some(rollout)),
        [
            "It was started: rollout 01a22bf6-7d33. It may start again when it is approved anew.",
            "",
            "Have it approved anew"
        ]
    );
}

/// Another plan of the release would come to nothing as well.
#[test]
fn a_plan_of_a_release_that_was_withdrawn_asks_for_another_one() {
    let why = "shop@2 was withdrawn by bob: loses orders";
    let kept = |world: &crate::plan::World| pb::PlanReply {
        plan: serde_json::to_vec(&plan(world)).unwrap().into(),
        withdrawn: why.to_owned(),
        ..pb::PlanReply::default()
    };
    let next = "Choose another release: longshore release list shop";
    let mut world = world("a b");
    let since = PlanView::read(kept(&world)).unwrap();
    let lines = since.lines(&page(120));
    assert_eq!(lines[1], format!("It can no longer start: {why}."));
    assert_eq!(lines.last().unwrap(), next);
    let json = serde_json::to_value(&since).unwrap();
    assert_eq!((&json["may_start"], &json["withdrawn"]), (&false.into(), &why.into()));
    let started =
        pb::PlanReply { rollout: "01a22bf6-7d33-75ef-a48a-49222fb3ab55".to_owned(), ..kept(&world) };
    let lines = PlanView::read(started).unwrap().lines(&page(120));
    assert_eq!(lines[1], format!("It was started: rollout 01a22bf6-7d33. It can no longer start: {why}."));
    // One that was made later says it itself.
    world.withdrawn = Some("loses orders (bob)".to_owned());
    let lines = PlanView::read(kept(&world)).unwrap().lines(&page(120));
    assert_eq!(lines[1], "It may not start: a precondition does not hold.");
    assert_eq!(lines.last().unwrap(), next);
    let row = pb::PlanRow { withdrawn: why.to_owned(), ..pb::PlanRow::default() };
    let list = PlanList::from(pb::ListPlansReply { plans: vec![row] }).lines(&page(120));
    assert!(list[1].ends_with("withdrawn"), "{list:#?}");
}

/// What differs by name, as far as a plan names it: of more it is said how many.
#[test]
fn files_that_differ_are_named_as_far_as_there_is_room() {
    let mut view = PlanView::of(plan(&world("a b")));
    let paths = (10..20).map(|number| format!("lib/{number}")).collect();
    view.plan.files.added = 12;
    view.plan.files.paths.added = paths;
    view.plan.files.paths.changed = vec!["a\u{1b}[31m/".to_owned() + &"long/".repeat(40)];
    let lines = view.lines(&page(80));
    let at = lines.iter().position(|line| line == "  files since 1: 12 new, 1 changed, 1 the same").unwrap();
    assert_eq!(lines[at + 10..at + 12], ["    new      lib/19", "    new      … and 2 more"]);
    let changed = &lines[at + 12];
    assert!(changed.starts_with("    changed  a") && width(changed) <= 80, "{changed}");
    assert!(!changed.contains('\u{1b}'), "{changed}");
}

/// Of a secret only where it is found is said, and both sides of it fit the line.
#[test]
fn a_secret_that_was_sealed_anew_is_seen_at_80_columns() {
    let mut view = PlanView::of(plan(&world("a b")));
    let sealed = |byte: &str| Some(format!("\"sealed {}\"", byte.repeat(32)));
    view.plan.changes =
        vec![Changed { path: "secrets.api_token".to_owned(), from: sealed("9c"), to: sealed("ee") }];
    let text = view.lines(&page(80)).join("\n");
    let line = "  secrets.api_token: \"sealed 9c9c9c9c…\" -> \"sealed eeeeeeee…\"\n";
    assert!(text.contains(line), "{line}\nis not in\n{text}");
}

#[test]
fn no_line_is_wider_than_the_screen() {
    let fleet: Vec<String> = (0..500)
        .map(|n| {
            format!("harbour-{n:03}@{}{}", ["east", "west"][n % 2], if n % 41 == 0 { ":full" } else { "" })
        })
        .collect();
    for columns in [80, 120] {
        let setup = format!("{} | canary=1 wave=5% spread=zone | disk=500", fleet.join(" "));
        let lines = shown(&setup, columns);
        let wide: Vec<&String> = lines.iter().filter(|line| width(line) > columns).collect();
        assert!(wide.is_empty(), "{wide:#?}");
        assert!(lines.len() < 90, "{} lines for 500 hosts:\n{}", lines.len(), lines.join("\n"));
    }
}

#[test]
fn starting_at_once_shows_it_shortly() {
    let view = PlanView::of(plan(&world("a b:held")));
    let lines = view.brief(&page(80));
    assert!(lines.len() < 10 && lines[0].contains("shop@2 to prod"), "{lines:#?}");
    assert!(lines.last().unwrap().contains("held by somebody there: b"), "{lines:#?}");
}
