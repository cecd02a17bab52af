//! A host that balances others: told once, told again when it forgets, and a crash after every effect.

use longshore_common::{
    assignment::{Assignment, Intent},
    report::Outcome,
    time::Span,
    traffic::{Directions, Director, Server},
};

use super::bench::{Bench, app, assignment};

/// `a=100 b=0`
pub fn direct(generation: u64, weights: &str) -> Assignment {
    let server = |word: &str| {
        let (name, weight) = word.split_once('=').unwrap();
        Server { name: name.parse().unwrap(), address: None, weight: weight.parse().unwrap(), if_up: false }
    };
    let directions = Directions {
        director: Director::Haproxy,
        backend: "shop".parse().unwrap(),
        servers: weights.split(' ').map(server).collect(),
        drain: Span::secs(5),
    };
    Assignment { directions: Some(directions), ..assignment(generation, "1", &[], Intent::Direct) }
}

#[test]
fn a_balancer_is_told_once_and_again_when_it_forgets() {
    let mut bench = Bench::new();
    let told = bench.transcript(|bench| bench.give(&direct(1, "a=100 b=0")));
    assert_eq!(told, "direct shop: 2 servers, 1 of them without traffic\n=> healthy");
    assert_eq!(bench.transcript(Bench::converge), "");
    bench.host.forget_traffic(&app());
    assert_eq!(bench.transcript(Bench::converge), "direct shop: 2 servers, 1 of them without traffic");
    assert!(bench.record.good.is_empty() && !bench.record.disturbed, "nothing of the app runs here");
}

/// While it is away the assignment fails, with its name; when it is back it gets what was asked last.
#[test]
fn a_balancer_that_was_away_gets_its_directions_when_it_is_back() {
    let mut bench = Bench::new();
    bench.host.director_away(true);
    let told = bench.transcript(|bench| bench.give(&direct(1, "a=100 b=0")));
    // Once for the assignment, and once more at the look that follows.
    let step = "direct shop: 2 servers, 1 of them without traffic";
    assert_eq!(told, format!("{step}\n{step}\n=> failed LS-L01 at traffic"));
    bench.host.director_away(false);
    assert_eq!(bench.transcript(Bench::converge), step);
    assert!(bench.seen().balance.unwrap().shown);
    bench.give(&direct(1, "a=100 b=0")).unwrap();
    assert!(matches!(bench.reports.last().unwrap().1, Outcome::Failed { .. }), "what was said stays said");
}

#[test]
fn a_crash_after_every_effect_is_made_good() {
    for effects in 0.. {
        let mut bench = Bench::new();
        bench.give(&direct(1, "a=100 b=100")).unwrap();
        bench.host.crash_after(effects);
        let crashed = bench.give(&direct(2, "a=100 b=0")).is_err();
        bench.host.restart_agent();
        bench.give(&direct(2, "a=100 b=0")).unwrap();
        let balance = bench.seen().balance.unwrap();
        assert!(balance.shown && balance.told.servers[1].weight == 0);
        assert_eq!(bench.reports.last().unwrap(), &(2, Outcome::Healthy));
        if !crashed {
            return;
        }
    }
}
