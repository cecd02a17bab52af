//! Where things lie on a host. Every path of ours is made here.

use std::{
    io,
    path::{Path, PathBuf},
};

use longshore_common::{ids::AppName, slot::Slot, text::visible, traffic::Side};

/// In every slot: what the slot is. Artifacts may not contain it.
pub const META: &str = ".longshore";
pub const MANIFEST: &str = "manifest.json";
pub const INDEX: &str = "index";
pub const VALUES: &str = "values.json";
/// What the app finds in its environment, as systemd reads it.
pub const ENVIRONMENT: &str = "environment";
/// Written last: a slot without it does not exist.
pub const SEALED: &str = "sealed";

/// Which of an app's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The app, where it has no sides.
    Whole,
    Side(Side),
    /// Holds the public sockets of an app that has sides.
    Relay,
}

impl Part {
    /// Behind the names of its folders and units.
    pub fn suffix(self) -> &'static str {
        match self {
            Part::Whole => "",
            Part::Side(Side::Blue) => "-blue",
            Part::Side(Side::Green) => "-green",
            Part::Relay => "-relay",
        }
    }
}

/// All paths below one folder, `/` on a real host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    state: PathBuf,
    units: PathBuf,
}

impl Layout {
    /// `root` is absolute and can be written in unit files: no control characters.
    pub fn under(root: &Path) -> io::Result<Self> {
        let sound = root.is_absolute() && root.to_str().is_some_and(|text| visible(text) == text);
        if !sound {
            return Err(io::Error::other(format!(
                "the root folder {} must be an absolute path of plain text",
                root.display()
            )));
        }
        Ok(Self { state: root.join("var/lib/longshore"), units: root.join("etc/systemd/system") })
    }

    /// Identity, state and apps.
    pub fn state(&self) -> &Path {
        &self.state
    }
    /// Where the systemd driver writes its units.
    pub fn units(&self) -> &Path {
        &self.units
    }
    pub fn apps(&self) -> PathBuf {
        self.state.join("apps")
    }
    pub fn app(&self, app: &AppName) -> PathBuf {
        self.apps().join(app.as_str())
    }
    pub fn releases(&self, app: &AppName) -> PathBuf {
        self.app(app).join("releases")
    }
    pub fn slot(&self, app: &AppName, slot: &Slot) -> PathBuf {
        self.releases(app).join(slot.as_str())
    }
    /// What is being unpacked; on the same file system as `releases`.
    pub fn staging(&self, app: &AppName) -> PathBuf {
        self.app(app).join("staging")
    }
    pub fn staged(&self, app: &AppName, slot: &Slot) -> PathBuf {
        self.staging(app).join(slot.as_str())
    }
    /// What outlives releases; the app's own.
    pub fn shared(&self, app: &AppName) -> PathBuf {
        self.app(app).join("shared")
    }
    /// The link that names the live slot.
    pub fn current(&self, app: &AppName) -> PathBuf {
        self.app(app).join("current")
    }
    /// Links through which the app's unit finds its slot. They move with the (re)start, not with `current`, so that
    /// a crash between the two starts what ran before.
    pub fn unit_links(&self, app: &AppName, part: Part) -> PathBuf {
        self.app(app).join(format!("unit{}", part.suffix()))
    }
    /// Where a test of the app writes its report; there only while it runs.
    pub fn reports(&self, app: &AppName, test: &str) -> PathBuf {
        self.app(app).join("reports").join(test)
    }
    /// The process driver's lock, socket and logs.
    pub fn run(&self, app: &AppName, part: Part) -> PathBuf {
        self.app(app).join(format!("run{}", part.suffix()))
    }
    /// Where traffic was directed last.
    pub fn traffic(&self, app: &AppName) -> PathBuf {
        self.app(app).join("traffic.json")
    }
    /// What the balancer of this host was told last.
    pub fn directions(&self, app: &AppName) -> PathBuf {
        self.app(app).join("directions.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_would_break_a_unit_file_is_refused() {
        assert!(Layout::under(Path::new("relative")).is_err());
        assert!(Layout::under(Path::new("/a\nUser=root")).is_err());
        let layout = Layout::under(Path::new("/")).unwrap();
        let current = layout.current(&"shop".parse().unwrap());
        assert_eq!(current, Path::new("/var/lib/longshore/apps/shop/current"));
    }
}
