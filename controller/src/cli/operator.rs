//! The operator folder: everything that a client needs to be believed by one controller.
//!
//! `longshore-controller init` writes one for the first operator; `longshore context add NAME --from DIR` imports it.
//! Its key never leaves the operator's machine again.

/// PEM, leaf first, of the operator's certificate.
pub const CERTIFICATE: &str = "cert.pem";
/// PEM of its key; mode 0600.
pub const KEY: &str = "key.pem";
/// PEM of every CA by which the controller may be known.
pub const CA: &str = "ca.pem";
/// `host:port` of the controller's main port, one line.
pub const ADDRESS: &str = "address";
