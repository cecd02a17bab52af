//! An offline bundle: a release with all that a host needs to verify and to run it, in one file, for hosts without a
//! network.
//!
//! ```text
//! "longshore bundle 1\n", then sections: a tag (1 byte), a length (8 bytes, lowest first), so many bytes
//!   F, A   the signed documents of the fleet and of the app; absent where nothing is signed
//!   M      the manifest
//!   I      the index, a zstd frame
//!   P      what is attested of the release, if anything; one section a file, in the manifest's order
//!   B      the blobs in blocks, as they travel over the network; how they are cut follows from the index
//!   E      BLAKE3 of everything before this section
//! ```
//! The order is fixed and nothing occurs twice, so the same release and documents are the same bytes. Writer and
//! reader hold one piece at a time. The reader believes nothing: what a section may hold is bounded before it is read,
//! and whether the release may run is for [`crate::trust`] to say.

mod expand;
mod folder;
mod read;
#[cfg(test)]
mod tests;
mod write;

use crate::{
    bundle::{frame::Form, limits},
    manifest::MANIFEST_BYTES,
    trust::{OFFER_BYTES, Offer},
};

pub use expand::expand;
pub use folder::{FILES, HEAD_FILE, pack_folder};
pub use read::Reader;
pub use write::Writer;

/// Bytes of a whole bundle, compressed.
pub const BUNDLE_BYTES: u64 = 2 << 30;
/// Of one with everything in it expanded.
pub const PLAIN_BYTES: u64 = limits::ARTIFACT_BYTES + (64 << 20);
/// Files of attestations, and bytes of one.
pub const ATTESTATIONS: usize = 4;
pub const ATTESTATION_BYTES: usize = 4 << 20;

const MAGIC: &[u8] = b"longshore bundle 1\n";
/// Of the same with everything expanded: what an agent without privileges hands on, never a file of anybody's.
const PLAIN_MAGIC: &[u8] = b"longshore expanded\n";

fn magic(form: Form) -> &'static [u8] {
    match form {
        Form::Framed => MAGIC,
        Form::Plain => PLAIN_MAGIC,
    }
}

const HEADER: usize = 9;

/// Everything but the blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Of index and blobs.
    pub form: Form,
    /// None where the fleet signs nothing.
    pub documents: Option<Documents>,
    pub manifest: Vec<u8>,
    /// In its form: a zstd frame, as it travels, or the index itself.
    pub index: Vec<u8>,
    pub attestations: Vec<Vec<u8>>,
}

/// The signed documents that say that the release may run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Documents {
    pub fleet: Offer,
    pub app: Offer,
}

/// A kind of section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tag {
    Fleet,
    App,
    Manifest,
    Index,
    Attestation,
    Block,
    End,
}

impl Tag {
    const ALL: [Tag; 7] =
        [Tag::Fleet, Tag::App, Tag::Manifest, Tag::Index, Tag::Attestation, Tag::Block, Tag::End];

    fn byte(self) -> u8 {
        match self {
            Tag::Fleet => b'F',
            Tag::App => b'A',
            Tag::Manifest => b'M',
            Tag::Index => b'I',
            Tag::Attestation => b'P',
            Tag::Block => b'B',
            Tag::End => b'E',
        }
    }

    fn of(byte: u8) -> Option<Self> {
        Tag::ALL.into_iter().find(|tag| tag.byte() == byte)
    }

    /// For messages.
    fn noun(self) -> &'static str {
        match self {
            Tag::Fleet => "the fleet's documents",
            Tag::App => "the app's documents",
            Tag::Manifest => "the manifest",
            Tag::Index => "the index",
            Tag::Attestation => "an attestation",
            Tag::Block => "a block",
            Tag::End => "the end",
        }
    }

    /// Bytes that a section in the head may have. Blocks are bounded by the index.
    fn bytes_max(self) -> usize {
        match self {
            // The documents, and what says where each begins.
            Tag::Fleet | Tag::App => OFFER_BYTES + 4096,
            Tag::Manifest => MANIFEST_BYTES,
            Tag::Index => limits::INDEX_BYTES + (1 << 20),
            Tag::Attestation => ATTESTATION_BYTES,
            Tag::Block => 0,
            Tag::End => blake3::OUT_LEN,
        }
    }
}
