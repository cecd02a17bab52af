//! Reading the log's files, whatever somebody did to their bytes: what is no entry any more is a line all the same, so
//! that it can be named, and it hides no other.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::Path,
};

use longshore_common::wire::cut;

use super::log::{AuditError, segments};

/// A line that is longer is no line of ours.
const LINE_BYTES: usize = 16 << 10;

/// At most `most` lines from entry `from` on, and the number to go on with. One without an end that is none
/// of the first `written` is still being written.
pub fn read(dir: &Path, from: u64, most: usize, written: u64) -> Result<(Vec<String>, u64), AuditError> {
    let segments = segments(dir)?;
    let begin = segments.partition_point(|(first, _)| *first <= from).saturating_sub(1);
    let mut lines = vec![];
    let mut next = from.max(segments.first().map_or(0, |(first, _)| *first));
    for (first, path) in &segments[begin.min(segments.len())..] {
        let fault = |source| AuditError::Read { path: path.clone(), source };
        let mut file = BufReader::new(File::open(path).map_err(fault)?);
        let mut skip = next.saturating_sub(*first);
        while let Some(line) = next_line(&mut file).map_err(fault)? {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            let half = next >= written && line.len() <= LINE_BYTES && !line.ends_with(b"\n");
            if lines.len() == most || half {
                return Ok((lines, next));
            }
            lines.push(cut(&shown(&line), LINE_BYTES));
            next += 1;
        }
    }
    Ok((lines, next))
}

/// Lines with their newlines.
pub fn lines_in(text: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n')
}

/// A line with its newline; of one that is longer than any of ours only so much that it shows.
fn next_line(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = vec![];
    from.by_ref().take(LINE_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
    if line.len() > LINE_BYTES && !line.ends_with(b"\n") {
        from.skip_until(b'\n')?;
    }
    Ok((!line.is_empty()).then_some(line))
}

/// Without its newline and nothing else. Bytes that are no text were never written by us: what is shown of them begins so
/// that it cannot be taken for an entry, not even for one that has the same words.
pub fn shown(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("damaged: {}", String::from_utf8_lossy(line)),
    }
}
