//! Everything that somebody who is not the release key could try, and that what is held is the same afterwards.

mod attacks;
mod durability;
mod edges;
mod expectations;
mod held;
mod interop;
mod lists;
mod setup;
