//! An artifact like a real application's: 1,747 files, 167.5 MB, of which zstd -9 leaves some 70 MB. The same bytes on
//! every machine; a later edition differs from the first in 27 files of 3.1 MB together.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{Result, Within};

/// Of every group of files: how many, and how large they are.
const LARGE: (u64, u64) = (8, 8_000_000);
const MIDDLE: (u64, u64) = (54, 1_120_000);
/// Their sizes spread evenly between half and one and a half of this.
const SMALL: (u64, u64) = (1_683, 26_000);
/// What an edition changes, beside its VERSION: so many of the middle files and of the largest small ones.
const CHANGED_MIDDLE: u64 = 2;
const CHANGED_SMALL: u64 = 24;
/// A file is a run of pages, each either text or noise.
const PAGE: usize = 4096;
/// Pages of noise among a hundred: this makes it 42 % of its size under zstd -9.
const NOISE_PERCENT: u64 = 18;

/// Which bytes: families share no page of noise or text, editions of one family share nearly all.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    pub family: u64,
    pub edition: u32,
}

/// Writes an edition to an empty folder: the program as `bin/app`, VERSION, and the data.
pub fn write(folder: &Path, which: Content, version: &str, program: &Path) -> Result<()> {
    write_program(folder, version, program)?;
    let (mut middle_left, mut small_left) = (CHANGED_MIDDLE, CHANGED_SMALL);
    for number in 0..LARGE.0 + MIDDLE.0 + SMALL.0 {
        let (kind, size) = if number < LARGE.0 {
            ("lib", LARGE.1)
        } else if number < LARGE.0 + MIDDLE.0 {
            ("assets", MIDDLE.1)
        } else {
            ("pages", SMALL.1 / 2 + Noise::seeded(number).next() % SMALL.1)
        };
        let left = match kind {
            "assets" => Some(&mut middle_left),
            "pages" if size > SMALL.1 * 5 / 4 => Some(&mut small_left),
            _ => None,
        };
        let changed = left.is_some_and(|left| std::mem::replace(left, left.saturating_sub(1)) > 0);
        let place = folder.join(kind).join(format!("{:02}", number % 16));
        fs::create_dir_all(&place).within(|| format!("make {}", place.display()))?;
        let edition = if changed { which.edition } else { 0 };
        let bytes = content(number, Content { edition, ..which }, size);
        file(&place.join(format!("{number:04}.dat")), &bytes)?;
    }
    Ok(())
}

/// A release with nothing in it but the program and its VERSION.
pub fn write_program(folder: &Path, version: &str, program: &Path) -> Result<()> {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).within(|| format!("make {}", bin.display()))?;
    let app = bin.join("app");
    fs::copy(program, &app).within(|| format!("copy {}", program.display()))?;
    fs::set_permissions(&app, fs::Permissions::from_mode(0o755)).within(|| "chmod the program".into())?;
    file(&folder.join("VERSION"), format!("{version}\n").as_bytes())
}

fn file(path: &Path, bytes: &[u8]) -> Result<()> {
    let created = File::create(path).within(|| format!("create {}", path.display()))?;
    let mut writer = BufWriter::new(created);
    writer.write_all(bytes).and_then(|()| writer.flush()).within(|| format!("write {}", path.display()))
}

/// The file of that number. Editions of one file share all but a line in every page, as real editions do.
fn content(number: u64, which: Content, size: u64) -> Vec<u8> {
    let size = usize::try_from(size).expect("sizes are small constants");
    let mut noise = Noise::seeded(which.family << 32 | number);
    let mut bytes = Vec::with_capacity(size + PAGE);
    while bytes.len() < size {
        let end = bytes.len() + PAGE;
        bytes.extend_from_slice(format!("{number} edition {}\n", which.edition).as_bytes());
        if noise.next() % 100 < NOISE_PERCENT {
            while bytes.len() < end {
                bytes.extend_from_slice(&noise.next().to_le_bytes());
            }
        } else {
            while bytes.len() < end {
                word(&mut noise, &mut bytes);
            }
        }
        bytes.truncate(end);
    }
    bytes.truncate(size);
    bytes
}

/// One of some thousand made-up words, the short ones more often, as in text.
fn word(noise: &mut Noise, into: &mut Vec<u8>) {
    const SYLLABLES: [&str; 16] = [
        "ka", "ro", "mi", "ten", "sol", "ver", "an", "del", "is", "pra", "qui", "lon", "es", "bur", "to",
        "chy",
    ];
    let draw = noise.next();
    let count = 1 + (draw & 3).min((draw >> 2) & 3);
    for position in 0..count {
        let syllable = (draw >> (8 + 4 * position)) & 15;
        into.extend_from_slice(SYLLABLES[syllable as usize].as_bytes());
    }
    into.push(if draw >> 60 == 0 { b'\n' } else { b' ' });
}

/// SplitMix64: the same numbers everywhere, for a seed.
struct Noise(u64);

impl Noise {
    fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1005_5402)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn files(folder: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
                }
            }
        }
        found
    }

    #[test]
    fn editions_have_the_promised_shape() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("program");
        file(&program, b"program").unwrap();
        let [first, second] = [0, 1].map(|edition| {
            let folder = home.path().join(edition.to_string());
            write(&folder, Content { family: 1, edition }, &format!("1.0.{edition}"), &program).unwrap();
            files(&folder)
        });
        assert_eq!(first.len(), 1_747);
        let total: usize = first.values().map(Vec::len).sum();
        assert!((166_000_000..169_000_000).contains(&total), "{total} bytes");
        let changed: Vec<_> = first.iter().filter(|(path, bytes)| second[*path] != **bytes).collect();
        let bytes: usize = changed.iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(changed.len(), 27);
        assert!((2_900_000..3_300_000).contains(&bytes), "{bytes} bytes changed");
    }
}
