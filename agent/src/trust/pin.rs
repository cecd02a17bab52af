//! What this host pins, which repositories it has verified, and every time that the glass was broken here.
//!
//! It lies with the identity and not with the trust state, so that losing the whole of the latter is noticed.

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    digest::ReleaseDigest,
    durable,
    regular::{self, Links},
    time::Millis,
};
use serde::{Deserialize, Serialize};

const FILE: &str = "trust.json";
/// Bytes of it: what 256 apps and the breaks that are remembered need, many times over.
const FILE_BYTES: usize = 1 << 20;
const SCHEMA: &str = "longshore.agent.trust/1";
/// Breaks that are remembered; the oldest and the newest stay.
const BREAKS_MAX: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    /// SHA-256 of the fleet's first root.
    pub root_sha256: Option<[u8; 32]>,
    /// Repositories of which something was verified: their state must be there.
    pub begun: BTreeSet<String>,
    pub breaks: Vec<Break>,
}

/// Whether nothing was pinned before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinnedFirst {
    Yes,
    No,
}

/// Somebody who is root here did what the release keys did not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Break {
    pub at_ms: Millis,
    pub what: String,
    pub by: String,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = jiff::Timestamp::from_millisecond(self.at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{} by {}: {}", at.strftime("%Y-%m-%d %H:%MZ"), self.by, self.what)
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    schema: String,
    root_sha256: Option<ReleaseDigest>,
    begun: BTreeSet<String>,
    breaks: Vec<Break>,
}

#[derive(Clone, Debug)]
pub struct PinFile(PathBuf);

impl PinFile {
    pub fn within(identity: &Path) -> Self {
        Self(identity.join(FILE))
    }

    /// Without a file nothing is pinned. One that cannot be read is an error, never "nothing pinned". Root reads here as
    /// well, in a folder that may belong to the agent's user: no link is followed.
    pub fn load(&self) -> Result<Pin, Coded> {
        let bytes = match regular::read(&self.0, FILE_BYTES, Links::Refused) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Pin::default()),
            Err(error) => return Err(self.damaged(&error)),
        };
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|e| self.damaged(&e))?;
        if stored.schema != SCHEMA {
            return Err(self.damaged(&"of another version"));
        }
        let Stored { schema: _, root_sha256, begun, breaks } = stored;
        Ok(Pin { root_sha256: root_sha256.map(|digest| digest.0), begun, breaks })
    }

    /// At enrolment. The same again changes nothing; another than before is refused.
    pub fn pin(&self, root: [u8; 32]) -> Result<PinnedFirst, Coded> {
        let mut pin = self.load()?;
        if pin.root_sha256.is_some_and(|known| known != root) {
            let message = "this host pins the root of another fleet; nothing was changed. If that is meant: \
                           longshore-agent trust reset --pin SHA256 --i-am-on HOSTNAME";
            return Err(Coded::new(Code::T02, message));
        }
        let first = if pin.root_sha256.is_none() { PinnedFirst::Yes } else { PinnedFirst::No };
        pin.root_sha256 = Some(root);
        self.store(pin)?;
        Ok(first)
    }

    /// Takes back what an enrolment pinned first, and came to nothing.
    pub fn unpin(&self) -> Result<(), Coded> {
        let mut pin = self.load()?;
        pin.root_sha256 = None;
        if pin == Pin::default() {
            return durable::remove_durable(&self.0).map_err(|e| Coded::new(e.code(), Chain(&e).to_string()));
        }
        self.store(pin)
    }

    pub fn note_begun(&self, app: &str) -> Result<(), Coded> {
        let mut pin = self.load()?;
        if pin.begun.insert(app.to_owned()) { self.store(pin) } else { Ok(()) }
    }

    pub fn forget(&self, app: &str) -> Result<(), Coded> {
        let mut pin = self.load()?;
        if pin.begun.remove(app) { self.store(pin) } else { Ok(()) }
    }

    pub fn note_break(&self, broken: Break) -> Result<(), Coded> {
        let mut pin = self.load()?;
        add(&mut pin.breaks, broken);
        self.store(pin)
    }

    /// Works on a file that cannot be read as well: this is the way out.
    pub fn replace(&self, root: [u8; 32], broken: Break) -> Result<(), Coded> {
        let mut breaks = self.load().unwrap_or_default().breaks;
        add(&mut breaks, broken);
        self.store(Pin { root_sha256: Some(root), begun: BTreeSet::new(), breaks })
    }

    fn store(&self, pin: Pin) -> Result<(), Coded> {
        let Pin { root_sha256, begun, breaks } = pin;
        let root_sha256 = root_sha256.map(ReleaseDigest);
        let stored = Stored { schema: SCHEMA.to_owned(), root_sha256, begun, breaks };
        let bytes = serde_json::to_vec_pretty(&stored).expect("text and numbers are JSON");
        // A host that never enrolled has no such folder yet. Apps pass through the one above it.
        let folder = self.0.parent().unwrap_or(Path::new("."));
        let above = folder.parent().unwrap_or(Path::new("."));
        durable::create_dir_durable(above, 0o755)
            .and_then(|()| durable::create_dir_durable(folder, 0o700))
            .map_err(|e| Coded::new(e.code(), Chain(&e).to_string()))?;
        durable::write_atomic(&self.0, &bytes, 0o600).map_err(|e| Coded::new(e.code(), Chain(&e).to_string()))
    }

    fn damaged(&self, why: &dyn fmt::Display) -> Coded {
        let message = format!(
            "`{}`: {why}. All releases are refused, what runs goes on. Fix on this host: longshore-agent trust reset \
             --pin SHA256 --i-am-on HOSTNAME",
            self.0.display()
        );
        Coded::new(Code::T01, message)
    }
}

fn add(breaks: &mut Vec<Break>, broken: Break) {
    if breaks.len() == BREAKS_MAX {
        breaks.remove(1);
    }
    breaks.push(broken);
}
