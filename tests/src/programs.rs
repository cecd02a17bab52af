//! Our own programs, as a user would have them: built once with the profile and target folder of this run, or
//! taken from `LONGSHORE_BIN_DIR`.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::{Result, Trouble, Within, run};

/// A clean build of all of it on two busy cores takes some ten minutes, and four times that on a bad day.
const BUILD: Duration = Duration::from_secs(3600);

/// Where the program called `name` lies.
pub fn program(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<BTreeMap<String, PathBuf>, String>> = OnceLock::new();
    if let Some(folder) = env::var_os("LONGSHORE_BIN_DIR") {
        let path = Path::new(&folder).join(name);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(Trouble::new(format!("{} is missing", path.display())))
        };
    }
    let built = BUILT.get_or_init(|| build().map_err(|trouble| trouble.to_string()));
    let programs = built.as_ref().map_err(|trouble| Trouble::new(trouble.as_str()))?;
    programs.get(name).cloned().within(|| format!("the workspace builds no program called {name}"))
}

/// An integration test of a package as a program, to run elsewhere.
pub fn test_program(package: &str, name: &str) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args([
        "test",
        "--no-run",
        "--message-format=json",
        "--workspace", // alone it would have its dependencies compiled anew, with fewer features
        "--test",
        name,
    ]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let built = executables(&run(&mut cargo, BUILD)?.success()?);
    built.get(name).cloned().within(|| format!("{package} has no test called {name}"))
}

/// The repository's own folder.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests package lies in the workspace's folder")
}

fn build() -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = cargo();
    cargo.args(["build", "--workspace", "--bins", "--message-format=json"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    Ok(executables(&run(&mut cargo, BUILD)?.success()?))
}

/// cargo, as a person in the repository would call it. What it tells every test about the test's own package has to be
/// taken back: `ring` is compiled anew whenever it changes, and with it nearly all there is, here and once more by
/// whoever calls cargo next.
fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repository());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Picks the programs from cargo's messages, one JSON object a line.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter_map(|message| {
            let path = message.get("executable")?.as_str()?;
            Some((message.pointer("/target/name")?.as_str()?.to_owned(), PathBuf::from(path)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_not_told_whose_test_calls_it() {
        let cargo = cargo();
        let taken_back: Vec<_> =
            cargo.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR"] {
            assert!(taken_back.contains(&std::ffi::OsStr::new(name)), "{name} stays: {taken_back:?}");
        }
    }

    #[test]
    fn finds_programs_in_cargos_messages() {
        let messages = r#"
            {"reason":"compiler-artifact","target":{"name":"longshore"},"executable":"/t/debug/longshore"}
            {"reason":"compiler-artifact","target":{"name":"longshore_common"},"executable":null}
            {"reason":"build-finished","success":true}"#;
        let found = executables(messages);
        assert_eq!(found, BTreeMap::from([("longshore".to_owned(), PathBuf::from("/t/debug/longshore"))]));
    }
}
