//! Addresses of the loopback that a test has for itself.

use std::net::Ipv4Addr;
use std::process;
use std::sync::atomic::{AtomicU8, Ordering};

/// Another one at every call, in every process. Whatever port is free on it stays so: what others open on any free port
/// they open on 127.0.0.1, and so do clients, whichever address of the loopback they go to.
pub fn own_address() -> Ipv4Addr {
    static TAKEN: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = process::id().to_be_bytes();
    Ipv4Addr::new(127, 100 + TAKEN.fetch_add(1, Ordering::Relaxed), high, low)
}
