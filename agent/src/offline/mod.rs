//! Releases that an admin brings to this host in a file, where no controller can.
//!
//! What came is kept on the shelf (`shelf`) until the release lies in a slot, so that a crash on the way costs
//! nothing. Before anything of it counts, all of it is read once and every question is asked (`examine`): of the
//! signatures, of the host's admin, of the files. Then the release goes the way of every other, with the same steps;
//! only where bytes would be asked of the controller, the file on the shelf is read, and held against the same
//! digests again.

mod examine;
mod order;
mod shelf;
#[cfg(test)]
mod tests;

pub use examine::{Examined, examine};
pub use order::{HandOrder, Ordered, Pieces, order};
pub use shelf::{Arrival, Shelf};

use crate::{supply::Supply, trust::Gate};

/// What a host that takes bundles has for it.
#[derive(Clone, Debug)]
pub struct Trusting {
    pub gate: Gate,
    pub shelf: Shelf,
    /// By which signed documents are brought up to date.
    pub supply: Supply,
}
