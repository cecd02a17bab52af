//! What kind of machine this is.

use std::{collections::BTreeSet, fs, net::IpAddr, path::PathBuf};

use longshore_proto::v1 as pb;

use crate::host::requires;

/// Cheap to clone; gathered afresh whenever somebody wants to know.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where releases lie.
    pub root: PathBuf,
    /// `systemd` or `process`: what runs apps that do not say.
    pub driver: String,
    /// `loopback` of `agent.toml`: where the apps of one agent of many on this machine listen.
    pub loopback: Option<IpAddr>,
    /// Ours in the connection with the controller.
    pub uplink: Option<IpAddr>,
}

impl Facts {
    /// `trust`: how this host knows what may run on it.
    pub async fn gather(&self, trust: pb::TrustFacts) -> pb::Facts {
        let facts = self.clone();
        tokio::task::spawn_blocking(move || facts.read(trust)).await.expect("reading facts does not panic")
    }

    /// What cannot be told is 0 or empty.
    fn read(&self, trust: pb::TrustFacts) -> pb::Facts {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let memory = rustix::system::sysinfo();
        let (free, total) = rustix::fs::statvfs(&self.root)
            .map_or((0, 0), |disk| (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize));
        pb::Facts {
            os: requires::os(),
            kernel: text(uname.release()),
            arch: text(uname.machine()),
            cpus: std::thread::available_parallelism().map_or(0, |cpus| cpus.get() as u32),
            memory_bytes: memory.totalram as u64 * u64::from(memory.mem_unit),
            disk_free_bytes: free,
            disk_total_bytes: total,
            addresses: ordered(self.loopback, self.uplink, addresses()),
            driver: self.driver.clone(),
            trust: Some(trust),
        }
    }
}

/// The first is the one by which the host is known to gates and load balancers: where its apps listen, or by which it
/// reached the controller.
fn ordered(loopback: Option<IpAddr>, uplink: Option<IpAddr>, mut all: BTreeSet<String>) -> Vec<String> {
    let first = loopback.or(uplink.filter(|address| !address.is_loopback()));
    let first = first.map(|address| address.to_string());
    all.retain(|address| first.as_ref() != Some(address));
    first.into_iter().chain(all).collect()
}

/// Of all interfaces, loopback apart.
fn addresses() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/self/net/fib_trie").unwrap_or_default();
    let mut found = BTreeSet::new();
    let mut candidate = "";
    for line in table.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            candidate = address;
        } else if line.starts_with("/32 host LOCAL") && !candidate.starts_with("127.") {
            found.insert(candidate.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many agents on one machine have the same interfaces: the first of them says nothing of where an app is.
    #[test]
    fn the_first_address_is_the_one_that_the_host_goes_by() {
        let all = || ["10.0.0.2", "192.0.2.7"].map(str::to_owned).into();
        let address = |text: &str| Some(text.parse().unwrap());
        for (loopback, uplink, wanted) in [
            (None, None, "10.0.0.2 192.0.2.7"),
            (None, address("192.0.2.7"), "192.0.2.7 10.0.0.2"),
            (None, address("2001:db8::7"), "2001:db8::7 10.0.0.2 192.0.2.7"),
            (None, address("127.0.0.1"), "10.0.0.2 192.0.2.7"), // the controller is on this machine
            (address("127.3.2.1"), address("192.0.2.7"), "127.3.2.1 10.0.0.2 192.0.2.7"),
        ] {
            assert_eq!(ordered(loopback, uplink, all()).join(" "), wanted);
        }
    }
}
