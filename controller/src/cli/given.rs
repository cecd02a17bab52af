//! Files that an operator names. Beside a regular file a pipe is read, as a shell makes one for `<(command)`: up to the same
//! bound, and not for ever; `-` is what comes by standard input. Whoever reads for a host or a service keeps to regular files: `longshore_common::regular`.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::FileTypeExt as _,
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use longshore_common::regular::{self, Links};

/// For whoever writes to a pipe: as long as a call that the controller answers from its store may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What stands for standard input. A file of that name is `./-`.
const STDIN: &str = "-";

/// The whole of it, which may have `most` bytes.
pub fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let path = if is_stdin(path) { Path::new("/dev/stdin") } else { path };
    read_within(path, most, PATIENCE)
}

pub fn is_stdin(path: &Path) -> bool {
    path == Path::new(STDIN)
}

/// The same as text.
pub fn read_text(path: &Path, most: usize) -> io::Result<String> {
    let text = String::from_utf8(read(path, most)?);
    text.map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is no UTF-8"))
}

fn read_within(path: &Path, most: usize, patience: Duration) -> io::Result<Vec<u8>> {
    match fs::metadata(path) {
        Ok(about) if about.file_type().is_fifo() => read_pipe(path, most, patience),
        Ok(_) | Err(_) => regular::read(path, most, Links::Followed), // it says what else stands there
    }
}

/// Opening one waits for a writer, and reading it for the writer's end: a thread does, and the program ends without it.
fn read_pipe(path: &Path, most: usize, patience: Duration) -> io::Result<Vec<u8>> {
    let (tell, told) = mpsc::sync_channel(1);
    let pipe = path.to_owned();
    thread::spawn(move || {
        let mut bytes = vec![];
        let read = File::open(pipe).and_then(|pipe| pipe.take(most as u64 + 1).read_to_end(&mut bytes));
        drop(tell.send(read.map(|_| bytes))); // nobody waits any more: it came too late
    });
    let late = |_| {
        let why = format!("it is a pipe, and its writer has not ended within {patience:?}");
        Err(io::Error::new(ErrorKind::TimedOut, why))
    };
    let bytes = told.recv_timeout(patience).unwrap_or_else(late)?;
    if bytes.len() <= most {
        return Ok(bytes);
    }
    let why =
        format!("it is a pipe with more than {most} bytes; at most so many are read. Is it the right one?");
    Err(io::Error::new(ErrorKind::FileTooLarge, why))
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write as _, os::fd::AsRawFd as _};

    use super::*;

    /// As a shell leaves it where the command has ended already.
    #[test]
    fn what_a_command_has_written_is_read() {
        let (reading, writing) = rustix::pipe::pipe().unwrap();
        File::from(writing).write_all(b"four").unwrap();
        let path = format!("/proc/self/fd/{}", reading.as_raw_fd());
        assert_eq!(read_text(Path::new(&path), 4).unwrap(), "four");
    }

    #[test]
    fn a_pipe_is_bounded_in_bytes_and_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        let nobody = read_within(&pipe, 9, Duration::from_millis(10)).unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::TimedOut);
        assert_eq!(nobody.to_string(), "it is a pipe, and its writer has not ended within 10ms");

        let large = dir.path().join("large");
        rustix::fs::mkfifoat(rustix::fs::CWD, &large, 0o600.into()).unwrap();
        let writer = thread::spawn({
            let large = large.clone();
            move || OpenOptions::new().write(true).open(large).unwrap().write_all(b"12345")
        });
        let why = read(&large, 4).unwrap_err();
        writer.join().unwrap().unwrap();
        assert_eq!(why.kind(), ErrorKind::FileTooLarge);
        assert!(why.to_string().contains("more than 4 bytes"), "{why}");
        assert!(read(Path::new("/dev/zero"), 4).unwrap_err().to_string().starts_with("it is a device"));
    }
}
