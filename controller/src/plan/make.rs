//! From the world to the plan.

use std::collections::BTreeMap;

use longshore_common::{
    digest::{ContentDigest, PlanDigest},
    ids::HostId,
    report::DRAINED,
    slot::Slot,
    time::Span,
};

use super::{
    Blast, Change, Check, Fetch, HostPlan, Part, Plan, Running, SCHEMA, Standing, Unfit, Wave,
    back::back,
    compare,
    expect::{Gains, duration},
    failed::failed,
    fetch::{Counter, Need},
    fit::{Lack, lacks},
    gates::gates,
    remarks::remarks,
    traffic::traffic,
    world::{Candidate, Surveyed, World},
};
use crate::rollout::{HeldHosts, Member, Target, UnknownHosts, careful_waves, plan_waves};

/// What came out for one host, and what it lacks.
pub(super) struct Judged {
    pub plan: HostPlan,
    pub lacks: Vec<Lack>,
    pub held: Option<String>,
    /// Of two groups, it is of the one that does not get the release.
    pub is_other: bool,
}

/// The first note of a host that was left out before it was judged begins with this.
pub const LEFT_OUT: &str = "left out: ";

/// The plan for this world. The same world gives the same plan.
pub fn plan(world: &World) -> Plan {
    let members = members(world);
    let waves = plan_waves(&world.spec, &members);
    let judged = hosts(world, &waves);
    let waves = wave_rows(world, &waves, &members);
    let failed = failed(world, &judged);
    let remarks = remarks(world, &judged);
    let hosts: Vec<HostPlan> = judged.into_iter().map(|judged| judged.plan).collect();
    let moving = hosts.iter().filter(|host| matches!(host.part, Part::Wave { .. }));
    let fetch = moving.fold(Fetch::default(), |sum, host| Fetch {
        bytes: sum.bytes + host.fetch.bytes,
        wire_bytes: sum.wire_bytes + host.fetch.wire_bytes,
    });
    let manifest = &world.release.manifest;
    let probing = manifest.probes.iter().map(|probe| probe.healthy_for).max().unwrap_or_default();
    let gains = Gains::of_group(world.behind.as_ref().and_then(|behind| behind.side).map(|(_, has)| has));
    let mut plan = Plan {
        schema: SCHEMA.to_owned(),
        digest: PlanDigest([0; 32]),
        made_ms: world.made_ms,
        made_by: world.made_by.clone(),
        app: manifest.app.clone(),
        env: world.env.clone(),
        to: running(&world.target),
        live: world.live.as_ref().map(running),
        env_file: world.env_file,
        spread: world.spec.spread.clone(),
        changes: compare::changes(world),
        files: compare::files(world),
        fetch,
        gates: gates(&world.spec, &waves, &world.asked),
        traffic: traffic(world, &members),
        calendar: world.calendar.clone(),
        promotion: world.promotion.clone(),
        approval: world.approval.clone(),
        duration: duration(&world.spec, &waves, &hosts, gains, probing, &world.past),
        back: back(world, &hosts),
        failed,
        remarks,
        waves,
        hosts,
    };
    plan.digest = plan.digest_of_binding();
    plan
}

/// A release with its settings, the settings only by a digest.
pub fn running(target: &Target) -> Running {
    let Target { version, release, snapshot, layers, values } = target;
    let json = serde_json::to_vec(&(snapshot, layers, values)).expect("digests, numbers and texts are JSON");
    Running { version: version.clone(), release: *release, settings: ContentDigest::of(&json) }
}

/// The hosts as the rollout will take them: where the policy says so, without those that do not fit.
pub fn members(world: &World) -> Vec<Member> {
    let mut counter = Counter::new(world);
    let member = |host: &Candidate| {
        let mut member = host.member.clone();
        if world.policy.unfit == Unfit::Skip && member.excluded.is_none() {
            let lacks = lacks(world, host, counter.of(host).room);
            member.excluded = lacks.first().map(|lack| format!("{}: {}", lack.check, lack.what));
        }
        member
    };
    world.hosts.iter().map(member).collect()
}

/// In the order in which they are moved, then those that are not, by name.
fn hosts(world: &World, waves: &[Vec<HostId>]) -> Vec<Judged> {
    let wave_of: BTreeMap<HostId, u32> =
        (0..).zip(waves).flat_map(|(number, wave)| wave.iter().map(move |id| (*id, number))).collect();
    let mut counter = Counter::new(world);
    let mut judged: Vec<Judged> = world
        .hosts
        .iter()
        .map(|host| judge(world, host, wave_of.get(&host.member.id), &mut counter))
        .collect();
    judged.sort_by(|a, b| {
        let key = |judged: &Judged| match judged.plan.part {
            Part::Wave { wave } => wave,
            Part::Skipped { .. } => u32::MAX,
        };
        (key(a), &a.plan.name, a.plan.id).cmp(&(key(b), &b.plan.name, b.plan.id))
    });
    judged
}

fn judge(world: &World, host: &Candidate, wave: Option<&u32>, counter: &mut Counter<'_>) -> Judged {
    let member = &host.member;
    let Need { fetch, room } = counter.of(host);
    let lacks = lacks(world, host, room);
    let held = held(host);
    let part = match wave {
        Some(wave) => Part::Wave { wave: *wave },
        None => Part::Skipped { because: because(&lacks) },
    };
    let change = match part {
        Part::Skipped { .. } => Change::Skipped,
        Part::Wave { .. } => change(world, host),
    };
    let gets = !matches!(change, Change::Unchanged | Change::Skipped);
    let plan = HostPlan {
        id: member.id,
        name: member.name.clone(),
        domain: member.domain(&world.spec).map(str::to_owned),
        part,
        change,
        layers: member.layers.clone(),
        from: member.previous.as_ref().map(running),
        standing: standing(&host.surveyed),
        fetch: if gets { fetch } else { Fetch::default() },
        back_in_slot: back_in_slot(world, host),
        notes: notes(world, host, &lacks, held.as_deref()),
    };
    let gets = world.behind.as_ref().and_then(|behind| behind.side).map(|(side, _)| side);
    Judged { plan, lacks, held, is_other: gets.is_some() && member.group != gets }
}

/// Distinct, in order.
fn because(lacks: &[Lack]) -> Vec<Check> {
    let mut checks: Vec<Check> = lacks.iter().map(|lack| lack.check).collect();
    checks.dedup();
    checks
}

fn change(world: &World, host: &Candidate) -> Change {
    let target = world.target.on_host(&host.member.layers);
    let wanted = slot(world, &target);
    let Some(previous) = &host.member.previous else { return Change::Install };
    let same = *previous == target || (wanted.is_some() && slot(world, previous) == wanted);
    // Somebody there may have gone back by hand since the last report.
    let live = host.surveyed.answer().map(|survey| survey.live_slot.as_str());
    let is_live = live.is_none_or(|live| wanted.is_none_or(|wanted| live == wanted));
    match previous.release == target.release {
        true if same && is_live => Change::Unchanged,
        true => Change::Settings,
        false => Change::Update,
    }
}

fn standing(surveyed: &Surveyed) -> Standing {
    match surveyed {
        Surveyed::Answered(_) => Standing::Asked,
        Surveyed::Unasked { why, .. } => Standing::Unasked { why: why.clone() },
        Surveyed::Unknown { .. } => Standing::Unknown,
    }
}

fn held(host: &Candidate) -> Option<String> {
    let said = host.surveyed.answer().and_then(|survey| survey.hold.clone());
    said.or_else(|| host.member.held.as_ref().map(|hold| hold.reason.clone()))
}

fn back_in_slot(world: &World, host: &Candidate) -> Option<bool> {
    let (survey, previous) = (host.surveyed.answer()?, host.member.previous.as_ref()?);
    Some(survey.slots.contains(&slot(world, previous)?))
}

/// `None`: its settings are no longer kept.
fn slot(world: &World, target: &Target) -> Option<String> {
    let settings = target.settings(&world.snapshots)?;
    Some(Slot::new(&target.version, &target.release, &settings).to_string())
}

fn notes(world: &World, host: &Candidate, lacks: &[Lack], held: Option<&str>) -> Vec<String> {
    let mut notes: Vec<String> = vec![];
    notes.extend(host.member.excluded.iter().map(|why| format!("{LEFT_OUT}{why}")));
    notes.extend(lacks.iter().map(|lack| lack.what.clone()));
    if let Surveyed::Unknown { why, .. } = &host.surveyed {
        notes.extend(why.iter().map(|why| format!("the last that it said: {why}")));
        notes.push(match world.spec.unknown {
            UnknownHosts::Count => "unknown: counts as a failure".to_owned(),
            UnknownHosts::Wait => "unknown: its wave waits for it".to_owned(),
            UnknownHosts::Skip => "unknown: the wave goes on without it until it is back".to_owned(),
        });
    }
    if let Surveyed::Unasked { why, .. } = &host.surveyed {
        notes.push(format!("could not be asked: {why}"));
    }
    // Of one that is drained it is said already why it is left out.
    let is_drain = |reason: &&str| host.member.excluded.is_some() && reason.starts_with(DRAINED);
    if let Some(reason) = held.filter(|reason| !is_drain(reason)) {
        let then = match world.spec.held {
            HeldHosts::Wait => "its wave waits for it",
            HeldHosts::Skip => "the wave goes on without it until it is let go",
        };
        notes.push(format!("held on the host ({reason}): {then}"));
    }
    notes.extend(drift(world, host));
    if host.member.sick {
        notes.push("the app does not serve there now".to_owned());
    }
    if let Some((found, previous)) = host.unwell.as_ref().zip(host.member.previous.as_ref()) {
        notes.push(format!("{} was found unwell there after its switch by {found}", previous.version));
    }
    // Of its own HAProxy or nginx, between its two sides.
    notes.extend(host.surveyed.answer().into_iter().flat_map(|survey| survey.traffic.notes.iter().cloned()));
    notes
}

/// What is live there is not what was assigned last.
fn drift(world: &World, host: &Candidate) -> Option<String> {
    let live = &host.surveyed.answer()?.live_slot;
    let expected = match &host.member.previous {
        Some(previous) => slot(world, previous)?,
        None => String::new(),
    };
    let name =
        |slot: &str| slot.rsplit_once('-').map_or("nothing".to_owned(), |(version, _)| version.to_owned());
    let (is, was) = (name(live), name(&expected));
    match *live == expected {
        true => None,
        false if is == was => Some(format!("{is} is live there with other settings than assigned")),
        false => Some(format!("{is} is live there, not {was}")),
    }
}

fn wave_rows(world: &World, waves: &[Vec<HostId>], members: &[Member]) -> Vec<Wave> {
    let careful = careful_waves(&world.spec, members);
    let total: usize = waves.iter().map(Vec::len).sum();
    let by_id: BTreeMap<HostId, &Member> = members.iter().map(|member| (member.id, member)).collect();
    let mut so_far = 0;
    let percent = |hosts: usize| (hosts * 100).div_ceil(total.max(1)).min(100) as u8;
    (0..)
        .zip(waves)
        .map(|(number, hosts)| {
            so_far += hosts.len();
            let domains = hosts.iter().filter_map(|id| by_id[id].domain(&world.spec).map(str::to_owned));
            let mut domains: Vec<String> = domains.collect();
            domains.sort();
            domains.dedup();
            Wave {
                number,
                domains,
                bake: bake(world, number, careful),
                blast: Blast {
                    hosts: hosts.len() as u32,
                    percent: percent(hosts.len()),
                    percent_so_far: percent(so_far),
                },
            }
        })
        .collect()
}

fn bake(world: &World, wave: u32, careful: u32) -> Span {
    if wave < careful { world.spec.canary_bake } else { world.spec.bake }
}
