//! Any sequence of assignments, orders and crashes.

use longshore_common::{assignment::Intent, report::Outcome};
use proptest::prelude::*;

use super::bench::{Bench, app, assignment};
use crate::host::sim::Flaw;

#[derive(Clone, Debug)]
enum Act {
    Give { version: u8, port: u8, intent: u8, rise: u8 },
    Revert,
    KillApp,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1u8..=3, 0u8..2, 0u8..8, 0u8..4)
            .prop_map(|(version, port, intent, rise)| Act::Give { version, port, intent, rise }),
        1 => Just(Act::Revert),
        1 => Just(Act::KillApp),
    ]
}

/// Does it; says which generation was given.
fn perform(bench: &mut Bench, act: &Act) -> bool {
    match act {
        Act::Give { version, port, intent, rise } => {
            let known = bench.record.generation().map_or(0, |generation| generation.0);
            let intent = match intent {
                0 => Intent::Remove,
                1 | 2 => Intent::Stage,
                _ => Intent::Run,
            };
            let port = port.to_string();
            let assignment =
                assignment(known + u64::from(*rise), &version.to_string(), &[("port", &port)], intent);
            bench.give(&assignment).is_ok()
        }
        Act::Revert => bench.order(None).is_ok(),
        Act::KillApp => {
            bench.host.kill(&app());
            true
        }
    }
}

fn check_rest(bench: &Bench) {
    bench.check_invariants();
    assert!(!bench.record.is_busy(), "at rest nothing is owed: {:#?}", bench.record);
    let seen = bench.seen();
    let Some(concluded) = &bench.record.concluded else { return };
    match &concluded.outcome {
        Outcome::Removed => assert_eq!(seen, Default::default()),
        Outcome::Healthy | Outcome::Unchanged => {
            assert_eq!(seen.current, bench.record.accepted.as_ref().map(|a| a.slot()));
            assert!(seen.slots.len() <= 3, "two good slots and what is live");
        }
        Outcome::Reverted { to_slot, .. } => assert_eq!(seen.current.as_ref(), Some(to_slot)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_the_host_ends_whole(
        acts in prop::collection::vec((act(), prop::option::weighted(0.5, 0u64..30), any::<bool>()), 1..12),
        flaws in prop::collection::vec((1u8..=3, 0u8..4), 0..3),
    ) {
        let flaws: Vec<(String, Flaw)> = flaws
            .into_iter()
            .map(|(v, flaw)| (v.to_string(), [Flaw::Probe, Flaw::Start, Flaw::Fetch, Flaw::Render][usize::from(flaw)]))
            .collect();
        let flaws: Vec<(&str, Flaw)> = flaws.iter().map(|(v, flaw)| (v.as_str(), *flaw)).collect();
        let mut bench = Bench::with_flaws(&flaws);
        for (act, crash, power) in acts {
            if let Some(effects) = crash {
                bench.host.crash_after(effects);
            }
            perform(&mut bench, &act);
            bench.check_invariants();
            if power { bench.host.reboot() } else { bench.host.restart_agent() }
            bench.converge().unwrap();
            check_rest(&bench);
        }
        for (n, (generation, outcome)) in bench.reports.iter().enumerate() {
            let told = bench.reports[..n].iter().filter(|(earlier, _)| earlier == generation);
            let reverted_later = matches!(outcome, Outcome::Reverted { .. } | Outcome::Inconsistent { .. });
            let refused = |o: &Outcome| matches!(o, Outcome::Refused { failure } if failure.code == "LS-O03");
            for (_, earlier) in told.filter(|(_, earlier)| !refused(earlier)) {
                prop_assert!(earlier == outcome || reverted_later || refused(outcome), "{generation}: {earlier:?} then {outcome:?}");
            }
        }
    }
}
