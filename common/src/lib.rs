//! What the controller and the agent both say: identifiers, digests, the manifest of a release, assignments,
//! reports, and the plumbing that both need (TLS, durable files, time, error chains).
//!
//! If one side alone needs a thing, it lives there and not here.

pub mod assignment;
pub mod bundle;
pub mod chain;
pub mod code;
pub mod digest;
pub mod durable;
pub mod headers;
pub mod ids;
pub mod join;
pub mod label;
pub mod ledger;
pub mod loopback;
pub mod manifest;
pub mod mistake;
pub mod offline;
pub mod recovery;
pub mod regular;
pub mod report;
pub mod settings;
pub mod slot;
pub mod strict;
pub mod text;
pub mod time;
pub mod tls;
pub mod traffic;
pub mod trust;
pub mod wire;
