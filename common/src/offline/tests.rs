//! What goes into a bundle comes out of it, and nothing else does.

use super::*;
use crate::{
    bundle::{
        Blob, Entry, Index, Kind,
        block::{Wanted, partition},
        frame::{self, Form},
        split::BlobSink,
    },
    code::{Code, Coded},
    digest::BlobDigest,
    manifest::{Artifact, Attestation, AttestationKind, MANIFEST_BYTES, file::AppFile},
};

fn contents() -> Vec<Vec<u8>> {
    vec![b"one".to_vec(), vec![7; 300_000], vec![], b"four".repeat(9)]
}

fn index() -> Index {
    let entry = |(n, content): (usize, &Vec<u8>)| {
        let blob = Blob { digest: BlobDigest::of(content), size: content.len() as u64 };
        Entry { path: format!("f{n}"), kind: Kind::File { executable: n == 0, blob } }
    };
    Index::new(contents().iter().enumerate().map(entry).collect()).unwrap()
}

fn head() -> Head {
    let fleet = Offer { roots: vec![b"root".to_vec()], targets: b"list".to_vec(), ..Offer::default() };
    let documents = Some(Documents { app: Offer { timestamp: b"t".to_vec(), ..fleet.clone() }, fleet });
    let index = frame::compress(3, &index().encode()).unwrap();
    Head {
        form: Form::Framed,
        documents,
        manifest: b"{}".to_vec(),
        index,
        attestations: vec![b"sbom".to_vec()],
    }
}

fn written(head: &Head) -> Vec<u8> {
    let index = index();
    let mut writer = Writer::begin(Vec::new(), head).unwrap();
    for block in partition(index.blobs(), &Wanted::All) {
        let content: Vec<u8> = block.numbers.iter().flat_map(|n| contents()[*n as usize].clone()).collect();
        let wire = frame::compress(3, &content).unwrap();
        writer.block(wire.len() as u64).unwrap();
        writer.data(&wire).unwrap();
    }
    writer.end().unwrap()
}

#[derive(Default)]
struct Kept(Vec<Vec<u8>>);

impl BlobSink for Kept {
    type Error = Coded;
    fn begin(&mut self, _: u32, _: &Blob) -> Result<(), Coded> {
        self.0.push(vec![]);
        Ok(())
    }
    fn write(&mut self, content: &[u8]) -> Result<(), Coded> {
        self.0.last_mut().unwrap().extend_from_slice(content);
        Ok(())
    }
    fn end(&mut self, _: u32, _: &Blob) -> Result<(), Coded> {
        Ok(())
    }
}

fn read(bytes: &[u8]) -> Result<(Head, Vec<Vec<u8>>), Coded> {
    let (head, reader) = Reader::open(bytes)?;
    let mut kept = Kept::default();
    reader.blobs(&head.index(&index().digest())?, &mut kept, &|| Ok(()))?;
    Ok((head, kept.0))
}

#[test]
fn the_same_release_is_the_same_bytes_and_comes_out_whole() {
    let bytes = written(&head());
    assert_eq!(bytes, written(&head()));
    assert_eq!(read(&bytes).unwrap(), (head(), contents()));
    let unsigned = Head { documents: None, attestations: vec![], ..head() };
    assert_eq!(read(&written(&unsigned)).unwrap().0, unsigned);
}

#[test]
fn a_bundle_that_is_cut_anywhere_is_refused() {
    let bytes = written(&head());
    for cut in (0..bytes.len()).step_by(13).chain([bytes.len() - 1]) {
        let refusal = read(&bytes[..cut]).unwrap_err();
        assert_eq!(refusal.code, Code::A05, "cut at {cut}: {refusal}");
    }
}

#[test]
fn a_bundle_with_any_byte_changed_is_refused() {
    let bytes = written(&head());
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x40;
        let refused = read(&changed);
        assert!(refused.is_err(), "byte {at} may be changed unnoticed");
    }
}

/// Where the section with this tag begins, and what follows it.
fn section(bytes: &[u8], tag: u8) -> std::ops::Range<usize> {
    let mut at = MAGIC.len();
    loop {
        let length = u64::from_le_bytes(bytes[at + 1..at + HEADER].try_into().unwrap()) as usize;
        if bytes[at] == tag {
            return at..at + HEADER + length;
        }
        at += HEADER + length;
    }
}

#[test]
fn sections_may_be_as_long_as_what_they_hold() {
    let most = Tag::ALL.map(|tag| (tag.byte() as char, tag.bytes_max()));
    assert_eq!(
        most,
        [
            ('F', 987_136),
            ('A', 987_136),
            ('M', 65_536),
            ('I', 17_825_792),
            ('P', 4_194_304),
            ('B', 0),
            ('E', 32)
        ]
    );
    let with = |bytes: usize| Head { manifest: vec![b' '; bytes], ..head() };
    assert_eq!(read(&written(&with(MANIFEST_BYTES))).unwrap().0, with(MANIFEST_BYTES));
    let refusal = read(&written(&with(MANIFEST_BYTES + 1))).unwrap_err();
    assert!(
        refusal.message.contains("the manifest of the bundle has 65537 bytes, at most 65536"),
        "{refusal}"
    );
}

/// A block says how long it is before it comes: at most what its content can need.
#[test]
fn a_block_that_would_be_longer_than_its_content_can_need_is_not_even_read() {
    let good = written(&head());
    let block = section(&good, b'B');
    let content: usize = contents().iter().map(Vec::len).sum();
    let most = frame::frame_bytes_max(content as u64);
    let claiming = |length: u64| {
        let mut bytes = good[..block.end].to_vec();
        bytes[block.start + 1..block.start + HEADER].copy_from_slice(&length.to_le_bytes());
        read(&bytes).unwrap_err()
    };
    assert_eq!((claiming(most).code, claiming(most + 1).code), (Code::A05, Code::A04));
}

#[test]
fn where_a_bundle_is_cut_off_is_told_and_reading_it_for_nothing_but_itself_refuses_it_too() {
    let good = written(&head());
    let cut = good.len() - 1;
    let refusal = read(&good[..cut]).unwrap_err();
    assert!(refusal.message.contains(&format!("cut off after byte {}", good.len() - 32)), "{refusal}");
    let verify = |bytes: &[u8]| {
        let (head, reader) = Reader::open(bytes)?;
        reader.verify(&head.index(&index().digest())?)
    };
    verify(&good).unwrap();
    assert_eq!(verify(&good[..cut]).unwrap_err(), refusal);
}

#[test]
fn what_is_attested_is_what_the_manifest_names_and_in_its_order() {
    let [sbom, other] =
        [&b"{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.6\"}"[..], b"{\"spdxVersion\":\"SPDX-2.3\"}"];
    let text = "[app]\nname = \"shop\"\n[artifact]\npath = \"d\"\n[service]\ndriver = \"none\"\n";
    let artifact = Artifact { index: index().digest(), files: 4, bytes: 300_039 };
    let file = AppFile::parse("longshore.toml", text).unwrap();
    let mut manifest = file.into_manifest("1.0".parse().unwrap(), artifact);
    let of =
        |files: &[&[u8]]| Head { attestations: files.iter().map(|file| file.to_vec()).collect(), ..head() };
    let named = |bytes| Attestation::recognise(AttestationKind::Sbom, bytes).unwrap();
    of(&[]).attested(&manifest).unwrap();
    assert_eq!(manifest.lacks(&[]), None);
    let all = manifest.lacks(&AttestationKind::ALL).unwrap();
    assert_eq!(all.names(), "sbom and provenance");
    assert_eq!(all.remedy(), "longshore release publish --sbom FILE --provenance FILE");
    manifest.attestations = vec![named(sbom), named(other)];
    let one = manifest.lacks(&AttestationKind::ALL).unwrap();
    assert_eq!(one.remedy(), "longshore release publish --provenance FILE");
    assert_eq!(manifest.lacks(&[AttestationKind::Sbom]), None);
    of(&[sbom, other]).attested(&manifest).unwrap();
    for files in [&[][..], &[sbom], &[other, sbom], &[sbom, other, other]] {
        let refusal = of(files).attested(&manifest).unwrap_err();
        assert!(refusal.code == Code::A01 && refusal.message.contains("not those that its manifest names"));
    }
}

#[test]
fn hostile_bundles_are_refused_with_their_code() {
    let good = written(&head());
    let twice = |tag: u8| {
        let range = section(&good, tag);
        [&good[..range.end], &good[range.clone()], &good[range.end..]].concat()
    };
    let without = |tag: u8| {
        let range = section(&good, tag);
        [&good[..range.start], &good[range.end..]].concat()
    };
    let mut endless = good.clone();
    let manifest = section(&good, b'M').start;
    endless[manifest + 1..manifest + HEADER].copy_from_slice(&u64::MAX.to_le_bytes());
    let bomb = Head { index: frame::compress(3, &vec![0; 20 << 20]).unwrap(), ..head() };
    let other = Head { index: frame::compress(3, b"another").unwrap(), ..head() };
    let many = Head { attestations: vec![vec![1]; ATTESTATIONS + 1], ..head() };
    let rows: Vec<(&str, Vec<u8>, Code, &str)> = vec![
        ("nothing", vec![], Code::A05, "empty"),
        ("an error page", b"<html><body>404 not found</body></html>".to_vec(), Code::A05, "<html>"),
        ("a later version", b"longshore bundle 2\nF".to_vec(), Code::A05, "another version"),
        ("two manifests", twice(b'M'), Code::A05, "the manifest where the index"),
        ("two lists", twice(b'A'), Code::A05, "the app's documents where the manifest"),
        ("a block twice", twice(b'B'), Code::A05, "a block where the end"),
        ("no manifest", without(b'M'), Code::A05, "the index where the manifest"),
        ("no list", without(b'A'), Code::A05, "the manifest where the app's documents"),
        ("no blocks", without(b'B'), Code::A05, "the end where a block"),
        ("a manifest without end", endless, Code::A04, "the manifest of the bundle has"),
        ("an index that explodes", written(&bomb), Code::A04, "expanded"),
        ("another index", written(&other), Code::A01, "its manifest names"),
        ("too much attested", written(&many), Code::A04, "attestations"),
        ("more after the end", [&good[..], b"x"].concat(), Code::A05, "follow the end"),
    ];
    for (what, bytes, code, says) in rows {
        let refusal = read(&bytes).unwrap_err();
        assert!(refusal.code == code && refusal.message.contains(says), "{what}: {refusal}");
    }
}

/// A head whose manifest names the index, so that it can be expanded.
fn named() -> Head {
    let text = "[app]\nname = \"shop\"\n[artifact]\npath = \"d\"\n[service]\ndriver = \"none\"\n";
    let index = index();
    let artifact = Artifact { index: index.digest(), files: 5, bytes: index.bytes() };
    let file = AppFile::parse("longshore.toml", text).unwrap();
    Head { manifest: file.into_manifest("1.0".parse().unwrap(), artifact).to_bytes(), ..head() }
}

#[test]
fn an_expanded_bundle_says_the_same_without_a_frame() {
    let mut plain = vec![];
    expand(&written(&named())[..], &mut plain).unwrap();
    let (read, reader) = Reader::open_as(Form::Plain, &plain[..]).unwrap();
    assert_eq!(read, Head { form: Form::Plain, index: index().encode(), ..named() });
    let mut kept = Kept::default();
    reader.blobs(&read.index(&index().digest()).unwrap(), &mut kept, &|| Ok(())).unwrap();
    assert_eq!(kept.0, contents());
    let magic = &[0x28, 0xb5, 0x2f, 0xfd]; // of a zstd frame
    assert!(!plain.windows(4).any(|bytes| bytes == magic));
    // Neither passes for the other.
    assert_eq!(Reader::open(&plain[..]).map(drop).unwrap_err().code, Code::A05);
    assert_eq!(Reader::open_as(Form::Plain, &written(&named())[..]).map(drop).unwrap_err().code, Code::A05);
}

#[test]
fn what_is_wrong_with_a_bundle_is_found_on_either_side_of_its_expansion() {
    let framed = written(&named());
    let mut plain = vec![];
    expand(&framed[..], &mut plain).unwrap();
    for cut in [0, 10, 40, framed.len() / 2, framed.len() - 1] {
        assert!(expand(&framed[..cut], &mut vec![]).is_err(), "{cut} of {} bytes", framed.len());
    }
    let look = |bytes: &[u8]| {
        let (head, reader) = Reader::open_as(Form::Plain, bytes)?;
        reader.verify(&head.index(&index().digest())?)
    };
    look(&plain).unwrap();
    for cut in [0, 10, 40, plain.len() / 2, plain.len() - 1] {
        assert!(look(&plain[..cut]).is_err(), "{cut} of {} bytes", plain.len());
    }
    for at in (0..plain.len()).step_by(plain.len() / 97 + 1) {
        let mut spoiled = plain.clone();
        spoiled[at] ^= 1;
        assert!(look(&spoiled).is_err(), "byte {at} was changed unseen");
    }
    // Frames where content belongs are content, and the wrong one.
    let mut writer =
        Writer::begin(Vec::new(), &Head { form: Form::Plain, index: index().encode(), ..named() }).unwrap();
    for block in partition(index().blobs(), &Wanted::All) {
        let content: Vec<u8> = block.numbers.iter().flat_map(|n| contents()[*n as usize].clone()).collect();
        let wire = frame::compress(3, &content).unwrap();
        writer.block(wire.len() as u64).and_then(|()| writer.data(&wire)).unwrap();
    }
    assert!(look(&writer.end().unwrap()).is_err());
}
