//! How a transcript begins: `a b:silent c@east | wave=2 spread=zone | arch=aarch64 unfit=skip`.
//!
//! Fleet: names as in the rollout's transcripts (`:new`, `:2`, `:sick`, `:held`), and `@east` for the label zone,
//! `:silent` (does not answer), `:older` (cannot be asked), `:arm`, `:small`, `:full`, `:late` (its clock), `:bare` (no
//! command), `:port` (taken by nginx), `:unmounted`, `:userless`, `:rootless`, `:pruned` (the way back is in no slot),
//! `:by-hand` (somebody there went back to 0). Then the strategy, then what the release requires and what the
//! environment says of plans.

use std::{collections::BTreeMap, sync::Arc};

use longshore_common::{
    bundle::{Blob, Entry, Index, Kind},
    digest::{BlobDigest, ContentDigest, IndexDigest},
    manifest::{Manifest, Requires, SCHEMA},
    settings::Settings,
    slot::Slot,
};
use serde_json::json;

use crate::{
    plan::{
        Candidate, Check, Machine, Part, Plan, PlanPolicy, Release, Survey, Surveyed, Unfit, World, plan,
    },
    rollout::{
        Target,
        tests::setup::{member, spec, target, version},
    },
};

pub(super) const MIB: u64 = 1 << 20;

pub(crate) fn world(setup: &str) -> World {
    let mut parts = setup.split('|');
    let fleet = parts.next().unwrap_or_default();
    let spec = spec(parts.next().unwrap_or_default());
    let (mut requires, mut policy) = (Requires::default(), PlanPolicy::default());
    for word in parts.next().unwrap_or_default().split_whitespace() {
        let (key, value) = word.split_once('=').expect("key=value");
        require(&mut requires, &mut policy, key, value);
    }
    let hosts = fleet.split_whitespace().zip(1..).map(|(host, number)| candidate(host, number)).collect();
    World {
        made_ms: 1_000_000,
        made_by: "ada".to_owned(),
        behind: None,
        had_groups: false,
        balancers: vec![],
        env: "prod".parse().unwrap(),
        env_file: ContentDigest::of(b"file"),
        policy,
        spec,
        target: target("2"),
        snapshots: BTreeMap::new(),
        release: release("2", requires, &[("bin", "new", 30 * MIB), ("etc", "same", 10 * MIB)]),
        wire_bytes: 20 * MIB,
        withdrawn: None,
        against: BTreeMap::new(),
        live: Some(target("1")),
        known: BTreeMap::from([(
            version("1"),
            release("1", Requires::default(), &[("bin", "old", 28 * MIB), ("etc", "same", 10 * MIB)]),
        )]),
        hosts,
        runners: vec![],
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

fn require(requires: &mut Requires, policy: &mut PlanPolicy, key: &str, value: &str) {
    let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
    match key {
        "arch" => requires.arch = list(),
        "os" => requires.os = vec![value.replace('_', " ")],
        "memory" => requires.memory = Some(value.parse::<u64>().unwrap() * MIB),
        "disk" => requires.disk = Some(value.parse::<u64>().unwrap() * MIB),
        "clock" => requires.clock = Some(value.parse().unwrap()),
        "ports" => requires.ports = list(),
        "unfit" => policy.unfit = if value == "skip" { Unfit::Skip } else { Unfit::Refuse },
        "overrides" => {
            policy.overrides = value.split(',').map(|name| Check::parse(name).unwrap()).collect();
        }
        other => panic!("nothing is called {other}"),
    }
}

pub(crate) fn release(text: &str, requires: Requires, files: &[(&str, &str, u64)]) -> Release {
    let entries = files.iter().map(|(path, content, size)| Entry {
        path: (*path).to_owned(),
        kind: Kind::File {
            executable: false,
            blob: Blob { digest: BlobDigest::of(content.as_bytes()), size: *size },
        },
    });
    let index = Index::new(entries.collect()).unwrap();
    let (files, bytes) = (index.entries().len(), index.bytes());
    // What is not said is as it is by default, whatever a manifest can say.
    let manifest: Manifest = serde_json::from_value(json!({
        "schema": SCHEMA, "app": "shop", "version": text, "requires": requires,
        "artifact": {"index": IndexDigest([0; 32]), "files": files, "bytes": bytes},
        "service": {
            "driver": "systemd", "exec": ["./bin", format!("--release={text}")], "user": "shop",
            "stop": {"signal": "SIGTERM", "grace": "10s"}, "start_timeout": "1m",
        },
    }))
    .unwrap();
    Release { manifest: Arc::new(manifest), index: Arc::new(index) }
}

fn slot(target: &Target) -> String {
    Slot::new(
        &target.version,
        &target.release,
        &Settings { values: target.values.clone(), ..Settings::default() },
    )
    .to_string()
}

/// Marks of the rollout's transcripts make the member, all others what the host says.
pub(super) fn candidate(text: &str, number: u128) -> Candidate {
    let (host, marks) = text.split_once(':').map_or((text, ""), |(host, marks)| (host, marks));
    let (name, zone) = host.split_once('@').map_or((host, None), |(name, zone)| (name, Some(zone)));
    let (of_member, of_survey): (Vec<&str>, Vec<&str>) =
        marks.split(':').filter(|mark| !mark.is_empty()).partition(|mark| {
            ["new", "sick", "held", "excluded", "drained", "blue", "green", "2", "1"].contains(mark)
        });
    let mut member = member(&[&[name], &of_member[..]].concat().join(":"), number);
    if let Some(zone) = zone {
        member.labels.insert("zone".to_owned(), zone.to_owned());
    }
    let live = member.previous.as_ref().map(slot).unwrap_or_default();
    let mut survey = Survey {
        machine: Machine {
            arch: "x86_64".into(),
            os: "debian 12".into(),
            memory_bytes: 4096 * MIB,
            disk_free_bytes: 8192 * MIB,
        },
        slots: if live.is_empty() { vec![] } else { vec![live.clone()] },
        live_slot: live,
        ..Survey::default()
    };
    let (mut unrendered, mut unopened, mut unwell) = (vec![], vec![], None);
    for mark in of_survey {
        match mark {
            "unwell" => unwell = Some("rollout 0193f3a0: LS-B01 status 500".to_owned()),
            "unsettled" => unrendered.push("app.conf: nothing is declared as db_url".to_owned()),
            "unopened" => unopened.push("secret db was not encrypted for its key".to_owned()),
            "silent" => {
                return Candidate {
                    surveyed: Surveyed::Unknown { why: None, machine: Some(survey.machine) },
                    member,
                    unrendered,
                    unwell,
                    unopened,
                };
            }
            "older" => {
                let why = "this agent does not know that question".to_owned();
                return Candidate {
                    surveyed: Surveyed::Unasked { why, machine: Some(survey.machine) },
                    member,
                    unrendered,
                    unwell,
                    unopened,
                };
            }
            mark => spoil(&mut survey, mark),
        }
    }
    Candidate { surveyed: Surveyed::Answered(Box::new(survey)), member, unrendered, unopened, unwell }
}

fn spoil(survey: &mut Survey, mark: &str) {
    match mark {
        "arm" => survey.machine.arch = "aarch64".into(),
        "small" => survey.machine.memory_bytes = 512 * MIB,
        "full" => survey.machine.disk_free_bytes = MIB,
        "late" => survey.clock_offset_ms = -90_000,
        "bare" => survey.commands_missing = vec!["openssl".into()],
        "port" => survey.ports_taken = vec![("8080".into(), Some("nginx (pid 7)".into()))],
        "unmounted" => survey.mounts_missing = vec!["/srv/data".into()],
        "userless" => survey.users_missing = vec!["backup".into()],
        "rootless" => survey.run_as_problem = Some("the agent may not become another user".into()),
        "secretless" => survey.secrets_missing = vec!["secret db: this host has no credential db".into()],
        "distrustful" => survey.trust_problem = Some("pins another root".into()),
        "pruned" => survey.slots.clear(),
        "by-hand" => {
            survey.live_slot = slot(&target("0"));
            survey.slots = vec![survey.live_slot.clone()];
        }
        other => panic!("no mark {other}"),
    }
}

/// What somebody reads of a plan: waves, who is left out, what fails, remarks.
pub(super) fn told(plan: &Plan) -> String {
    let mut lines = vec![];
    for wave in &plan.waves {
        let names: Vec<&str> = plan
            .hosts
            .iter()
            .filter(|host| host.part == Part::Wave { wave: wave.number })
            .map(|host| host.name.as_str())
            .collect();
        let domain =
            if wave.domains.is_empty() { String::new() } else { format!(" {}", wave.domains.join("+")) };
        lines.push(format!(
            "wave {}{domain}: {} ({}%, {}% so far, bake {})",
            wave.number + 1,
            names.join(" "),
            wave.blast.percent,
            wave.blast.percent_so_far,
            wave.bake
        ));
    }
    for host in &plan.hosts {
        if let Part::Skipped { because } = &host.part {
            let because: Vec<&str> = because.iter().map(|check| check.as_str()).collect();
            lines.push(format!("left out: {} ({})", host.name, because.join(", ")));
        }
    }
    for failed in &plan.failed {
        let may = if failed.may_override { ", may be overridden" } else { "" };
        lines.push(format!("failed {}{may}: {}", failed.check, failed.what));
        lines.extend(failed.hosts.iter().map(|fault| format!("  {}: {}", fault.host, fault.what)));
    }
    lines.extend(plan.remarks.iter().map(|remark| format!("- {remark}")));
    lines.join("\n")
}

/// The plan of this world reads like this.
#[track_caller]
pub(super) fn check(setup: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(|line| line.trim_start_matches("           ")).collect();
    assert_eq!(told(&plan(&world(setup))), expected.join("\n"), "{setup}");
}
