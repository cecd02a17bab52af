//! Writes anew the seeds that are made of our own types.

use std::{fs, io};

use longshore_common::durable::write_atomic;

fn main() -> io::Result<()> {
    for (name, bytes) in longshore_fuzz::fresh::seeds() {
        let path = longshore_fuzz::seeds_of("").join(name);
        fs::create_dir_all(path.parent().expect("it is in the folder of a target"))?;
        write_atomic(&path, &bytes, 0o644).map_err(io::Error::other)?;
    }
    Ok(())
}
