//! What must hold between waves, beside what the environment's file names: bakes, and an operator's word.

use std::collections::BTreeMap;

use longshore_common::time::Span;

use super::{Gate, Opens, Wave};
use crate::rollout::{Promotion, Spec};

pub(super) fn gates(spec: &Spec, waves: &[Wave], further: &[Gate]) -> Vec<Gate> {
    let mut gates = bakes(waves);
    gates.extend(promotion(spec, waves.len() as u32));
    gates.extend(further.iter().cloned());
    gates.sort_by_key(|gate| gate.after.first().copied());
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
        Promotion::EveryWave => (0..waves.saturating_sub(1)).collect(),
    };
    (!after.is_empty() && waves > 0).then(|| Gate {
        after,
        name: "promotion".to_owned(),
        what: "an operator looks and says go on".to_owned(),
        opens: Opens::People("any operator: longshore rollout promote".to_owned()),
        deadline: None,
    })
}
