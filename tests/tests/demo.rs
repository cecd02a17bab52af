//! `longshore demo`, as a newcomer runs it: one command, nothing installed, no root. It must end well, turn no customer
//! away, and leave nothing behind.

use std::process::Command;
use std::time::Duration;

use longshore_tests::{Result, Trouble, programs::program, run};
use serde_json::Value;

/// A debug build on two busy cores takes a minute; the demo's own limit comes first and says what hung.
const DEADLINE: Duration = Duration::from_secs(400);

#[test]
fn the_demo_ends_well_and_leaves_nothing() -> Result<()> {
    let temp = tempfile::Builder::new().prefix("ls").tempdir_in("/tmp").expect("a temporary folder");
    let mut demo = Command::new(program("longshore")?);
    demo.args(["demo", "-o", "json", "--timeout", "6m"])
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

fn rollouts(summary: &Value) -> impl Iterator<Item = &Value> {
    summary["rollouts"].as_array().into_iter().flatten()
}
