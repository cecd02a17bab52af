//! `longshore demo`, as a newcomer runs it: one command, nothing installed, no root. It must end well, turn no customer
//! away, and leave nothing behind.

use std::process::Command;
use std::time::Duration;

use longshore_tests::{Result, Trouble, programs::program, run};
use serde_json::Value;

/// A debug build on two busy cores takes a minute, and four on a bad day; the demo's own limit comes first and says what
/// hung.
const DEADLINE: Duration = Duration::from_secs(1000);

#[test]
fn the_demo_ends_well_and_leaves_nothing() -> Result<()> {
    let temp = tempfile::Builder::new().prefix("ls").tempdir_in("/tmp").expect("a temporary folder");
    let mut demo = Command::new(program("longshore")?);
    demo.args(["demo", "-o", "json", "--timeout", "15m"])
        .env("TMPDIR", temp.path())
        .env_remove("LONGSHORE_CONTEXT");
    let told = run(&mut demo, DEADLINE)?.success()?;
    let summary: Value =
        serde_json::from_str(&told).map_err(|error| Trouble::new(format!("{error} in {told}")))?;
    assert_eq!(summary["schema"], "longshore.cli.demo/1");

    let outcomes: Vec<&str> = rollouts(&summary).filter_map(|act| act["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["succeeded", "succeeded", "rolled-back"], "{told}");
    let touched: Vec<u64> = rollouts(&summary).filter_map(|act| act["hosts_touched"].as_u64()).collect();
    assert_eq!(touched, [5, 5, 1], "the broken release is stopped at the canary: {told}");
    let new: Vec<u64> = rollouts(&summary).filter_map(|act| act["files_new"].as_u64()).collect();
    assert!(new[1] < 5, "only what changed is sent: {told}");

    let requests = &summary["requests"];
    assert_eq!(requests["failed"], 0, "{told}");
    assert!(requests["served"].as_u64().is_some_and(|served| served > 100), "{told}");
    for version in ["1.0", "1.1"] {
        assert!(
            requests["by_version"][version].as_u64().is_some_and(|served| served > 0),
            "{version}: {told}"
        );
    }
    let left: Vec<_> =
        std::fs::read_dir(temp.path()).expect("it is there").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// The tour, as a pipe takes it: every command ends as it says, and the gate, not the probe, stops the release.
#[test]
fn the_tour_shows_what_it_says() -> Result<()> {
    let temp = tempfile::Builder::new().prefix("ls").tempdir_in("/tmp").expect("a temporary folder");
    let mut tour = Command::new(program("longshore")?);
    tour.args(["demo", "--tour", "--yes", "-o", "json", "--timeout", "15m"])
        .env("TMPDIR", temp.path())
        .env_remove("LONGSHORE_CONTEXT");
    let told = run(&mut tour, DEADLINE)?.success()?;
    let summary: Value =
        serde_json::from_str(&told).map_err(|error| Trouble::new(format!("{error} in {told}")))?;
    assert_eq!(summary["schema"], "longshore.cli.tour/1");
    assert_eq!(summary["ended"], "at-the-end");
    assert_eq!(summary["requests"]["failed"], 0, "{told}");

    let typed = |words: &str| -> Vec<(String, u64, String)> {
        let commands = summary["commands"].as_array().into_iter().flatten();
        let fits = commands.filter(|typed| typed["command"].as_str().is_some_and(|c| c.contains(words)));
        fits.map(|typed| {
            let lines = typed["printed"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let who = typed["who"].as_str().unwrap_or_default().to_owned();
            (who, typed["exit"].as_u64().unwrap_or(99), lines.collect::<Vec<_>>().join("\n"))
        })
        .collect()
    };
    let exits = |words: &str| typed(words).iter().map(|(_, exit, _)| *exit).collect::<Vec<_>>();
    let said = |words: &str, nth: usize| typed(words)[nth].2.clone();
    let holds = |text: String, part: &str| assert!(text.contains(part), "{part} is not in {text}");

    // Refused without an approval, once more to the author, and when the world has moved.
    assert_eq!(exits("rollout start"), [4, 0, 1, 4], "{told}");
    holds(said("rollout start", 0), "LS-W02");
    holds(said("rollout start", 3), "LS-R03");
    holds(said("rollout start", 3), "what is live was 1.1, and is 1.0");
    let approvers: Vec<(String, u64)> =
        typed("rollout approve ").into_iter().map(|(who, exit, _)| (who, exit)).collect();
    assert_eq!(approvers, [("ann".into(), 4), ("bob".into(), 0), ("bob".into(), 0)], "{told}");
    // The plan says who has to agree and what is measured.
    for part in ["log-errors", "bob", "1.0"] {
        holds(said("plan shop@1.1", 0), part);
    }
    // It was the log, and its lines are there to be read.
    holds(said("rollout explain", 0), "log-errors");
    holds(said("logs shop", 0), "no recommendation");
    holds(said("rollout rollback", 0), "1.0");
    holds(said("audit list", 0), "bob");
    let left: Vec<_> =
        std::fs::read_dir(temp.path()).expect("it is there").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

fn rollouts(summary: &Value) -> impl Iterator<Item = &Value> {
    summary["rollouts"].as_array().into_iter().flatten()
}
