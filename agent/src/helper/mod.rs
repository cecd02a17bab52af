//! Two processes on a host: the agent, without privileges, holds the network; the helper, root and without network,
//! decides and acts.
//!
//! The helper has everything that an assignment has to get past: what was accepted, what is signed, what the host's
//! admin allows, what lies on the disk. It listens on a unix socket, takes a few fixed words (`words`), each on a
//! connection of its own, and believes none of them: an assignment is held against what it has verified itself, from
//! bytes that the agent brings. The agent stays attached by one connection, on which it hears what happens and what it
//! is to fetch (`errands`); what it brings comes back on further connections, content from a thread of the one straight to
//! a thread of the other (`flow`), so that bytes are slowed down by nothing but the disk. In the agent's place the helper
//! never takes its word for what runs: whoever owns the agent can repeat assignments of signed releases with newer
//! generations, and ask for what an admin of the host may ask for (a hold, a way back to a slot that is still allowed).
//!
//! What the session or the local socket need of the crew is a method of `run::Works`; a new one takes a word in `words`,
//! an arm in `serve` and its twin in `remote`.
//!
//! `serve` and `errands` are the helper's half, `remote` and `bring` the agent's, `daemon` is the program.

mod attached;
mod away;
mod bring;
pub mod daemon;
mod divide;
mod errands;
mod expand;
mod flow;
mod frame;
mod mirror;
mod remote;
mod serve;
#[cfg(test)]
pub(crate) mod tests;
mod words;

pub(crate) use away::away;
pub use divide::{AGENT_USER, divide, own, unite};
pub use errands::{Courier, Parcels};
pub use flow::{Came, Cut, Inflow};
pub use remote::Remote;
pub use serve::{Peers, Served, heard, serve};
pub use words::Errand;

/// Of the words on the socket. Both are of one package and are replaced together; a restart that is due is said.
pub const VERSION: u32 = 8;
/// Below the root folder.
pub const SOCKET: &str = "run/longshore-helper.sock";
