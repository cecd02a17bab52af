//! What a plan says beside who is moved: bytes, differences, gates, time, the way back.

use std::sync::Arc;

use longshore_common::{
    manifest::{Probe, Requires},
    report::DRAINED,
    settings::Settings,
    time::Span,
    traffic::Side,
};

use super::setup::{MIB, release, world};
use crate::{
    gate::check::Approval,
    plan::{Against, Change, Opens, Past, Plan, Surveyed, plan},
    rollout::{Behind, Layer, LocalHold, Scope, Snapshot, tests::setup::version},
};

fn host<'a>(plan: &'a Plan, name: &str) -> &'a crate::plan::HostPlan {
    plan.hosts.iter().find(|host| host.name.as_str() == name).unwrap()
}

#[test]
fn only_what_no_slot_holds_is_fetched() {
    let plan = plan(&world("a b:new c:pruned d:2 e:silent"));
    let bytes = |name: &str| host(&plan, name).fetch.bytes;
    assert_eq!(
        [bytes("a"), bytes("b"), bytes("c"), bytes("d"), bytes("e")],
        [30 * MIB, 40 * MIB, 40 * MIB, 0, 30 * MIB]
    );
    assert_eq!(host(&plan, "b").fetch.wire_bytes, 20 * MIB);
    assert_eq!(plan.fetch.bytes, 140 * MIB);
    let changes = ["a", "b", "d"].map(|name| host(&plan, name).change);
    assert_eq!(changes, [Change::Update, Change::Install, Change::Unchanged]);
}

/// A plan knows every host of the environment, and so what was declared for none of them.
#[test]
fn values_that_no_host_gets_are_worth_knowing() {
    let layer = |scope| {
        let mut settings = Settings::default();
        settings.values.insert("workers".into(), "8".into());
        Layer { scope, settings }
    };
    let named = |name: &str| Scope::Host(name.parse().unwrap());
    let scopes = [Scope::Environment, named("a"), named("b"), Scope::Hosts("size=big".parse().unwrap())];
    let snapshot = Snapshot { layers: scopes.map(layer).into() };
    let mut world = world("a b");
    world.target.snapshot = Some(snapshot.digest());
    world.snapshots.insert(snapshot.digest(), Arc::new(snapshot));
    for (host, layers) in world.hosts.iter_mut().zip([vec![0, 1], vec![0]]) {
        host.member.layers = layers;
    }
    let told = "values and secrets that nobody gets, as no host of prod is meant by them: host b, hosts \
                \"size=big\"";
    assert_eq!(plan(&world).remarks, [told]);
    world.hosts[1].member.layers = vec![0, 2, 3];
    assert!(plan(&world).remarks.is_empty());
}

#[test]
fn other_settings_alone_are_a_change_that_fetches_nothing() {
    let mut world = world("a:2");
    world.target.values.insert("workers".into(), "8".into());
    world.live = Some(crate::rollout::tests::setup::target("2"));
    world.known.insert(world.target.version.clone(), world.release.clone());
    let plan = plan(&world);
    assert_eq!((host(&plan, "a").change, plan.fetch.bytes), (Change::Settings, 0));
    let changed: Vec<(&str, Option<&str>, Option<&str>)> = plan
        .changes
        .iter()
        .map(|changed| (changed.path.as_str(), changed.from.as_deref(), changed.to.as_deref()))
        .collect();
    assert_eq!(changed, [("values.workers", None, Some("\"8\""))]);
}

#[test]
fn what_differs_between_the_releases_is_listed() {
    let mut world = world("a");
    world.templates.insert("etc".into(), (Some("port = 1\n".into()), Some("port = 2\n".into())));
    let plan = plan(&world);
    assert_eq!(plan.changes.len(), 1);
    assert_eq!(plan.changes[0].path, "service.exec");
    assert_eq!((plan.files.changed, plan.files.same, plan.files.added), (1, 1, 0));
    assert_eq!(plan.files.templates[0].lines, ["@ line 1", "-port = 1", "+port = 2"]);
}

/// The first of each kind are named, the others counted; people and programs read the same. It names no plan.
#[test]
fn files_that_differ_are_named() {
    let numbered: Vec<String> = (10..25).map(|number| format!("lib/{number}")).collect();
    let file = |path, content| (path, content, MIB);
    let mut new = vec![file("bin", "new"), file("etc", "same")];
    new.extend(numbered.iter().map(|path| file(path.as_str(), "new")));
    let old = [file("bin", "old"), file("etc", "same"), file("gone", "old"), file("last", "old")];
    let mut world = world("a");
    let before = plan(&world).digest;
    world.release = release("2", Requires::default(), &new);
    world.known.insert(version("1"), release("1", Requires::default(), &old));
    let plan = plan(&world);
    let files = &plan.files;
    assert_eq!((files.added, files.changed, files.removed, files.same), (15, 1, 2, 1));
    assert_eq!(files.paths.added, numbered[..10]);
    assert_eq!(files.paths.changed, ["bin"]);
    assert_eq!(files.paths.removed, ["gone", "last"]);
    assert_eq!(plan.digest, before);
    let kept: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(kept, plan);
}

#[test]
fn gates_stand_in_the_order_in_which_they_are_met() {
    let plan = plan(&world("a b c | canary=1 wave=1 canary_bake=60s bake=10s promotion=canary"));
    let gates: Vec<(&str, &[u32])> =
        plan.gates.iter().map(|gate| (gate.name.as_str(), &gate.after[..])).collect();
    assert_eq!(gates, [("bake", &[0][..]), ("promotion", &[0]), ("bake", &[1, 2])]);
    assert!(matches!(plan.gates[1].opens, Opens::People(_)));
}

#[test]
fn a_gate_that_operators_open_says_who() {
    let mut world = world("a b | canary=1 gate=go-live:canary:approval");
    let asked = Approval { count: 2, by: vec!["carl".into()], by_roles: vec!["host-admin".into()] };
    world.asked.insert("go-live".to_owned(), asked.asked());
    let plan = plan(&world);
    let gate = plan.gates.iter().find(|gate| gate.name == "go-live").unwrap();
    assert_eq!(gate.what, "2 approvals by carl, host-admin; a failure rolls back");
    let anybody = Approval { count: 1, by: vec![], by_roles: vec![] };
    assert_eq!(anybody.asked(), "1 approval by any approver but whoever starts it");
}

#[test]
fn how_long_it_takes_is_learnt_from_what_it_took() {
    let mut world = world("a b c d | wave=2 bake=10s");
    assert_eq!((plan(&world).duration.least, plan(&world).duration.learnt_from), (Span::secs(20), 0));
    let past = |took: u64, waves: u32, waited: u64| Past {
        took: Span::secs(took),
        waves,
        waited: Span::secs(waited),
    };
    world.past = vec![past(50, 2, 20), past(100, 4, 40)];
    let duration = plan(&world).duration;
    assert_eq!(duration.range, Some((Span::secs(50), Span::secs(50))));
    world.past.push(past(120, 1, 10));
    let duration = plan(&world).duration;
    assert_eq!((duration.range, duration.learnt_from), (Some((Span::secs(50), Span::secs(240))), 3));
}

/// Steps of traffic are waited for as bakes are, with the bake of a group that has all of it and the time for which
/// the other one stays warm.
#[test]
fn steps_of_traffic_take_their_time() {
    let traffic = "traffic.director=haproxy traffic.backend=shop traffic.drain=30s";
    let hosts = format!("a b c | canary=1 canary_bake=120s {traffic} traffic.hold=60s traffic.steps=10+50");
    let mut rolling = world(&hosts);
    assert_eq!(plan(&rolling).duration.least, Span::secs(240));
    rolling.past = vec![Past { took: Span::secs(250), waves: 2, waited: Span::secs(240) }];
    assert_eq!(plan(&rolling).duration.range, Some((Span::secs(250), Span::secs(250))));

    let groups = "balancers=groups.blue=\"g=b\"+groups.green=\"g=g\"+groups.warm=\"8s\"";
    let setup = format!("b:green | bake=2s {traffic} traffic.hold=4s traffic.steps=10+25+50 {groups}");
    let mut switched = world(&setup);
    for (has, least) in [(false, 24), (true, 2)] {
        switched.behind = Some(Behind { balancers: vec![], side: Some((Side::Green, has)) });
        assert_eq!(plan(&switched).duration.least, Span::secs(least));
    }
}

/// Waves whose hosts are all on the release already are passed through: they bake nothing, no host of them gets a share of
/// traffic, and where nothing is changed nothing is watched.
#[test]
fn waves_that_change_nothing_take_no_time() {
    let least = |setup: &str| plan(&world(setup)).duration.least;
    assert_eq!(least("a:2 b c:2 d:2 | wave=1 bake=10s watch=60s"), Span::secs(70));
    assert_eq!(least("a:2 b:2 | wave=1 bake=10s watch=60s"), Span::default());
    let steps = "canary=1 canary_bake=120s wave=1 bake=10s traffic.director=haproxy traffic.backend=shop \
                 traffic.drain=30s traffic.hold=60s traffic.steps=10+50";
    assert_eq!(least(&format!("a b | {steps}")), Span::secs(250));
    assert_eq!(least(&format!("a:2 b:2 | {steps}")), Span::default());

    let mut learnt = world("a:2 b c:2 d | wave=1 bake=10s");
    learnt.past = vec![Past { took: Span::secs(60), waves: 4, waited: Span::secs(40) }];
    let each = Span::secs(30);
    assert_eq!(plan(&learnt).duration.range, Some((each, each)), "two waves with a bake and 5 s each");
}

/// Who went on before a bake was over was quicker than the next rollout can be.
#[test]
fn what_is_learnt_is_never_less_than_what_it_takes_at_least() {
    let mut world = world("a b c d | wave=2 bake=10s");
    let mut manifest = (*world.release.manifest).clone();
    manifest.probes = vec![Probe {
        name: "up".to_owned(),
        check: longshore_common::manifest::Check::Tcp { address: "127.0.0.1:8080".to_owned() },
        interval: Span::secs(1),
        timeout: Span::secs(1),
        healthy_for: Span::secs(5),
        deadline: Span::secs(60),
    }];
    world.release.manifest = Arc::new(manifest);
    world.past = vec![Past { took: Span::secs(12), waves: 2, waited: Span::secs(20) }];
    let duration = plan(&world).duration;
    assert_eq!(duration.least, Span::secs(30));
    assert_eq!(duration.range, Some((Span::secs(30), Span::secs(30))));
}

#[test]
fn the_way_back_says_what_it_does_not_bring_back() {
    let plan = plan(&world("a b:pruned c:new d:silent e:2"));
    let to: Vec<(Option<String>, u32, u32, u32)> = plan
        .back
        .to
        .iter()
        .map(|to| (to.version.as_ref().map(ToString::to_string), to.hosts, to.in_slot, to.unknown))
        .collect();
    assert_eq!(to, [(Some("1".into()), 3, 1, 1), (None, 1, 0, 0)]);
    assert_eq!(
        plan.back.lost,
        [
            "1 is in no slot any more on 1 host: it has to be fetched again",
            "1 host ran nothing of the app before: going back removes it there",
            "data that 2 has written stays as it wrote it"
        ]
    );
}

/// A host that its rollout found unwell and left as it was is there in its slot, and goes back to what was not well.
#[test]
fn a_host_that_was_left_unwell_does_not_go_back_to_health() {
    let plan = plan(&world("a b:unwell c:2:unwell"));
    let found = "1 was found unwell there after its switch by rollout 0193f3a0: LS-B01 status 500";
    assert_eq!(host(&plan, "b").notes, [found]);
    assert_eq!(host(&plan, "a").notes, [""; 0]);
    assert_eq!((plan.back.to[0].hosts, plan.back.to[0].in_slot), (2, 2));
    assert_eq!(plan.back.lost[0], "1 host to health: 1 was found unwell there after its switch: b");
}

/// What was live was withdrawn: hosts that run what is signed do not go back to it, others do, and it is said.
#[test]
fn a_release_that_hosts_refuse_is_no_way_back() {
    let mut world = world("a b");
    world.against.insert("1".parse().unwrap(), Against::Refused("was withdrawn by ada: bad".into()));
    let back = plan(&world).back;
    assert_eq!(back.to[0].refused.as_deref(), Some("was withdrawn by ada: bad"));
    assert_eq!(back.lost, Vec::<String>::new());
    world.against.insert("1".parse().unwrap(), Against::Withdrawn("was withdrawn by ada: bad".into()));
    let back = plan(&world).back;
    assert_eq!((back.to[0].in_slot, back.to[0].refused.as_deref()), (2, None));
    assert_eq!(back.lost[0], "1 was withdrawn by ada: bad. Going back brings it back nonetheless");
}

#[test]
fn what_stands_out_of_a_host_is_noted() {
    let mut world = world("a:held b:by-hand c:sick d:silent e:older f:silent");
    if let Surveyed::Unknown { why, .. } = &mut world.hosts[5].surveyed {
        *why = Some("the helper does not answer".into());
    }
    let plan = plan(&world);
    let notes = |name: &str| host(&plan, name).notes.join("; ");
    assert_eq!(notes("a"), "held on the host (lunch): the wave goes on without it until it is let go");
    assert_eq!(notes("b"), "0 is live there, not 1");
    assert_eq!(notes("c"), "the app does not serve there now");
    assert_eq!(notes("d"), "unknown: its wave waits for it");
    assert_eq!(notes("e"), "could not be asked: this agent does not know that question");
    assert_eq!(
        notes("f"),
        "the last that it said: the helper does not answer; unknown: its wave waits for it"
    );
}

/// Nobody on the host holds what an operator has drained, and it is said once why it is left out.
#[test]
fn a_host_that_is_drained_is_not_said_to_be_held_there() {
    let mut world = world("a:held b:excluded");
    world.hosts[1].member.held = Some(LocalHold { reason: format!("{DRAINED}disk swap"), since: 0 });
    let plan = plan(&world);
    assert!(plan.remarks.contains(&"1 host is held by somebody there: a".to_owned()), "{:?}", plan.remarks);
    assert!(plan.remarks.contains(&"1 host is drained by an operator: b".to_owned()), "{:?}", plan.remarks);
    assert_eq!(host(&plan, "b").notes, ["left out: drained"]);
}
