//! The staging tree of a slot, and how it becomes one.
//!
//! A file in it is either verified (its digest was right, it has its final mode and the time that its content gives it)
//! or worthless. Whoever writes holds the tree's lock, so a transfer that was given up and its successor do not meet.

mod place;
mod seal;
mod survey;
mod tree;

pub use place::{Writer, check, place};
pub use seal::seal;
pub use survey::{Held, Survey, survey};
pub use tree::{StageError, Tree, at, on_one_disk, too_full};
