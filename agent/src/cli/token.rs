//! The join token, kept out of sight: out of the process list, the log and the shell's history as far as we can.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
};

use longshore_common::{
    code::{Code, Coded},
    join::{JoinToken, TOKEN_BYTES},
};

/// From a file, or from standard input for `-`.
pub fn read(path: &Path) -> Result<JoinToken, Coded> {
    let mut text = String::new();
    let most = 4 * TOKEN_BYTES as u64; // room for blank lines around it
    let read = if path == Path::new("-") {
        io::stdin().take(most).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text))
    };
    read.map_err(|e| Coded::new(Code::V01, format!("read the token from `{}`: {e}", path.display())))?;
    text.parse()
}

/// Starts this program anew with the token on standard input instead of in its arguments, where every user of the
/// host can see it. Returns only when that fails.
pub fn hide(token: &str) -> Coded {
    match try_hide(token) {
        Ok(never) => match never {},
        Err(error) => Coded::new(
            Code::X01,
            format!("take the token out of the process list: {error}. Give it with --token-file - instead"),
        ),
    }
}

fn try_hide(token: &str) -> io::Result<std::convert::Infallible> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(token.as_bytes())?; // far less than a pipe holds
    drop(writer);
    let mut given = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    command.arg0(given.next().unwrap_or_default());
    while let Some(arg) = given.next() {
        if arg == "--token" {
            given.next(); // its value
        } else if !arg.to_string_lossy().starts_with("--token=") {
            command.arg(arg);
        }
    }
    Err(command.args(["--token-file", "-"]).stdin(reader).exec())
}
