//! Telling people: who is told of what, kept until it is told, at least once.
//!
//! `kind` is what can be told, `stakeholders` to whom.

mod kind;

pub use kind::{Address, Kind, Stakeholders, Teller};
