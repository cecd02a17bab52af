//! Seeds that are made of our own types: a fuzzer that begins with sound input gets past the first check.

use longshore_common::{
    assignment::{Assignment, Intent},
    bundle::{Blob, Entry, Index, Kind, frame, limits},
    code::Code,
    digest::{BlobDigest, IndexDigest, ReleaseDigest, SealedDigest},
    ids::Generation,
    join::JoinToken,
    manifest::{Artifact, file::AppFile},
    offline::{Head, Writer},
    report::{Blame, Failure, Outcome, Report, StepName},
    settings::{Reference, Settings, Values},
    time::Span,
    traffic::{Director, Traffic},
    trust::{Catalog, FLEET, Listed, Offer, author},
};
use longshore_controller::audit::{Chained, GENESIS, What, line_hash};
use longshore_proto::v1 as pb;
use prost::Message as _;

use crate::targets::trust::{APP, NOW, first_offer, key};

/// Each with its path below the folder of seeds.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        ("index/small".to_owned(), index()),
        ("manifest/shop".to_owned(), manifest()),
        ("offline/shop".to_owned(), offline()),
        ("to-agent/assignment".to_owned(), assignment()),
        ("audit-log/three".to_owned(), audit_log()),
        ("token/plain".to_owned(), token(None)),
        ("token/pinned".to_owned(), token(Some([9; 32]))),
        ("app-file/example".to_owned(), include_bytes!("../../../deploy/examples/longshore.toml").to_vec()),
        ("agent-config/example".to_owned(), include_bytes!("../../../deploy/examples/agent.toml").to_vec()),
        (
            "controller-config/example".to_owned(),
            include_bytes!("../../../deploy/examples/controller.toml").to_vec(),
        ),
        (
            "environment/example".to_owned(),
            include_bytes!("../../../deploy/examples/production.toml").to_vec(),
        ),
    ];
    let named = |folder: &str, (name, bytes): (&str, Vec<u8>)| (format!("{folder}/{name}"), bytes);
    all.extend(blocks().map(|seed| named("block", seed)));
    all.extend(said_by_agents().map(|seed| named("from-agent", seed)));
    all.extend(documents().map(|seed| named("trust-document", seed)));
    all.extend(updates().map(|seed| named("trust-update", seed)));
    all
}

fn index() -> Vec<u8> {
    let file = |path: &str, content: &[u8], executable| {
        let blob = Blob { digest: BlobDigest::of(content), size: content.len() as u64 };
        Entry { path: path.to_owned(), kind: Kind::File { executable, blob } }
    };
    let link = |path: &str, target: &str| Entry {
        path: path.to_owned(),
        kind: Kind::Link { target: target.to_owned() },
    };
    let entries = vec![
        file("bin/shop", b"#!/bin/sh\n", true),
        file("etc/shop.toml", b"workers = 4\n", false),
        file("lib/a/b.so", b"elf", false),
        link("current", "lib/a"),
        link("lib/b.so", "../current/b.so"),
    ];
    Index::new(entries).expect("a sound index").encode()
}

/// One that holds what it says, without signed documents.
fn offline() -> Vec<u8> {
    let content = b"#!/bin/sh\n";
    let blob = Blob { digest: BlobDigest::of(content), size: content.len() as u64 };
    let entry = Entry { path: "bin/shop".to_owned(), kind: Kind::File { executable: true, blob } };
    let index = Index::new(vec![entry]).expect("a sound index");
    let text = include_str!("../../../deploy/examples/longshore.toml");
    let file = AppFile::parse("longshore.toml", text).expect("the example is valid");
    let artifact = Artifact { index: index.digest(), files: 1, bytes: index.bytes() };
    let manifest = file.into_manifest("1.4.2".parse().expect("a version"), artifact).to_bytes();
    let squeezed = |bytes: &[u8]| frame::compress(limits::UPLOAD_LEVEL, bytes).expect("in memory");
    let head = Head { manifest, index: squeezed(&index.encode()), ..Head::default() };
    let mut writer = Writer::begin(Vec::new(), &head).expect("in memory");
    let wire = squeezed(content);
    writer.block(wire.len() as u64).and_then(|()| writer.data(&wire)).expect("in memory");
    writer.end().expect("in memory")
}

fn manifest() -> Vec<u8> {
    let text = include_str!("../../../deploy/examples/longshore.toml");
    let file = AppFile::parse("longshore.toml", text).expect("the example is valid");
    let artifact = Artifact { index: IndexDigest([7; 32]), files: 2, bytes: 22 };
    file.into_manifest("1.4.2".parse().expect("a version"), artifact).to_bytes()
}

fn assignment() -> Vec<u8> {
    let assignment = Assignment {
        host: "6f3c5a52-7f0e-4a53-9b5c-0d8f3f6f2c11".parse().expect("an id"),
        app: "shop".parse().expect("a name"),
        env: "production".parse().expect("a name"),
        rollout: "0193f3a0-0000-7000-8000-000000000001".parse().expect("an id"),
        generation: Generation::new(3, 1),
        version: "1.4.2".parse().expect("a version"),
        release: ReleaseDigest::of(b"manifest"),
        settings: Settings {
            values: Values::from([("workers".to_owned(), "4".to_owned())]),
            secrets: [
                ("a", Reference::File { path: "/etc/longshore/secrets/a".into(), rev: 2 }),
                ("b", Reference::Credential { name: "b".into(), rev: 0 }),
                ("c", Reference::Sealed { digest: SealedDigest([7; 32]) }),
            ]
            .map(|(name, reference)| (name.to_owned(), reference))
            .into(),
        },
        intent: Intent::Run,
        keep_slots: 3,
        traffic: Some(Traffic {
            director: Director::Haproxy,
            backend: "shop".parse().expect("a name"),
            share: 25,
            drain: Span::secs(30),
        }),
        directions: None,
        unwell: None,
    };
    let message = pb::to_agent::Message::Assignment(pb::Assignment::from(&assignment));
    pb::ToAgent { message: Some(message) }.encode_to_vec()
}

fn said_by_agents() -> [(&'static str, Vec<u8>); 3] {
    use pb::from_agent::Message;
    let app = pb::AppState {
        app: "shop".into(),
        generation: 7,
        current_slot: "1.4.1-3fa9c2d1".into(),
        version: "1.4.1".into(),
        running: true,
        slots: vec!["1.4.1-3fa9c2d1".into()],
        verdict: "healthy".into(),
        ..pb::AppState::default()
    };
    let facts = pb::Facts {
        os: "debian 13".into(),
        cpus: 2,
        addresses: vec!["10.0.0.2".into()],
        trust: Some(pb::TrustFacts { state: "signed".into(), ..pb::TrustFacts::default() }),
        ..pb::Facts::default()
    };
    let hello = pb::Hello {
        protocol: 1,
        boot_id: "b".into(),
        apps: vec![app.clone()],
        facts: Some(facts.clone()),
        hold: Some(pb::HoldState { held: true, by: "ann".into(), ..pb::HoldState::default() }),
        recipient: "age1qqq".into(),
        ..pb::Hello::default()
    };
    let failure = Failure::new(Code::B01, StepName::Probe, Blame::Version, "status 500");
    let report = Report {
        app: "shop".parse().expect("a name"),
        rollout: "0193f3a0-0000-7000-8000-000000000001".parse().expect("an id"),
        generation: Generation(9),
        release: ReleaseDigest::of(b"manifest"),
        time_ms: NOW,
        outcome: Outcome::Reverted {
            failure: failure.with_evidence(["panicked".to_owned()]),
            to_slot: "1.4.1-3fa9c2d1".parse().expect("a slot"),
            to_version: "1.4.1".parse().expect("a version"),
        },
        live: Some("1.4.1-3fa9c2d1".parse().expect("a slot")),
        by: None,
    };
    let survey = pb::Survey {
        app: Some(app),
        facts: Some(facts),
        commands_missing: vec!["openssl".into()],
        ports_taken: vec![pb::PortTaken { port: "8080".into(), by: "nginx".into() }],
        ..pb::Survey::default()
    };
    let answer = pb::Answer { id: 4, about: Some(pb::answer::About::Survey(survey)) };
    [
        ("hello", Message::Hello(hello)),
        ("report", Message::Report(report.to_message(7))),
        ("survey", Message::Answer(answer)),
    ]
    .map(|(name, message)| (name, pb::FromAgent { message: Some(message) }.encode_to_vec()))
}

/// As `targets::bundle::block` reads them.
fn blocks() -> [(&'static str, Vec<u8>); 2] {
    let block = |sizes: [u8; 7], content: &[u8]| {
        let wire = frame::compress(limits::DEMAND_LEVEL, content).expect("memory");
        [&sizes[..], &wire].concat()
    };
    [
        ("three", block([0, 5, 0, 0, 0, 6, 3], b"hello world")),
        ("repeats", block([16, 0, 16, 0, 0, 0, 255], &[7; 0x2000])),
    ]
}

fn audit_log() -> Vec<u8> {
    let words = |words: &str| words.to_owned();
    let (actor, key, method) = (words("ann"), words("k1"), words("Rollouts/Start"));
    let said = [
        What::Allowed {
            actor: actor.clone(),
            key: key.clone(),
            method: method.clone(),
            target: words("shop"),
        },
        What::Ended { of: 0, code: None, why: String::new() },
        What::Denied { actor, key, method, target: words("shop"), code: words("LS-C02"), why: words("no") },
    ];
    let (mut text, mut prev) = (String::new(), GENESIS);
    for (i, what) in (0..).zip(said) {
        let line = Chained { i, at_ms: NOW, prev, what }.line();
        prev = line_hash(&line);
        text += &(line + "\n");
    }
    text.into_bytes()
}

fn token(root: Option<[u8; 32]>) -> Vec<u8> {
    JoinToken { id: "tk_7d".into(), secret: [7; 32], ca: [200; 32], root }.to_string().into_bytes()
}

fn catalog() -> Catalog {
    let listed = |seq: u64, version: &str| Listed {
        seq,
        version: version.parse().expect("a version"),
        digest: ReleaseDigest::of(version.as_bytes()),
        length: version.len() as u64,
    };
    let releases = [listed(1, "1.0"), listed(2, "1.1")].map(|one| (one.seq, one)).into();
    Catalog { version: 2, min_seq: 1, next_seq: 3, releases, ..author::empty_catalog(APP) }
}

fn list() -> Vec<u8> {
    author::sign(&author::targets(&catalog(), NOW), &key(2)).expect("our own list")
}

fn documents() -> [(&'static str, Vec<u8>); 4] {
    let Offer { mut roots, timestamp, snapshot, targets: _ } = first_offer(APP);
    let root = roots.pop().expect("one root");
    [("root", root), ("list", list()), ("snapshot", snapshot), ("timestamp", timestamp)]
}

fn updates() -> [(&'static str, Vec<u8>); 3] {
    let lines = |parts: &[(u8, &[u8])]| {
        let lines: Vec<Vec<u8>> =
            parts.iter().map(|(kind, document)| [&[*kind], *document].concat()).collect();
        lines.join(&b'\n')
    };
    let first = first_offer(APP);
    let next = author::RootDraft { version: 2, ..crate::targets::trust::draft(APP) };
    let next = author::root(&next, NOW);
    let fleet = first_offer(FLEET);
    [
        ("whole", {
            let Offer { roots, timestamp, snapshot, targets } = &first;
            lines(&[(b'R', &roots[0]), (b'T', targets), (b'S', snapshot), (b'N', timestamp)])
        }),
        ("rotated", lines(&[(b'R', &first.roots[0]), (b'R', &next), (b'T', &list())])),
        ("foreign", lines(&[(b'R', &fleet.roots[0]), (b'T', &fleet.targets)])),
    ]
}
