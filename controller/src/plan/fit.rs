//! Whether a host is and has what the release requires, by what it said.

use longshore_common::{
    ids::Version,
    manifest::{Driver, Manifest, Port},
    text::bytes_apart,
    time::Span,
    traffic::Director,
};

use super::{
    Check, PlanPolicy, size,
    world::{Candidate, Machine, Survey, World},
};

/// One thing that a host lacks, in words that say what it has instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    pub check: Check,
    pub what: String,
}

/// Everything that speaks against this host. Of a host that did not answer only what never changes, and its settings, are
/// judged.
pub(super) fn lacks(world: &World, host: &Candidate, room: u64) -> Vec<Lack> {
    let (mut found, surveyed) = (Found::default(), &host.surveyed);
    if let Some(machine) = surveyed.machine() {
        found.machine(&world.release.manifest, machine);
    }
    if let Some(survey) = surveyed.answer() {
        found.disk(&world.release.manifest, survey, room);
        found.clock(&world.release.manifest, &world.policy, survey);
        found.surroundings(survey);
        found.ports(world, survey);
        found.sockets(world, survey);
        found.service(&world.release.manifest, survey);
    }
    found.secrets(host);
    for what in &host.unrendered {
        found.note(Check::Config, what.clone());
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<Lack>);

impl Found {
    fn note(&mut self, check: Check, what: String) {
        self.0.push(Lack { check, what });
    }

    fn machine(&mut self, manifest: &Manifest, machine: &Machine) {
        let requires = &manifest.requires;
        if !requires.arch.is_empty() && !requires.arch.contains(&machine.arch) {
            self.note(Check::Architecture, format!("is {}", machine.arch));
        }
        if !requires.allows_os(&machine.os) {
            self.note(Check::Os, format!("is {}", machine.os));
        }
        if let Some(needed) = requires.memory.filter(|needed| *needed > machine.memory_bytes) {
            let (has, needed) = (size::bytes(machine.memory_bytes), size::bytes(needed));
            self.note(Check::Memory, format!("has {has} of memory, {needed} are required"));
        }
    }

    /// The room in which it is unpacked comes on top of what has to stay free.
    fn disk(&mut self, manifest: &Manifest, survey: &Survey, room: u64) {
        let needed = room.saturating_add(manifest.requires.disk.unwrap_or(0));
        let free = survey.machine.disk_free_bytes;
        if needed > free {
            let [free, needed] = bytes_apart(free, needed);
            self.note(Check::Disk, format!("has {free} free, {needed} are needed"));
        }
    }

    fn clock(&mut self, manifest: &Manifest, policy: &PlanPolicy, survey: &Survey) {
        let allowed = manifest.requires.clock.map_or(policy.clock, |own| own.min(policy.clock));
        let off = survey.clock_offset_ms.unsigned_abs();
        if off > allowed.as_ms().unsigned_abs() {
            let way = if survey.clock_offset_ms > 0 { "ahead" } else { "behind" };
            let off = Span::millis((off - off % 100).min(Span::MAX_MS));
            self.note(Check::Clock, format!("clock is {off} {way}, {allowed} are allowed"));
        }
    }

    fn surroundings(&mut self, survey: &Survey) {
        if !survey.commands_missing.is_empty() {
            self.note(Check::Commands, format!("has no {}", survey.commands_missing.join(", ")));
        }
        if !survey.mounts_missing.is_empty() {
            self.note(Check::Mounts, format!("has nothing mounted at {}", survey.mounts_missing.join(", ")));
        }
        if !survey.users_missing.is_empty() {
            self.note(Check::Users, format!("has no user {}", survey.users_missing.join(", ")));
        }
        if let Some(problem) = &survey.trust_problem {
            self.note(Check::Signed, problem.clone());
        }
        for problem in &survey.traffic.problems {
            self.note(Check::Traffic, problem.clone());
        }
    }

    /// Of sealed ones the controller knows it itself, whether the host answered or not.
    fn secrets(&mut self, host: &Candidate) {
        let said = host.surveyed.answer().map(|survey| &survey.secrets_missing[..]).unwrap_or_default();
        let missing: Vec<&str> = said.iter().chain(&host.unopened).map(String::as_str).collect();
        if !missing.is_empty() {
            self.note(Check::Secrets, missing.join("; "));
        }
    }

    /// Ports that the app's present release claims are its own: it lets go of them.
    fn ports(&mut self, world: &World, survey: &Survey) {
        let own: Option<Vec<Port>> = match survey.live_slot.rsplit_once('-') {
            None => Some(vec![]),
            Some((version, _)) => {
                let version = version.parse().ok();
                let release = version.and_then(|version| world.known.get(&version));
                release.map(|release| release.manifest.ports().filter_map(Port::parse).collect())
            }
        };
        // Of a release that is not here any more nobody knows what it claims: then nothing is held against the host.
        let Some(own) = own else { return };
        let foreign = survey.ports_taken.iter().filter(|(port, _)| {
            Port::parse(port).is_some_and(|port| !own.iter().any(|own| own.clashes(&port)))
        });
        let taken: Vec<String> = foreign
            .map(|(port, by)| by.as_ref().map_or_else(|| port.clone(), |by| format!("{port} by {by}")))
            .collect();
        if !taken.is_empty() {
            self.note(Check::Ports, format!("port is taken: {}", taken.join(", ")));
        }
    }

    /// What runs keeps its ports until it is stopped. With sides on one end of the change alone, that is when the
    /// release runs: too late for it, or for the process of ours that is to hold the public sockets.
    fn sockets(&mut self, world: &World, survey: &Survey) {
        let ours = match &world.spec.traffic {
            None => true,
            Some(routing) => routing.director == Director::Socket || world.behind.is_some(),
        };
        let version =
            survey.live_slot.rsplit_once('-').and_then(|(version, _)| version.parse::<Version>().ok());
        let live = version.as_ref().and_then(|version| world.known.get(version));
        let Some(live) = live.filter(|_| ours).map(|live| &*live.manifest) else { return };
        let (release, runs) = (&*world.release.manifest, &live.version);
        let (kept, wanted, by, way) = match (live.service.sides.is_some(), release.service.sides.is_some()) {
            (false, true) => {
                let by = format!("by {runs}, which runs without sides");
                (claimed(live), public(release), by, "with sides and other service.sockets")
            }
            (true, false) => {
                let by = format!("for {runs}, which runs on sides");
                (public(live), claimed(release), by, "without sides and with other ports")
            }
            (true, true) | (false, false) => return,
        };
        let kept: Vec<Port> = kept.into_iter().filter_map(Port::parse).collect();
        let is_kept = |socket: &&str| {
            Port::parse(socket).is_some_and(|port| kept.iter().any(|kept| kept.clashes(&port)))
        };
        let wanted: Vec<&str> = wanted.into_iter().filter(is_kept).collect();
        if !wanted.is_empty() {
            let sockets = wanted.join(", ");
            let what = format!(
                "{sockets} is held {by}, and nothing hands it over: roll out a release {way} first, then this one"
            );
            self.note(Check::Traffic, what);
        }
    }

    fn service(&mut self, manifest: &Manifest, survey: &Survey) {
        let service = &manifest.service;
        let asks = match service.driver {
            Driver::None => false,
            Driver::Process => service.user.is_some(),
            Driver::Systemd => true,
        };
        if let (true, Some(problem)) = (asks, &survey.run_as_problem) {
            self.note(Check::Service, problem.clone());
        }
    }
}

/// Ports that whatever runs of the release holds itself.
fn claimed(manifest: &Manifest) -> Vec<&str> {
    manifest.ports().collect()
}

/// What a process of ours holds for a release with sides.
fn public(manifest: &Manifest) -> Vec<&str> {
    manifest.service.sockets.iter().map(String::as_str).collect()
}
