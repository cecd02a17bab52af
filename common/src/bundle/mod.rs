//! Artifacts: the index that names every file, and how their bytes travel.
//!
//! The index is the truth (`index.rs`, checked by `check.rs` under `limits.rs`); a block is one way for bytes to
//! come (`block.rs`, `frame.rs`). Whatever way they came, every file is held against the index by `split.rs`. What lies
//! on which disk is for the controller's blob store and the host's slots.

pub mod block;
mod check;
#[cfg(test)]
mod edge_tests;
mod fit;
pub mod frame;
pub mod index;
pub mod limits;
pub mod mtime;
pub mod pack;
mod room;
pub mod split;

pub use fit::fit;
pub use index::{Blob, Entry, Index, Kind};
pub use room::room;
