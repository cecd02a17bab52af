//! The JSON shapes are those of `docs/cli-json.md`, to the letter, and every view prints.

use std::path::Path;

use longshore_proto::v1 as pb;

use super::{
    controller::Status,
    host::{Host, HostList, Unmatched},
    notice::NoticeList,
    policy,
    rollout::{Explanation, Rollout},
    samples,
};
use crate::cli::{
    moment::Moment,
    output::{Page, View},
};

const DOC: &str = "docs/cli-json.md";
const BEGIN: &str = "<!-- shapes: held together with the code by a test -->\n";

#[test]
fn the_page_shows_what_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DOC);
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, shown) = page.split_once(BEGIN).expect("the page has a mark where the shapes begin");
    let printed: String = samples::all()
        .into_iter()
        .map(|(command, schema, document)| {
            format!("\n## `{schema}`\n\n{command}\n\n```json\n{document}\n```\n")
        })
        .collect();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{head}{BEGIN}{printed}");
        longshore_common::durable::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
        return;
    }
    assert!(
        shown == printed,
        "{DOC} is not what is printed. If the change is meant (and versions were raised where a field went or changed \
         its meaning), run this test with UPDATE_DOCS=1"
    );
}

#[test]
fn schemas_are_named_and_versioned() {
    for (_, schema, document) in samples::all() {
        let (name, version) = schema.rsplit_once('/').unwrap();
        assert!(name.starts_with("longshore.cli."), "{schema}");
        assert!(version.parse::<u32>().is_ok(), "{schema}");
        let first = document.lines().nth(1).unwrap_or_default();
        assert!(first.contains(schema), "the schema comes first: {first}");
    }
}

fn host(drained: Option<pb::Drained>, rejoining: Option<pb::Rejoining>) -> Host {
    let app = pb::AppState {
        app: "shop".into(),
        version: "1.1".into(),
        verdict: "unhealthy".into(),
        ..pb::AppState::default()
    };
    pb::Host {
        name: "web-1".into(),
        connected: true,
        apps: vec![app],
        drained,
        rejoining,
        ..pb::Host::default()
    }
    .into()
}

fn lines(host: &Host, word: &str) -> Vec<String> {
    let lines = host.lines(&Page::plain(Moment(60_000)));
    let found = lines.into_iter().filter(|line| line.starts_with(word));
    found.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Who took it back, what is waited for, and until when; and if that was in vain, why, and the next step.
#[test]
fn a_host_that_is_taken_back_says_how_that_stands() {
    let rejoining = pb::Rejoining { by: "ada".into(), since_ms: 30_000, until_ms: 630_000 };
    let waits = host(None, Some(rejoining));
    assert_eq!(
        lines(&waits, "rejoining"),
        [
            "rejoining undrained by ada, 30s ago: load balancers send it connections when its apps are healthy; if they are \
          not by 00:10:30 UTC, it is drained again"
        ]
    );
    let hold =
        pb::HoldState { held: true, reason: "drained: disk".into(), by: "ada".into(), since_ms: 30_000 };
    let unheard = Host { hold: Some(hold.clone().into()), ..waits.clone() };
    assert!(lines(&unheard, "held").is_empty(), "the host has not heard of it yet");
    let swapped = pb::HoldState { reason: "disk swap".into(), ..hold };
    let held = Host { hold: Some(swapped.into()), ..waits.clone() };
    assert_eq!(lines(&held, "held"), ["held by ada, 30s ago: disk swap"]);
    let list = HostList { hosts: vec![waits], unmatched: None }.lines(&Page::plain(Moment(60_000)));
    assert!(list[1].contains("rejoining") && list[1].contains("shop 1.1 (down)"), "{list:?}");
    let drained = pb::Drained {
        by: "longshore".into(),
        reason: "ada undrained it, and 10m later shop is unhealthy".into(),
        since_ms: 60_000,
        ..pb::Drained::default()
    };
    let drained = host(Some(drained), None);
    assert_eq!(
        lines(&drained, "drained"),
        ["drained by longshore, now: ada undrained it, and 10m later shop is unhealthy"]
    );
    assert_eq!(lines(&drained, " "), ["to take it back: longshore host undrain web-1"]);
}

/// Whoever changes its labels is told what balancers make of them, and so is whoever looks.
#[test]
fn a_host_says_what_balancers_send_it_by_its_labels() {
    let note = "its labels are not those of production: balancers send it nothing from now on".to_owned();
    let traffic = vec![pb::TrafficNote { env: "production".into(), app: "shop".into(), note }];
    let host = Host::from(pb::Host { traffic, ..pb::Host::default() });
    assert_eq!(
        lines(&host, "traffic"),
        [
            "traffic shop of production: its labels are not those of production: balancers send it nothing from now on"
        ]
    );
}

/// A slip in a selector is no fleet without hosts.
#[test]
fn a_selector_that_matches_nobody_is_said_to() {
    let list = |unmatched| HostList { hosts: vec![], unmatched }.lines(&Page::plain(Moment(0)));
    let of = |of| Some(Unmatched { selector: "env=prood".into(), of });
    let see = "See: longshore host list";
    assert_eq!(
        list(of(3)),
        [format!("No host matches the selector \"env=prood\"; there are 3 hosts. {see}")]
    );
    assert_eq!(list(of(1)), [format!("No host matches the selector \"env=prood\"; there is 1 host. {see}")]);
    for nobody in [of(0), None] {
        assert_eq!(list(nobody), ["No hosts. Enrol one: longshore token create"]);
    }
}

/// A session outlives a cable that was pulled, for a while.
#[test]
fn a_connected_host_says_when_it_was_heard_of_last() {
    let quiet = |last_seen_ms| Host::from(pb::Host { last_seen_ms, connected: true, ..pb::Host::default() });
    assert_eq!(lines(&quiet(40_000), "state"), ["state connected, heard of 20s ago"]);
    assert_eq!(lines(&quiet(59_500), "state"), ["state connected"]);
    assert_eq!(lines(&quiet(63_000), "state"), ["state connected"], "its clock is ahead of ours");
    let list = HostList { hosts: vec![quiet(40_000)], unmatched: None }.lines(&Page::plain(Moment(60_000)));
    assert!(list[1].contains("20s ago"), "{list:?}");
}

/// They may be down long before they have to be.
#[test]
fn a_drained_host_says_that_its_apps_are_stopped_once_they_are() {
    let drained = |waits| pb::Drained {
        by: "ada".into(),
        reason: "a disk".into(),
        since_ms: 30_000,
        stop_ms: 90_000,
        waits,
    };
    for waits in [false, true] {
        let mut host = host(Some(drained(waits)), None);
        let stopped = "drained by ada, 30s ago: a disk; its apps are stopped";
        assert_eq!(lines(&host, "drained"), [stopped]);
        host.apps[0].running = Some(true);
        let runs = lines(&host, "drained");
        assert!(runs[0].contains("by 00:01:30 UTC"), "{runs:?}");
    }
}

/// What begins later is not there yet.
#[test]
fn a_freeze_that_begins_later_is_none_yet() {
    let calendar = pb::Calendar { env: "prod".into(), open: true, ..pb::Calendar::default() };
    let frozen = policy::Frozen { frozen: true, calendar: calendar.into() }.lines(&Page::plain(Moment(0)));
    assert_eq!(
        frozen[..2],
        ["Environment prod will be frozen.", "It is still open: the freeze begins later."]
    );
}

/// An environment that is closed for another reason is not frozen by it: that reason is told, and the freeze as to come.
#[test]
fn a_freeze_that_begins_later_is_not_why_it_is_closed_now() {
    let told = |holds, reason: &str| {
        let freeze =
            pb::CalendarRule { name: "by hand".into(), by: "eve".into(), holds, ..Default::default() };
        let (reasons, freezes) = (vec![reason.to_owned()], vec![freeze]);
        let calendar = pb::Calendar { env: "prod".into(), reasons, freezes, ..pb::Calendar::default() };
        policy::Frozen { frozen: true, calendar: calendar.into() }.lines(&Page::plain(Moment(0)))
    };
    let later = told(false, "outside the window nights (22:00 to 04:00)");
    assert_eq!(later[0], "Environment prod will be frozen.");
    assert_eq!(
        later[1],
        "It is closed now: outside the window nights (22:00 to 04:00). The freeze begins later."
    );
    let now = told(true, "frozen by eve: stock-taking (until Mon 04:00)");
    assert_eq!(now, ["Environment prod is frozen.", "See: longshore env calendar prod"]);
}

/// An environment without a release says so, and of which hosts lack one it is said who says that.
#[test]
fn an_environment_says_what_is_live_there() {
    let shown = |live: Vec<pb::LiveRelease>| {
        let env = pb::Environment { name: "prod".into(), live, ..pb::Environment::default() };
        let lines = super::env::Environment::from(env).lines(&Page::plain(Moment(0)));
        lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert!(shown(vec![]).contains(&"live nothing yet".to_owned()));
    let lacking = vec!["web-1".into(), "web-2".into()];
    let live = pb::LiveRelease { app: "shop".into(), lacking, ..pb::LiveRelease::default() };
    assert!(shown(vec![live]).contains(&"not on web-1, web-2, by their last reports".to_owned()));
}

/// A moment that is open is no opening; one that is closed says when it opens, and when only the reason changes.
#[test]
fn a_calendar_tells_how_a_moment_stands_and_what_comes() {
    let instant = |ms: i64, local: &str| Some(pb::Instant { ms, local: local.into() });
    let opening = |from, until| pb::Opening { from, until, windows: vec!["nights".into()] };
    let told = |calendar: pb::Calendar| {
        let lines = policy::Calendar::from(calendar).lines(&Page::plain(Moment(0)));
        let lines = lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.collect::<Vec<_>>().join("\n")
    };
    let (mon, tue, wed) = (instant(2, "Mon 22:00"), instant(3, "Tue 04:00"), instant(4, "Tue 22:00"));
    let open = told(pb::Calendar {
        at: instant(2, "Mon 23:00"),
        open: true,
        changes: tue.clone(),
        openings: vec![opening(instant(2, "Mon 23:00"), tue.clone()), opening(wed, instant(5, "Wed 04:00"))],
        ..pb::Calendar::default()
    });
    assert!(open.contains("state open (window nights)\ncloses Tue 04:00"), "{open}");
    assert!(open.ends_with("OPENS AGAIN CLOSES WINDOWS\nTue 22:00 Wed 04:00 nights"), "{open}");
    // From one window into the next it only changes, and what never closes opens no more.
    let nights = opening(instant(2, "Mon 23:00"), instant(3, "Tue 04:00"));
    let changes = instant(2, "Tue 01:00");
    let both = told(pb::Calendar { open: true, changes, openings: vec![nights], ..pb::Calendar::default() });
    assert!(both.contains("closes Tue 04:00"), "{both}");
    let always = opening(instant(2, "Mon 23:00"), None);
    let always = told(pb::Calendar { open: true, openings: vec![always], ..pb::Calendar::default() });
    assert!(always.ends_with("closes not in the next year\n\nIt stays open."), "{always}");
    let closed = told(pb::Calendar {
        at: instant(0, "Sun 13:00"),
        reasons: vec!["frozen".into()],
        changes: instant(1, "Mon 00:00"),
        openings: vec![opening(mon, tue)],
        ..pb::Calendar::default()
    });
    let stands = "state closed\nbecause frozen\nchanges Mon 00:00, and stays closed\nopens Mon 22:00";
    assert!(closed.contains(stands), "{closed}");
}

/// What a controller has not heard of since it started was seen last at some time that it does not know.
#[test]
fn a_host_that_is_not_back_since_the_controller_started_is_told_so() {
    let away = pb::Host { name: "web-1".into(), last_seen_ms: 1_000, ..pb::Host::default() };
    let before: Host = pb::Host { unheard_since_ms: 48_000, ..away.clone() }.into();
    assert_eq!(lines(&before, "state"), ["state away, not seen since the controller started 12s ago"]);
    let since: Host = away.into();
    assert_eq!(lines(&since, "state"), ["state away, seen 59s ago"]);
    let list = HostList { hosts: vec![before], unmatched: None }.lines(&Page::plain(Moment(60_000)));
    assert!(list[1].contains("not since the controller's start 12s ago"), "{list:?}");
}

/// The agent without its helper has nothing to tell of its host: what it told before is not how it stands now.
#[test]
fn of_a_host_whose_helper_is_away_it_is_not_known_what_runs() {
    let host = |state: &str, connected| {
        let trust = pb::TrustFacts { state: state.into(), ..pb::TrustFacts::default() };
        let facts = pb::Facts { os: "linux".into(), trust: Some(trust), ..pb::Facts::default() };
        let app = pb::AppState {
            app: "shop".into(),
            version: "1.1".into(),
            running: true,
            verdict: "healthy".into(),
            ..pb::AppState::default()
        };
        Host::from(pb::Host {
            name: "web-1".into(),
            connected,
            facts: Some(facts),
            apps: vec![app],
            ..pb::Host::default()
        })
    };
    let row = |state: &str, connected| {
        let list = HostList { hosts: vec![host(state, connected)], unmatched: None }
            .lines(&Page::plain(Moment(60_000)));
        list[1].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("signed", false), "web-1 away never shop 1.1 -");
    assert_eq!(row("unknown", false), "web-1 away, as its helper is never shop 1.1 (unknown) -");
    assert_eq!(row("unknown", true), "web-1 connected, helper away now shop 1.1 (unknown) -");
    assert_eq!(lines(&host("unknown", true), "shop"), ["shop 1.1 unknown healthy - -"]);
    let json = |state: &str| serde_json::to_value(host(state, false)).unwrap()["apps"][0]["running"].clone();
    assert_eq!((json("signed"), json("unknown")), (true.into(), serde_json::Value::Null));
}

/// What happens once is told to many, under ids that begin alike; and none that is dead is not none that waits.
#[test]
fn a_list_of_notices_tells_them_apart() {
    let row = |id: &str| pb::NoticeRow { id: id.into(), ..pb::NoticeRow::default() };
    let notices = ["01a22e8d-9b45-7156-9ec4-175932adbe70", "01a22e8d-9b45-7156-9ec4-175932adbe71"].map(row);
    let list = NoticeList::from(pb::ListNoticesReply { notices: notices.into() });
    let lines = list.lines(&Page::plain(Moment(0)));
    assert!(lines[1].starts_with("175932adbe70 ") && lines[2].starts_with("175932adbe71 "), "{lines:?}");
    let none = NoticeList::from(pb::ListNoticesReply::default());
    assert_eq!(none.lines(&Page::plain(Moment(0))), ["Everything was told."]);
    let none = NoticeList { of_dead: true, ..none };
    assert_eq!(none.lines(&Page::plain(Moment(0))), ["No notice is dead."]);
}

/// Who was told nothing, what is coming, and who comes too late for it.
#[test]
fn status_says_what_could_not_be_told_and_what_is_to_begin() {
    let scheduled = |at_ms| pb::Scheduled {
        rollout: "0193f3a0-0000-7000-8000-000000000001".into(),
        app: "shop".into(),
        version: "1.5".into(),
        env: "production".into(),
        by: "ada".into(),
        at_ms,
    };
    let reply = pb::StatusReply {
        time_ms: 60_000,
        dead_notices: 3,
        waiting_notices: 1,
        scheduled: vec![scheduled(30_000), scheduled(180_000)],
        ..pb::StatusReply::default()
    };
    let status = Status::new(reply, "prod", "deploy:7440", 1, vec![]);
    let lines: Vec<String> = status.lines(&Page::plain(Moment(60_000)));
    let text = lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let text = text.collect::<Vec<_>>().join("\n");
    for part in [
        "scheduled shop@1.5 to production by ada waits in line: longshore rollout explain 0193f3a0-0000",
        "shop@1.5 to production by ada begins in 2m (rollout 0193f3a0-0000)",
        "notices 3 notices could not be told: longshore notify list --dead",
        "notices 1 notice waits to be told: longshore notify list",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

/// One that is to begin later has been made; when it begins is what it waits for.
#[test]
fn a_rollout_names_its_plan_and_says_started_only_once_it_has() {
    let facts = |phase: &str, started_ms| {
        let rollout = pb::Rollout {
            phase: phase.into(),
            plan: "9c1e5a5f0c7f6ae5".into(),
            started_by: "ada".into(),
            created_ms: 10_000,
            started_ms,
            ..pb::Rollout::default()
        };
        let lines = Rollout::from(rollout).lines(&Page::plain(Moment(60_000)));
        let lines = lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let of_these = |line: &String| ["plan", "made", "started"].iter().any(|word| line.starts_with(word));
        lines.filter(of_these).collect::<Vec<_>>()
    };
    assert_eq!(facts("ready", 0), ["plan 9c1e5a5f", "made 1970-01-01 00:00 UTC by ada"]);
    assert_eq!(facts("baking", 30_000), ["plan 9c1e5a5f", "started 1970-01-01 00:00 UTC by ada, 30.0s"]);
}

/// Whoever looks sees which side has the traffic, and until when there is an instant way back.
#[test]
fn a_host_and_a_rollout_say_how_both_sides_stand() {
    let side = |side: &str, slot: &str, share, warm_until_ms| pb::SideState {
        side: side.into(),
        slot: slot.into(),
        up: true,
        share: Some(share),
        main_process: format!("unit {side}"),
        warm_until_ms,
    };
    let sides = vec![side("blue", "1.0-0a1b2c3d", 0, 600_000), side("green", "1.1-0a1b2c3d", 100, 0)];
    let app = pb::AppState { app: "shop".into(), sides: sides.clone(), ..pb::AppState::default() };
    let host = Host::from(pb::Host { name: "web-1".into(), apps: vec![app], ..pb::Host::default() });
    assert_eq!(
        lines(&host, "shop ")[1..],
        [
            "shop blue 1.0: warm until 00:10:00 UTC (in 9m); unit blue",
            "shop green 1.1: 100% of the traffic; unit green",
        ]
    );
    let row = pb::HostRow { name: "web-1".into(), sides, ..pb::HostRow::default() };
    let rollout = Rollout::from(pb::Rollout { hosts: vec![row], ..pb::Rollout::default() });
    let said = rollout.lines(&Page::plain(Moment(60_000)));
    assert_eq!(
        said.last().unwrap(),
        "web-1  blue 1.0: warm until 00:10:00 UTC (in 9m), green 1.1: 100% of the traffic"
    );
    let later = rollout.lines(&Page::plain(Moment(880_000)));
    assert_eq!(
        later.last().unwrap(),
        "web-1  blue 1.0: no traffic; its warm time is over, green 1.1: 100% of the traffic"
    );
}

/// A verdict is of the moment of the switch; who was found unwell later is told as that, with when.
#[test]
fn a_host_that_was_found_unwell_later_says_so() {
    let app = pb::AppState {
        app: "shop".into(),
        version: "1.1".into(),
        running: true,
        verdict: "healthy".into(),
        ..pb::AppState::default()
    };
    let other = pb::AppState { app: "blog".into(), ..app.clone() };
    let unwell = vec![pb::FoundUnwell {
        app: "shop".into(),
        why: "LS-B01 it was healthy and is no more: status 500".into(),
        rollout: "019ab0c1-2345-7000-8000-000000000000".into(),
        since_ms: 120_000,
    }];
    let host =
        Host::from(pb::Host { name: "web-1".into(), apps: vec![other, app], unwell, ..pb::Host::default() });
    let said = host.lines(&Page::plain(Moment(420_000)));
    let short = super::short("019ab0c1-2345-7000-8000-000000000000");
    assert_eq!(
        *said.last().unwrap(),
        format!(
            "shop: found unwell 5m ago by rollout {short}, its verdict is of the switch before: \
             LS-B01 it was healthy and is no more: status 500"
        )
    );
    let list = HostList { hosts: vec![host], unmatched: None }.lines(&Page::plain(Moment(420_000)));
    assert!(list[1].contains(" blog 1.1, shop 1.1 (found unwell)"), "{list:?}");
}

/// Those of the group that keeps what it has; one that an operator has excluded is another matter.
#[test]
fn explain_tells_the_other_group_from_who_is_excluded() {
    let host = |name: &str, state: &str, group: &str, why: &str| pb::HostRow {
        name: name.into(),
        state: state.into(),
        group: group.into(),
        left_out: why.into(),
        ..pb::HostRow::default()
    };
    let keeps = "the green group gets the release; this one keeps what it has";
    let hosts = vec![
        host("a", "excluded", "blue", keeps),
        host("b", "excluded", "blue", keeps),
        host("c", "excluded", "green", "drained"),
        host("d", "waiting", "green", ""),
    ];
    let rollout = pb::Rollout { version: "1.1".into(), hosts, ..pb::Rollout::default() };
    let reply = pb::ExplainReply { rollout: Some(rollout), ..pb::ExplainReply::default() };
    let lines = Explanation::new(reply).unwrap().lines(&Page::plain(Moment(0)));
    assert_eq!(
        lines[lines.len() - 2..],
        [format!("· 2 in the other group: a, b: {keeps}"), "· 1 excluded: c (drained)".to_owned()]
    );
}
