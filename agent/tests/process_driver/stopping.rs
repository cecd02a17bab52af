//! The end of an app and of its supervisor.

use std::time::Instant;

use longshore_agent::host::{procfs, unit::UnitState};

use crate::{Fixture, ONE, TWO, WITHIN, shell, support::until};

/// What does not go by itself is killed after the grace, whatever sessions it made for itself.
#[tokio::test]
async fn stopping_leaves_no_process_behind() {
    let fixture = Fixture::new();
    let script = "trap '' TERM; setsid sh -c 'setsid sleep 998 & setsid sleep 999 &' ; echo up; while :; do sleep 1; done";
    let mut stubborn = shell(ONE, script);
    stubborn.grace_ms = 300;
    fixture.start(stubborn).await;
    let supervisor = fixture.supervisor().unwrap();
    let below = || procfs::descendants(&procfs::all(), supervisor);
    assert!(until(WITHIN, || below().len() >= 4), "{:?}", below());
    let family = below();
    let begun = Instant::now();
    fixture.driver.stop(&fixture.app, WITHIN).await.unwrap();
    assert!(begun.elapsed() < WITHIN);
    let alive: Vec<_> =
        family.into_iter().filter(|pid| procfs::one(*pid).is_some_and(|p| !p.zombie)).collect();
    assert!(alive.is_empty(), "{alive:?}");
    assert!(until(WITHIN, || fixture.supervisor().is_none()), "the supervisor ends as well");
    assert_eq!(fixture.driver.status(&fixture.app).await.unwrap(), None);
    fixture.driver.stop(&fixture.app, WITHIN).await.unwrap();
}

/// The supervisor of before may have somebody to say farewell to: whoever hears that it has stopped starts the next at once.
#[tokio::test]
async fn what_has_stopped_may_start_at_once() {
    let fixture = Fixture::new();
    let (said, heard) = std::sync::mpsc::channel();
    for slot in [ONE, TWO] {
        fixture.start(shell(slot, "while :; do echo here; sleep 0.05; done")).await;
        let follows = fixture.driver.follow(&fixture.app, |line| said.send(line.text).unwrap());
        let moves = async {
            while heard.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
            fixture.driver.stop(&fixture.app, WITHIN).await
        };
        tokio::pin!(follows);
        tokio::select! {
            ended = &mut follows => panic!("{ended:?}"),
            stopped = moves => stopped.unwrap(),
        }
        fixture.start(shell(slot, "exec sleep 600")).await;
        assert!(matches!(fixture.state().await, UnitState::Up { .. }));
        fixture.driver.stop(&fixture.app, WITHIN).await.unwrap();
    }
}
