//! Many hosts on one machine: each agent may have a loopback address of its own.
//!
//! The manifest of an app says `127.0.0.1:8080` and means "on this host, not from outside". Where several agents share
//! a machine (`longshore demo`, tests) each is given another address of 127.0.0.0/8 as its own, and reads 127.0.0.1 in
//! `service.sockets`, http and tcp probes as that. All of 127.0.0.0/8 is there on Linux without any setup.

use std::net::Ipv4Addr;

/// `address` with a host part of `127.0.0.1` or `localhost` read as `own`. Takes `address:port` and `http://…` alike;
/// anything else comes back as it is.
pub fn on_own_loopback(address: &str, own: Ipv4Addr) -> String {
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), address),
    };
    for host in ["127.0.0.1", "localhost"] {
        if let Some(tail) = rest.strip_prefix(host)
            && (tail.is_empty() || tail.starts_with([':', '/', '?']))
        {
            return format!("{scheme}{own}{tail}");
        }
    }
    address.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_part_is_replaced() {
        let own = Ipv4Addr::new(127, 3, 2, 1);
        for (given, read) in [
            ("127.0.0.1:8080", "127.3.2.1:8080"),
            ("localhost:80", "127.3.2.1:80"),
            ("http://127.0.0.1:8080/x?y=127.0.0.1", "http://127.3.2.1:8080/x?y=127.0.0.1"),
            ("http://localhost/", "http://127.3.2.1/"),
            ("127.0.0.10:80", "127.0.0.10:80"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("/run/app.sock", "/run/app.sock"),
            ("http://localhost.example/", "http://localhost.example/"),
        ] {
            assert_eq!(on_own_loopback(given, own), read);
        }
    }
}
