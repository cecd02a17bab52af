//! Printing for a reader who may have gone.

use std::{
    fmt,
    io::{self, Write},
};

/// As `println!`; but a reader who has seen enough (`| head`) is no reason to panic.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::say::line(format_args!($($words)*)) };
}
pub(super) use say;

pub(super) fn line(words: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{words}").and_then(|()| out.flush()) {
        std::process::exit(if error.kind() == io::ErrorKind::BrokenPipe { 0 } else { 1 });
    }
}
