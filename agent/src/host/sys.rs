//! Descriptors by number, the heap, and what the program maps: the one place where this crate says `unsafe`.
//!
//! The protocol of `LISTEN_FDS` names descriptors by number (3, 4, …), and std can neither put one at a number nor
//! take one from it. Everything else that launching needs is safe and lives in `launch`.
#![allow(unsafe_code)]

use std::{
    io,
    mem::ManuallyDrop,
    ops::Range,
    os::{
        fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::io::{FdFlags, dup2, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};
use tokio::io::{Interest, unix::AsyncFd};

/// Makes the heap that of a process which mostly sleeps. For the start of the program, before it has threads.
///
/// By itself glibc gives every thread a heap of its own, and once a large piece (a decoder's window) was freed it keeps
/// up to twice as much of each: 4 to 8 MiB that an idle agent would hold for ever. Measured after four deployments:
/// 9.4 MiB without this, 3.2 MiB with it, at the same CPU.
pub fn use_lean_heap() {
    #[cfg(target_env = "gnu")]
    {
        const TRIM_THRESHOLD: i32 = -1;
        const MMAP_THRESHOLD: i32 = -3;
        const ARENA_MAX: i32 = -8;
        // Above a piece of a transfer, which is taken and freed all the time; below the store's buffers, which are
        // freed once.
        const LARGE: i32 = 320 << 10;
        for (parameter, value) in [(ARENA_MAX, 1), (MMAP_THRESHOLD, LARGE), (TRIM_THRESHOLD, 4 << 20)] {
            // It only tunes: a libc that knows no such parameter says so by a result that changes nothing here.
            let _ = mallopt(parameter, value);
        }
    }
}

/// Gives freed memory back to the system, after work that took much of it.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    malloc_trim(0);
}

/// Where the running program's own code and constants are mapped, for as long as the process lives.
#[derive(Clone, Debug)]
pub struct Code(Vec<Range<usize>>);

impl Code {
    /// Nothing where there is no /proc.
    pub fn ours() -> Self {
        Self(code(&std::fs::read_to_string("/proc/self/maps").unwrap_or_default()))
    }

    /// Unmaps it; what is used comes back from the program's file.
    pub fn let_go(&self) {
        for range in &self.0 {
            // SAFETY: the range is a private mapping of a file that this process never writes to (it is not writable,
            // and nothing of it is relocated: see `code`), so what a later access maps again is what was there. It
            // tunes only: a kernel that refuses has changed nothing.
            let _ = unsafe {
                let start = std::ptr::with_exposed_provenance_mut(range.start);
                rustix::mm::madvise(start, range.len(), rustix::mm::Advice::LinuxDontNeed)
            };
        }
    }
}

/// Reads `/proc/self/maps`. What is ours to let go of: what can be executed, and what cannot be written and begins where
/// its file begins. What the loader relocates is in neither: it lies in a part that was writable first.
fn code(maps: &str) -> Vec<Range<usize>> {
    let mut program = None;
    let mut found = vec![];
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(access), Some(offset)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let (_device, Some(inode)) = (words.next(), words.next()) else { continue };
        // The program is mapped before all else. What is of no file has inode 0.
        let ours = inode != "0" && *program.get_or_insert(inode) == inode;
        let constant = access == "r--p" && offset.bytes().all(|digit| digit == b'0');
        let ends = range.split_once('-').and_then(|(start, end)| {
            Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
        });
        if let Some(range) = ends.filter(|_| ours && (access == "r-xp" || constant)) {
            found.push(range);
        }
    }
    found
}

// SAFETY: the signatures are glibc's. Both take any numbers, at any time, from any thread.
#[cfg(target_env = "gnu")]
unsafe extern "C" {
    safe fn mallopt(parameter: i32, value: i32) -> i32;
    safe fn malloc_trim(pad: usize) -> i32;
}

/// Says when there is something to read, or the other side has closed; the socket may be one that blocks, and another
/// thread may write to it.
pub fn watch_reading(stream: UnixStream) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: the descriptor that is registered is the stream's own, open for as long as the stream lives, and the
    // `AsyncFd` owns the stream: it takes its registration back before it drops it, and gives nobody else the means to
    // put another file in its place.
    Ok(unsafe { AsyncFd::register_with_interest(stream, Interest::READABLE) }?)
}

/// The first descriptor that `LISTEN_FDS` counts.
pub const FIRST_PASSED: RawFd = 3;
/// More sockets than this in one service are a mistake.
pub const PASSED_MAX: usize = 64;

/// Puts `sockets` at 3, 4, … in this order, open across exec, whatever lay at those numbers. `keep` comes back above
/// them, still closed by exec.
///
/// For a process that is about to exec and owns nothing else above 2.
pub fn place_for_exec(sockets: Vec<OwnedFd>, keep: OwnedFd) -> io::Result<OwnedFd> {
    let above = FIRST_PASSED + sockets.len() as RawFd;
    let kept = fcntl_dupfd_cloexec(&keep, above)?;
    let moved = sockets.iter().map(|s| fcntl_dupfd_cloexec(s, above)).collect::<Result<Vec<_>, _>>()?;
    drop((sockets, keep));
    for (number, socket) in (FIRST_PASSED..).zip(&moved) {
        // SAFETY: whatever is open at `number` is not owned by anything in this process any more: its own
        // descriptors above 2 were `sockets` and `keep`, just dropped, and their copies lie at `above` or higher.
        // ManuallyDrop keeps the new descriptor open, which is the point.
        let mut target = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
        dup2(socket, &mut target)?;
    }
    close_on_exec_from(above)?;
    Ok(kept)
}

/// What was leaked to us by whoever started us is not passed on.
fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        if fd >= first {
            // SAFETY: borrowed for two calls that set a flag; one that was closed meanwhile (the listing's own) fails.
            let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
            let flags = fcntl_getfd(borrowed);
            // It has just been closed, then.
            let _ = flags.and_then(|flags| fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC));
        }
    }
    Ok(())
}

/// The listening sockets that a supervisor passed to this process (`LISTEN_PID`, `LISTEN_FDS`), in order; the second
/// call gets none.
pub fn passed_sockets() -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    if number("LISTEN_PID") != Some(std::process::id() as usize) || TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(vec![]);
    }
    let count = number("LISTEN_FDS").unwrap_or(0).min(PASSED_MAX);
    let mut sockets = Vec::with_capacity(count);
    for fd in (FIRST_PASSED..).take(count) {
        // SAFETY: by the protocol these numbers were opened for this process and belong to whoever asks first, which
        // `TAKEN` makes us; a number that is not open fails in fcntl below and is forgotten again.
        let socket = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(fd) });
        fcntl_setfd(&*socket, fcntl_getfd(&*socket)? | FdFlags::CLOEXEC)?;
        sockets.push(ManuallyDrop::into_inner(socket));
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_code_is_told_from_what_is_relocated_and_from_libraries() {
        let maps = "\
5600-5700 r--p 00000000 fe:00 77  /usr/bin/longshore-agent
5700-5f00 r-xp 00100000 fe:00 77  /usr/bin/longshore-agent
5f00-6000 r--p 00900000 fe:00 77  /usr/bin/longshore-agent
6000-6100 rw-p 00a00000 fe:00 77  /usr/bin/longshore-agent
6100-6200 rw-p 00000000 00:00 0   [heap]
7100-7200 r--p 00000000 fe:00 12  /usr/lib/libc.so.6
7200-7300 r-xp 00010000 fe:00 12  /usr/lib/libc.so.6
7f00-7f10 rw-p 00000000 00:00 0
";
        assert_eq!(code(maps), [0x5600..0x5700, 0x5700..0x5f00]);
        assert!(code("what is this\n").is_empty());
    }
}
