//! Reads a bundle, believing nothing of it.

use std::{
    borrow::Cow,
    io::{self, Read},
};

use longshore_proto::v1 as pb;
use prost::Message as _;

use super::{ATTESTATIONS, Documents, HEADER, Head, Tag, magic};
use crate::{
    bundle::{
        Blob, Index,
        block::{Wanted, partition},
        frame::{Form, expand, frame_bytes_max},
        limits,
        split::{BlobSink, Splitter},
    },
    code::{Code, Coded},
    digest::{ContentDigest, IndexDigest},
    manifest::Manifest,
    trust::Offer,
};

/// A bundle whose head was read.
pub struct Reader<R> {
    input: R,
    form: Form,
    hash: blake3::Hasher,
    /// Bytes read so far.
    at: u64,
    /// The header that was read ahead.
    next: (Tag, u64),
}

impl<R: Read> Reader<R> {
    /// Reads the head. That its sections are whole and in order is known then, and nothing else.
    pub fn open(input: R) -> Result<(Head, Self), Coded> {
        Self::open_as(Form::Framed, input)
    }

    /// A bundle of another form is none.
    pub fn open_as(form: Form, input: R) -> Result<(Head, Self), Coded> {
        let mut reader = Self { input, form, hash: blake3::Hasher::new(), at: 0, next: (Tag::Fleet, 0) };
        reader.magic()?;
        reader.next = reader.header()?;
        let mut head = Head { form, ..Head::default() };
        if let Some(fleet) = reader.take(Tag::Fleet)? {
            let app = reader.take(Tag::App)?.ok_or_else(|| reader.out_of_order(Tag::App))?;
            head.documents = Some(Documents { fleet: documents(&fleet)?, app: documents(&app)? });
        }
        head.manifest = reader.take(Tag::Manifest)?.ok_or_else(|| reader.out_of_order(Tag::Manifest))?;
        head.index = reader.take(Tag::Index)?.ok_or_else(|| reader.out_of_order(Tag::Index))?;
        while let Some(attestation) = reader.take(Tag::Attestation)? {
            if head.attestations.len() == ATTESTATIONS {
                let message = format!("the bundle has more than {ATTESTATIONS} attestations; refused");
                return Err(Coded::new(Code::A04, message));
            }
            head.attestations.push(attestation);
        }
        Ok((head, reader))
    }

    /// Hands every blob to `sink`, each held against the index, and reads to the end of the bundle. `stop` is asked
    /// between pieces.
    pub fn blobs<S: BlobSink>(
        mut self,
        index: &Index,
        sink: &mut S,
        stop: &dyn Fn() -> Result<(), S::Error>,
    ) -> Result<(), S::Error> {
        let mut splitter = Splitter::of(self.form, index.blobs())?;
        let mut piece = vec![0; limits::PIECE_BYTES];
        for block in partition(index.blobs(), &Wanted::All) {
            let (tag, mut left) = self.next;
            if tag != Tag::Block {
                return Err(self.out_of_order(Tag::Block).into());
            }
            if left > frame_bytes_max(block.content_bytes) {
                let message = "a block of the bundle takes more bytes than its content can need; stopped";
                return Err(Coded::new(Code::A04, message).into());
            }
            splitter.begin(&block, sink)?;
            while left > 0 {
                stop()?;
                let now = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.exactly(&mut piece[..now])?;
                splitter.feed(&piece[..now], sink)?;
                left -= now as u64;
            }
            splitter.finish()?;
            self.next = self.header()?;
        }
        self.end().map_err(S::Error::from)
    }

    /// Holds everything against the index, and keeps nothing.
    pub fn verify(self, index: &Index) -> Result<(), Coded> {
        self.blobs(index, &mut Nowhere, &|| Ok(()))
    }

    fn magic(&mut self) -> Result<(), Coded> {
        let mut start = vec![];
        let magic = magic(self.form);
        let read = (&mut self.input).take(magic.len() as u64).read_to_end(&mut start);
        read.map_err(|e| unreadable(&e))?;
        if start == magic {
            self.hash.update(&start);
            self.at = start.len() as u64;
            return Ok(());
        }
        let shown: String = start.iter().take(16).map(|b| b.escape_ascii().to_string()).collect();
        let message = match (start.is_empty(), start.starts_with(b"longshore bundle ")) {
            (true, _) => "the bundle is empty".to_owned(),
            (_, true) => "a bundle of another version of Longshore: update longshore-agent".to_owned(),
            _ => format!("not a bundle: it begins \"{shown}\"; did an error page come instead?"),
        };
        Err(Coded::new(Code::A05, message))
    }

    /// The section's bytes, if it is this one that comes next.
    fn take(&mut self, tag: Tag) -> Result<Option<Vec<u8>>, Coded> {
        let (next, length) = self.next;
        if next != tag {
            return Ok(None);
        }
        if length > tag.bytes_max() as u64 {
            let message =
                format!("{} of the bundle has {length} bytes, at most {}", tag.noun(), tag.bytes_max());
            return Err(Coded::new(Code::A04, message));
        }
        let mut bytes = vec![0; length as usize];
        self.exactly(&mut bytes)?;
        self.next = self.header()?;
        Ok(Some(bytes))
    }

    fn header(&mut self) -> Result<(Tag, u64), Coded> {
        let mut header = [0; HEADER];
        let before = self.hash.clone();
        self.exactly(&mut header)?;
        let length = u64::from_le_bytes(header[1..].try_into().expect("eight bytes"));
        let tag = Tag::of(header[0]).ok_or_else(|| {
            let message = format!("byte {} of the bundle begins no section; copy it again", self.at);
            Coded::new(Code::A05, message)
        })?;
        if tag == Tag::End {
            self.hash = before; // the digest is of what comes before it
        }
        Ok((tag, length))
    }

    /// Here the bundle ends: as it was written, and with nothing after it.
    pub fn end(mut self) -> Result<(), Coded> {
        let (tag, length) = self.next;
        if tag != Tag::End || length != blake3::OUT_LEN as u64 {
            return Err(self.out_of_order(Tag::End));
        }
        let made = self.hash.finalize();
        let mut said = [0; blake3::OUT_LEN];
        self.exactly(&mut said)?;
        if made != blake3::Hash::from_bytes(said) {
            return Err(Coded::new(Code::A01, "the bundle is not the one that was written: copy it again"));
        }
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Coded::new(Code::A05, "bytes follow the end of the bundle")),
            Err(error) => Err(unreadable(&error)),
        }
    }

    fn exactly(&mut self, bytes: &mut [u8]) -> Result<(), Coded> {
        self.input.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Coded::new(Code::A05, format!("the bundle is cut off after byte {}; copy it again", self.at))
            }
            _ => unreadable(&error),
        })?;
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn out_of_order(&self, wanted: Tag) -> Coded {
        let (next, _) = self.next;
        let message = format!("the bundle has {} where {} belongs", next.noun(), wanted.noun());
        Coded::new(Code::A05, message)
    }
}

/// Where blobs go that are only held against the index.
struct Nowhere;

impl BlobSink for Nowhere {
    type Error = Coded;
    fn begin(&mut self, _: u32, _: &Blob) -> Result<(), Coded> {
        Ok(())
    }
    fn write(&mut self, _: &[u8]) -> Result<(), Coded> {
        Ok(())
    }
    fn end(&mut self, _: u32, _: &Blob) -> Result<(), Coded> {
        Ok(())
    }
}

impl Head {
    /// What is attested is what the manifest names: all of it, in its order, and nothing else.
    pub fn attested(&self, manifest: &Manifest) -> Result<(), Coded> {
        let found = self.attestations.iter().map(|bytes| ContentDigest::of(bytes));
        if found.eq(manifest.attestations.iter().map(|named| named.sha256)) {
            return Ok(());
        }
        let message = "the attestations in the bundle are not those that its manifest names; export it again";
        Err(Coded::new(Code::A01, message))
    }

    /// The index that the manifest names.
    pub fn index(&self, named: &IndexDigest) -> Result<Index, Coded> {
        let bytes = match self.form {
            Form::Framed => Cow::Owned(expand(&self.index, limits::INDEX_BYTES)?),
            Form::Plain => Cow::Borrowed(&self.index[..]),
        };
        let digest = IndexDigest::of(&bytes);
        if digest != *named {
            let message = format!("the bundle's index has sha256 {digest}, its manifest names {named}");
            return Err(Coded::new(Code::A01, message));
        }
        Index::decode(&bytes)
    }
}

fn documents(bytes: &[u8]) -> Result<Offer, Coded> {
    let documents = pb::TrustDocuments::decode(bytes);
    let unread = |e| Coded::new(Code::A05, format!("the bundle's signed documents cannot be read: {e}"));
    documents.map(Offer::from).map_err(unread)
}

fn unreadable(error: &io::Error) -> Coded {
    Coded::new(Code::S04, format!("read the bundle: {error}"))
}
