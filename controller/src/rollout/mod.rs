//! The pure core of the controller: what a rollout becomes when something happens, what every host should then run,
//! and why it is not further yet.
//!
//! Nothing here reads a clock, a disk or a network, waits, logs or draws a random number: time arrives with every
//! event. The engine loads a [`Rollout`], calls [`step`], commits what changed together with the assignments, and only
//! then tells the hosts. What hosts are owed is read from the state ([`desired`]), so that a restart is no special case.
//!
//! Reading order: `spec` (the strategy), `phase` and `host` (the state), `model` (the rollout), `event`, `waves`
//! (how one begins), `step/` (one file per phase), `explain/` (why it waits). `docs/rollout-states.md` has the tables.

mod absence;
mod ask;
mod balance;
mod closed;
mod desired;
mod draft;
mod event;
mod explain;
mod finish;
mod gate;
mod host;
mod join;
mod judge;
mod looking;
mod model;
mod observe;
mod pace;
mod phase;
mod rounds;
mod route;
mod routing;
mod settings;
mod share;
mod spec;
mod stand_in;
mod steer;
mod step;
#[cfg(test)]
pub(crate) mod tests;
mod waves;

pub use absence::{taken_up, unheard_when_due};
pub use balance::{BALANCERS_MAX, Balancer, Balancing, Route};
pub use closed::{Closed, UnderWay};
pub use desired::{asked_target, assignment_of, desired, look_every, next_deadline, watched};
pub use event::{Event, Promote, Refused, Transition};
pub use explain::{Away, Benched, Facts, Hold, HoldKind, InLine, explain, first_failure, wave_state};
pub use gate::{
    After, GATES_MAX, GateKind, GateSpec, GateStop, GateWord, NOTE_BYTES, Round, Run, RunState, Settled,
    Stage, Then, Verdict,
};
pub use host::{Ask, HostProgress, HostState, LastFailure, LocalHold};
pub use looking::{LastLook, last_look, step_in_look};
pub use model::{Header, Rollout, Target, changed_hosts};
pub use pace::Pace;
pub use phase::{
    Awaiting, Baking, Cause, Done, Gating, Group, Inside, Outcome, Paused, Phase, RollingBack, Spent,
    Staging, Switching, Watching, Why,
};
pub use routing::{Balancers, Groups, Routing};
pub use settings::{Layer, Scope, Snapshot, Snapshots, clashes, sealed};
pub use share::{Allowance, Share};
pub use spec::{HeldHosts, OnSpent, Promotion, Spec, UnknownHosts};
pub use step::step;
pub use waves::{Behind, Member, New, careful_waves, plan_waves};
