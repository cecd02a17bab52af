//! What kind of machine this is.

use std::{fs, path::PathBuf};

use longshore_proto::v1 as pb;

use crate::host::requires;

/// Cheap to clone; gathered afresh whenever somebody wants to know.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where releases lie.
    pub root: PathBuf,
    /// `systemd` or `process`: what runs apps that do not say.
    pub driver: String,
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
            addresses: addresses(),
            driver: self.driver.clone(),
            trust: Some(trust),
        }
    }
}

/// Of all interfaces, loopback apart.
fn addresses() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/net/fib_trie").unwrap_or_default();
    let mut found = std::collections::BTreeSet::new();
    let mut candidate = "";
    for line in table.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            candidate = address;
        } else if line.starts_with("/32 host LOCAL") && !candidate.starts_with("127.") {
            found.insert(candidate.to_owned());
        }
    }
    found.into_iter().collect()
}
