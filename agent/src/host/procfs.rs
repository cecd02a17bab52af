//! Which processes there are and who started whom, from `/proc`.

use std::{collections::HashSet, fs};

/// One process, as `/proc/<pid>/stat` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proc {
    pub pid: i32,
    pub parent: i32,
    pub session: i32,
    /// In clock ticks since boot; with `pid` it names a process for good.
    pub started: u64,
    /// Ended and not reaped.
    pub zombie: bool,
}

/// Every process now. One that ends meanwhile may be missing.
pub fn all() -> Vec<Proc> {
    let Ok(folder) = fs::read_dir("/proc") else { return vec![] };
    folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(one).collect()
}

pub fn one(pid: i32) -> Option<Proc> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command name is in parentheses and may hold anything, so fields count from the last one.
fn parse(pid: i32, stat: &str) -> Option<Proc> {
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    let zombie = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(15)?.parse().ok()?;
    Some(Proc { pid, parent, session, started, zombie })
}

/// `root`'s children, their children and so on; not `root`.
pub fn descendants(all: &[Proc], root: i32) -> HashSet<i32> {
    let mut found = HashSet::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for proc in all.iter().filter(|proc| proc.parent == parent) {
            if found.insert(proc.pid) {
                parents.push(proc.pid);
            }
        }
    }
    found
}

/// A variable of the environment that a process was started with, as far as we may read it.
pub fn env_of(pid: u32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ
        .split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = "7 (a) b (c)) S 3 7 5 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 991 1 1 1";
        let proc = parse(7, stat).unwrap();
        assert_eq!(proc, Proc { pid: 7, parent: 3, session: 5, started: 991, zombie: false });
    }

    #[test]
    fn it_finds_this_test_and_its_child() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let me = std::process::id() as i32;
        assert!(descendants(&all(), me).contains(&(child.id() as i32)));
        assert!(descendants(&all(), child.id() as i32).is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
