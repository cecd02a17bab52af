//! Of those, the rollouts.

use longshore_proto::v1 as pb;

use super::{
    rollout::{Explanation, Rollout, RolloutList},
    samples::{AT, DIGEST, HOST, Sample, sample},
};

fn failure() -> pb::Failure {
    pb::Failure {
        code: "LS-B01".into(),
        step: "probe".into(),
        message: "http answered 503 for 4 s".into(),
        evidence: vec!["shop: a trial order failed".into()],
        blame: pb::Blame::Version.into(),
    }
}

fn hold() -> pb::HoldRow {
    pb::HoldRow {
        kind: "bake".into(),
        what: "wave 1 is watched".into(),
        owner: "nobody".into(),
        since_ms: AT,
        until_ms: AT,
        then: "wave 2 begins".into(),
        command: "longshore rollout promote 019ab0c1-2345".into(),
        hosts: vec![HOST.into()],
    }
}

fn rollout() -> pb::Rollout {
    pb::Rollout {
        id: "019ab0c1-2345-7000-8000-000000000000".into(),
        app: "shop".into(),
        env: "production".into(),
        version: "1.4.2".into(),
        release: DIGEST.into(),
        from_version: "1.4.1".into(),
        newcomers: true,
        unchanged: false,
        phase: "baking".into(),
        outcome: String::new(),
        outcome_reason: String::new(),
        wave: 0,
        waves: vec![pb::WaveRow {
            number: 0,
            hosts: vec![HOST.into()],
            state: "baking".into(),
            bake_ms: 60_000,
        }],
        hosts: vec![pb::HostRow {
            id: HOST.into(),
            name: "web-3".into(),
            wave: 0,
            state: "reverted".into(),
            step: "probe".into(),
            bytes_done: 2_100,
            bytes_total: 2_100,
            failure: Some(failure()),
            from_version: "1.4.1".into(),
            generation: 65_537,
            since_ms: AT,
            joined: true,
            stands_in: true,
            group: "green".into(),
            weight: Some(100),
            directed: true,
            left_out: String::new(),
            sides: super::samples_more::sides(),
        }],
        started_by: "ada".into(),
        created_ms: AT,
        started_ms: AT,
        ended_ms: 0,
        deadline_ms: AT,
        revision: 4711,
        holds: vec![hold()],
        reason: "ticket 77".into(),
        plan: DIGEST.into(),
        gates: vec![pb::GateRow {
            name: "errors".into(),
            kind: "metrics".into(),
            place: "after wave 1".into(),
            state: "fail".into(),
            note: "0.05 is more than 0.01".into(),
            since_ms: AT,
            until_ms: AT,
            then: "rollback".into(),
            evidence: vec!["0.004".into(), "0.05".into()],
            run: 1,
            promotable: false,
        }],
        overrides: vec![pb::Override {
            name: "disk".into(),
            reason: "the old log is removed at noon".into(),
        }],
        balancing: Some(pb::Balancing {
            director: "haproxy".into(),
            backend: "shop".into(),
            gets: "green".into(),
            share: 50,
            moves: true,
            balancers: vec![pb::BalancerRow {
                name: "lb-1".into(),
                state: "refused".into(),
                note: "HAProxy cannot be asked".into(),
            }],
        }),
    }
}

pub(super) fn rollouts() -> Vec<Sample> {
    let explain = pb::ExplainReply {
        rollout: Some(rollout()),
        holds: vec![hold()],
        summary: "shop@1.4.2 to production: baking. wave 1 is watched".into(),
        first_failure: Some(pb::FirstFailure {
            host: HOST.into(),
            name: "web-3".into(),
            failure: Some(failure()),
            time_ms: AT,
        }),
    };
    let listed = pb::ListRolloutsReply { rollouts: vec![rollout()] };
    vec![
        sample(
            "longshore rollout start, show, pause, resume, promote, retry, abort, rollback; watch, one document a line",
            &Rollout::from(rollout()),
        ),
        sample("longshore rollout list", &RolloutList::from(listed)),
        sample("longshore rollout explain", &Explanation::new(explain).expect("it has a rollout")),
    ]
}
