//! What the tests of the whole share: real hosts on one machine, our own programs built once, packages from
//! their registries, and running other programs with a deadline.
//!
//! Everything here blocks; nothing here waits without a deadline. The tests themselves lie in `tests/tests/`.

mod address;
pub mod bench;
pub mod command;
pub mod fleet;
pub mod lab;
pub mod load;
pub mod packages;
pub mod programs;
pub mod trial;
mod trouble;

pub use address::own_address;
pub use command::{Output, Process, run, until};
pub use trouble::{Result, Trouble, Within};
