//! Everything that reads bytes from elsewhere, each as a function that any bytes may be given to.
//!
//! A target panics where a promise is broken: reading must not panic, what was read must read the same again, and what
//! is told about bad input must be safe to show. `run` beside this crate lets libFuzzer look for bytes that break one;
//! the test here gives every target its seeds, among them what was once found (`seeds/*/found-*`).

pub mod fresh;
mod oracle;
mod targets;

use std::path::{Path, PathBuf};

/// A reader of bytes from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also of its folder below `seeds`.
    pub name: &'static str,
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

pub const TARGETS: [Target; 26] = [
    target("agent-config", targets::files::agent),
    target("app-file", targets::files::app),
    target("audit-log", targets::local::audit_log),
    target("block", targets::bundle::block),
    target("calendar", targets::words::calendar),
    target("controller-config", targets::files::controller),
    target("csr", targets::wire::csr),
    target("environment", targets::files::environment),
    target("from-agent", targets::wire::from_agent),
    target("helper-ask", targets::wire::helper_ask),
    target("index", targets::bundle::index),
    target("journal", targets::local::journal),
    target("junit", targets::replies::junit),
    target("manifest", targets::bundle::manifest),
    target("names", targets::words::names),
    target("offline", targets::bundle::offline),
    target("plan", targets::replies::plan),
    target("policy", targets::files::policy),
    target("prometheus", targets::replies::prometheus),
    target("selector", targets::words::selector),
    target("tap", targets::replies::tap),
    target("to-agent", targets::wire::to_agent),
    target("token", targets::words::token),
    target("trust-document", targets::trust::document),
    target("trust-update", targets::trust::update),
    target("url", targets::words::url),
];

pub fn named(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// The folder of a target's seeds.
pub fn seeds_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_target_takes_its_seeds() {
        for target in TARGETS {
            let folder = seeds_of(target.name);
            let seeds = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
            let mut count = 0;
            for seed in seeds {
                let path = seed.unwrap().path();
                let bytes = fs::read(&path).unwrap();
                println!("{}", path.display()); // the last one is the one that broke something
                (target.run)(&bytes);
                count += 1;
            }
            assert!(count > 0, "{} has no seeds", target.name);
        }
    }

    #[test]
    fn every_folder_of_seeds_is_of_a_target() {
        for folder in fs::read_dir(seeds_of("")).unwrap() {
            let name = folder.unwrap().file_name().into_string().unwrap();
            assert!(named(&name).is_some(), "seeds/{name} is of no target");
        }
    }

    /// Those that the programs made: were a format to change, they would fall out of what is read, and with them all
    /// that is behind the first check.
    #[test]
    fn the_seeds_that_we_make_are_what_we_would_make_now() {
        for (name, bytes) in fresh::seeds() {
            let path = seeds_of("").join(&name);
            let kept = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(kept, bytes, "{name} is out of date: cargo run -p longshore-fuzz --bin fresh-seeds");
        }
    }
}
