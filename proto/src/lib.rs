//! The generated messages and services of `longshore/v1/*.proto`, and the codec they travel with.
//!
//! Generated types stop at the doors: `common::wire`, `rpc/` and the CLI's client. Everything behind them
//! speaks the words of `longshore_common`.

pub mod codec;

/// Package `longshore.v1`.
#[allow(clippy::all, unused_qualifications, missing_docs)] // generated code is not ours to style
pub mod v1 {
    tonic::include_proto!("longshore.v1");
}
