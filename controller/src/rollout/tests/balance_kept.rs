//! Never is the traffic of a backend taken from everybody, and nothing is changed that may have some.

use longshore_common::ids::HostId;

use super::{
    balance::{GROUPS, ROLLING},
    transcript::{Play, check},
};
use crate::rollout::{HostProgress, HostState, Rollout};

/// Whether anybody who is silent is up only HAProxy's own check can tell: the traffic goes back to them if it says so, and
/// until then it stays, whatever an operator says.
#[test]
fn traffic_goes_back_to_whoever_is_up_by_the_balancers_check() {
    let mut play = warm();
    assert_eq!(play.act("a b silent"), "watching 0");
    assert_eq!(play.act("abort"), "rolling-back; direct a=100? b=100? c=0 d=0");
    let explained = play.explained();
    assert!(
        explained.contains(
            "not done: lb; a, b are unknown, and balancers send something there only while their own check says \
             that they are up"
        ),
        "{explained}"
    );
    assert_eq!(play.act("lb away"), "rolling-back; direct a=100? b=100? c=0 d=0");
    assert_eq!(play.act("+60s"), "paused for want of progress");
    // Nobody may say that somebody is there: c and d keep what they have.
    let resumed = play.act("resume");
    assert!(!resumed.contains("return"), "{resumed}");
    assert_eq!(play.act("lb directed"), "rolling-back; return c d");
}

/// One who is silent keeps nobody from having the traffic, and has its part again while it is up.
#[test]
fn one_who_is_silent_among_others_has_traffic_again_while_it_is_up() {
    let mut play = warm();
    assert_eq!(play.act("a silent"), "watching 0");
    assert_eq!(play.act("abort"), "rolling-back; direct a=100? b=100 c=0 d=0");
    assert_eq!(play.act("a back"), "rolling-back");
    assert_eq!(play.act("lb directed"), "rolling-back; return c d");
}

/// nginx has no check: nobody knows whether anybody who is silent is up, and the traffic stays until one is heard.
#[test]
fn without_a_check_traffic_goes_back_to_whoever_is_heard() {
    let mut play = warm_behind(&GROUPS.replace("haproxy", "nginx"));
    assert_eq!(play.act("a b silent"), "watching 0");
    assert_eq!(play.act("abort"), "rolling-back");
    let explained = play.explained();
    assert!(
        explained.contains("nobody of the blue group can have the traffic: a (unknown), b (unknown)"),
        "{explained}"
    );
    assert_eq!(play.act("b back"), "rolling-back; direct a=0 b=100 c=0 d=0");
    assert_eq!(play.act("a back"), "rolling-back; direct a=100 b=100 c=0 d=0");
    assert_eq!(play.act("lb directed"), "rolling-back; return c d");
}

/// The traffic has moved, and the other group is warm.
fn warm() -> Play {
    warm_behind(GROUPS)
}

fn warm_behind(setup: &str) -> Play {
    check(
        setup,
        "start       -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
         lb directed -> staging 0
         c d staged  -> switching 0; run c d
         c d healthy -> baking 0
         +10s        -> switching 0; direct a=0 b=0 c=100 d=100
         lb directed -> baking 0
         +10s        -> watching 0",
    )
}

/// Where nobody of the other group may have it, the traffic stays, nobody who has it is changed, and it is said why.
#[test]
fn traffic_stays_where_it_is_while_nobody_can_have_it_back() {
    let mut play = warm();
    assert_eq!(play.act("a b drained"), "watching 0");
    assert_eq!(play.act("abort"), "rolling-back");
    assert_eq!(
        play.explained(),
        "balancer until 1m20s: rolling back (aborted by ann): 2 hosts keep the traffic: c, d; nobody of the blue group \
         can have the traffic: a (drained), b (drained) [longshore host undrain a]"
    );
    assert_eq!(play.act("+60s"), "paused for want of progress");
    assert!(
        play.explained().contains("nobody of the blue group can have the traffic"),
        "{}",
        play.explained()
    );
    assert_eq!(play.act("resume"), "rolling-back");
    assert_eq!(play.act("a undrained"), "rolling-back; direct a=100 b=0 c=0 d=0");
    assert_eq!(play.act("lb directed"), "rolling-back; return c d");
}

/// No host was changed, and yet something had: the traffic. It is over when balancers have given it back, or had their time.
#[test]
fn traffic_that_had_moved_goes_back_though_no_host_was_switched() {
    let back = || {
        check(
            &GROUPS.replace("c:green d:green", "c:green:2 d:green:2"),
            "start         -> staging 0; stage c d; direct a=100 b=100 c=0 d=0
             lb directed   -> staging 0
             c d unchanged -> switching 0; run c d; direct a=0 b=0 c=100 d=100
             lb directed   -> baking 0
             +10s          -> watching 0
             abort         -> rolling-back; direct a=100 b=100 c=0 d=0",
        )
    };
    let mut play = back();
    let explained = play.explained();
    let moves = "rolling back (aborted by ann): traffic moves back from the green group to the blue group: 2 hosts wait for \
                 balancers to direct traffic: c (unchanged), d (unchanged); not done: lb";
    assert!(explained.contains(moves), "{explained}");
    play.reload();
    assert_eq!(play.act("lb directed"), "aborted");
    let moved = "aborted by ann; traffic had moved to the green group, and was moved back to the blue group";
    assert_eq!(play.reason(), moved);
    let mut late = back();
    assert_eq!(late.act("+60s"), "aborted");
    let lost = "aborted by ann; traffic had moved to the green group, and is to move back to the blue group; not done: lb";
    assert!(late.reason().starts_with(lost), "{}", late.reason());
}

/// A fifth of the traffic is not all of it.
#[test]
fn the_share_that_had_moved_is_said() {
    let mut play = Play::new(&format!("{GROUPS} traffic.steps=20"));
    for line in ["start", "c d staged", "lb directed", "c d healthy", "+10s", "lb directed", "abort"] {
        play.act(line);
    }
    play.reload();
    assert_eq!(play.act("lb directed"), "rolling-back; return c d");
    assert_eq!(play.act("c d healthy"), "aborted");
    assert_eq!(
        play.reason(),
        "aborted by ann; 20% of the traffic had moved to the green group, and was moved back to the blue group; \
         2 hosts rolled back"
    );
}

/// The first release of an app has nobody beside it: when it is taken away, so is its traffic.
#[test]
fn the_first_release_is_taken_away_with_its_traffic() {
    check(
        &GROUPS.replace("a:blue b:blue c:green d:green", "a:blue:new b:blue:new c:green:new d:green:new"),
        "start       -> staging 0; stage c d; direct a=0 b=0 c=0 d=0
         lb directed -> staging 0
         c d staged  -> switching 0; run c d
         c d healthy -> baking 0
         +10s        -> switching 0; direct a=0 b=0 c=100 d=100
         lb directed -> baking 0
         abort       -> rolling-back; direct a=0 b=0 c=0 d=0
         lb directed -> rolling-back; remove c d",
    );
}

/// A host that fell silent in the midst of its change gets nothing; the other, which is all there is, keeps what it has
/// until whoever resumes knows that.
#[test]
fn the_last_that_gets_connections_is_not_drained() {
    let mut play = check(
        &ROLLING.replace("a b lb |", "a b lb | unknown=skip"),
        "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100
         lb directed -> switching 0; run a
         a silent    -> staging 1; stage b
         b staged    -> switching 1",
    );
    assert_eq!(
        play.explained(),
        "no-slot until 1m: 1 host waits: b; nobody else would get connections, for balancers \
         send nothing to a [longshore rollout show ID]"
    );
    assert_eq!(play.act("+60s"), "paused for want of progress");
    assert_eq!(play.act("resume"), "switching 1; direct a=0 b=0");
}

/// Whatever happens in whatever order: where somebody had traffic before, somebody has it afterwards, unless operators
/// took it from everybody, or said that everybody may be down.
#[test]
fn a_backend_is_never_left_without_a_server() {
    use super::walk::{Dice, names, random_line};
    const OF_BALANCERS: [&str; 6] =
        ["lb directed", "lb directed", "lb directed", "lb away", "lb silent", "lb back"];
    const OF_OPERATORS: [&str; 6] = ["abort", "rollback", "resume", "promote", "pause", "start"];
    let grouped = [
        GROUPS.to_owned(),
        format!("{GROUPS} traffic.steps=20+60"),
        GROUPS.replace("a:blue b:blue", "a:blue:silent b:blue"),
        GROUPS.replace("c:green d:green", "c:green:2 d:green:2"),
        GROUPS.replace("haproxy", "nginx"),
    ];
    let unknown = ["wait", "count", "skip"];
    let rolling =
        unknown.map(|unknown| ROLLING.replace("a b lb |", &format!("a b c lb | unknown={unknown}")));
    let setups: Vec<String> = grouped.into_iter().chain(rolling).collect();
    let mut moves = 0;
    for seed in 0..500u64 {
        let mut dice = Dice(seed);
        let setup = &setups[seed as usize % setups.len()];
        let mut play = Play::new(setup);
        let names = names(&play);
        let mut said = vec![setup.to_owned()];
        for step in 0..70 {
            let line = match dice.below(10) {
                _ if step == 0 => "start".to_owned(),
                0..3 => OF_BALANCERS[dice.below(6)].to_owned(),
                3 => OF_OPERATORS[dice.below(6)].to_owned(),
                4 => {
                    format!("{} {}", names[dice.below(names.len())], ["drained", "undrained"][dice.below(2)])
                }
                5 => format!("{} good", names[dice.below(names.len())]),
                6 => format!("{} {}", names[dice.below(names.len())], ["silent", "back"][dice.below(2)]),
                _ => random_line(&mut dice, &names),
            };
            let before = play.rollout.clone();
            let right = play.act(&line);
            said.push(format!("{line} -> {right}"));
            play.reload();
            let after = &play.rollout;
            let has = |rollout: &Rollout, id: &HostId| {
                rollout.hosts[id].route.is_some_and(|route| route.weight > 0)
            };
            let had: Vec<_> = before.hosts.keys().filter(|id| has(&before, id)).collect();
            let none = !after.hosts.keys().any(|id| has(after, id));
            moves += usize::from(right.contains("direct"));
            // Operators took it from whoever had it; where hosts are drained in turn, they said to go on with the last.
            let taken = |id: &&HostId| {
                let host = &after.hosts[*id];
                host.benched || host.drained || host.state == HostState::Left
            };
            let in_turn = |host: &HostProgress| {
                host.group.is_none() && (host.forgiven || host.is_out() || host.benched)
            };
            let excused = had.iter().all(taken) && had.iter().all(|id| after.hosts[*id].group.is_some())
                || after.hosts.values().any(|host| in_turn(host));
            assert!(!none || excused, "nobody gets anything:\n{}", said.join("\n"));
        }
    }
    assert!(moves > 500, "{moves} moves");
}

/// Whatever happens, no host is told to change while a balancer may still send it something, unless an operator said to go on.
#[test]
fn nothing_is_changed_that_may_have_traffic() {
    use super::walk::{Dice, names, random_line};
    for seed in 0..400u64 {
        let mut dice = Dice(seed);
        let setup = if seed % 2 == 0 { ROLLING } else { GROUPS };
        let mut play = Play::new(setup);
        let names = names(&play);
        let mut said = vec![setup.to_owned()];
        play.act("start");
        for _ in 0..80 {
            let line = match dice.below(4) {
                0 => [
                    "lb directed",
                    "lb directed",
                    "lb away",
                    "lb silent",
                    "lb back",
                    "lb refuses",
                    "lb unheld",
                ][dice.below(7)]
                .to_owned(),
                _ => random_line(&mut dice, &names),
            };
            let before = play.rollout.clone();
            let right = play.act(&line);
            said.push(format!("{line} -> {right}"));
            play.reload();
            let forgiven = play.rollout.balancers().any(|(_, balancer)| balancer.forgiven)
                && !play.rollout.only_balancers_know();
            for (id, host) in &play.rollout.hosts {
                let changes = matches!(host.state, HostState::Switching | HostState::RollingBack);
                let begun = changes && host.round != before.hosts[id].round;
                // Nobody can drain what is unknown, and at the end the way back stands for whenever it can be gone.
                let excused = forgiven || host.silent.is_some() || play.rollout.phase().is_done();
                let away = host.route.is_some_and(|route| route.weight == 0 && route.done);
                assert!(
                    !begun || away || excused,
                    "{} is changed with traffic on it:\n{}",
                    host.name,
                    said.join("\n")
                );
            }
        }
    }
}

/// A host that was at another try when the rollout was aborted loses its connections and goes back, as any other.
#[test]
fn a_host_that_tries_again_goes_back_too() {
    let setup = "a b lb | canary=0 wave=1 max_unavailable=1 attempts=2 traffic.director=haproxy \
                 traffic.backend=shop traffic.drain=5s traffic.hold=3s balancers=";
    check(
        setup,
        "start     -> staging 0; stage a; direct a=100 b=100
         a good    -> switching 0
         lb good   -> switching 0; direct a=0 b=100
         lb good   -> switching 0; run a
         a full    -> switching 0; stage a; direct a=100 b=100
         abort     -> rolling-back; direct a=0 b=100
         lb good   -> rolling-back; return a
         a healthy -> rolling-back; direct a=100 b=100
         lb good   -> aborted",
    );
}

/// One that was excluded while it switched says how that ended when the rollout is over already: it serves, and gets its
/// connections.
#[test]
fn a_host_that_was_excluded_in_its_switch_gets_its_connections_when_it_is_done() {
    let begin = "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100
         lb directed -> switching 0; run a
         a healthy   -> switching 0; direct a=100 b=100
         lb directed -> staging 1; stage b
         b staged    -> switching 1; direct a=100 b=0
         lb directed -> switching 1; run b
         exclude b   -> succeeded
         ";
    for (said, then) in [
        ("b healthy", "succeeded; direct a=100 b=100"),
        ("b reverted", "succeeded; direct a=100 b=100"),
        ("b inconsistent", "succeeded"),
    ] {
        check(ROLLING, &format!("{begin}{said} -> {then}"));
    }
}

/// A balancer that may not, or cannot write it down, would say so at once and for ever. It is asked again when it is back, or
/// by whoever resumes.
#[test]
fn a_balancer_that_refuses_at_once_is_not_asked_in_circles() {
    for refuses in ["lb unfit", "lb full", "lb forbidden"] {
        let mut play = check(
            ROLLING,
            "start    -> staging 0; stage a; direct a=100 b=100
             a staged -> switching 0",
        );
        assert_eq!(play.act(refuses), "switching 0");
        let (why, explained) = (refuses.replace("lb ", ""), play.explained());
        assert!(explained.contains(&format!("not done: lb ({why})")), "{explained}");
        let mut resumed = play.clone();
        assert_eq!(play.act("lb unheld"), "switching 0; direct a=100 b=100");
        assert_eq!(play.act("lb directed"), "switching 0; direct a=0 b=100");
        assert_eq!(resumed.act("+60s"), "paused for want of progress");
        let resumed = resumed.act("resume");
        assert!(resumed.contains("direct"), "{resumed}");
    }
}

/// A canary that went back by itself runs what the others run, and gets as much.
#[test]
fn a_canary_that_went_back_by_itself_has_all_of_its_traffic_again() {
    check(
        "a b lb | canary=1 canary_bake=60s max_unavailable=1 traffic.director=haproxy traffic.backend=shop \
         traffic.drain=5s traffic.hold=30s traffic.steps=10+50 balancers=",
        "start       -> staging 0; stage a; direct a=100 b=100
         a staged    -> switching 0
         lb directed -> switching 0; direct a=0 b=100
         lb directed -> switching 0; run a
         a reverted  -> rolled-back; direct a=100 b=100",
    );
}
