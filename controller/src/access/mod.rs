//! Who may do what.
//!
//! `role` has the roles and what a grant covers, `table` what every method of the wire asks for, `user` the operators
//! as the store knows them, `proposal` what they may do only in twos, `layer` tells every call which row of the table it
//! is, `paced` gives up messages that do not come on, `places` bounds what is taken in at a time. The door
//! (`crate::identity::door`) holds callers against these, on every call: whoever is locked or removed fails on the next
//! one. What is in no table is denied.

mod bootstrap;
mod layer;
mod paced;
mod places;
pub mod proposal;
mod role;
mod table;
#[cfg(test)]
mod tests;
mod user;

pub use bootstrap::{FirstKeys, MACHINE, OPERATORS_DIR, Waiting};
pub use layer::{Called, CalledLayer};
pub use places::{Place, Places};
pub use proposal::TwoPersons;
pub use role::{Grant, Grants, Pattern, Permission, Role, Scope};
pub use table::{METHODS, Method, Who};
pub use user::{LIFE, Locked, OperatorKey, User, change, create, get, list, remove};
