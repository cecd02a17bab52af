//! Balancers that an operator went on without: nobody knows what they send where.

use super::{Hold, HoldKind, sentence::BALANCER_OWNER};
use crate::rollout::{balance::Balancer, finish::name_some, model::Rollout};

/// That they were not told, as long as the rollout is not over; its closing sentence names them then.
pub(super) fn passed_over(rollout: &Rollout) -> Option<Hold> {
    let balancing = rollout.header.balancing.as_ref().filter(|_| !rollout.phase().is_done())?;
    let passed_over = rollout.balancers_passed_over();
    let first = passed_over.first()?;
    let named: Vec<String> = passed_over.iter().map(|balancer| balancer.named(balancing.round)).collect();
    let begun = rollout.header.started_ms.unwrap_or(rollout.header.created_ms);
    let since = |balancer: &&Balancer| {
        let held = balancer.held.as_ref().map(|held| held.since);
        balancer.silent.or(held).unwrap_or(begun)
    };
    Some(Hold {
        kind: HoldKind::Balancer,
        what: format!(
            "it goes on without balancers that have not confirmed how traffic is directed: {}",
            name_some(named.iter().map(String::as_str))
        ),
        owner: BALANCER_OWNER.to_owned(),
        since: passed_over.iter().map(since).min().unwrap_or(begun),
        until: None,
        then: "what they are told stands, and they carry it out when they can".to_owned(),
        command: Some(format!("longshore host show {}", first.name)),
        hosts: vec![],
    })
}

/// `, which lb-1 has not confirmed,`: of a share of traffic.
pub(super) fn unconfirmed(rollout: &Rollout) -> String {
    let passed_over = rollout.balancers_passed_over();
    if passed_over.is_empty() {
        return String::new();
    }
    let has = if passed_over.len() == 1 { "has" } else { "have" };
    let names = name_some(passed_over.iter().map(|balancer| balancer.name.as_str()));
    format!(", which {names} {has} not confirmed,")
}
