//! Where traffic was directed last, on the disk.

use std::{collections::BTreeSet, fs, io};

use longshore_common::{
    durable::write_atomic,
    ids::AppName,
    report::{Failure, StepName},
    time::Millis,
    traffic::{Side, Traffic},
};
use serde::{Deserialize, Serialize};

use crate::{
    host::{fault, layout::Layout},
    plan::Split,
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub traffic: Traffic,
    /// Percent of new connections that go to green.
    pub green: u8,
    /// Since when.
    pub since_ms: Millis,
    /// Sides that we took out of HAProxy, or may have. What is out and not among them somebody else took out.
    #[serde(default)]
    pub ours: BTreeSet<Side>,
}

impl Kept {
    /// None: traffic was never directed. A file that cannot be read counts as none: it is directed anew then.
    pub fn read(layout: &Layout, app: &AppName) -> Result<Option<Self>, Failure> {
        let path = layout.traffic(app);
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fault::io(StepName::Check, &format!("read {}", path.display()))(e)),
        }
    }

    pub fn write(&self, layout: &Layout, app: &AppName) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(self).expect("plain words and numbers");
        write_atomic(&layout.traffic(app), &bytes, 0o600).map_err(fault::disk(StepName::Traffic))
    }

    pub fn split(&self) -> Split {
        Split::of(&self.traffic, Side::Green, self.green)
    }
}
