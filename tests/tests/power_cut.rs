//! Power cuts of the ledger on a real file system. Its disk is a file: what the kernel holds back and was never synced
//! is not in that file, so a copy of the file, taken while the writer stands still, is what a power cut leaves. Dozens of
//! cuts in a row, each going on from what the one before left, over several journals.
//!
//! Deliberately not here: writes that are torn within a sync. Unit tests of the ledger cut its journal at every byte.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use longshore_common::ledger::{Batch, Ledger, Options, Revision};
use longshore_tests::{Result, run, trial, until};
use rustix::process::{Pid, Signal, kill_process};

/// The argument that makes this program the writer.
const WRITER: &str = "--write-for-ever";
const CUTS: u64 = 40;
const DISK_BYTES: u64 = 48 << 20;
/// A file that is written and never synced.
const UNSYNCED: &str = "unsynced";
/// Keys that are written round and round.
const KEYS: u64 = 50;
const DEADLINE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match &args[..] {
        [word, folder] if word == WRITER => write_for_ever(Path::new(folder)),
        _ => trial::main(vec![("what_was_acknowledged_survives_every_power_cut", survives_every_cut)]),
    }
}

/// A commit after the other, each told on standard output once it is acknowledged.
fn write_for_ever(folder: &Path) -> ExitCode {
    let ledger = Ledger::open(folder, Options::AGENT).expect("the ledger opens");
    let mut out = std::io::stdout().lock();
    for n in count(&ledger) + 1.. {
        let batch = Batch::new().put(format!("k/{:02}", n % KEYS), value(n)).put("count", n.to_string());
        ledger.commit_blocking(batch).expect("a commit is made");
        if writeln!(out, "{n}").and_then(|()| out.flush()).is_err() {
            break; // nobody listens any more
        }
    }
    ExitCode::SUCCESS
}

/// Some kilobytes that only this commit writes, so that journals are begun anew now and then.
fn value(n: u64) -> Vec<u8> {
    n.to_le_bytes().repeat(256 + n as usize % 700)
}

fn count(ledger: &Ledger) -> u64 {
    let stored = ledger.get_blocking("count").expect("it can be read");
    stored.map_or(0, |stored| std::str::from_utf8(&stored.value).expect("digits").parse().expect("a number"))
}

fn survives_every_cut() -> Result<()> {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = dir.path().join("disk-0");
    File::create(&disk).unwrap().set_len(DISK_BYTES).unwrap();
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk), DEADLINE)?.success()?;
    let (mut acknowledged, mut lost_something) = (0, 0);
    for cut in 1..=CUTS {
        let after = dir.path().join(format!("disk-{cut}"));
        // Between one commit and some hundreds: the numbers are those of a linear congruence, always the same.
        let commits = 1 + cut.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17) % 300;
        acknowledged = write_and_cut(&disk, &after, dir.path(), acknowledged + commits)?;
        fs::remove_file(&disk).unwrap();
        disk = after;
        let left = check(&disk, dir.path(), acknowledged)?;
        acknowledged = left.commits;
        lost_something += u64::from(left.lost_something);
    }
    // Whoever asks the kernel to sync everything, elsewhere on the machine, makes an orderly end of one of them.
    assert!(lost_something > CUTS / 2, "of {CUTS} cuts only {lost_something} took what was never synced");
    assert!(acknowledged > CUTS, "next to nothing was written: {acknowledged}");
    Ok(())
}

/// Runs the writer until it has acknowledged `enough`, cuts, and says what it had acknowledged by then.
fn write_and_cut(disk: &Path, after: &Path, dir: &Path, enough: u64) -> Result<u64> {
    let mount = Mount::of(disk, dir.join("before"))?;
    let mut writer = Writer::start(&mount.at.join("state"));
    writer.read_until(enough);
    // What tells a cut from an orderly end: this was written and never synced.
    File::create(mount.at.join(UNSYNCED)).unwrap().write_all(&[7; 4096]).unwrap();
    writer.stand_still()?;
    fs::copy(disk, after).unwrap();
    let acknowledged = writer.end();
    mount.unmount()?;
    Ok(acknowledged)
}

/// What a cut has left.
struct Left {
    commits: u64,
    /// What was never synced is not there.
    lost_something: bool,
}

/// Everything that was acknowledged is there, and at most the commit that was under way.
fn check(disk: &Path, dir: &Path, acknowledged: u64) -> Result<Left> {
    let mount = Mount::of(disk, dir.join("after"))?;
    let unsynced = fs::read(mount.at.join(UNSYNCED)).unwrap_or_default();
    drop(fs::remove_file(mount.at.join(UNSYNCED))); // its name may be there
    let ledger = Ledger::open(&mount.at.join("state"), Options::AGENT).expect("the ledger opens after a cut");
    let last = count(&ledger);
    assert!(
        (acknowledged..=acknowledged + 1).contains(&last),
        "{acknowledged} commits were acknowledged, and {last} are there"
    );
    let listing = ledger.list_blocking("k/").expect("it can be listed");
    assert_eq!(listing.entries.len() as u64, last.min(KEYS));
    assert_eq!(listing.revision, Revision(last));
    for n in last.saturating_sub(KEYS - 1).max(1)..=last {
        let stored = ledger.get_blocking(&format!("k/{:02}", n % KEYS)).expect("it can be read");
        assert!(stored.is_some_and(|stored| stored.value[..] == value(n)), "the value of commit {n}");
    }
    ledger.close_blocking();
    mount.unmount()?;
    Ok(Left { commits: last, lost_something: unsynced != [7; 4096] })
}

/// The file system in a file. Its own journal is written only when somebody syncs, and nothing is written for somebody who
/// forgot to.
struct Mount {
    at: PathBuf,
    mounted: bool,
}

impl Mount {
    fn of(disk: &Path, at: PathBuf) -> Result<Self> {
        fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        run(mount.args(["-o", "loop,noatime,commit=600,noauto_da_alloc"]).arg(disk).arg(&at), DEADLINE)?
            .success()?;
        Ok(Self { at, mounted: true })
    }

    fn unmount(mut self) -> Result<()> {
        let unmounted = run(Command::new("umount").arg(&self.at), DEADLINE)?;
        self.mounted = false;
        unmounted.success().map(drop)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            drop(run(Command::new("umount").arg("-l").arg(&self.at), DEADLINE));
        }
    }
}

struct Writer {
    child: Child,
    said: BufReader<ChildStdout>,
    last: u64,
}

impl Writer {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        let mut child = command.arg(WRITER).arg(folder).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, said, last: 0 }
    }

    fn read_until(&mut self, enough: u64) {
        while self.last < enough {
            assert!(self.hear(), "the writer ended after {}", self.last);
        }
    }

    /// One line more; false at the end.
    fn hear(&mut self) -> bool {
        let mut line = String::new();
        let more = self.said.read_line(&mut line).unwrap() > 0;
        if more {
            self.last = line.trim().parse().expect("a number a line");
        }
        more
    }

    /// Every thread of it: a sync that is under way is waited for, the next is never begun.
    fn stand_still(&self) -> Result<()> {
        kill_process(self.pid(), Signal::STOP).unwrap();
        until(DEADLINE, "the writer to stand still", || Ok(self.stands_still().then_some(())))
    }

    fn stands_still(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let mut states = threads.map(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        });
        states.all(|stopped| stopped)
    }

    /// What it had acknowledged before it stood still.
    fn end(mut self) -> u64 {
        self.child.kill().unwrap();
        while self.hear() {}
        self.last
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

/// Also when the test fails.
impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
