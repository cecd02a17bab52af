//! From one process to two on a host, and back: who owns what, and the line in `agent.toml` that says so.
//!
//! Everything that the helper alone may have (the key that opens secrets, what is pinned, which host this is) lies in
//! a folder of root's; the identity belongs to the agent's user. Both are copied before the line is written and cleared
//! away after it, so a crash at any point leaves the one or the other, whole.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::{chown, lchown},
    path::Path,
};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    durable::{DurableError, create_dir_durable, remove_durable, write_atomic},
    ids::HostId,
    regular::{self, Links},
    strict::FILE_BYTES as CONFIG_BYTES,
};
use rustix::fs::{Mode, OFlags};

use crate::{
    config::{Config, Processes},
    host::account::Account,
    identity::Folder,
};

/// Whom the agent's unit names.
pub const AGENT_USER: &str = "longshore-agent";

const HOST: &str = "host";
/// What moves between the identity and the helper's folder.
const OF_ROOT: [&str; 2] = ["age-key.txt", "trust.json"];
/// An id and the end of its line, with room.
const HOST_BYTES: usize = 256;
/// Larger than any of what moves.
const FILE_BYTES: u64 = 8 << 20;

/// Which host the helper takes assignments for.
pub fn read_host(config: &Config) -> Result<HostId, Coded> {
    let path = config.vault().join(HOST);
    let missing = || {
        let message = format!(
            "`{}` does not say which host this is. On this host: longshore-agent processes two",
            path.display()
        );
        Coded::new(Code::N01, message)
    };
    let text = regular::read_text(&path, HOST_BYTES, Links::Refused).map_err(|_| missing())?;
    text.trim().parse().map_err(|_| missing())
}

/// After an enrolment, too: the identity is the agent's, and the helper knows which host it is. Nothing to do where
/// there is one process.
pub fn own(config: &Config, user: &str) -> Result<(), Coded> {
    if config.processes == Processes::One {
        return Ok(());
    }
    let enrolled = Folder::new(config.identity()).load()?;
    let enrolled = enrolled.ok_or_else(|| Coded::new(Code::N01, "this host is not enrolled"))?;
    create_dir_durable(&config.vault(), 0o700).map_err(disk)?;
    write_atomic(&config.vault().join(HOST), format!("{}\n", enrolled.host).as_bytes(), 0o600)
        .map_err(disk)?;
    let account = Account::of_agent(user)?;
    give(&config.identity(), account.uid, account.gid)
}

/// Whether anything changed.
pub fn divide(file: &Path, root: &Path, user: &str) -> Result<bool, Coded> {
    let one = Config::load(file, root)?;
    let two = Config { processes: Processes::Two, ..one.clone() };
    if one.processes == Processes::Two {
        own(&two, user)?;
        clear(&two)?;
        return Ok(false);
    }
    Account::of_agent(user)?; // before anything is moved
    create_dir_durable(&two.vault(), 0o700).map_err(disk)?;
    for name in OF_ROOT {
        copy(&one.identity().join(name), &two.vault().join(name))?;
    }
    copy(&one.checkpoints(), &two.checkpoints())?;
    own(&two, user)?;
    say_in(file, Processes::Two)?;
    clear(&two)?;
    Ok(true)
}

/// Whether anything changed. What the agent's user could write is root's before it is looked at.
pub fn unite(file: &Path, root: &Path) -> Result<bool, Coded> {
    let two = Config::load(file, root)?;
    if two.processes == Processes::One {
        return Ok(false);
    }
    let one = Config { processes: Processes::One, ..two.clone() };
    give(&two.identity(), 0, 0)?;
    for name in OF_ROOT {
        copy(&two.vault().join(name), &one.identity().join(name))?;
    }
    copy(&two.checkpoints(), &one.checkpoints())?;
    say_in(file, Processes::One)?;
    for name in OF_ROOT.into_iter().chain([HOST]) {
        remove_durable(&two.vault().join(name)).map_err(disk)?;
    }
    remove_durable(&two.checkpoints()).map_err(disk)?;
    Ok(true)
}

/// What one process had and neither of two looks at.
fn clear(two: &Config) -> Result<(), Coded> {
    let one = Config { processes: Processes::One, ..two.clone() };
    for name in OF_ROOT {
        // Only what has arrived where it belongs.
        if two.vault().join(name).exists() {
            remove_durable(&one.identity().join(name)).map_err(disk)?;
        }
    }
    remove_durable(&one.checkpoints()).map_err(disk)
}

/// What is not there needs no copy. No link is followed: its folder may have belonged to another user.
fn copy(from: &Path, to: &Path) -> Result<(), Coded> {
    let failed = |e: io::Error| Coded::new(Code::S04, format!("copy `{}`: {e}", from.display()));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = match rustix::fs::open(from, flags, Mode::empty()) {
        Ok(fd) => fd.into(),
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(e) => return Err(failed(e.into())),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Coded::new(Code::S02, format!("`{}` is no file", from.display())));
    }
    let mut bytes = vec![];
    file.take(FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    write_atomic(to, &bytes, 0o600).map_err(disk)
}

/// The folder first: from then on its new owner alone decides what lies in it.
fn give(folder: &Path, uid: u32, gid: u32) -> Result<(), Coded> {
    let failed =
        |e: io::Error| Coded::new(Code::S04, format!("give `{}` to uid {uid}: {e}", folder.display()));
    create_dir_durable(folder, 0o700).map_err(disk)?;
    chown(folder, Some(uid), Some(gid)).map_err(failed)?;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        lchown(entry.map_err(failed)?.path(), Some(uid), Some(gid)).map_err(failed)?;
    }
    Ok(())
}

/// One line of the file; everything else that an admin wrote stays.
fn say_in(file: &Path, processes: Processes) -> Result<(), Coded> {
    let text = regular::read_text(file, CONFIG_BYTES, Links::Followed)
        .map_err(|e| Coded::new(Code::S04, format!("read `{}`: {e}", file.display())))?;
    write_atomic(file, with_line(&text, processes).as_bytes(), 0o644).map_err(disk)
}

fn with_line(text: &str, processes: Processes) -> String {
    let line = format!("processes = \"{}\"", processes.as_str());
    let tables = text.lines().position(|line| line.trim_start().starts_with('['));
    let own = text.lines().take(tables.unwrap_or(usize::MAX)).position(|line| {
        line.trim_start().strip_prefix("processes").is_some_and(|rest| rest.trim_start().starts_with('='))
    });
    match own {
        Some(own) => {
            let replaced =
                |(at, old): (usize, &str)| if at == own { format!("{line}\n") } else { format!("{old}\n") };
            text.lines().enumerate().map(replaced).collect()
        }
        None => format!("{line}\n{text}"),
    }
}

fn disk(error: DurableError) -> Coded {
    Coded::new(error.code(), Chain(&error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_the_file_changes() {
        let text = "controllers = [\"a:1\"]\n\n[labels]\nprocesses = \"label\"\n";
        let two = with_line(text, Processes::Two);
        assert_eq!(two, format!("processes = \"two\"\n{text}"));
        let config = Config::parse("agent.toml", &two, Path::new("/")).unwrap();
        assert_eq!((config.processes, config.labels.len()), (Processes::Two, 1));
        assert_eq!(with_line(&two, Processes::One), format!("processes = \"one\"\n{text}"));
        assert_eq!(with_line(&two, Processes::Two), two);
    }
}
