//! A canary of which nobody is left: its hosts were excluded, have gone, or are passed over, and none of them shows what
//! the release does. The wave behind it must not be the first to try it, at its size and without the canary's bake, gates
//! and promotion. So hosts of that wave stand in: as many as a canary has, on the canary's terms.

use longshore_common::ids::HostId;

use super::{
    draft::Draft,
    finish::name_some,
    host::{HostProgress, HostState},
    model::Rollout,
    spec::Spec,
};

impl Draft {
    /// Hosts take the canary's place where it is lost, and the first wave begins anew. Whether any did.
    pub fn stand_in(&mut self, wave: u32) -> bool {
        if self.is_full() || !self.rollout.has_lost_canary(wave) {
            return false;
        }
        let (next, hosts) = self.rollout.understudies();
        if hosts.is_empty() {
            return false;
        }
        for id in hosts {
            self.change(id, |host| (host.wave, host.stands_in) = (wave, true));
        }
        self.close_gap(next);
        self.rollout.header.traffic_step = 0; // whoever had a share is out
        self.leave_gates();
        self.enter_staging(wave);
        true
    }

    /// Waves behind one that nobody is in any more move up.
    fn close_gap(&mut self, empty: u32) {
        if self.rollout.hosts.values().any(|host| host.wave == empty && !host.is_out()) {
            return;
        }
        for id in self.pick(|host| host.wave > empty) {
            self.change(id, |host| host.wave -= 1);
        }
        let header = &mut self.rollout.header;
        header.waves -= 1;
        header.careful_waves -= u32::from(empty < header.careful_waves);
    }
}

impl Rollout {
    /// Nobody of the canary runs the release, nobody of it failed at that, and nobody of it is waited for. Where some
    /// failed, the budget or whoever resumed has said that it goes on.
    fn has_lost_canary(&self, wave: u32) -> bool {
        let shows = |host: &HostProgress| {
            matches!(host.state, HostState::Healthy | HostState::Unchanged) || host.state.is_failed()
        };
        let spec = self.spec();
        self.is_canary(wave)
            && !self.hosts.values().any(|host| host.wave == wave && (shows(host) || host.is_pending(spec)))
    }

    /// Those whose turn comes next, as many as a canary has, and their wave.
    fn understudies(&self) -> (u32, Vec<HostId>) {
        let fit = self.named(|host| host.wave > 0 && host.can_stand_in(self.spec()));
        let Some(next) = fit.first().map(|(_, host)| host.wave) else { return (0, vec![]) };
        let size = self.spec().canary.of(self.total()).max(1);
        let of_next = fit.into_iter().filter(|(_, host)| host.wave == next);
        (next, of_next.take(size).map(|(id, _)| id).collect())
    }

    /// ` (b stands in for the canary)`, of the first wave where that is so.
    pub(super) fn stand_ins(&self, wave: u32) -> String {
        let hosts = self.named(|host| host.stands_in && host.wave == wave && !host.is_out());
        if hosts.is_empty() {
            return String::new();
        }
        let verb = if hosts.len() == 1 { "stands" } else { "stand" };
        let names = name_some(hosts.iter().map(|(_, host)| host.name.as_str()));
        format!(" ({names} {verb} in for the canary)")
    }
}

impl HostProgress {
    /// It would be waited for, or runs the release already.
    fn can_stand_in(&self, spec: &Spec) -> bool {
        !self.is_out() && (self.is_pending(spec) || self.is_good())
    }
}
