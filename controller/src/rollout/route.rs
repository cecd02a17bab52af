//! What becomes of hosts behind balancers: who is drained and who joins, and what balancers said.

use longshore_common::{
    code::Code,
    ids::{Generation, HostId},
    report::{Failure, Outcome},
    time::Millis,
};

use super::{
    balance::{Balancer, Route},
    draft::Draft,
    host::{HostProgress, HostState},
    phase::{Inside, Paused, Phase},
};

/// Of what a balancer says when it fails.
const MESSAGE_BYTES: usize = 400;
/// While paused a balancer is asked again up to this round (for days): the rest is for whoever resumes or aborts.
const ROUNDS_PAUSED_MAX: u16 = u16::MAX / 2;

impl Draft {
    /// What a balancer said of the directions it was given; of any but the present ones, only that it has come so far.
    pub fn directed(&mut self, id: HostId, generation: Generation, outcome: Outcome) {
        let done = self.rollout.header.phase.is_done();
        let paused = matches!(self.rollout.header.phase, Phase::Paused(_));
        let sequence = self.rollout.header.sequence;
        let Some(balancing) = &mut self.rollout.header.balancing else { return };
        let (present, said) = (balancing.round, generation.round());
        let Some(balancer) = balancing.balancers.get_mut(&id) else { return };
        if generation.sequence() != sequence || said > present {
            return;
        }
        balancer.silent = None;
        match outcome {
            Outcome::Healthy | Outcome::Unchanged => {
                balancer.forgiven = false;
                balancer.confirmed = balancer.confirmed.max(Some(said));
                balancer.refusal = None;
            }
            Outcome::Failed { failure }
            | Outcome::Refused { failure }
            | Outcome::Inconsistent { failure }
                if said == present =>
            {
                // It has tried for a while. What else is in its way stays there until somebody mends it: asked again and
                // again it would say the same as fast as it can, until no round is left.
                let again = failure.code == Code::L01.to_string();
                balancer.refusal = Some(short(&failure));
                let may = !done && (!paused || present < ROUNDS_PAUSED_MAX);
                if again && may {
                    balancing.round = balancing.round.saturating_add(1); // the same, said anew
                }
            }
            // Answers other questions, or one that nobody asks any more.
            Outcome::Failed { .. } | Outcome::Refused { .. } | Outcome::Inconsistent { .. } => {}
            Outcome::Staged | Outcome::Reverted { .. } | Outcome::Removed => {}
        }
    }

    /// The balancer, to be changed; `None`: the host is none.
    pub fn balancer(&mut self, id: HostId) -> Option<&mut Balancer> {
        self.rollout.header.balancing.as_mut()?.balancers.get_mut(&id)
    }

    /// What was refused is said anew.
    pub fn direct_again(&mut self) {
        let Some(balancing) = &mut self.rollout.header.balancing else { return };
        let round = balancing.round;
        if round > 0 && balancing.balancers.values().any(|b| b.refusal.is_some() && !b.has(round)) {
            balancing.round = round.saturating_add(1);
        }
    }

    pub fn forgive_balancers(&mut self) {
        let Some(balancing) = &mut self.rollout.header.balancing else { return };
        let round = balancing.round;
        for balancer in balancing.balancers.values_mut().filter(|balancer| !balancer.has(round)) {
            balancer.forgiven = true;
        }
    }

    /// An operator keeps the host from its connections, or does no longer. A balancer that refused is asked again.
    pub fn bench(&mut self, id: HostId, benched: bool) {
        self.change(id, |host| host.benched = benched);
        self.direct_again();
    }

    /// The host was removed when the rollout was over: balancers send it nothing, and as a balancer it is asked nothing.
    /// How it stood at the end stays.
    pub fn removed_afterwards(&mut self, id: HostId) {
        if let Some(balancing) = &mut self.rollout.header.balancing {
            balancing.balancers.remove(&id);
        }
        self.change(id, |host| host.benched = true);
    }

    /// As `bench`, when the rollout is over. One that left and may have connections again is back: what it runs was looked at.
    pub fn bench_afterwards(&mut self, id: HostId, benched: bool) {
        self.change(id, |host| host.is_back |= !benched && host.state == HostState::Left);
        self.bench(id, benched);
    }

    /// Writes down which hosts get connections now, and how far the balancers are with that. Whether anything is new.
    pub fn route(&mut self) -> bool {
        if self.rollout.header.balancing.is_none() || self.rollout.header.phase == Phase::Ready {
            return false;
        }
        if self.rollout.header.is_rolling_balanced() {
            self.give_back();
        }
        let wanted = self.rollout.wanted_weights();
        let differs = |host: &HostProgress, weight: u16| {
            !host.is_untold() && host.route.is_none_or(|route| route.weight != weight)
        };
        let dropped = self.pick(|host| host.route.is_some() && host.is_untold());
        let changed: Vec<(HostId, u16)> =
            wanted.into_iter().filter(|(id, weight)| differs(&self.rollout.hosts[id], *weight)).collect();
        let told = self.rollout.hosts.values().filter_map(|host| Some(host.route?.round)).max();
        let Some(balancing) = &mut self.rollout.header.balancing else { return false };
        // Records of hosts may have been kept when the header was not.
        let ahead = told.filter(|round| *round > balancing.round);
        let redirected = !changed.is_empty() || !dropped.is_empty() || ahead.is_some();
        if redirected {
            balancing.round = ahead.unwrap_or(balancing.round).saturating_add(1);
        }
        let (round, balancers) = (balancing.round, balancing.balancers.clone());
        let check = self.rollout.balancers_check();
        for id in dropped {
            self.change(id, |host| host.route = None);
        }
        for (id, weight) in changed {
            self.change(id, |host| {
                let if_up = check && weight > 0 && host.silent.is_some();
                host.route = Some(Route { weight, round, done: false, if_up });
            });
        }
        let by_word = self.rollout.only_balancers_know();
        let has = |balancer: &Balancer, round| match by_word {
            true => balancer.has_confirmed(round),
            false => balancer.has(round),
        };
        let done = |round: u16| balancers.values().all(|balancer| has(balancer, round));
        let stands = |host: &HostProgress| host.route.is_some_and(|route| route.done != done(route.round));
        let moved = self.pick(stands);
        let new = redirected || !moved.is_empty();
        for id in moved {
            self.change(id, |host| {
                if let Some(route) = &mut host.route {
                    route.done = !route.done;
                }
            });
        }
        new
    }

    /// Hosts that are not about to be changed any more, or were, get connections again.
    fn give_back(&mut self) {
        let phase = &self.rollout.header.phase;
        let returning = matches!(
            phase,
            Phase::RollingBack(_) | Phase::Paused(Paused { inside: Inside::RollingBack(_), .. })
        );
        let switching = matches!(phase, Phase::Switching(_)) && !self.rollout.is_shut();
        let done = phase.is_done();
        // One that is to go back loses its connections for that, whatever it was at before.
        let stays = |host: &HostProgress| !(returning && host.needs_return());
        let serves = |host: &HostProgress| match host.state {
            HostState::Healthy | HostState::Unchanged => true,
            HostState::Staged => host.has_a_place() && !(switching && host.is_reachable()),
            HostState::Waiting | HostState::Staging | HostState::Failed => host.has_a_place(),
            // A host that another environment gave what it runs goes back to that.
            HostState::Reverted { .. } => !host.foreign,
            HostState::RolledBack => host.has_a_place(),
            // Nobody will say any more how it went: the balancer's own check decides.
            HostState::Switching => done && (host.silent.is_some() || host.is_stopped()),
            HostState::RollingBack => done && host.silent.is_some(),
            HostState::Left => host.is_back,
            HostState::Inconsistent | HostState::Excluded { .. } => false,
        };
        for id in self.pick(|host| host.drained && !host.sick && stays(host) && serves(host)) {
            self.change(id, |host| host.drained = false);
        }
    }

    /// The group, or the hosts of the first wave, get the share that is due.
    pub fn give_share(&mut self, wave: u32) {
        let due = self.rollout.share_of(wave);
        match &mut self.rollout.header.balancing {
            None => return,
            Some(balancing) if balancing.side.is_some() => balancing.share = due,
            Some(_) => {
                for id in self.pick(|host| host.wave == wave && host.is_good() && host.share < due) {
                    self.change(id, |host| host.share = due);
                }
            }
        }
        self.route();
    }

    /// The traffic goes to the group that had it, before anything is changed there.
    pub fn take_share_back(&mut self) {
        if let Some(balancing) = &mut self.rollout.header.balancing
            && balancing.moves
        {
            if balancing.share > 0 {
                (balancing.returns, balancing.had) = (true, balancing.share);
            }
            balancing.share = 0;
        }
        self.route();
    }
}

/// What `ask` does to hosts that no connection reaches any more; the others lose theirs first.
pub(super) fn when_away(
    rolling: bool,
    ask: impl Fn(&mut HostProgress, Millis),
) -> impl Fn(&mut HostProgress, Millis) {
    move |host, now| {
        if !host.part_first(rolling) {
            ask(host, now);
        }
    }
}

fn short(failure: &Failure) -> String {
    let end = failure.message.floor_char_boundary(MESSAGE_BYTES);
    failure.message[..end].to_owned()
}
