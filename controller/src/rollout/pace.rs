//! The pace of a rollout, changed while it runs.

use longshore_common::{ids::HostId, time::Span};

use super::{
    draft::Draft,
    event::Refused,
    phase::{Inside, Paused, Phase},
    share::Share,
};

/// What an operator wants otherwise from now on; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Size of the waves that have not begun, of all hosts.
    pub wave: Option<Share>,
    pub max_unavailable: Option<Share>,
    /// Of the present wave and all later ones.
    pub bake: Option<Span>,
    /// How long a step of traffic is watched.
    pub hold: Option<Span>,
}

impl Draft {
    pub fn change_pace(&mut self, pace: Pace) -> Result<(), Refused> {
        if pace == Pace::default() {
            return self.refuse("pace", "say what is to change: --wave, --max-unavailable, --bake or --hold");
        }
        let mut spec = self.rollout.header.spec.clone();
        spec.wave = pace.wave.unwrap_or(spec.wave);
        spec.max_unavailable = pace.max_unavailable.unwrap_or(spec.max_unavailable);
        spec.bake = pace.bake.unwrap_or(spec.bake);
        spec.canary_bake = pace.bake.unwrap_or(spec.canary_bake);
        match (&mut spec.traffic, pace.hold) {
            (Some(routing), Some(hold)) => routing.hold = hold,
            (None, Some(_)) => {
                return self
                    .refuse("pace", "there are no steps of traffic: the environment has no [traffic]");
            }
            (_, None) => {}
        }
        if let Some((field, what)) = spec.problems().into_iter().next() {
            return self.refuse("pace", format!("{field} {what}"));
        }
        if pace.wave.is_some() && spec.spread.is_some() {
            return self.refuse("pace", "its waves follow failure domains and are not dealt anew");
        }
        self.rollout.header.spec = spec;
        if let Some(wave) = pace.wave {
            self.deal_anew(wave);
        }
        if pace.bake.is_some() || pace.hold.is_some() {
            self.bake_anew();
        }
        Ok(())
    }

    /// The present bake is as long as a new one would be. One that is over by that ends with the next look at the
    /// clock, and so after one more look at its hosts; while it is paused no time passes for it.
    fn bake_anew(&mut self) {
        let mut phase = self.rollout.header.phase.clone();
        let (baking, now) = match &mut phase {
            Phase::Baking(baking) => (baking, self.now),
            Phase::Paused(Paused { inside: Inside::Baking(baking), since, .. }) => (baking, *since),
            _ => return,
        };
        let until = baking.since + self.rollout.bake_of(baking.wave).as_ms();
        baking.until = until.max(now + 1);
        self.enter(phase);
    }

    /// Hosts of waves that have not begun, in the order in which they stand, in waves of this size.
    fn deal_anew(&mut self, size: Share) {
        let begun = match self.rollout.header.phase.wave() {
            Some(wave) => wave + 1,
            None => u32::from(!self.rollout.spec().canary.is_zero()),
        };
        let size = size.of(self.rollout.total()).max(1);
        // One that is out is moved in no wave, and takes nobody's place in one.
        let left: Vec<HostId> = self.pick(|host| host.wave >= begun && !host.is_out());
        for (place, id) in left.iter().enumerate() {
            let wave = begun + (place / size) as u32;
            self.change(*id, |host| host.wave = wave);
        }
        if !left.is_empty() {
            self.rollout.header.waves = begun + left.len().div_ceil(size) as u32;
        }
    }
}
