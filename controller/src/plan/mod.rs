//! The pure core that plans: from what is known of the world, what a rollout would do to every host, and whether it may.
//!
//! Nothing here reads a clock, a disk or a network, waits, logs or draws a random number. `crate::prepare` asks the
//! hosts and reads the store, hands everything over as a [`World`], keeps the [`Plan`] that comes out, and starts
//! rollouts by it. Waves are those of `crate::rollout`: a rollout makes them by the same function from the same members.
//!
//! A plan is named by the digest of what is *binding* of it ([`Plan::binding`]): the release, the environment's file, who
//! is moved from what to what in which wave, what must hold between waves. What was only measured or guessed (free
//! bytes, times, who is silent at the moment) is shown and not binding.
//!
//! Reading order: `model` (the plan), `check` (its preconditions by name), `world` (what it is made from), `make` (how),
//! then its parts: `fit` (whether a host meets what the release requires), `failed` (what stops it), `balancers` and
//! `runners` (what they say beforehand), `fetch` (bytes), `compare` (manifests, values, templates), `files` (which of them differ), `expect` (how long), `back`
//! (the way back). Then `moved` (two plans of the same that differ) and `follow` (a rollout held against its plan).

mod back;
mod balancers;
mod check;
mod compare;
mod expect;
mod failed;
mod fetch;
mod files;
mod fit;
mod follow;
mod gates;
mod lines;
mod make;
mod model;
mod moved;
mod policy;
mod remarks;
mod runners;
mod size;
#[cfg(test)]
pub(crate) mod tests;
mod traffic;
mod world;

pub use check::Check;
pub use expect::{Gains, Stay, waiting};
pub use files::FilePaths;
pub use follow::strays;
pub use make::{LEFT_OUT, members, plan, running};
pub use model::{
    Approval, Back, BackTo, Binding, Blast, CalendarNote, Change, Changed, Demanded, Duration, Failed, Fault,
    Fetch, FileChange, Gate, HostPlan, Opens, Part, Plan, Running, SCHEMA, Standing, TextChange, Wave,
};
pub use moved::{applied_anew, live_moved, moved};
pub use policy::{DEADLINE_MAX, PlanPolicy, Unfit};
pub use traffic::{Bound, GroupPlan, Traffic};
pub use world::{Against, Candidate, Machine, Overlap, Past, Release, Runner, Survey, Surveyed, World};
