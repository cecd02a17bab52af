//! Hosts that come to be of the environment while its rollout is under way: they are moved too, in waves of their own
//! after all others, and never before the wave ahead of them is through. Scenario 94.
//!
//! Whoever comes while the release is watched is moved in the midst of that, and the watch keeps its end; gates of the
//! last wave, approvals and promotions were given then, and are not asked for again. When that time is over nobody is
//! taken in any more, so that a rollout ends however many hosts keep coming.
//!
//! A rollout that goes back, or is over, takes nobody in: what its environment runs then is brought to newcomers by a
//! rollout of their own (`engine::newcomers`).

use std::sync::Arc;

use longshore_common::{ids::HostId, time::Millis, traffic::SERVERS_MAX};

use super::{
    draft::Draft,
    host::{HostProgress, HostState},
    model::Rollout,
    phase::{Inside, Paused, Phase, Watching},
    settings::Snapshots,
    waves::Member,
};

impl Rollout {
    /// A host that comes now is moved by this rollout.
    pub fn takes_in(&self) -> bool {
        let back = matches!(
            self.header.phase,
            Phase::RollingBack(_)
                | Phase::Paused(Paused { inside: Inside::RollingBack(_), .. })
                | Phase::Done(_)
        );
        // Balancers are told of so many hosts at most.
        let full = self.header.balancing.is_some() && self.hosts.len() >= SERVERS_MAX;
        !back && !full
    }

    /// The wave of a host that comes now: the last, if it is one of newcomers that has room and was not begun.
    fn wave_of_newcomers(&self) -> u32 {
        let Some(last) = self.header.waves.checked_sub(1) else { return 0 };
        let begun = self.header.phase.wave().is_some_and(|wave| wave >= last);
        let of_last: Vec<&HostProgress> = self
            .hosts
            .values()
            .map(|host| &**host)
            .filter(|host| host.wave == last && !host.is_out())
            .collect();
        let room = of_last.len() < self.spec().wave.of(self.total() + 1).max(1);
        let theirs = !of_last.is_empty() && of_last.iter().all(|host| host.joined);
        if !begun && theirs && room { last } else { last + 1 }
    }

    /// A wave of hosts that came when the last wave was through and the release was watched.
    pub(super) fn comes_after_all(&self, wave: u32) -> bool {
        self.header.watch.as_ref().is_some_and(|watch| wave > watch.wave)
    }

    /// The time of the watch is over, be it that newcomers interrupted it or that its hosts are looked at once more.
    fn is_watched_to_its_end(&self, now: Millis) -> bool {
        let interrupted = self.header.watch.as_ref();
        let (watch, now) = match &self.header.phase {
            Phase::Watching(watching) => (Some(watching), now),
            Phase::Paused(paused) => (interrupted, paused.since), // no time passes
            _ => (interrupted, now),
        };
        watch.is_some_and(|watch| watch.until <= now)
    }
}

impl Draft {
    /// The host takes part from now on, if it does not yet and the rollout takes hosts in.
    pub fn take_in(&mut self, member: &Member, snapshots: Snapshots) {
        let late = self.rollout.is_watched_to_its_end(self.now);
        if self.rollout.hosts.contains_key(&member.id) || !self.rollout.takes_in() || late {
            return;
        }
        let wave = self.rollout.wave_of_newcomers();
        let mut host = HostProgress::of(member, wave, self.now);
        host.joined = true;
        // Balancers had no word of it: by what it runs it gets nothing, where anybody else does.
        host.foreign = self.rollout.hosts.values().any(|host| host.has_a_place());
        host.drained |= self.rollout.header.is_rolling_balanced() && !host.has_a_place();
        let side = self.rollout.header.groups().map(|(_, side)| side);
        if side.is_some_and(|side| host.group != Some(side)) && !host.is_out() {
            let reason = "not of the group that gets the release".to_owned();
            host.enter(HostState::Excluded { reason }, self.now);
        }
        if !host.is_out() {
            self.rollout.header.waves = self.rollout.header.waves.max(wave + 1);
        }
        if !snapshots.is_empty() {
            Arc::make_mut(&mut self.rollout.snapshots).extend(snapshots);
        }
        self.rollout.hosts.insert(member.id, Arc::new(host));
    }

    /// Newcomers are moved now; the watch goes on when they are through.
    pub fn interrupt_watch(&mut self, watching: Watching) {
        let wave = self.rollout.header.watch.as_ref().map_or(watching.wave, |first| first.wave);
        self.rollout.header.watch = Some(Watching { wave, ..watching });
    }

    /// A host that was well when the rollout was made may be sick when it begins, and the other way round.
    pub fn look_again(&mut self, member: &Member) {
        if let Some(host) = self.rollout.hosts.get_mut(&member.id)
            && host.sick != member.sick
        {
            Arc::make_mut(host).sick = member.sick;
        }
    }
}

impl Rollout {
    /// Hosts that came while it was under way, by wave and name.
    pub fn newcomers(&self) -> Vec<(HostId, &HostProgress)> {
        self.named(|host| host.joined)
    }
}
