//! Newcomers that are not brought what is live, and why: for whoever looks at the environment or the host. Not kept: every
//! look for newcomers finds it anew.

use std::sync::Mutex;

use longshore_common::{
    ids::{AppName, EnvName, HostId, HostName},
    time::Millis,
};

use super::Engine;

/// A host that waits to be brought what is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbrought {
    pub env: EnvName,
    pub app: AppName,
    pub host: HostId,
    pub name: HostName,
    /// What is in the way, and the next step.
    pub why: String,
    /// When it was first found to be in the way.
    pub since_ms: Millis,
}

impl Unbrought {
    fn is_the_same(&self, other: &Unbrought) -> bool {
        (&self.env, &self.app, &self.host, &self.why) == (&other.env, &other.app, &other.host, &other.why)
    }
}

/// What the last look has found.
#[derive(Debug, Default)]
pub(super) struct Left(Mutex<Vec<Unbrought>>);

impl Left {
    pub(super) fn replace(&self, mut found: Vec<Unbrought>) {
        let mut known = self.0.lock().expect("nothing panics while it holds the lock");
        for one in &mut found {
            if let Some(before) = known.iter().find(|before| before.is_the_same(one)) {
                one.since_ms = before.since_ms;
            }
        }
        *known = found;
    }
}

impl Engine {
    /// Newcomers of all environments that wait to be brought what is live.
    pub fn unbrought(&self) -> Vec<Unbrought> {
        self.inner.left.0.lock().expect("nothing panics while it holds the lock").clone()
    }
}
