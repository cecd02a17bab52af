//! How a transcript begins: `a b:new c | wave=2 bake=10s`.
//!
//! Fleet: names, each `web` (runs 1), `web:new` (runs nothing), `web:2` (runs the target already), `web:sick`,
//! `web:silent`, `web:held`, `web:excluded`, `web:blue`, `web:green`, `web:drained`, `web:undrained` (taken back, and does not serve yet), `web:late` (comes with `web joins`); names that begin with `lb` are
//! balancers of the others, of which there is one where the strategy has any; then `|` and fields of the strategy, where whatever is not given is out of
//! the way: one wave, no limit on slots, no bake, no failure allowed. The word `way-back` among them: to what was live
//! before; `follows`: whoever missed it gets it later.

use std::collections::BTreeMap;

use longshore_common::{
    digest::ReleaseDigest,
    ids::{HostId, RolloutId, Version},
    settings::Values,
    time::Span,
    traffic::Side,
};
use uuid::Uuid;

use crate::rollout::{
    After, Behind, GateKind, GateSpec, LocalHold, Member, New, Pace, Rollout, Snapshots, Spec, Target, Then,
};

pub(crate) fn rollout(setup: &str) -> Rollout {
    let (fleet, strategy) = setup.split_once('|').unwrap_or((setup, ""));
    let hosts = fleet.split_whitespace().zip(1..).filter(|(host, _)| !is_late(host));
    let (mut balancers, hosts): (Vec<_>, Vec<_>) = hosts.partition(|(host, _)| host.starts_with("lb"));
    let mut members: Vec<Member> = hosts.into_iter().map(|(host, number)| member(host, number)).collect();
    let (way_back, strategy) = match strategy.split_once(WAY_BACK) {
        Some((before, after)) => (true, format!("{before} {after}")),
        None => (false, strategy.to_owned()),
    };
    let (follows, strategy) = match strategy.split_once(FOLLOWS) {
        Some((before, after)) => (true, format!("{before} {after}")),
        None => (false, strategy),
    };
    let mut new = New { follows, ..new(spec(&strategy)) };
    if way_back {
        new.back = true;
        new.spec = new.spec.for_the_way_back();
    }
    if let Some(wanted) = new.spec.traffic.as_ref().and_then(|routing| routing.balancers.as_ref()) {
        if balancers.is_empty() {
            balancers.push(("lb", 1000));
        }
        let grouped = wanted.groups.is_some();
        if grouped && members.iter().all(|member| member.group.is_none()) {
            let sides = [Side::Green, Side::Blue].into_iter().cycle();
            members.iter_mut().zip(sides).for_each(|(member, side)| member.group = Some(side));
        }
        // Blue has the traffic.
        for member in members.iter_mut().filter(|member| member.group == Some(Side::Blue)) {
            member.excluded = Some("keeps the traffic".to_owned());
        }
        let named =
            |(name, number): (&str, u128)| (HostId(Uuid::from_u128(number)), name.parse().expect("a name"));
        new.behind = Some(Behind {
            balancers: balancers.into_iter().map(named).collect(),
            side: grouped.then_some((Side::Green, false)),
        });
    }
    Rollout::new(new, &members, 0).expect("the strategy is sound")
}

/// The hosts of the fleet that are not of it at the start.
pub(super) fn late(setup: &str) -> Vec<Member> {
    let fleet = setup.split_once('|').map_or(setup, |(fleet, _)| fleet);
    let hosts = fleet.split_whitespace().zip(1..).filter(|(host, _)| is_late(host));
    hosts.map(|(host, number)| member(&host.replace(LATE, ""), number)).collect()
}

const LATE: &str = ":late";
/// In a strategy: the rollout goes to what was live before.
const WAY_BACK: &str = "way-back";
/// Likewise: its environment follows.
const FOLLOWS: &str = "follows";

fn is_late(host: &str) -> bool {
    host.ends_with(LATE)
}

pub(crate) fn spec(text: &str) -> Spec {
    let mut table = toml::Table::new();
    let quiet = "canary=0 wave=100% max_unavailable=100% canary_bake=0s bake=0s stage_ahead=0";
    let mut gates = vec![];
    for field in quiet.split_whitespace().chain(text.split_whitespace()) {
        let (key, value) = field.split_once('=').expect("key=value");
        if key == "gate" {
            gates.push(gate(value));
            continue;
        }
        let (group, key) = key.split_once('.').map_or((None, key), |(group, key)| (Some(group), key));
        let numbers: Option<Vec<i64>> = value.split('+').map(|number| number.parse().ok()).collect();
        if key == "balancers" {
            let balancers = format!("hosts = \"role=lb\"\n{}", value.replace('+', "\n"));
            let balancers: toml::Table = balancers.parse().expect("keys and values");
            let traffic = table.entry("traffic").or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let traffic = traffic.as_table_mut().expect("a group is a table");
            traffic.insert(key.to_owned(), toml::Value::Table(balancers));
            continue;
        }
        let value = match (value.parse::<i64>(), value.parse::<bool>()) {
            _ if numbers.is_some() && (key == "steps" || value.contains('+')) => {
                toml::Value::Array(numbers.into_iter().flatten().map(toml::Value::Integer).collect())
            }
            (Ok(number), _) => toml::Value::Integer(number),
            (_, Ok(flag)) => toml::Value::Boolean(flag),
            (Err(_), Err(_)) => toml::Value::String(value.to_owned()),
        };
        let into = match group {
            None => &mut table,
            Some(group) => table
                .entry(group)
                .or_insert_with(|| toml::Value::Table(toml::Table::new()))
                .as_table_mut()
                .expect("a group is a table"),
        };
        into.insert(key.to_owned(), value);
    }
    Spec { gates, ..table.try_into().expect("a strategy") }
}

/// `errors:canary:beside:fail=pause:deadline=5m`: a gate with a name, a place, and what differs from the usual.
fn gate(text: &str) -> GateSpec {
    let mut parts = text.split(':');
    let name = parts.next().expect("a name").to_owned();
    let after = match parts.next().expect("a place") {
        "before" => After::Before,
        "canary" => After::Canary,
        "every-wave" => After::EveryWave,
        "last-wave" => After::LastWave,
        other => panic!("no such place: {other}"),
    };
    let mut gate = GateSpec {
        name,
        kind: GateKind::Metrics,
        after,
        deadline: Span::secs(60),
        on_fail: Then::Rollback,
        on_inconclusive: Then::Pause,
        on_no_data: Then::Pause,
        beside_bake: false,
        in_watch: false,
        promotable: false,
        runner: None,
    };
    let then = |word: &str| match word {
        "continue" => Then::Continue,
        "pause" => Then::Pause,
        _ => Then::Rollback,
    };
    for part in parts {
        match part.split_once('=').unwrap_or((part, "")) {
            ("beside", _) => gate.beside_bake = true,
            ("watch", _) => gate.in_watch = true,
            ("promotable", _) => gate.promotable = true,
            ("test", runner) => {
                gate.kind = GateKind::Test;
                gate.runner = (!runner.is_empty()).then(|| runner.parse().expect("a host's name"));
            }
            ("approval", _) => gate.kind = GateKind::Approval,
            ("fail", word) => gate.on_fail = then(word),
            ("inconclusive", word) => gate.on_inconclusive = then(word),
            ("no-data", word) => gate.on_no_data = then(word),
            ("deadline", span) => gate.deadline = span.parse().expect("a length of time"),
            other => panic!("no such part of a gate: {other:?}"),
        }
    }
    gate
}

pub(crate) fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

pub(crate) fn target(text: &str) -> Target {
    Target {
        version: version(text),
        release: ReleaseDigest::of(text.as_bytes()),
        snapshot: None,
        layers: vec![],
        values: Values::new(),
    }
}

pub(crate) fn new(spec: Spec) -> New {
    New {
        id: RolloutId(Uuid::from_u128(7)),
        sequence: 7,
        app: "shop".parse().expect("a name"),
        env: "prod".parse().expect("a name"),
        target: target("2"),
        from_version: Some(version("1")),
        spec,
        keep_slots: 3,
        snapshots: Snapshots::new(),
        back: false,
        follows: false,
        start_at: None,
        behind: None,
    }
}

pub(crate) fn member(text: &str, number: u128) -> Member {
    let mut parts = text.split(':');
    let mut member = Member {
        id: HostId(Uuid::from_u128(number)),
        name: parts.next().expect("a name").parse().expect("a host name"),
        labels: BTreeMap::new(),
        previous: Some(target("1")),
        foreign: false,
        layers: vec![],
        sick: false,
        silent: None,
        held: None,
        excluded: None,
        drained: false,
        left_drained: false,
        group: None,
        address: None,
        replaces: false,
    };
    for mark in parts {
        match mark {
            "new" => member.previous = None,
            "foreign" => member.foreign = true,
            "plain" => member.replaces = true,
            "sick" => member.sick = true,
            "silent" => member.silent = Some(0),
            "held" => member.held = Some(LocalHold { reason: "lunch".to_owned(), since: 0 }),
            "blue" => member.group = Some(Side::Blue),
            "green" => member.group = Some(Side::Green),
            "drained" => {
                (member.drained, member.left_drained) = (true, true);
                member.excluded = Some("drained".to_owned());
            }
            "undrained" => member.drained = true,
            "excluded" => member.excluded = Some("drained".to_owned()),
            other => member.previous = Some(target(other)),
        }
    }
    member
}

/// `wave=50% max_unavailable=2 bake=5s hold=1s`
pub(super) fn pace(fields: &[&str]) -> Pace {
    let mut pace = Pace::default();
    for (key, value) in fields.iter().filter_map(|field| field.split_once('=')) {
        match key {
            "wave" => pace.wave = Some(value.parse().expect("an amount")),
            "max_unavailable" => pace.max_unavailable = Some(value.parse().expect("an amount")),
            "bake" => pace.bake = Some(value.parse().expect("a time")),
            "hold" => pace.hold = Some(value.parse().expect("a time")),
            other => panic!("no such pace: {other}"),
        }
    }
    pace
}
