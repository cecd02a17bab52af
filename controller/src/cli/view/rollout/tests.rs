//! A rollout from the wire.

use super::*;

#[test]
fn an_end_has_its_exit_code() {
    let ended = |outcome: &str| Rollout::from(pb::Rollout { outcome: outcome.into(), ..Default::default() });
    for (outcome, exit) in [
        ("succeeded", 0),
        ("rolled-back", 1),
        ("aborted", 1),
        ("failed", 1),
        ("nothing-to-do", 6),
        ("novel", 1),
    ] {
        assert_eq!(ended(outcome).exit().number(), exit, "{outcome}");
    }
}
