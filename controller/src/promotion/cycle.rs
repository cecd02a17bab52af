//! Whether the demands of all environments can be met together.

use std::collections::BTreeMap;

use longshore_common::{ids::EnvName, text::visible};

use super::{Demand, Order};

/// An environment, its place in the order, and what it demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub order: Option<Order>,
    pub demands: &'a [Demand],
    /// Names of its gates.
    pub gates: Vec<&'a str>,
}

/// What is wrong with the demands of `env`, given all environments and itself among them; empty when nothing is.
pub fn problems(env: &EnvName, all: &BTreeMap<&EnvName, Place<'_>>) -> Vec<String> {
    let Some(own) = all.get(env) else { return vec![] };
    let mut found = vec![];
    for demand in own.demands {
        let other = &demand.env;
        match all.get(other) {
            _ if other == env => found.push(format!("{env} cannot come after itself")),
            None => found.push(format!("there is no environment {other}; apply it first")),
            Some(place) => {
                if let (Some(here), Some(there)) = (own.order, place.order)
                    && there > here
                {
                    let (here, there) = (here.as_str(), there.as_str());
                    found.push(format!(
                        "{other} is {there}, and {env} is {here}: promotion goes the other way"
                    ));
                }
                found.extend(demand.gates.iter().filter_map(|gate| no_such_gate(other, place, gate)));
                if let Some(way) = way(other, env, all, &mut vec![]) {
                    let names: Vec<&str> = way.iter().map(|name| name.as_str()).collect();
                    found.push(format!("it goes in a circle: {env} after {}", names.join(" after ")));
                }
            }
        }
    }
    found
}

/// A gate that is not there never passes, and nothing would ever come here.
fn no_such_gate(env: &EnvName, place: &Place<'_>, gate: &str) -> Option<String> {
    if place.gates.contains(&gate) {
        return None;
    }
    let known = match place.gates.len() {
        0 => "it has none".to_owned(),
        _ => format!("it has {}", place.gates.join(", ")),
    };
    Some(format!("{env} has no gate \"{}\" that could pass there; {known}", visible(gate)))
}

/// From one environment to another along what each comes after.
fn way<'a>(
    from: &'a EnvName,
    to: &EnvName,
    all: &BTreeMap<&EnvName, Place<'a>>,
    passed: &mut Vec<&'a EnvName>,
) -> Option<Vec<&'a EnvName>> {
    if passed.contains(&from) {
        return None;
    }
    passed.push(from);
    if from == to {
        return Some(vec![from]);
    }
    let place = all.get(from)?;
    for demand in place.demands {
        if let Some(mut rest) = way(&demand.env, to, all, passed) {
            rest.insert(0, from);
            return Some(rest);
        }
    }
    None
}
