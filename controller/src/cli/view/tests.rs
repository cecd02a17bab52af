//! The JSON shapes are those of `docs/cli-json.md`, to the letter, and every view prints.

use std::path::Path;

use longshore_proto::v1 as pb;

use super::{
    host::{Host, HostList},
    rollout::Rollout,
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
          not by 00:10:30, it is drained again"
        ]
    );
    let list = HostList { hosts: vec![waits] }.lines(&Page::plain(Moment(60_000)));
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

/// One that is to begin later has been made; when it begins is what it waits for.
#[test]
fn a_rollout_names_its_plan_and_says_started_only_once_it_has() {
    let facts = |phase: &str| {
        let rollout = pb::Rollout {
            phase: phase.into(),
            plan: "9c1e5a5f0c7f6ae5".into(),
            started_by: "ada".into(),
            started_ms: 30_000,
            ..pb::Rollout::default()
        };
        let lines = Rollout::from(rollout).lines(&Page::plain(Moment(60_000)));
        let lines = lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let of_these = |line: &String| ["plan", "made", "started"].iter().any(|word| line.starts_with(word));
        lines.filter(of_these).collect::<Vec<_>>()
    };
    assert_eq!(facts("ready"), ["plan 9c1e5a5f", "made 1970-01-01 00:00 by ada"]);
    assert_eq!(facts("baking"), ["plan 9c1e5a5f", "started 1970-01-01 00:00 by ada, 30.0s"]);
}
