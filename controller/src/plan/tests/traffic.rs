//! What a plan says of load balancers and groups.

use std::sync::Arc;

use longshore_common::{
    ids::{HostId, HostName},
    manifest::Sides,
    time::Span,
    traffic::{Looked, Side},
};
use uuid::Uuid;

use super::setup::{told as told_all, world};
use crate::{
    plan::{Check, Failed, Plan, Release, Survey, Surveyed, World, moved, plan},
    rollout::{Behind, tests::setup::target},
};

const ROUTING: &str = "traffic.director=haproxy traffic.backend=shop traffic.drain=30s traffic.hold=1m";

fn planned(setup: &str, balancers: &[&str], side: Option<(Side, bool)>) -> Plan {
    let mut world = world(setup);
    let named = |(number, name): (u128, &&str)| (HostId(Uuid::from_u128(number)), name.parse().unwrap());
    world.had_groups = side.is_some();
    world.behind = (!balancers.is_empty())
        .then(|| Behind { balancers: (900..).zip(balancers).map(named).collect(), side });
    plan(&world)
}

/// What happens, in order, then the way back.
fn told(plan: &Plan) -> Vec<String> {
    let traffic = plan.traffic.as_ref().expect("it says who directs the traffic");
    traffic.what.iter().cloned().chain(traffic.back.iter().map(|back| format!("back: {back}"))).collect()
}

#[test]
fn a_plan_says_what_happens_on_the_balancers_host_by_host() {
    let setup = format!("a b | canary=1 {ROUTING} traffic.steps=10+50 balancers=");
    assert_eq!(
        told(&planned(&setup, &["lb-1", "lb-2"], None)),
        [
            "lb-1, lb-2 direct the traffic: backend shop of haproxy",
            "each host is drained there before it is changed: no new connections, and up to 30s for those it has",
            "when it is healthy it joins again; of what it had, a host of the first wave gets 10%, 50%, each watched for 1m, and then 100%",
            "back: hosts that run the release are drained there, go back, and join again when they are healthy",
            "back: one that has gone back by itself joins at once",
        ]
    );
}

#[test]
fn a_plan_says_that_nobody_answers_while_the_only_host_is_changed() {
    let says = |hosts: &str| {
        let plan = planned(&format!("{hosts} | {ROUTING} balancers="), &["lb"], None);
        told(&plan).into_iter().find(|line| line.contains("nobody answers"))
    };
    let alone = Some("a alone has traffic there: nobody answers while it is changed".to_owned());
    assert_eq!(says("a"), alone);
    assert_eq!(says("a b:new"), None, "that one may serve by then");
    assert_eq!(says("a b:drained"), alone);
    assert_eq!(says("a b"), None);
    assert_eq!(says("a:drained b:new"), None);
}

#[test]
fn a_plan_says_which_group_gets_the_release_and_how_the_traffic_moves_and_goes_back() {
    let groups = "balancers=groups.blue=\"g=b\"+groups.green=\"g=g\"+groups.warm=\"15m\"";
    let setup = format!("a:blue:excluded b:blue:excluded c:green d:green | {ROUTING} {groups}");
    let plan = planned(&setup, &["lb"], Some((Side::Green, false)));
    assert_eq!(
        told(&plan),
        [
            "lb directs the traffic: backend shop of haproxy",
            "green (c, d) has no traffic and gets the release",
            "blue (a, b) has the traffic and keeps what it has",
            "then the traffic moves from blue to green: 100% at once",
            "for 15m after that blue is left as it is, as an instant way back",
            "back: the traffic moves back to blue at once, before any host is changed",
            "back: then, with no connection left on them, 2 hosts of green go back",
        ]
    );
    assert_eq!(plan.remarks, ["2 hosts are in the other group: a, b"], "nobody has left them out");
    let has_it = planned(&setup, &["lb"], Some((Side::Green, true)));
    assert_eq!(told(&has_it)[1], "green (c, d) has the traffic and keeps it: it only gets what it lacks");
    // Whoever approved one did not approve the other.
    let others = ["the load balancers, or the group that gets the release, are others"];
    assert_eq!(moved(&plan, &has_it), others);
    assert_eq!(moved(&plan, &planned(&setup, &["lb", "lb-2"], Some((Side::Green, false)))), others);
}

/// Where the group has the release already nobody is changed, and the traffic moves all the same.
#[test]
fn that_the_traffic_moves_is_something_to_do() {
    let groups = "balancers=groups.blue=\"g=b\"+groups.green=\"g=g\"+groups.warm=\"15m\"";
    let setup = format!("a:blue:excluded c:green:2 d:green:2 | {ROUTING} {groups}");
    assert!(!planned(&setup, &["lb"], Some((Side::Green, false))).is_nothing_to_do());
    assert!(planned(&setup, &["lb"], Some((Side::Green, true))).is_nothing_to_do());
}

/// From blue/green to one host after the other: the idle group serves at once, with the release before.
#[test]
fn an_idle_group_gets_traffic_when_there_are_groups_no_more() {
    let remarks = |had_groups: bool, side: Option<(Side, bool)>| {
        let mut world = world(&format!("a b c d e:new | {ROUTING} balancers="));
        for idle in &mut world.hosts[..2] {
            idle.member.previous = Some(target("0"));
        }
        world.behind = Some(Behind { balancers: vec![], side });
        world.had_groups = had_groups;
        plan(&world).remarks
    };
    assert_eq!(
        remarks(true, None),
        [
            "there were two groups, and are none any more: as soon as the rollout begins, hosts that had no traffic get as much as \
             the others, and until their wave they run 0, not 1: a, b"
        ]
    );
    assert!(remarks(false, None).is_empty(), "they had traffic before");
    assert!(remarks(true, Some((Side::Green, false))).is_empty(), "there are groups still");
}

/// From one host after the other to blue/green: one group loses its traffic when the rollout begins, not when it is switched.
#[test]
fn a_group_loses_its_traffic_when_there_are_groups_for_the_first_time() {
    let groups = "balancers=groups.blue=\"g=b\"+groups.green=\"g=g\"+groups.warm=\"15m\"";
    let remarks = |had_groups: bool, has: bool, live: bool| {
        let setup = format!("a:blue b:blue:new c:green d:green e:green | {ROUTING} {groups}");
        let mut world = world(&setup);
        world.hosts[4].member.drained = true;
        world.behind = Some(Behind { balancers: vec![], side: Some((Side::Green, has)) });
        world.had_groups = had_groups;
        world.live = world.live.filter(|_| live);
        plan(&world).remarks.into_iter().filter(|told| told.contains("two groups")).collect::<Vec<_>>()
    };
    assert_eq!(
        remarks(false, false, true),
        [
            "there are two groups now, and were none: as soon as the rollout begins, 2 hosts of green get no traffic any more \
             (c, d), and blue has all of it, on 1 host"
        ]
    );
    assert_eq!(
        remarks(false, true, true),
        [
            "there are two groups now, and were none: as soon as the rollout begins, 1 host of blue gets no traffic any more \
             (a), and green has all of it, on 2 hosts"
        ]
    );
    assert!(remarks(true, false, true).is_empty(), "green had none before");
    assert!(remarks(false, false, false).is_empty(), "nothing runs anywhere");
}

/// Files that were applied before that was refused are read: what no rollout could begin with is said with the way out.
#[test]
fn a_drain_as_long_as_a_deadline_stops_the_plan() {
    let of = |drain: &str| {
        let routing = ROUTING.replace("drain=30s", &format!("drain={drain}"));
        let failed = planned(&format!("a b | {routing} balancers="), &["lb"], None).failed;
        failed.into_iter().map(|failed| (failed.check, failed.what)).collect::<Vec<_>>()
    };
    let stopped = of("15m");
    assert_eq!(stopped.len(), 1, "{stopped:?}");
    assert_eq!(stopped[0].0, Check::Traffic);
    for part in [
        "traffic.drain of environment prod is 15m, and rollout.progress_deadline is 10m",
        "or drain for less. Change its file",
        "longshore env apply FILE",
    ] {
        assert!(stopped[0].1.contains(part), "{part}\nis not in\n{}", stopped[0].1);
    }
    assert!(of("9m").is_empty());
}

/// With public sockets of its own an app with sides stands behind balancers as any other; without, nobody would move its
/// traffic on the host.
#[test]
fn an_app_with_sides_behind_balancers_needs_sockets_that_we_hold() {
    let mut world = world(&format!("a b | {ROUTING} balancers="));
    let lb = (HostId(Uuid::from_u128(900)), "lb".parse().unwrap());
    world.behind = Some(Behind { balancers: vec![lb], side: None });
    with(&mut world.release, &[], sides());
    let refused = plan(&world);
    let failed: Vec<(Check, bool)> = refused.failed.iter().map(|f| (f.check, f.may_override)).collect();
    assert_eq!(failed, [(Check::Traffic, false)]);
    assert!(refused.failed[0].what.contains("nobody would move it from one side to the other"));

    with(&mut world.release, &["0.0.0.0:8080"], sides());
    let plan = plan(&world);
    assert_eq!(plan.failed, []);
    let held =
        "on each host a process of ours moves its public sockets to the release beside what runs there";
    assert!(told(&plan).contains(&held.to_owned()));
}

/// Two places on a host.
fn sides() -> Option<Sides> {
    let side = |port: u16| format!("127.0.0.1:{port}");
    Some(Sides { blue: side(8081), green: side(8082), warm: Span::secs(60) })
}

fn with(release: &mut Release, sockets: &[&str], sides: Option<Sides>) {
    let mut manifest = (*release.manifest).clone();
    manifest.service.sockets = sockets.iter().map(ToString::to_string).collect();
    manifest.service.sides = sides;
    release.manifest = Arc::new(manifest);
}

fn runs(world: &mut World, sockets: &[&str], sides: Option<Sides>) {
    with(world.known.get_mut(&"1".parse().unwrap()).unwrap(), sockets, sides);
}

/// What the plan finds of its hosts.
fn failed(world: &World) -> Vec<(Check, String)> {
    let hosts = |failed: Failed| failed.hosts.into_iter().map(move |host| (failed.check, host.what));
    plan(world).failed.into_iter().flat_map(hosts).collect()
}

/// What runs without sides keeps the public sockets for as long as it runs; what already has sides does not hold them.
#[test]
fn sockets_of_what_runs_without_sides_are_not_handed_over() {
    let socket = ROUTING.replace("haproxy", "socket");
    for (traffic, held) in [("", true), (socket.as_str(), true), (ROUTING, false)] {
        let mut world = world(&format!("a | {traffic}"));
        with(&mut world.release, &["127.0.0.1:8080"], sides());
        runs(&mut world, &["127.0.0.1:8080"], None);
        let found = failed(&world);
        assert_eq!(found.len(), usize::from(held), "{traffic}: {found:?}");
        for (check, what) in found {
            assert_eq!(check, Check::Traffic);
            assert!(what.starts_with("127.0.0.1:8080 is held by 1, which runs without sides"), "{what}");
        }
        runs(&mut world, &["127.0.0.1:8090"], None);
        assert!(failed(&world).is_empty());
        runs(&mut world, &["127.0.0.1:8080"], sides());
        assert!(failed(&world).is_empty());
    }
}

/// Nor are those that a process of ours holds for what runs on sides: it is there until the last side is stopped.
#[test]
fn sockets_of_what_runs_on_sides_are_not_handed_over_to_a_release_without() {
    let socket = ROUTING.replace("haproxy", "socket");
    for (traffic, held) in [("", true), (socket.as_str(), true), (ROUTING, false)] {
        let mut world = world(&format!("a | {traffic}"));
        with(&mut world.release, &["0.0.0.0:6060"], None);
        runs(&mut world, &["0.0.0.0:6060"], sides());
        let refused = plan(&world);
        assert_eq!(refused.failed.len(), usize::from(held), "{traffic}: {:?}", refused.failed);
        for found in refused.failed {
            assert_eq!(found.check, Check::Traffic);
            assert_eq!(found.what, "1 host cannot give a release without sides the ports that it wants");
            assert_eq!(
                found.hosts[0].what,
                "0.0.0.0:6060 is held for 1, which runs on sides, and nothing hands it over: roll out a release \
                 without sides and with other ports first, then this one"
            );
        }
        runs(&mut world, &["0.0.0.0:6061"], sides());
        assert!(failed(&world).is_empty());
        runs(&mut world, &["0.0.0.0:6060"], None);
        assert!(failed(&world).is_empty());
    }
}

/// Between sides nothing moves that has none: no step, nobody beside it, nothing warm to go back to.
#[test]
fn a_release_without_sides_takes_the_place_of_what_runs() {
    let socket = ROUTING.replace("haproxy", "socket");
    let mut world = world(&format!("a b | canary=1 {socket} traffic.steps=10+50"));
    let back = "back: on each host what ran is put back in its place, as in any rollout";
    let place =
        "2 runs without sides: on each host it takes the place of what runs there, with all of its traffic";
    let steps = "of the steps (10%, 50%) only the time is kept: the first wave is watched for 1m each";
    assert_eq!(told(&plan(&world)), [place, steps, back]);
    assert!(plan(&world).traffic.is_some_and(|traffic| traffic.replaces));
    runs(&mut world, &["0.0.0.0:6061"], sides());
    let stopped = "when it is healthy, 1 is stopped on the sides on which it runs";
    assert_eq!(told(&plan(&world)), [place, steps, stopped, back]);
    let own = planned(&format!("a | {ROUTING}"), &[], None);
    assert_eq!(told(&own), [place, "the host's own haproxy (backend shop) is told nothing of it", back]);
}

/// With what runs without sides nothing is shared, and it is stopped: no step, and nothing warm to go back to.
#[test]
fn a_release_with_sides_has_all_of_the_traffic_at_once_where_what_runs_has_none() {
    let mut world = world(&format!("a b | canary=1 {ROUTING} traffic.steps=10+50"));
    with(&mut world.release, &[], sides());
    runs(&mut world, &[], None);
    assert_eq!(
        told(&plan(&world)),
        [
            "on each host what runs has no sides: its own haproxy (backend shop) gives the release all of the traffic when it \
             is healthy beside it, and what ran is stopped",
            "of the steps (10%, 50%) only the time is kept: the first wave is watched for 1m each",
            "back: on each host nothing is kept warm: what ran is started again in its place",
        ]
    );
    let traffic = plan(&world).traffic.expect("it says who directs the traffic");
    assert!(!traffic.replaces);
    let replaced: Vec<&str> = traffic.replaced.iter().map(HostName::as_str).collect();
    assert_eq!(replaced, ["a", "b"]);
    // Where nothing runs, nothing is stopped.
    world.hosts[0].member.previous = None;
    let told = told(&plan(&world));
    let apart = "on b what runs has no sides: the release has all of the traffic at once there, and what ran is stopped";
    assert_eq!(told[3], apart);
    assert_eq!(told[5], "back: on b nothing is kept warm: what ran is started again in its place");
}

#[test]
fn a_plan_says_who_moves_traffic_on_each_host() {
    let mut world = world(&format!("a b | canary=1 {ROUTING} traffic.steps=10"));
    with(&mut world.release, &[], sides());
    runs(&mut world, &[], sides());
    assert_eq!(
        told(&plan(&world)),
        [
            "on each host its own haproxy (backend shop) moves the traffic to the release when it is healthy beside what runs there",
            "a host of the first wave gives it 10%, watched for 1m, and then 100%",
            "connections to what ran have up to 30s to end before it is stopped",
            "back: on each host the traffic moves back to what is still warm there, at once",
        ]
    );
    assert_eq!(planned("a b | ", &[], None).traffic, None);
}

/// What the balancers of a plan say, and what is read of it.
#[track_caller]
fn asked(setup: &str, balancers: &[(&str, Surveyed)], expected: &str) {
    let mut world = world(setup);
    world.balancers = balancers.iter().map(|(name, said)| (name.parse().unwrap(), said.clone())).collect();
    let expected: Vec<&str> = expected.lines().map(str::trim_start).collect();
    let told = told_all(&plan(&world));
    let told: Vec<&str> =
        told.lines().filter(|line| !line.starts_with("wave")).map(str::trim_start).collect();
    assert_eq!(told, expected);
}

/// A rollout begins with telling the balancers: one that could not do it is named before, with what is wrong and the way
/// out. What is only worth knowing stops nothing, nor does an agent that is older than the question.
#[test]
fn a_balancer_that_could_not_be_told_stops_the_plan() {
    let said = |problems: &[&str], notes: &[&str], hold: Option<&str>| {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let traffic = Looked { problems: words(problems), notes: words(notes) };
        Surveyed::Answered(Box::new(Survey { traffic, hold: hold.map(str::to_owned), ..Survey::default() }))
    };
    let setup = format!("a b | {ROUTING} balancers= | overrides=traffic");
    asked(&setup, &[("lb-1", said(&[], &[], None))], "");
    asked(
        &setup,
        &[
            ("lb-1", said(&["HAProxy at /s has no server shop/a: give the backend one of that name"], &[], None)),
            ("lb-2", Surveyed::Unknown { why: None, machine: None }),
            ("lb-3", said(&[], &[], Some("kernel"))),
            ("lb-4", said(&[], &[], Some("drained: disk swap"))),
        ],
        "failed traffic, may be overridden: several hosts keep the traffic of backend shop from being directed by haproxy
         lb-1: HAProxy at /s has no server shop/a: give the backend one of that name
         lb-2: did not answer: nobody could tell it where traffic goes. See: longshore host show lb-2
         lb-3: is held by somebody there (kernel), and takes no directions: longshore-agent unhold
         lb-4: is drained: disk swap, and takes no directions: longshore host undrain lb-4",
    );
    asked(
        &setup,
        &[
            ("lb-1", said(&[], &["HAProxy at /s takes all hosts of shop that serve for down: a, b"], None)),
            ("lb-2", Surveyed::Unasked { why: "this agent is older".into(), machine: None }),
        ],
        "- lb-1: HAProxy at /s takes all hosts of shop that serve for down: a, b
         - lb-2 could not be asked whether it can direct the traffic: this agent is older",
    );
    let nginx = setup.replace("haproxy", "nginx");
    asked(
        &nginx,
        &[("lb-1", said(&[], &[], None))],
        "failed traffic, may be overridden: several hosts keep the traffic of backend shop from being directed by nginx
         a: has never said an address at which nginx could find it: its agent has to connect once
         b: has never said an address at which nginx could find it: its agent has to connect once",
    );
}

/// Where each host has a HAProxy of its own, it is that host that does not fit.
#[test]
fn a_host_whose_own_haproxy_could_not_be_told_does_not_fit() {
    let mut world = world(&format!("a b | {ROUTING}"));
    with(&mut world.release, &[], sides());
    let Surveyed::Answered(survey) = &mut world.hosts[1].surveyed else { panic!("it answers") };
    survey.traffic.problems = vec!["HAProxy at /s cannot be asked: is it running?".into()];
    let told = told_all(&plan(&world));
    assert!(
        told.contains(
            "failed traffic: 1 host cannot direct the traffic between the two sides\n  \
             b: HAProxy at /s cannot be asked: is it running?"
        ),
        "{told}"
    );
}

/// What its own HAProxy or nginx had to say, and what does not stop a rollout, stands beside the host.
#[test]
fn notes_of_a_host_s_own_director_are_told_of_the_host() {
    let mut world = world(&format!("a b | {ROUTING}"));
    with(&mut world.release, &[], sides());
    let Surveyed::Answered(survey) = &mut world.hosts[1].surveyed else { panic!("it answers") };
    survey.traffic.notes = vec!["nginx -T did not end within 3 s: whether nginx runs was not seen".into()];
    let plan = plan(&world);
    let notes = |name: &str| plan.hosts.iter().find(|host| host.name.as_str() == name).unwrap().notes.clone();
    assert_eq!(notes("a"), Vec::<String>::new());
    assert_eq!(notes("b"), ["nginx -T did not end within 3 s: whether nginx runs was not seen"]);
}
