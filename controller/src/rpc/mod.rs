//! The services: decode, call, encode. What they decide lies behind them.

pub mod blobs;
pub mod releases;
mod upload;
