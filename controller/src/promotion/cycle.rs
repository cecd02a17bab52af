//! Whether the demands of all environments can be met together.

use std::collections::BTreeMap;

use longshore_common::ids::EnvName;

use super::{Demand, Order};

/// An environment, its place in the order, and what it demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub order: Option<Order>,
    pub demands: &'a [Demand],
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
                if let Some(way) = way(other, env, all, &mut vec![]) {
                    let names: Vec<&str> = way.iter().map(|name| name.as_str()).collect();
                    found.push(format!("it goes in a circle: {env} after {}", names.join(" after ")));
                }
            }
        }
    }
    found
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
