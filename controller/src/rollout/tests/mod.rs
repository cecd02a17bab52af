//! Transcripts of what a rollout does, one file per theme; properties; a simulated fleet; the table in the docs.
//!
//! Only `transcript` knows the API: a transcript is lines of `event -> phase; what is asked of whom`.

mod absence;
mod balance;
mod balance_kept;
mod benched;
mod closing;
mod explained;
mod explore;
mod failing;
mod faults;
mod fleet;
mod foreign;
mod gates;
mod joining;
mod no_way_back;
mod operators;
mod properties;
mod returning;
mod rolling;
pub(crate) mod setup;
mod simulation;
mod stand_in;
mod states;
mod stopped;
mod traffic;
mod transcript;
mod walk;
mod world;
