//! What one host means for the whole, and what all hosts together say: the rules that `step` and `explain` share.

use longshore_common::report::Blame;

use super::{
    host::{Ask, HostProgress, HostState, LocalHold},
    model::Rollout,
    phase::{Group, Spent},
    spec::{HeldHosts, Promotion, Spec, UnknownHosts},
};

impl HostProgress {
    /// Does not serve, or may not: it is in the middle of a change, sick, or unknown. An unknown host that the strategy
    /// skips is as if it were not there. One that was excluded is down as long as it finishes what it was asked.
    pub(super) fn is_down(&self, spec: &Spec) -> bool {
        if self.finishing {
            return !self.forgiven;
        }
        let down = match self.silent {
            Some(_) => spec.unknown != UnknownHosts::Skip,
            None => self.sick || self.is_moving() || self.parts() || self.joins(),
        };
        down && !self.is_out() && !self.forgiven
    }

    /// Asked to switch or to go back, and at it. One that was drained meanwhile is an operator's, and takes no slot.
    pub(super) fn is_moving(&self) -> bool {
        let asked = matches!(self.state, HostState::Switching | HostState::RollingBack);
        asked && !self.declined && !self.is_stopped()
    }

    /// Nothing was begun there that could show: it runs what it ran before.
    pub fn is_untouched(&self) -> bool {
        let begun = !matches!(self.state, HostState::Waiting | HostState::Staging | HostState::Staged);
        !begun && !self.touched && self.failure.is_none()
    }

    /// Untouched, and away or held, or left out for its drain: where the rollout is over, it went by without this host.
    pub fn misses_out(&self) -> bool {
        self.is_out_for_drain() || (self.is_untouched() && (self.silent.is_some() || self.held.is_some()))
    }

    /// Left out because it was drained, and for nothing that was said since.
    pub fn is_out_for_drain(&self) -> bool {
        self.left_drained && matches!(self.state, HostState::Excluded { .. })
    }

    /// Whose failure this host is for the budget, if it is one.
    pub(super) fn counts_as_failed(&self, spec: &Spec) -> Option<Blame> {
        if self.is_out() || self.forgiven {
            return None;
        }
        let unknown = self.silent.is_some() && spec.unknown == UnknownHosts::Count;
        self.blame().or(unknown.then_some(Blame::Environment))
    }

    /// Its wave, going forward, is not over without it.
    pub(super) fn is_pending(&self, spec: &Spec) -> bool {
        let awaited = match self.silent {
            Some(_) => spec.unknown == UnknownHosts::Wait && !self.forgiven,
            None => !self.is_refusing() || (spec.held == HeldHosts::Wait && !self.forgiven),
        };
        match self.state {
            HostState::Waiting | HostState::Staging | HostState::Staged | HostState::Switching => awaited,
            HostState::Healthy | HostState::Unchanged => {
                (self.silent.is_some() && awaited) || (self.silent.is_none() && self.joins())
            }
            HostState::Failed
            | HostState::Reverted { .. }
            | HostState::Inconsistent
            | HostState::Excluded { .. }
            | HostState::RollingBack
            | HostState::RolledBack
            | HostState::Left => false,
        }
    }

    pub(super) fn is_good(&self) -> bool {
        matches!(self.state, HostState::Healthy | HostState::Unchanged) && self.silent.is_none()
    }

    /// Can be asked something new: heard from, not held, of the rollout.
    pub(super) fn is_reachable(&self) -> bool {
        !self.is_out() && self.silent.is_none() && self.held.is_none()
    }

    /// Was switched, or may have been, and is not on its way back.
    pub(super) fn needs_return(&self) -> bool {
        let asked = self.ask == Some(Ask::Return);
        let declined = self.state == HostState::RollingBack && self.declined;
        !self.is_out() && ((self.touched && !asked) || declined)
    }

    /// What it ran before may not run there any more, as it said when it was to go back: it serves, and stays.
    pub(super) fn has_no_way_back(&self) -> bool {
        self.state == HostState::Healthy && self.ask == Some(Ask::Return)
    }

    /// A rollback is not over without it.
    pub(super) fn is_awaited_back(&self) -> bool {
        let unheard = self.silent.is_some() || self.held.is_some();
        let joins = self.state == HostState::RolledBack && self.joins() && self.silent.is_none();
        let owes = self.needs_return() || self.state == HostState::RollingBack;
        (owes && !(self.forgiven && unheard)) || joins
    }
}

impl Rollout {
    /// Hosts that take part.
    pub(super) fn total(&self) -> usize {
        self.hosts.values().filter(|host| !host.is_out()).count()
    }

    /// More hosts that may go down now.
    pub(super) fn free_slots(&self) -> usize {
        let down = self.hosts.values().filter(|host| host.is_down(self.spec())).count();
        self.spec().max_unavailable.at_most(self.total()).saturating_sub(down)
    }

    pub(super) fn is_last(&self, wave: u32) -> bool {
        wave + 1 >= self.header.waves
    }

    /// The wave of the canary, where there is one.
    pub(super) fn is_canary(&self, wave: u32) -> bool {
        wave == 0 && !self.spec().canary.is_zero()
    }

    /// An operator has to say "go on" after it. Whoever comes when the release is watched is moved without a further word: it
    /// was given for the release.
    pub(super) fn needs_promotion(&self, wave: u32) -> bool {
        let asked = match self.spec().promotion {
            Promotion::Auto => false,
            Promotion::Canary => wave == 0,
            Promotion::EveryWave => wave == 0 || !self.is_last(wave),
        };
        asked && self.header.promoted.is_none() && !self.comes_after_all(wave)
    }

    /// A host runs the release because of this rollout.
    pub(super) fn has_changed(&self) -> bool {
        self.hosts.values().any(|host| host.state == HostState::Healthy)
    }

    /// Of the hosts that `wave` has to wait for, is this one? The last wave waits for every host.
    pub(super) fn awaits(&self, wave: u32, host: &HostProgress) -> bool {
        let pending = host.is_pending(self.spec()) || self.waits_for_thaw(host);
        (host.wave == wave || self.is_last(wave)) && pending
    }

    /// It declines the release as every host of a frozen fleet does: that is no hold of its own, for which it may be passed
    /// over where others have the release.
    fn waits_for_thaw(&self, host: &HostProgress) -> bool {
        let frozen = host.refusal().is_some_and(LocalHold::is_freeze);
        frozen && !host.forgiven && self.hosts.values().any(|host| host.is_good())
    }

    /// Nothing of the wave is waited for any more, or enough of it is good.
    pub(super) fn is_complete(&self, wave: u32) -> bool {
        if self.share_is_due(wave) {
            return false;
        }
        if !self.hosts.values().any(|host| self.awaits(wave, host)) {
            return true;
        }
        let enough = usize::from(self.spec().enough);
        let (mut size, mut good) = (0, 0);
        for host in self.hosts.values().filter(|host| host.wave == wave && !host.is_out()) {
            size += 1;
            good += usize::from(host.is_good());
        }
        !self.is_last(wave) && enough < 100 && good * 100 >= enough * size
    }

    /// The budget that failures have passed, and whose they are. Failures of the version alone are asked first: only
    /// they are a verdict on the release.
    pub(super) fn spent(&self, wave: u32) -> Option<(Blame, Spent)> {
        let mut failed = Failed::default();
        for host in self.hosts.values().filter(|host| !host.is_out()) {
            failed.add(host, wave, self.spec());
        }
        let overall = self.spec().budget.of(failed.total).unwrap_or(0);
        let in_wave = self.spec().wave_budget.of(failed.wave_total).unwrap_or(overall);
        let passed = |all: usize, of_wave: usize, nobody_good: bool| {
            let whole = if nobody_good && self.is_complete(wave) { 0 } else { usize::MAX };
            [(all, overall, Group::All), (of_wave, in_wave, Group::Wave), (of_wave, whole, Group::WholeWave)]
                .into_iter()
                .find(|(failed, allowed, _)| failed > allowed)
                .map(|(failed, allowed, group)| Spent {
                    failed: failed as u32,
                    allowed: allowed as u32,
                    group,
                })
        };
        let version = passed(failed.version, failed.wave_version, failed.wave_good == 0);
        let any = || passed(failed.all, failed.wave_all, failed.is_no_single_host());
        version
            .map(|spent| (Blame::Version, spent))
            .or_else(|| any().map(|spent| (Blame::Environment, spent)))
    }
}

#[derive(Default)]
struct Failed {
    total: usize,
    version: usize,
    all: usize,
    good: usize,
    wave_total: usize,
    wave_good: usize,
    wave_version: usize,
    wave_all: usize,
}

impl Failed {
    /// Nobody of the wave is good, and that is more than one host's own trouble: such a host is what a budget is for, where
    /// each wave is one host as well.
    fn is_no_single_host(&self) -> bool {
        self.wave_good == 0 && (self.wave_total > 1 || self.good == 0)
    }

    fn add(&mut self, host: &HostProgress, wave: u32, spec: &Spec) {
        let blame = host.counts_as_failed(spec);
        let (version, any) = (usize::from(blame == Some(Blame::Version)), usize::from(blame.is_some()));
        self.total += 1;
        self.version += version;
        self.all += any;
        self.good += usize::from(host.is_good());
        if host.wave == wave {
            self.wave_total += 1;
            self.wave_good += usize::from(host.is_good());
            self.wave_version += version;
            self.wave_all += any;
        }
    }
}
