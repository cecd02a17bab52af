//! Writes a bundle, piece by piece.

use std::io::{self, Write};

use longshore_proto::v1 as pb;
use prost::Message as _;

use super::{Documents, HEADER, Head, Tag, magic};

/// Takes the head first, then the blocks of the index in their order, then the end.
pub struct Writer<W> {
    out: W,
    hash: blake3::Hasher,
}

impl<W: Write> Writer<W> {
    pub fn begin(out: W, head: &Head) -> io::Result<Self> {
        let mut writer = Self { out, hash: blake3::Hasher::new() };
        let Head { form, documents, manifest, index, attestations } = head;
        writer.data(magic(*form))?;
        if let Some(Documents { fleet, app }) = documents {
            writer.section(Tag::Fleet, &pb::TrustDocuments::from(fleet.clone()).encode_to_vec())?;
            writer.section(Tag::App, &pb::TrustDocuments::from(app.clone()).encode_to_vec())?;
        }
        writer.section(Tag::Manifest, manifest)?;
        writer.section(Tag::Index, index)?;
        for attestation in attestations {
            writer.section(Tag::Attestation, attestation)?;
        }
        Ok(writer)
    }

    /// A block begins; exactly `wire_bytes` of [`Writer::data`] follow.
    pub fn block(&mut self, wire_bytes: u64) -> io::Result<()> {
        self.header(Tag::Block, wire_bytes)
    }

    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }

    pub fn end(mut self) -> io::Result<W> {
        let digest = *self.hash.finalize().as_bytes();
        self.section(Tag::End, &digest)?;
        Ok(self.out)
    }

    /// Where the bytes go.
    pub fn out(&mut self) -> &mut W {
        &mut self.out
    }

    fn section(&mut self, tag: Tag, bytes: &[u8]) -> io::Result<()> {
        self.header(tag, bytes.len() as u64)?;
        self.data(bytes)
    }

    fn header(&mut self, tag: Tag, length: u64) -> io::Result<()> {
        let mut header = [tag.byte(); HEADER];
        header[1..].copy_from_slice(&length.to_le_bytes());
        self.data(&header)
    }
}
