//! The note that a ledger was closed in order, with everything of it on the disk.
//!
//! It is taken away before the database is opened again: a process that dies in between leaves no note, and the
//! next one trusts the journal alone.

use std::io;
use std::path::Path;

use super::journal::End;
use crate::durable::{DurableError, Result, Step, remove_durable, write_atomic};
use crate::ids::Revision;

const NAME: &str = "stopped";

/// Leave the note.
pub(super) fn leave(dir: &Path, end: End) -> Result<()> {
    let link: String = end.link.iter().map(|byte| format!("{byte:02x}")).collect();
    write_atomic(&dir.join(NAME), format!("{} {link}\n", end.revision.0).as_bytes(), 0o600)
}

/// Take the note away, durably. One that cannot be read is as good as none.
pub(super) fn take(dir: &Path) -> Result<Option<End>> {
    let path = dir.join(NAME);
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| DurableError::new(Step::Read, &path, error))?,
    };
    remove_durable(&path)?;
    Ok(std::str::from_utf8(&text).ok().and_then(parse))
}

fn parse(text: &str) -> Option<End> {
    let (revision, hex) = text.trim_end().split_once(' ')?;
    let mut link = [0; 32];
    if hex.len() != 2 * link.len() || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in link.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(End { revision: Revision(revision.parse().ok()?), link })
}
