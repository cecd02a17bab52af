//! The controller of a fleet, and the operator's command line.

pub mod bundle;
pub mod cli;
pub mod config;
pub mod fleet;
pub mod identity;
pub mod rollout;
pub mod rpc;
pub mod store;
pub mod trouble;
