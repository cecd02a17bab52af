//! The way back: to which release, on how many hosts it is still at hand, and what it does not bring back.

use std::collections::{BTreeMap, BTreeSet};

use longshore_common::{
    ids::{HostId, Version},
    manifest::Driver,
};

use super::{
    Back, BackTo, Change, HostPlan, Standing, size,
    world::{Against, World},
};

/// Hosts that a sentence names.
const NAMED: usize = 8;

pub(super) fn back(world: &World, hosts: &[HostPlan]) -> Back {
    let mut groups: BTreeMap<Option<Version>, BackTo> = BTreeMap::new();
    let moved = hosts.iter().filter(|host| !matches!(host.change, Change::Skipped | Change::Unchanged));
    let moved: Vec<&HostPlan> = moved.collect();
    for host in &moved {
        let version = host.from.as_ref().map(|from| from.version.clone());
        let refused = match version.as_ref().and_then(|version| world.against.get(version)) {
            Some(Against::Refused(why)) => Some(why.clone()),
            Some(Against::Withdrawn(_)) | None => None,
        };
        let fresh = BackTo { version: version.clone(), hosts: 0, in_slot: 0, unknown: 0, refused };
        let group = groups.entry(version).or_insert(fresh);
        group.hosts += 1;
        match (host.back_in_slot, &host.standing) {
            (Some(true), _) => group.in_slot += 1,
            (None, Standing::Unasked { .. } | Standing::Unknown) if host.from.is_some() => group.unknown += 1,
            (Some(false) | None, _) => {}
        }
    }
    let mut to: Vec<BackTo> = groups.into_values().collect();
    to.sort_by_key(|group| (std::cmp::Reverse(group.hosts), group.version.clone()));
    let lost = lost(world, &to, &moved);
    Back { to, lost }
}

/// Of those that would go back to it, the hosts on which the release was found unwell already.
fn unwell<'h>(world: &World, version: &Version, moved: &[&'h HostPlan]) -> Vec<&'h str> {
    let found = world.hosts.iter().filter(|host| host.unwell.is_some());
    let found: BTreeSet<HostId> = found.map(|host| host.member.id).collect();
    let goes = |host: &&&HostPlan| host.from.as_ref().is_some_and(|from| from.version == *version);
    let moved = moved.iter().filter(goes).filter(|host| found.contains(&host.id));
    moved.map(|host| host.name.as_str()).collect()
}

fn lost(world: &World, to: &[BackTo], moved: &[&HostPlan]) -> Vec<String> {
    let mut lost = vec![];
    let possible: Vec<&BackTo> = to.iter().filter(|group| group.refused.is_none()).collect();
    if possible.is_empty() {
        return lost;
    }
    for group in possible {
        let missing = group.hosts - group.in_slot - group.unknown;
        match &group.version {
            None => lost.push(format!(
                "{} ran nothing of the app before: going back removes it there",
                size::hosts(group.hosts as usize)
            )),
            Some(version) if missing > 0 => lost.push(format!(
                "{version} is in no slot any more on {}: it has to be fetched again",
                size::hosts(missing as usize)
            )),
            Some(_) => {}
        }
        let unwell = group.version.as_ref().map(|version| (version, unwell(world, version, moved)));
        if let Some((version, unwell)) = unwell.filter(|(_, unwell)| !unwell.is_empty()) {
            let (hosts, names) = (size::hosts(unwell.len()), size::some_of(unwell.into_iter(), NAMED));
            lost.push(format!(
                "{hosts} to health: {version} was found unwell there after its switch: {names}"
            ));
        }
        if let Some((version, Against::Withdrawn(why))) =
            group.version.as_ref().and_then(|version| world.against.get_key_value(version))
        {
            lost.push(format!("{version} {why}. Going back brings it back nonetheless"));
        }
    }
    let manifest = &world.release.manifest;
    let hooks = &manifest.hooks;
    let named = [
        ("before_switch", &hooks.before_switch),
        ("after_switch", &hooks.after_switch),
        ("after_healthy", &hooks.after_healthy),
    ];
    let ran: Vec<&str> = named.into_iter().filter(|(_, hook)| hook.is_some()).map(|(name, _)| name).collect();
    if !ran.is_empty() {
        lost.push(format!("what the hooks {} did stays done", ran.join(", ")));
    }
    if manifest.service.driver != Driver::None {
        lost.push(format!("data that {} has written stays as it wrote it", manifest.version));
    }
    lost
}
