//! The controller of a fleet, and the operator's command line.

pub mod cli;
pub mod rollout;
pub mod store;
