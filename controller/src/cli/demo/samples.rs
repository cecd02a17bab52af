//! What `longshore demo` prints at its end, as `docs/cli-json.md` shows it.

use std::collections::BTreeMap;

use super::{
    summary::{Act, Summary},
    tour::{self, Ended, Typed},
    traffic::Tally,
};
use crate::cli::view::samples::{Sample, sample};

pub fn samples() -> Vec<Sample> {
    let requests = Tally {
        served: 4_711,
        failed: 0,
        by_version: BTreeMap::from([("1.1".to_owned(), 2_711), ("1.2".to_owned(), 2_000)]),
        slowest_ms: 19,
        first_failure: None,
    };
    let act = Act {
        version: "1.2".into(),
        outcome: "succeeded".into(),
        reason: "all 5 hosts run 1.2".into(),
        took_ms: 12_000,
        waves: 3,
        hosts_touched: 5,
        files: 24,
        files_new: 2,
        bytes_per_host: 81_000,
    };
    let (requests_of_tour, took_ms) = (requests.clone(), 90_000);
    let summary =
        Summary { hosts: 5, rollouts: vec![act], requests, took_ms, folder: "/tmp/longshore-demo".into() };
    let typed = Typed {
        who: "ann".into(),
        command: "longshore plan shop@1.2 --to harbour".into(),
        exit: 0,
        printed: vec!["Plan 9c1e5a5f  shop@1.2 to harbour (from 1.1)".into()],
    };
    let tour = tour::Summary {
        ended: Ended::AtTheEnd,
        commands: vec![typed],
        requests: requests_of_tour,
        took_ms: 140_000,
    };
    vec![sample("longshore demo", &summary), sample("longshore demo --tour", &tour)]
}
