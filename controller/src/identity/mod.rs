//! Who may speak to the controller, and how they came to it.
//!
//! `authority` is the certificate authority, `roots` its files and their rotation, `leaf` the controller's own
//! short-lived certificate, `keep` what renews both while the controller runs, `token` the join tokens, `enrol` the
//! exchange of a token and a key for a host's certificate and its renewal, `recover` the way back after expiry, `door`
//! the check of every call's caller, `revoke` what cuts the connections of those who count no more, `init` the making
//! of it all.
//!
//! Hosts make their keys themselves and never send them. What the controller keeps of a host is the hash of its
//! public key; what it keeps of a token is the hash of its secret.

pub mod authority;
pub mod door;
pub mod enrol;
pub mod init;
pub mod keep;
pub mod leaf;
pub mod recover;
pub mod revoke;
pub mod roots;
#[cfg(test)]
mod tests;
pub mod token;

pub use authority::{Authority, IdentityError};
pub use door::{Admission, Agent, Door, Noted};
