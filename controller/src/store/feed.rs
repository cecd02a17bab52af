//! From commits to watchers: a bounded history and a bounded queue for each.
//!
//! The store that owns a feed publishes every commit once it is durable, in order, and before it acknowledges
//! it. A commit costs what it changes: each changed key finds its watchers by its own prefixes, so that a
//! thousand watchers of other keys cost nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use longshore_common::ids::Revision;

use super::watch::{WatchSender, Watching};
use super::{Change, Changes, Prefix, Watch};

/// How many commits are remembered for watchers that come back. A controller that commits fifty times a second
/// covers twenty seconds with it, which is longer than a session takes to reconnect.
pub const HISTORY_COMMITS: usize = 1024;

/// How many bytes of values those commits may hold together.
pub const HISTORY_BYTES: usize = 4 << 20;

/// Below this, watchers who went away are not worth looking for.
const SWEEP_MIN: usize = 64;

/// The changes of late, and who wants those to come.
#[derive(Debug)]
pub(super) struct Feed {
    /// Oldest first, no revision missing in between.
    history: VecDeque<Arc<Changes>>,
    history_bytes: usize,
    /// Every commit after this revision, up to `current`, is in `history`.
    floor: Revision,
    /// The revision of the last commit.
    current: Revision,
    watchers: HashMap<Prefix, Vec<WatchSender>>,
    /// How many watched prefixes call for a look at which of them are still watched.
    sweep_at: usize,
}

impl Feed {
    /// A feed that knows nothing of what was committed up to `current`.
    pub(super) fn starting_at(current: Revision) -> Self {
        Feed {
            history: VecDeque::new(),
            history_bytes: 0,
            floor: current,
            current,
            watchers: HashMap::new(),
            sweep_at: SWEEP_MIN,
        }
    }

    /// A watch of everything below `prefix` after `after`: replayed from history where that reaches far enough.
    pub(super) fn watch(&mut self, prefix: &Prefix, after: Revision) -> Watch {
        if after < self.floor || after > self.current {
            // Too long ago, or of a store that has since been replaced by an older copy.
            return Watch::gapped();
        }
        let missed = self.history.iter().filter(|commit| commit.revision > after);
        let replay = missed.filter_map(|commit| below(commit, prefix)).collect();
        let (sender, watch) = Watch::replaying(replay);
        self.forget_closed();
        let watchers = self.watchers.entry(prefix.clone()).or_default();
        watchers.retain(|watcher| !watcher.is_closed());
        watchers.push(sender);
        watch
    }

    /// Drop prefixes that nobody watches any more, whenever their number may have doubled.
    fn forget_closed(&mut self) {
        if self.watchers.len() < self.sweep_at {
            return;
        }
        self.watchers.retain(|_, watchers| {
            watchers.retain(|watcher| !watcher.is_closed());
            !watchers.is_empty()
        });
        self.sweep_at = SWEEP_MIN.max(self.watchers.len() * 2);
    }

    /// Hand a durable commit to everybody who watches one of its keys, and remember it.
    pub(super) fn publish(&mut self, commit: Changes) {
        debug_assert!(commit.revision > self.current, "commits are published once, in order");
        for (prefix, changes) in by_watched_prefix(&self.watchers, &commit) {
            let watchers = self.watchers.get_mut(&prefix).expect("only watched prefixes were collected");
            watchers.retain(|watcher| watcher.send(changes.clone()) == Watching::Yes);
            if watchers.is_empty() {
                self.watchers.remove(&prefix);
            }
        }
        self.remember(commit);
    }

    fn remember(&mut self, commit: Changes) {
        self.current = commit.revision;
        self.history_bytes += size(&commit);
        self.history.push_back(Arc::new(commit));
        while self.history.len() > HISTORY_COMMITS || self.history_bytes > HISTORY_BYTES {
            let Some(oldest) = self.history.pop_front() else { break };
            self.history_bytes -= size(&oldest);
            self.floor = oldest.revision;
        }
    }
}

/// What a commit changed, sorted by the watched prefixes that its keys lie below.
fn by_watched_prefix(
    watchers: &HashMap<Prefix, Vec<WatchSender>>,
    commit: &Changes,
) -> BTreeMap<Prefix, Changes> {
    let mut found: BTreeMap<Prefix, Changes> = BTreeMap::new();
    for change in &commit.changes {
        for prefix in change.key().prefixes().filter(|prefix| watchers.contains_key(prefix)) {
            let none = || Changes { revision: commit.revision, changes: Vec::new() };
            found.entry(prefix).or_insert_with(none).changes.push(change.clone());
        }
    }
    found
}

/// What a commit changed below `prefix`, if anything.
fn below(commit: &Changes, prefix: &Prefix) -> Option<Changes> {
    let changes: Vec<Change> =
        commit.changes.iter().filter(|change| prefix.covers(change.key())).cloned().collect();
    (!changes.is_empty()).then_some(Changes { revision: commit.revision, changes })
}

/// The bytes that a remembered commit holds on to.
fn size(commit: &Changes) -> usize {
    let of = |change: &Change| change.key().as_str().len() + change.value().map_or(0, bytes::Bytes::len);
    commit.changes.iter().map(of).sum()
}
