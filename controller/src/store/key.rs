//! The keys of the store, all of them: built here, read back here, and nowhere else.
//!
//! | key | what lies there |
//! |---|---|
//! | `hosts/<host>` | an enrolled host: its name, labels, key, whether it is revoked |
//! | `tokens/<token>` | a join token, by its public id |
//! | `releases/<app>/<version>` | a published release |
//! | `envs/<env>` | an environment |
//! | `rollouts/<rollout>` | a rollout's header; small |
//! | `rollout-hosts/<rollout>/<host>` | how one host stands in a rollout, so that writes are proportional to change |
//! | `rollout-gates/<rollout>` | what the gates of a rollout look at |
//! | `gate-results/<rollout>/<run>` | what a gate came to, with its evidence |
//! | `gate-answers/<rollout>/<run>` | what operators said of a gate that asks them |
//! | `active/<env>/<app>` | which rollout is moving this app in this environment: a lock |
//! | `live/<env>/<app>` | the last good release |
//! | `assignments/<host>/<app>` | what the host should run |
//! | `states/<host>/<app>` | what the host last reported |
//! | `snapshots/<digest>` | the settings of an app as they were when some rollout began |
//! | `sealed/<digest>` | a sealed secret: its name, who sealed it, for how many hosts |
//! | `sealed-hosts/<digest>/<host>` | what of it one host can open |
//! | `users/<operator>` | an operator: keys, roles, whether they are locked |
//! | `proposals/<proposal>` | what somebody wants to do and two people decide |
//! | `plans/<plan>` | a plan, by its digest; small |
//! | `plan-pages/<plan>/<number>` | what is in a plan, in pieces |
//! | `freezes/<env>` | that somebody froze the environment by hand |
//! | `locks/<env>`, `locks/<env>/<app>` | that somebody locked it: no rollout is started |
//! | `approvals/<plan>` | who approved a plan, by its digest |
//! | `notices/<notice>` | something that is still to be told to somebody, or could not be |
//! | `counters/<name>` | a number that only rises |
//!
//! The progress of hosts lies beside the headers and not below them, so that listing rollouts reads headers only.
//! Parts never contain `/` (the identifiers see to that), so a key reads back in exactly one way.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use longshore_common::digest::{PlanDigest, SealedDigest, SnapshotDigest, hex, sha256};
use longshore_common::ids::{AppName, EnvName, HostId, HostName, OperatorName, RolloutId, Version};
use uuid::Uuid;

/// A key: parts joined by `/`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// What keys have in common: whole parts, each followed by `/`; or nothing, which covers every key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Arc<str>);

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    Host(HostId),
    Token(String),
    Release(AppName, Version),
    Env(EnvName),
    Rollout(RolloutId),
    RolloutHost(RolloutId, HostId),
    RolloutGates(RolloutId),
    GateResult(RolloutId, u32),
    GateAnswers(RolloutId, u32),
    Active(EnvName, AppName),
    Live(EnvName, AppName),
    Assignment(HostId, AppName),
    State(HostId, AppName),
    Snapshot(SnapshotDigest),
    Sealed(SealedDigest),
    SealedHost(SealedDigest, HostId),
    User(OperatorName),
    Proposal(String),
    Plan(PlanDigest),
    PlanPage(PlanDigest, u32),
    Freeze(EnvName),
    Lock(EnvName, Option<AppName>),
    Approvals(PlanDigest),
    Notice(Uuid),
    Counter(String),
}

/// A key that this version does not know: written by a newer one, or by other hands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is no key that this version knows")]
pub struct UnknownKey {
    pub key: String,
}

impl Key {
    pub fn host(host: &HostId) -> Key {
        Key::of(&["hosts", &host.to_string()])
    }

    /// By the token's public id, never by its secret.
    pub fn token(id: &str) -> Result<Key, UnknownKey> {
        free_part(id).map(|id| Key::of(&["tokens", id]))
    }

    pub fn release(app: &AppName, version: &Version) -> Key {
        Key::of(&["releases", app.as_str(), version.as_str()])
    }

    pub fn env(env: &EnvName) -> Key {
        Key::of(&["envs", env.as_str()])
    }

    pub fn rollout(rollout: &RolloutId) -> Key {
        Key::of(&["rollouts", &rollout.to_string()])
    }

    pub fn rollout_host(rollout: &RolloutId, host: &HostId) -> Key {
        Key::of(&["rollout-hosts", &rollout.to_string(), &host.to_string()])
    }

    pub fn rollout_gates(rollout: &RolloutId) -> Key {
        Key::of(&["rollout-gates", &rollout.to_string()])
    }

    /// Ten digits, so that runs are listed in their order.
    pub fn gate_result(rollout: &RolloutId, run: u32) -> Key {
        Key::of(&["gate-results", &rollout.to_string(), &format!("{run:010}")])
    }

    pub fn gate_answers(rollout: &RolloutId, run: u32) -> Key {
        Key::of(&["gate-answers", &rollout.to_string(), &format!("{run:010}")])
    }

    pub fn active(env: &EnvName, app: &AppName) -> Key {
        Key::of(&["active", env.as_str(), app.as_str()])
    }

    pub fn live(env: &EnvName, app: &AppName) -> Key {
        Key::of(&["live", env.as_str(), app.as_str()])
    }

    pub fn assignment(host: &HostId, app: &AppName) -> Key {
        Key::of(&["assignments", &host.to_string(), app.as_str()])
    }

    pub fn state(host: &HostId, app: &AppName) -> Key {
        Key::of(&["states", &host.to_string(), app.as_str()])
    }

    pub fn snapshot(digest: &SnapshotDigest) -> Key {
        Key::of(&["snapshots", &digest.hex()])
    }

    pub fn sealed(digest: &SealedDigest) -> Key {
        Key::of(&["sealed", &digest.hex()])
    }

    pub fn sealed_host(digest: &SealedDigest, host: &HostId) -> Key {
        Key::of(&["sealed-hosts", &digest.hex(), &host.to_string()])
    }

    pub fn user(name: &OperatorName) -> Key {
        Key::of(&["users", name.as_str()])
    }

    pub fn proposal(id: &str) -> Result<Key, UnknownKey> {
        free_part(id).map(|id| Key::of(&["proposals", id]))
    }

    pub fn plan(plan: &PlanDigest) -> Key {
        Key::of(&["plans", &plan.hex()])
    }

    pub fn plan_page(plan: &PlanDigest, number: u32) -> Key {
        Key::of(&["plan-pages", &plan.hex(), &number.to_string()])
    }

    pub fn freeze(env: &EnvName) -> Key {
        Key::of(&["freezes", env.as_str()])
    }

    /// Of one app, or of all.
    pub fn lock(env: &EnvName, app: Option<&AppName>) -> Key {
        match app {
            None => Key::of(&["locks", env.as_str()]),
            Some(app) => Key::of(&["locks", env.as_str(), app.as_str()]),
        }
    }

    pub fn approvals(plan: &PlanDigest) -> Key {
        Key::of(&["approvals", &plan.hex()])
    }

    /// By a UUIDv7, so that they are kept in the order in which they were made.
    pub fn notice(id: &Uuid) -> Key {
        Key::of(&["notices", &id.to_string()])
    }

    /// By a name that the code fixes, such as `"rollouts"`.
    pub fn counter(name: &'static str) -> Key {
        Key::of(&["counters", free_part(name).expect("counters are named in code, in lower case")])
    }

    /// How many hosts took a name of these: two of one name count in the same place, and one of 256 is enough for that.
    pub fn names_taken(name: &HostName) -> Key {
        let place = hex(&sha256(name.as_str().as_bytes())[..1]);
        Key::of(&["counters", &format!("names-taken-{place}")])
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the key stands for.
    pub fn name(&self) -> Result<Name, UnknownKey> {
        let parts: Vec<&str> = self.0.split('/').collect();
        read(&parts).ok_or_else(|| UnknownKey { key: self.0.to_string() })
    }

    /// A key as a store gives it back: it was built here once, if by another version.
    pub(super) fn trusted(key: &str) -> Key {
        Key(key.into())
    }

    /// Every prefix that covers this key, from the one that covers all to the narrowest.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix> + '_ {
        let ends = self.0.match_indices('/').map(|(at, _)| at + 1);
        std::iter::once(0).chain(ends).map(|end| Prefix(self.0[..end].into()))
    }

    fn of(parts: &[&str]) -> Key {
        debug_assert!(parts.iter().all(|part| !part.is_empty() && !part.contains('/')), "{parts:?}");
        Key(parts.join("/").into())
    }
}

impl Prefix {
    /// Every key.
    pub fn all() -> Prefix {
        Prefix("".into())
    }

    pub fn hosts() -> Prefix {
        Prefix::of(&["hosts"])
    }

    pub fn tokens() -> Prefix {
        Prefix::of(&["tokens"])
    }

    pub fn releases() -> Prefix {
        Prefix::of(&["releases"])
    }

    pub fn releases_of(app: &AppName) -> Prefix {
        Prefix::of(&["releases", app.as_str()])
    }

    pub fn envs() -> Prefix {
        Prefix::of(&["envs"])
    }

    /// The headers of all rollouts, and nothing of their hosts.
    pub fn rollouts() -> Prefix {
        Prefix::of(&["rollouts"])
    }

    /// How every host stands in one rollout.
    pub fn rollout_hosts(rollout: &RolloutId) -> Prefix {
        Prefix::of(&["rollout-hosts", &rollout.to_string()])
    }

    pub fn gate_results(rollout: &RolloutId) -> Prefix {
        Prefix::of(&["gate-results", &rollout.to_string()])
    }

    pub fn gate_answers(rollout: &RolloutId) -> Prefix {
        Prefix::of(&["gate-answers", &rollout.to_string()])
    }

    pub fn active() -> Prefix {
        Prefix::of(&["active"])
    }

    pub fn live() -> Prefix {
        Prefix::of(&["live"])
    }

    pub fn live_in(env: &EnvName) -> Prefix {
        Prefix::of(&["live", env.as_str()])
    }

    pub fn assignments() -> Prefix {
        Prefix::of(&["assignments"])
    }

    /// What one host should run: the session that holds the host watches this.
    pub fn assignments_of(host: &HostId) -> Prefix {
        Prefix::of(&["assignments", &host.to_string()])
    }

    pub fn states() -> Prefix {
        Prefix::of(&["states"])
    }

    pub fn states_of(host: &HostId) -> Prefix {
        Prefix::of(&["states", &host.to_string()])
    }

    pub fn snapshots() -> Prefix {
        Prefix::of(&["snapshots"])
    }

    pub fn sealed() -> Prefix {
        Prefix::of(&["sealed"])
    }

    /// Every host's part of one sealed secret.
    pub fn sealed_hosts(digest: &SealedDigest) -> Prefix {
        Prefix::of(&["sealed-hosts", &digest.hex()])
    }

    pub fn users() -> Prefix {
        Prefix::of(&["users"])
    }

    pub fn proposals() -> Prefix {
        Prefix::of(&["proposals"])
    }

    pub fn plans() -> Prefix {
        Prefix::of(&["plans"])
    }

    pub fn plan_pages(plan: &PlanDigest) -> Prefix {
        Prefix::of(&["plan-pages", &plan.hex()])
    }

    pub fn freezes() -> Prefix {
        Prefix::of(&["freezes"])
    }

    pub fn locks() -> Prefix {
        Prefix::of(&["locks"])
    }

    pub fn approvals() -> Prefix {
        Prefix::of(&["approvals"])
    }

    pub fn notices() -> Prefix {
        Prefix::of(&["notices"])
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn covers(&self, key: &Key) -> bool {
        key.0.starts_with(&*self.0)
    }

    fn of(parts: &[&str]) -> Prefix {
        Prefix(parts.iter().flat_map(|part| [part, "/"]).collect::<String>().into())
    }
}

/// What the parts of a key say, if they say anything.
fn read(parts: &[&str]) -> Option<Name> {
    Some(match *parts {
        ["hosts", host] => Name::Host(host.parse().ok()?),
        ["tokens", id] => Name::Token(free_part(id).ok()?.to_owned()),
        ["releases", app, version] => Name::Release(app.parse().ok()?, version.parse().ok()?),
        ["envs", env] => Name::Env(env.parse().ok()?),
        ["rollouts", rollout] => Name::Rollout(rollout.parse().ok()?),
        ["rollout-hosts", rollout, host] => Name::RolloutHost(rollout.parse().ok()?, host.parse().ok()?),
        ["rollout-gates", rollout] => Name::RolloutGates(rollout.parse().ok()?),
        ["gate-results", rollout, run] => Name::GateResult(rollout.parse().ok()?, ten_digits(run)?),
        ["gate-answers", rollout, run] => Name::GateAnswers(rollout.parse().ok()?, ten_digits(run)?),
        ["active", env, app] => Name::Active(env.parse().ok()?, app.parse().ok()?),
        ["live", env, app] => Name::Live(env.parse().ok()?, app.parse().ok()?),
        ["assignments", host, app] => Name::Assignment(host.parse().ok()?, app.parse().ok()?),
        ["states", host, app] => Name::State(host.parse().ok()?, app.parse().ok()?),
        ["snapshots", digest] => Name::Snapshot(digest.parse().ok()?),
        ["sealed", digest] => Name::Sealed(digest.parse().ok()?),
        ["sealed-hosts", digest, host] => Name::SealedHost(digest.parse().ok()?, host.parse().ok()?),
        ["users", name] => Name::User(name.parse().ok()?),
        ["proposals", id] => Name::Proposal(free_part(id).ok()?.to_owned()),
        ["plans", plan] => Name::Plan(plan.parse().ok()?),
        ["plan-pages", plan, number] => Name::PlanPage(plan.parse().ok()?, number.parse().ok()?),
        ["freezes", env] => Name::Freeze(env.parse().ok()?),
        ["locks", env] => Name::Lock(env.parse().ok()?, None),
        ["locks", env, app] => Name::Lock(env.parse().ok()?, Some(app.parse().ok()?)),
        ["approvals", plan] => Name::Approvals(plan.parse().ok()?),
        ["notices", id] => Name::Notice(Uuid::try_parse(id).ok()?),
        ["counters", name] => Name::Counter(free_part(name).ok()?.to_owned()),
        _ => return None,
    })
}

fn ten_digits(part: &str) -> Option<u32> {
    let sound = part.len() == 10 && part.bytes().all(|byte| byte.is_ascii_digit());
    part.parse().ok().filter(|_| sound)
}

/// A part that no identifier type guards: 1 to 64 of a-z, 0-9, `-` and `_`.
fn free_part(part: &str) -> Result<&str, UnknownKey> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if (1..=64).contains(&part.len()) && part.bytes().all(allowed) {
        Ok(part)
    } else {
        Err(UnknownKey { key: part.escape_debug().to_string() })
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
