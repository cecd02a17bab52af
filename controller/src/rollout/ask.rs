//! Asking hosts: each ask raises the host's round, so that its assignment is new. Nothing is asked of a host that is
//! silent or held, except the way back, which stands until the host returns.

use longshore_common::{ids::HostId, time::Millis};

use super::{
    closed::Leave,
    draft::Draft,
    host::{Ask, HostProgress, HostState},
    route::when_away,
};

impl HostProgress {
    /// A new ask: what was refused or forgiven before is over.
    pub(super) fn put(&mut self, ask: Ask) {
        self.ask = Some(ask);
        self.round = self.round.saturating_add(1);
        self.declined = false;
        self.forgiven = false;
    }

    pub(super) fn stage(&mut self, now: Millis) {
        self.put(Ask::Stage);
        self.attempts = self.attempts.saturating_add(1);
        self.enter(HostState::Staging, now);
    }

    pub(super) fn run(&mut self, share: u8, now: Millis) {
        self.put(Ask::Run);
        self.share = share;
        self.touched = true;
        self.served = false;
        self.unwell = false;
        self.enter(HostState::Switching, now);
    }

    pub(super) fn send_back(&mut self, now: Millis) {
        self.put(Ask::Return);
        self.share = 100;
        self.served |= self.state == HostState::Healthy;
        self.unwell |= self.sick && self.state == HostState::Failed;
        self.enter(HostState::RollingBack, now);
    }
}

impl Draft {
    /// Hosts up to this wave fetch and unpack, those of the waves that may stage ahead, and those that are said to
    /// run the release already: staging touches nothing, and they will say so.
    pub fn ask_to_stage(&mut self, wave: u32) {
        let ahead = match self.rollout.leave() {
            Leave::Everything => wave.saturating_add(self.rollout.spec().stage_ahead),
            Leave::Wave => wave,
            Leave::Nothing => return,
        };
        let header = &self.rollout.header;
        let hosts = self.pick(|host| {
            let due = host.wave <= ahead || host.previous.as_ref() == Some(&host.target(header));
            host.state == HostState::Waiting && host.is_reachable() && due
        });
        let now = self.now;
        for id in hosts {
            self.change(id, |host| host.stage(now));
        }
    }

    /// Staged hosts up to this wave switch, as many as may be down. One that is down already takes no slot.
    pub fn ask_to_run(&mut self, wave: u32) {
        if self.rollout.is_shut() {
            return;
        }
        // One that balancers do not surely send connections yet cannot lose them in its turn.
        let due =
            |host: &HostProgress| host.state == HostState::Staged && host.is_reachable() && !host.joins();
        let hosts = self.pick(|host| host.wave <= wave && due(host));
        let (first, whole) = (self.rollout.share_of(0), self.rollout.share_of(1));
        let grouped = self.rollout.header.groups().is_some();
        let run = move |host: &mut HostProgress, now| {
            let share = if host.wave == 0 { first } else { whole };
            host.run(if grouped { 100 } else { share }, now);
        };
        self.in_slots(hosts, when_away(self.rollout.header.is_rolling_balanced(), run));
    }

    /// Touched hosts go back, as many as may be down. Silent ones are told once and take no slot: it stands until they
    /// return.
    pub fn ask_to_return(&mut self) {
        let unasked = |host: &HostProgress| host.needs_return() && host.ask != Some(Ask::Return);
        self.ask_to_return_anyway(self.pick(|host| unasked(host) && host.silent.is_some()));
        let hosts = self.pick(|host| host.needs_return() && host.is_reachable());
        let rolling = self.rollout.header.is_rolling_balanced();
        self.in_slots(hosts, when_away(rolling, HostProgress::send_back));
    }

    pub fn ask_to_return_anyway(&mut self, hosts: Vec<HostId>) {
        let now = self.now;
        for id in hosts {
            self.change(id, |host| {
                host.send_back(now);
                host.declined = host.held.is_some(); // it will say so itself
            });
        }
    }

    fn in_slots(&mut self, hosts: Vec<HostId>, ask: impl Fn(&mut HostProgress, Millis)) {
        if hosts.is_empty() {
            return;
        }
        let (down, up): (Vec<HostId>, Vec<HostId>) =
            hosts.into_iter().partition(|id| self.rollout.hosts[id].is_down(self.rollout.spec()));
        let free = self.rollout.free_slots();
        let now = self.now;
        for id in down.into_iter().chain(up.into_iter().take(free)) {
            if !self.rollout.is_last_to_serve(id) {
                self.change(id, |host| ask(host, now));
            }
        }
    }
}
