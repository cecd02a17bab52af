//! The audit log: who was let do what, who was not, and how it ended.
//!
//! `entry` has the words and the chain that they make, `log` the files, `reading` how they are read, `checkpoint` the
//! signed statements that hosts keep as witnesses, `verify` what finds the first entry that is not what it was. An entry
//! is durable before the call that it is about is let through: what cannot be recorded is not done.
//!
//! Whoever owns the controller's disk can write a new chain with the controller's own key. They cannot make the
//! hosts forget the checkpoints that they hold: `longshore audit verify` asks them all.

mod checkpoint;
mod entry;
mod log;
mod reading;
#[cfg(test)]
mod tests;
mod verify;

pub use checkpoint::{CHECKPOINT_ENTRIES, CHECKPOINT_EVERY, Checkpoint, Signer};
pub use entry::{Chained, GENESIS, What, line_hash};
pub use log::{Audit, AuditError};
pub use verify::{Broken, Verified, Verifier};
