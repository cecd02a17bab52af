//! Why a rollout is not further, from the same facts by which `step` decides.

mod hold;

pub use hold::{Hold, HoldKind};
