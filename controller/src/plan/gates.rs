//! What must hold before, between and after waves: bakes, an operator's word, the gates of the environment's file, and
//! the watch time.

use std::collections::BTreeMap;

use longshore_common::time::Span;

use super::{Gate, Opens, Wave};
use crate::rollout::{After, GateKind, GateSpec, Promotion, Spec, Then};

/// In the order in which they are met.
pub(super) fn gates(spec: &Spec, waves: &[Wave], asked: &BTreeMap<String, String>) -> Vec<Gate> {
    let count = waves.len() as u32;
    if count == 0 {
        return vec![];
    }
    let mut gates = bakes(waves);
    gates.extend(promotion(spec, count));
    gates.extend(spec.gates.iter().filter_map(|gate| declared(gate, spec, count, asked)));
    gates.sort_by_key(|gate| gate.after.first().copied());
    gates.extend(watch(spec, count));
    gates
}

/// One for each length.
fn bakes(waves: &[Wave]) -> Vec<Gate> {
    let mut by_length: BTreeMap<Span, Vec<u32>> = BTreeMap::new();
    for wave in waves.iter().filter(|wave| wave.bake > Span::default()) {
        by_length.entry(wave.bake).or_default().push(wave.number);
    }
    let gate = |(bake, after): (Span, Vec<u32>)| Gate {
        after,
        name: "bake".to_owned(),
        what: format!("every host of the wave stays healthy for {bake}"),
        opens: Opens::Time,
        deadline: Some(bake),
    };
    by_length.into_iter().map(gate).collect()
}

fn promotion(spec: &Spec, waves: u32) -> Option<Gate> {
    let after: Vec<u32> = match spec.promotion {
        Promotion::Auto => vec![],
        Promotion::Canary => vec![0],
        Promotion::EveryWave if waves == 1 => vec![0],
        Promotion::EveryWave => (0..waves - 1).collect(),
    };
    (!after.is_empty()).then(|| Gate {
        after,
        name: "promotion".to_owned(),
        what: "an operator looks and says go on".to_owned(),
        opens: Opens::People("a deployer: longshore rollout promote".to_owned()),
        deadline: None,
    })
}

/// `None`: without a canary nothing comes after it.
fn declared(gate: &GateSpec, spec: &Spec, waves: u32, asked: &BTreeMap<String, String>) -> Option<Gate> {
    let after = match gate.after {
        After::Before => vec![],
        After::Canary if spec.canary.is_zero() => return None,
        After::Canary => vec![0],
        After::EveryWave => (0..waves).collect(),
        After::LastWave => vec![waves - 1],
    };
    Some(Gate {
        after,
        name: gate.name.clone(),
        what: format!(
            "{}; a failure {}",
            asked.get(&gate.name).map_or(kind(gate.kind), String::as_str),
            then(gate.on_fail)
        ),
        opens: match gate.kind {
            GateKind::Approval => Opens::People("an approver: longshore rollout open".to_owned()),
            GateKind::Probe
            | GateKind::Test
            | GateKind::Metrics
            | GateKind::App
            | GateKind::Webhook
            | GateKind::Http => Opens::Check,
        },
        deadline: Some(gate.deadline),
    })
}

fn kind(kind: GateKind) -> &'static str {
    match kind {
        GateKind::Probe => "who may reach what is probed",
        GateKind::Test => "a test of the release runs",
        GateKind::Metrics => "metrics are held against their thresholds",
        GateKind::App => "the app is looked at as the agents see it",
        GateKind::Approval => "somebody has to approve",
        GateKind::Webhook => "another system is told and says",
        GateKind::Http => "an address is asked until it says yes",
    }
}

fn then(then: Then) -> &'static str {
    match then {
        Then::Continue => "is noted",
        Then::Pause => "pauses",
        Then::Rollback => "rolls back",
    }
}

fn watch(spec: &Spec, waves: u32) -> Option<Gate> {
    (spec.watch > Span::default()).then(|| Gate {
        after: vec![waves - 1],
        name: "watch".to_owned(),
        what: format!("the release is watched for {}, and a breach rolls back", spec.watch),
        opens: Opens::Time,
        deadline: Some(spec.watch),
    })
}
