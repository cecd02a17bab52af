//! The agent: makes one host run what the controller says it should.
//!
//! `plan` decides (pure), `host` does, `run` goes round between them, `state` remembers, `link` talks to the
//! controller, `local` to admins on the host.

pub mod agent;
mod alone;
pub mod cli;
pub mod config;
pub mod helper;
pub mod host;
pub mod identity;
pub mod link;
pub mod local;
pub mod offline;
pub mod plan;
pub mod run;
mod service;
pub mod state;
pub mod supply;
pub mod trust;
pub mod uplink;

pub use agent::{Ended, run_agent};
