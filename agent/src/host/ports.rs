//! Which TCP ports somebody listens on here, and who, from `/proc`. Nothing is bound to find out.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use longshore_common::manifest::Port;

/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Somebody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    pub port: Port,
    inode: u64,
}

/// Every listening TCP socket of this network namespace.
pub fn listeners() -> Vec<Listener> {
    let table = |path: &str| fs::read_to_string(path).unwrap_or_default();
    [table("/proc/self/net/tcp"), table("/proc/self/net/tcp6")]
        .iter()
        .flat_map(|table| parse(table))
        .collect()
}

/// The name of the program that has the socket open, where this process may know.
pub fn owner(listener: &Listener) -> Option<String> {
    let wanted = format!("socket:[{}]", listener.inode);
    let holds = |pid: i32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let mut links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        links.any(|link| link.as_os_str() == wanted.as_str()).then_some(())
    };
    let pid =
        super::procfs::all().into_iter().map(|process| process.pid).find(|pid| holds(*pid).is_some())?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (pid {pid})", name.trim()))
}

fn parse(table: &str) -> Vec<Listener> {
    table.lines().skip(1).filter_map(line).collect()
}

/// `  0: 0100007F:1F90 00000000:0000 0A … inode …`
fn line(line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, state, ..] = fields[..] else { return None };
    if state != LISTEN {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let address = Some(read_address(address)?).filter(|address| !address.is_unspecified());
    let number = u16::from_str_radix(port, 16).ok()?;
    Some(Listener { port: Port { address, number }, inode: fields.get(9)?.parse().ok()? })
}

/// Each group of four bytes is a number in the machine's own byte order.
fn read_address(hex: &str) -> Option<IpAddr> {
    let mut bytes = vec![];
    for at in (0..hex.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_ours_is_found_with_its_owner() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = socket.local_addr().unwrap().port();
        let found = listeners().into_iter().find(|listener| listener.port.number == number).unwrap();
        assert_eq!(found.port.address, Some(Ipv4Addr::LOCALHOST.into()));
        assert!(owner(&found).unwrap().contains(&std::process::id().to_string()));
        drop(socket);
        // A child that another test forks meanwhile holds a copy until it becomes its program.
        let begun = std::time::Instant::now();
        while listeners().iter().any(|listener| listener.port.number == number) {
            assert!(begun.elapsed().as_secs() < 120, "it is closed, and still listed");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    #[test]
    fn the_kernels_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n   1: 0100007F:0050 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n";
        let found = parse(table);
        assert_eq!(found, [Listener { port: Port { address: None, number: 8080 }, inode: 4711 }]);
        assert!(parse("sl\n garbage\n 0: zz:zz 0 0A\n").is_empty());
    }
}
