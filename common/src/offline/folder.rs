//! A bundle as a folder: `release.head`, a bundle that ends before its blobs, and `files/`, the artifact as it is. It
//! can be copied file by file; the reader of the bundle holds every file against the index all the same.

use std::{
    io::{self, BufReader, Read, Write},
    path::Path,
};

use super::{Head, Reader, Writer};
use crate::{
    bundle::{
        Index, Kind,
        block::{Block, Wanted, partition},
        frame::FrameWriter,
    },
    code::{Code, Coded},
    manifest::Manifest,
    regular::{self, Links},
    text::visible,
};

pub const HEAD_FILE: &str = "release.head";
pub const FILES: &str = "files";
/// They travel over a socket of this machine.
const LEVEL: i32 = 1;
/// Bytes read at once.
const READ: usize = 128 * 1024;

/// Writes the folder as one bundle.
pub fn pack_folder(folder: &Path, out: impl Write) -> Result<(), Coded> {
    let path = folder.join(HEAD_FILE);
    let file = regular::open(&path, Links::Followed).map_err(|e| at(&path, &e))?;
    let (head, reader) = Reader::open(BufReader::new(file))?;
    let manifest = Manifest::from_bytes(&head.manifest)?;
    let index = head.index(&manifest.artifact.index)?;
    reader.end()?;
    write(&head, &index, &folder.join(FILES), out)
}

fn write(head: &Head, index: &Index, files: &Path, out: impl Write) -> Result<(), Coded> {
    let failed = |error: io::Error| Coded::new(Code::C01, format!("the bundle was not taken: {error}"));
    let mut writer = Writer::begin(out, head).map_err(failed)?;
    for block in partition(index.blobs(), &Wanted::All) {
        // Twice: a section says how long it is before it begins, and the first time only counts.
        let mut wire_bytes = 0;
        compress(index, &block, files, |wire| {
            wire_bytes += wire.len() as u64;
            Ok(())
        })?;
        writer.block(wire_bytes).map_err(failed)?;
        let mut left = wire_bytes;
        compress(index, &block, files, |wire| {
            left = left.checked_sub(wire.len() as u64).ok_or_else(|| io::Error::other("a file has grown"))?;
            writer.data(wire)
        })?;
        if left != 0 {
            return Err(Coded::new(Code::A01, "a file of the bundle changed while it was read"));
        }
    }
    writer.end().and_then(|mut out| out.flush()).map_err(failed)
}

fn compress(
    index: &Index,
    block: &Block,
    files: &Path,
    mut out: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Coded> {
    let zstd = |e: io::Error| Coded::new(Code::X01, format!("pack the bundle: {e}"));
    let mut writer = FrameWriter::new(LEVEL, block.content_bytes).map_err(zstd)?;
    let mut buffer = vec![0; READ];
    for number in &block.numbers {
        let blob = &index.blobs()[*number as usize];
        let entry = index.entries().iter().find(|entry| entry.blob() == Some(blob));
        let entry = entry.expect("every blob of an index has an entry");
        debug_assert!(matches!(entry.kind, Kind::File { .. }));
        let path = files.join(&entry.path);
        let file = regular::open(&path, Links::Followed).map_err(|e| at(&path, &e))?;
        let mut content = file.take(blob.size + 1);
        let mut left = blob.size;
        loop {
            let read = content.read(&mut buffer).map_err(|e| at(&path, &e))?;
            if read == 0 {
                break;
            }
            left = left.checked_sub(read as u64).ok_or_else(|| other(&path, blob.size))?;
            writer.write(&buffer[..read], &mut out).map_err(zstd)?;
        }
        if left != 0 {
            return Err(other(&path, blob.size));
        }
    }
    writer.finish(out).map_err(zstd)
}

fn other(path: &Path, size: u64) -> Coded {
    let message =
        format!("`{}` is not the file that the release has: it should have {size} bytes", shown(path));
    Coded::new(Code::A01, message)
}

fn at(path: &Path, error: &io::Error) -> Coded {
    Coded::new(Code::V01, format!("read `{}`: {error}", shown(path)))
}

fn shown(path: &Path) -> String {
    visible(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bundle::{Blob, Entry},
        digest::BlobDigest,
    };

    #[test]
    fn a_pipe_in_the_folder_is_named_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = |name: &str| {
            rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join(name), 0o600.into()).unwrap();
        };
        pipe(HEAD_FILE);
        let refusal = pack_folder(dir.path(), io::sink()).unwrap_err();
        assert_eq!(refusal.code, Code::V01);
        assert!(refusal.message.contains("release.head`: it is a FIFO"), "{refusal}");
        pipe("shop");
        let blob = Blob { digest: BlobDigest::of(b"four"), size: 4 };
        let entry = Entry { path: "shop".into(), kind: Kind::File { executable: true, blob } };
        let index = Index::new(vec![entry]).unwrap();
        for block in partition(index.blobs(), &Wanted::All) {
            let refusal = compress(&index, &block, dir.path(), |_| Ok(())).unwrap_err();
            assert!(refusal.message.contains("shop`: it is a FIFO"), "{refusal}");
        }
    }
}
