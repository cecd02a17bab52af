//! What the agent does to its host: slots and the switch, units, hooks, probes.

pub mod account;
pub mod launch;
pub mod lines;
pub mod process;
pub mod procfs;
pub mod reexec;
pub mod sys;
pub mod tree;
