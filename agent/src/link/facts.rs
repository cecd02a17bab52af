//! What kind of machine this is, as a message.

use std::path::PathBuf;

use longshore_proto::v1 as pb;

use crate::host::facts;

/// Cheap to clone; gathered afresh whenever somebody wants to know.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where releases lie.
    pub root: PathBuf,
    /// `systemd` or `process`: what runs services here.
    pub driver: String,
}

impl Facts {
    pub async fn gather(&self) -> pb::Facts {
        let root = self.root.clone();
        let gathered = tokio::task::spawn_blocking(move || facts::Facts::gather(&root)).await;
        let found = gathered.expect("reading facts does not panic");
        pb::Facts {
            os: found.os,
            kernel: found.kernel,
            arch: found.arch,
            cpus: found.cpus,
            memory_bytes: found.memory_bytes,
            disk_free_bytes: found.disk_free_bytes,
            disk_total_bytes: found.disk_total_bytes,
            addresses: found.addresses,
            driver: self.driver.clone(),
        }
    }
}
