//! The agent's core: what one host should do next for one app, decided from values alone.
//!
//! [`next`] looks at what the agent remembers ([`Record`], durable), what this attempt has done already
//! ([`Attempt`], lost in a crash) and what the host shows ([`Seen`]), and names one step or the conclusion.
//! [`after`] writes down how a step went, [`conclude`] how the assignment ended, [`accept`] whether an assignment is
//! taken at all. There is no progress file: the disk is the progress. After a crash the same question gets an answer
//! that goes on from there; what cannot be seen on disk (a hook that ran, a probe that passed) is done again, so
//! hooks run *at least* once.
//!
//! # The way forward and the way back
//!
//! Forward: check, fetch, render, seal, or, of a slot that lay here before and never was good, admit; hook `before_switch`; hook `before_stop` of the old release; point `current`;
//! hook `after_switch`; start; probe; hook `after_healthy`; conclude healthy; prune.
//!
//! A failure before `current` was moved concludes *failed* and touches nothing that runs. A failure after it is
//! written down first, durably, and the way back begins: point at the last good slot, start it, probe it, conclude
//! *reverted*. The way back runs no hooks and uses no network. If it fails too, the conclusion is *inconsistent*.
//! With no good slot to go back to (a first deployment) the app is stopped and `current` is taken away again: a host
//! where nothing was ever good looks like one where the app was never deployed, except that the sealed slot stays on
//! disk for whoever wants to look. A release that was good before and fails on being assigned once more is left
//! alone: one automatic rollback, then a human.
//!
//! An app that runs beside itself goes another way (`beside`), and a host that balances others yet another (`balance`).
//!
//! Left out on purpose: time (deadlines are the runner's), doing anything (`host`), keeping anything (`state`).

mod accept;
mod balance;
mod beside;
mod halt;
mod model;
mod next;
mod record;
mod sides;
#[cfg(test)]
pub(crate) mod tests;

pub use accept::{Acceptance, accept, accept_local, accept_order, goes_on, refused, superseded};
pub use balance::Balance;
pub use beside::sides_seen;
pub use halt::{Drain, Halt};
pub use model::{HookPoint, Manner, Needs, Running, Seen, Step, Wanted};
pub use next::{Next, next};
pub use record::{
    Attempt, Conclusion, Failed, Hold, HoldKind, Local, Order, Past, Record, Stale, after, blind, conclude,
    ended_blind,
};
pub use sides::{Shown, Sides, Split};
