//! Transcripts, crashes at every effect, and properties of the core, on the host's twin in memory.

pub(crate) mod balance;
pub(crate) mod bench;
mod beside;
mod crashes;
mod halt;
mod local;
mod properties;
mod transcripts;
