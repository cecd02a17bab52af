//! Everything that can be wrong with a bundle, asked before anything of it counts.

use std::{
    fs::File,
    io::{BufReader, Seek as _},
};

use longshore_common::{
    bundle::{fit, frame::Form},
    code::{Code, Coded},
    digest::ReleaseDigest,
    manifest::Manifest,
    offline::{Documents, Reader},
};

use crate::{
    host::sys::give_back_memory,
    trust::{Brought, Gate, Stale},
};

/// A bundle that holds what it says, of a release that may run here.
#[derive(Clone, Debug)]
pub struct Examined {
    pub manifest: Manifest,
    pub brought: Brought,
    pub documents: Option<Documents>,
}

/// Reads all of it, writes nothing, and asks of nobody but this host. What is not signed is not even unpacked.
pub fn examine(form: Form, mut file: &File, gate: &Gate, stale: Stale) -> Result<Examined, Coded> {
    file.rewind().map_err(|e| Coded::new(Code::S04, format!("read the bundle: {e}")))?;
    let (head, reader) = Reader::open_as(form, BufReader::new(file))?;
    let manifest = Manifest::from_bytes(&head.manifest)?;
    let brought = Brought {
        app: manifest.app.clone(),
        version: manifest.version.clone(),
        release: ReleaseDigest::of(&head.manifest),
        length: head.manifest.len() as u64,
    };
    gate.weigh(&brought, head.documents.as_ref(), stale)?;
    gate.allow_manifest(&manifest)?;
    head.attested(&manifest)?;
    let index = head.index(&manifest.artifact.index)?;
    fit(&manifest, &index, &manifest.artifact.index)?;
    reader.verify(&index)?;
    drop(index);
    give_back_memory();
    Ok(Examined { manifest, brought, documents: head.documents })
}
