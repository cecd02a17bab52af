//! The process driver: apps without systemd.
pub mod shim;
