//! Descriptors by number: the one place where this crate says `unsafe`.
//!
//! The protocol of `LISTEN_FDS` names descriptors by number (3, 4, …), and std can neither put one at a number nor
//! take one from it. Everything else that launching needs is safe and lives in `launch`.
#![allow(unsafe_code)]

use std::{
    io,
    mem::ManuallyDrop,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::io::{FdFlags, dup2, fcntl_dupfd_cloexec, fcntl_getfd, fcntl_setfd};

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
