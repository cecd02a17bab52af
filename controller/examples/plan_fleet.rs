//! How long it takes to plan for a large fleet, once every host has answered.
//!
//! `cargo run --release -p longshore-controller --example plan_fleet -- 10000`

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use longshore_common::{
    bundle::{Blob, Entry, Index, Kind},
    digest::{BlobDigest, ContentDigest, IndexDigest, ReleaseDigest},
    ids::{HostId, Version},
    manifest::{Manifest, SCHEMA},
    settings::{Settings, Values},
    slot::Slot,
};
use longshore_controller::{
    plan::{Candidate, Machine, PlanPolicy, Release, Survey, Surveyed, World, moved, plan},
    rollout::{Member, Share, Spec, Target},
};
use uuid::Uuid;

const FILES: usize = 2_000;
const ZONES: u32 = 12;
const ROUNDS: usize = 5;

fn main() {
    let hosts = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let world = world(hosts);
    let mut took = BTreeSet::new();
    let mut made = plan(&world);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        made = plan(&world);
        took.insert(begun.elapsed());
    }
    let (best, worst) = (took.first().expect("rounds were run"), took.last().expect("rounds were run"));
    println!(
        "{hosts} hosts, {} waves, {FILES} files: planned in {best:.0?} to {worst:.0?}",
        made.waves.len()
    );
    let begun = Instant::now();
    let json = serde_json::to_vec(&made).expect("a plan is JSON");
    println!("as JSON {} bytes in {:.0?}", json.len(), begun.elapsed());
    let begun = Instant::now();
    assert!(moved(&made, &made).is_empty());
    println!("held against itself in {:.0?}", begun.elapsed());
}

fn world(hosts: u32) -> World {
    let (old, new) = (target("1.0"), target("1.1"));
    let live = Slot::new(&old.version, &old.release, &Settings::default()).to_string();
    let candidates = (0..hosts).map(|number| candidate(number, &old, &live)).collect();
    World {
        behind: None,
        had_groups: false,
        balancers: vec![],
        runners: vec![],
        made_ms: 0,
        made_by: "ada".to_owned(),
        env: "production".parse().expect("a name"),
        env_file: ContentDigest::of(b""),
        policy: PlanPolicy::default(),
        spec: Spec { spread: Some("zone".to_owned()), wave: Share::Percent(5), ..Spec::default() },
        release: release(&new.version, 1),
        target: new,
        snapshots: BTreeMap::new(),
        wire_bytes: 1 << 20,
        withdrawn: None,
        against: BTreeMap::new(),
        known: BTreeMap::from([(old.version.clone(), release(&old.version, 0))]),
        live: Some(old),
        hosts: candidates,
        busy: None,
        overlaps: vec![],
        past: vec![],
        templates: BTreeMap::new(),
        asked: BTreeMap::new(),
        calendar: vec![],
        promotion: vec![],
        approval: None,
        unmet: vec![],
    }
}

fn target(version: &str) -> Target {
    let version: Version = version.parse().expect("a version");
    let release = ReleaseDigest::of(version.as_str().as_bytes());
    Target { version, release, snapshot: None, layers: vec![], values: Values::new() }
}

fn candidate(number: u32, old: &Target, live: &str) -> Candidate {
    let member = Member {
        foreign: false,
        id: HostId(Uuid::from_u128(u128::from(number) + 1)),
        name: format!("web-{number:05}").parse().expect("a name"),
        labels: BTreeMap::from([("zone".to_owned(), format!("zone-{}", number % ZONES))]),
        previous: Some(old.clone()),
        layers: vec![],
        sick: false,
        silent: None,
        held: None,
        excluded: None,
        drained: false,
        left_drained: false,
        group: None,
        address: None,
        replaces: false,
    };
    let machine = Machine {
        arch: "x86_64".to_owned(),
        os: "debian 12".to_owned(),
        memory_bytes: 4 << 30,
        // One in a hundred is full.
        disk_free_bytes: if number % 100 == 7 { 1 } else { 20 << 30 },
    };
    let survey =
        Survey { machine, live_slot: live.to_owned(), slots: vec![live.to_owned()], ..Survey::default() };
    let surveyed = Surveyed::Answered(Box::new(survey));
    Candidate { member, surveyed, unrendered: vec![], unopened: vec![], unwell: None }
}

fn release(version: &Version, changed: usize) -> Release {
    let entry = |number: usize| {
        // Some files differ from release to release.
        let content =
            if number.is_multiple_of(50) { format!("{number} {changed}") } else { number.to_string() };
        let blob = Blob { digest: BlobDigest::of(content.as_bytes()), size: 4096 };
        Entry { path: format!("lib/{number:05}"), kind: Kind::File { executable: false, blob } }
    };
    let index = Index::new((0..FILES).map(entry).collect()).expect("the index is sound");
    let manifest = serde_json::json!({
        "schema": SCHEMA, "app": "shop", "version": version,
        "artifact": {"index": IndexDigest([0; 32]), "files": FILES, "bytes": index.bytes()},
        "service": {
            "driver": "process", "exec": ["./bin/shop"],
            "stop": {"signal": "SIGTERM", "grace": "10s"}, "start_timeout": "1m",
        },
    });
    let manifest: Manifest = serde_json::from_value(manifest).expect("a manifest");
    Release { manifest: Arc::new(manifest), index: Arc::new(index) }
}
