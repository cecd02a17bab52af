//! The controller of a fleet, and the operator's command line.

pub mod access;
pub mod allowance;
pub mod approval;
pub mod audit;
pub mod bundle;
pub mod calendar;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod environments;
pub mod fleet;
pub mod gate;
pub mod http;
pub mod identity;
pub mod notify;
pub mod plan;
pub mod prepare;
pub mod promotion;
pub mod rollout;
pub mod rpc;
pub mod sealed;
pub mod store;
#[cfg(test)]
mod testing;
pub mod trouble;
pub mod trust;
