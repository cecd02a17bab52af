//! What every store promises, as one suite that each of them passes.
//!
//! A new store calls [`suite`] with a way to make an empty one. The groups are: what a commit means (`commits`),
//! what a watcher sees (`watches`), and a long random walk beside a plain map (`model`).

mod commits;
mod model;
mod watches;

use std::future::Future;

use bytes::Bytes;

use super::key::{Key, Prefix};
use super::{Entry, Revision, SharedStore, Txn};

/// Check everything on a store that `make` makes, each time an empty one. What comes with it lives as long.
pub fn suite<Keep>(make: impl Fn() -> (SharedStore, Keep)) {
    let fresh = Fresh { make };
    fresh.check(commits::an_empty_store_is_at_revision_zero);
    fresh.check(commits::a_write_is_read_back_with_its_revision);
    fresh.check(commits::guards_hold_or_name_their_key);
    fresh.check(commits::nothing_of_a_refused_commit_is_written);
    fresh.check(commits::what_changes_nothing_takes_no_revision);
    fresh.check(commits::malformed_transactions_are_refused);
    fresh.check(commits::a_transaction_may_be_as_large_as_promised);
    fresh.check(commits::of_many_with_one_guard_one_wins);
    fresh.check(commits::a_list_is_of_one_revision);
    fresh.check(commits::a_list_holds_what_its_prefix_covers);
    fresh.check(watches::a_commit_is_one_event);
    fresh.check(watches::a_watch_misses_nothing_and_repeats_nothing);
    fresh.check(watches::a_watch_replays_what_was_before_it);
    fresh.check(watches::who_falls_behind_gets_a_gap_and_then_the_end);
    fresh.check(watches::what_is_too_long_ago_is_a_gap);
    fresh.check(watches::a_revision_that_never_was_is_a_gap);
    fresh.check(watches::a_watcher_that_went_away_is_forgotten);
    fresh.check_each(model::behaves_like_a_map);
}

struct Fresh<Make> {
    make: Make,
}

impl<Keep, Make: Fn() -> (SharedStore, Keep)> Fresh<Make> {
    fn check<Checking: Future<Output = ()>>(&self, check: impl FnOnce(SharedStore) -> Checking) {
        let (store, _keep) = (self.make)();
        runtime().block_on(check(store));
    }

    /// For a check that wants many empty stores.
    fn check_each(&self, check: impl FnOnce(&dyn Fn() -> (SharedStore, Keep))) {
        check(&self.make);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime for a test")
}

fn env(name: &str) -> Key {
    Key::env(&name.parse().expect("a name that a test made"))
}

fn live(env: &str, app: &str) -> Key {
    Key::live(&env.parse().expect("a name that a test made"), &app.parse().expect("a name that a test made"))
}

fn live_in(env: &str) -> Prefix {
    Prefix::live_in(&env.parse().expect("a name that a test made"))
}

async fn put(store: &SharedStore, key: &Key, value: &str) -> Revision {
    let txn = Txn::new().put(key.clone(), Bytes::copy_from_slice(value.as_bytes()));
    store.commit(txn).await.expect("an unguarded put")
}

fn text(value: &Bytes) -> String {
    String::from_utf8(value.to_vec()).expect("tests write text")
}

fn entry(key: &Key, value: &str, revision: Revision) -> Entry {
    Entry { key: key.clone(), value: Bytes::copy_from_slice(value.as_bytes()), revision }
}
