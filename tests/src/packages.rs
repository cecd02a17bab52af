//! Real software to deploy: packages from the npm registry, fetched once with npm and kept beside the lab's roots.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha512};

use crate::{Result, Trouble, Within, run};

/// Ten megabytes from a slow registry.
const FETCH: Duration = Duration::from_secs(180);
const UNPACK: Duration = Duration::from_secs(60);

/// A package and what its bytes must be.
pub struct Package {
    pub name: &'static str,
    pub version: &'static str,
    /// SHA-512 of the tarball, hex.
    pub sha512: &'static str,
}

impl Package {
    /// The unpacked package: the folder that holds its `package.json`.
    pub fn unpacked_in(&self, cache: &Path) -> Result<PathBuf> {
        let flat = format!("{}-{}", self.name.trim_start_matches('@').replace('/', "-"), self.version);
        let home = cache.join("npm").join(&flat);
        fs::create_dir_all(&home).within(|| format!("make {}", home.display()))?;
        let lock = File::create(home.join("lock")).within(|| "open the package's lock".into())?;
        lock.lock().within(|| "lock the package".into())?; // whoever holds it is under npm's deadline
        let done = home.join("package");
        if !done.exists() {
            self.fetch(&home, &home.join(format!("{flat}.tgz")))?;
        }
        Ok(done)
    }

    fn fetch(&self, home: &Path, tarball: &Path) -> Result<()> {
        let wanted = format!("{}@{}", self.name, self.version);
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", &wanted, "--pack-destination"]).arg(home).current_dir(home);
        run(&mut npm, FETCH)?.success()?;
        let bytes = fs::read(tarball).within(|| format!("read {}", tarball.display()))?;
        let digest = hex(&Sha512::digest(&bytes));
        if digest != self.sha512 {
            return Err(Trouble::new(format!("{wanted} has SHA-512 {digest}, expected {}", self.sha512)));
        }
        let part = home.join("part");
        if part.exists() {
            fs::remove_dir_all(&part).within(|| format!("remove the unfinished {}", part.display()))?;
        }
        fs::create_dir_all(&part).within(|| format!("make {}", part.display()))?;
        run(Command::new("tar").arg("-xzf").arg(tarball).arg("-C").arg(&part), UNPACK)?.success()?;
        fs::rename(part.join("package"), home.join("package")).within(|| format!("finish {wanted}"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
