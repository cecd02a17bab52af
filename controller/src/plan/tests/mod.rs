//! Transcripts of plans, one file per theme, and properties. Only `setup` knows how a world is made.

mod moving;
mod preconditions;
mod properties;
pub(crate) mod setup;
mod telling;
mod traffic;
mod waves;
