//! The words of the command line: what the controller answered, in structs of our own that are printed as a table
//! or, by the same fields, as JSON. The JSON keeps text as it came; tables show it escaped.

pub mod access;
mod already;
pub mod app;
pub mod approval;
pub mod context;
pub mod controller;
pub mod env;
pub mod export;
pub mod fleet_word;
pub mod gate;
pub mod host;
mod host_apps;
mod host_facts;
mod host_stands;
pub mod log;
pub mod notice;
pub mod ping;
pub mod plan;
pub mod plan_lines;
mod plan_parts;
mod plan_policy;
#[cfg(test)]
mod plan_tests;
pub mod policy;
pub mod proposal;
pub mod release;
pub mod rollout;
pub mod rollout_lines;
#[cfg(test)]
pub(in crate::cli) mod samples;
#[cfg(test)]
mod samples_more;
#[cfg(test)]
mod samples_rollout;
pub mod secret;
mod side;
#[cfg(test)]
mod tests;
pub mod token;
pub mod trust;
pub mod trust_check;
pub mod trust_waiting;
mod unwell;
pub mod withdrawn;

use std::collections::BTreeMap;

use longshore_common::text::visible;

/// The wire says "" for "none".
pub fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// `env=prod zone=eu-1`
pub fn labels(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| visible(&format!("{key}={value}"))).collect::<Vec<_>>().join(" ")
}

/// The first part of an id: enough to name it, short enough to type.
pub fn short(id: &str) -> String {
    visible(id).chars().take(SHORT_ID).collect()
}

/// As much of a digest as every command shows.
pub fn digest(hex: &str) -> String {
    visible(hex).chars().take(SHORT_DIGEST).collect()
}

const SHORT_DIGEST: usize = 8;

/// A UUIDv7 begins with 48 bits of milliseconds: 13 characters (with the hyphen) tell two rollouts apart that
/// started at least a millisecond apart.
const SHORT_ID: usize = 13;
