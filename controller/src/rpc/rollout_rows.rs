//! A rollout as a message.

use longshore_common::{
    code::Code,
    ids::HostId,
    report::{Blame, Failure, StepName},
};
use longshore_proto::v1 as pb;

use super::gate_rows;
use crate::{
    engine::{View, records::Record},
    rollout::{
        Done, Header, Hold, HostProgress, HostState, Phase, Rollout, first_failure, next_deadline, wave_state,
    },
};

/// The whole: waves, hosts, holds.
pub fn whole(view: &View) -> pb::Rollout {
    let View { record, rollout, revision, progress, holds, gates: _, seen: _, stale_in: _ } = view;
    let hosts = rollout.hosts.iter().map(|(id, host)| {
        let mut row = host_row(rollout, id, host);
        if let Some(progress) = progress.get(id) {
            row.step = progress.step.clone();
            (row.bytes_done, row.bytes_total) = (progress.bytes_done, progress.bytes_total);
        }
        row
    });
    let mut hosts: Vec<pb::HostRow> = hosts.collect();
    hosts.sort_by(|a, b| (a.wave, &a.name, &a.id).cmp(&(b.wave, &b.name, &b.id)));
    pb::Rollout {
        waves: waves(rollout),
        hosts,
        revision: revision.0,
        holds: holds.iter().map(hold_row).collect(),
        gates: gate_rows::rows(view),
        balancing: balancing(rollout),
        // What may not be begun is not late.
        deadline_ms: rollout.phase().deadline().and_then(|_| next_deadline(rollout)).unwrap_or_default(),
        ..brief(record)
    }
}

/// What the header alone says.
pub fn brief(record: &Record) -> pb::Rollout {
    let Record { header, request_id: _, started_by, reason, rollback: _, newcomers, plan, overrides } =
        record;
    let Header { id, app, env, target, from_version, phase, created_ms, started_ms, .. } = header;
    let done: Option<&Done> = match phase {
        Phase::Done(done) => Some(done),
        _ => None,
    };
    pb::Rollout {
        id: id.to_string(),
        app: app.to_string(),
        env: env.to_string(),
        version: target.version.to_string(),
        release: target.release.hex(),
        from_version: from_version.as_ref().map(ToString::to_string).unwrap_or_default(),
        newcomers: *newcomers,
        phase: phase.as_str().to_owned(),
        outcome: done.map(|done| done.outcome.as_str().to_owned()).unwrap_or_default(),
        outcome_reason: done.map(|done| done.reason.clone()).unwrap_or_default(),
        wave: phase.wave().unwrap_or_default(),
        started_by: started_by.clone(),
        created_ms: *created_ms,
        started_ms: started_ms.unwrap_or_default(),
        ended_ms: done.map_or(0, |done| done.at),
        deadline_ms: phase.deadline().unwrap_or_default(),
        reason: reason.clone(),
        plan: plan.map(|plan| plan.hex()).unwrap_or_default(),
        overrides: overrides
            .iter()
            .map(|given| pb::Override { name: given.check.to_string(), reason: given.reason.clone() })
            .collect(),
        ..pb::Rollout::default()
    }
}

fn waves(rollout: &Rollout) -> Vec<pb::WaveRow> {
    let waves = (0..).zip(rollout.waves());
    waves
        .map(|(number, hosts): (u32, Vec<HostId>)| pb::WaveRow {
            number,
            hosts: hosts.iter().map(ToString::to_string).collect(),
            state: wave_state(rollout, number).to_owned(),
            bake_ms: rollout.bake_of(number).as_ms(),
        })
        .collect()
}

fn balancing(rollout: &Rollout) -> Option<pb::Balancing> {
    let (header, routing) = (&rollout.header, rollout.spec().traffic.as_ref()?);
    let balancing = header.balancing.as_ref()?;
    let balancers = rollout.balancers().map(|(_, balancer)| {
        let (state, note) = balancer.standing(balancing.round);
        pb::BalancerRow { name: balancer.name.to_string(), state: state.to_owned(), note }
    });
    let mut balancers: Vec<pb::BalancerRow> = balancers.collect();
    balancers.sort_by(|a, b| a.name.cmp(&b.name));
    Some(pb::Balancing {
        director: routing.director.to_string(),
        backend: routing.backend.to_string(),
        gets: balancing.side.map(|side| side.to_string()).unwrap_or_default(),
        share: balancing.share.into(),
        moves: balancing.moves,
        balancers,
    })
}

fn host_row(rollout: &Rollout, id: &HostId, host: &HostProgress) -> pb::HostRow {
    pb::HostRow {
        id: id.to_string(),
        name: host.name.to_string(),
        wave: host.wave,
        state: host.as_str().to_owned(),
        failure: why_not(host).as_ref().map(Into::into),
        from_version: host.previous.as_ref().map(|target| target.version.to_string()).unwrap_or_default(),
        generation: rollout.generation(*id).map_or(0, |generation| generation.0),
        since_ms: host.since,
        joined: host.joined,
        stands_in: host.stands_in,
        left_out: match &host.state {
            HostState::Excluded { reason } => reason.clone(),
            _ => String::new(),
        },
        group: host.group.map(|group| group.to_string()).unwrap_or_default(),
        weight: host.route.map(|route| route.weight.into()),
        directed: host.route.is_some_and(|route| route.done && !(route.if_up && host.silent.is_some())),
        ..pb::HostRow::default()
    }
}

/// Why the host does not run the target: its failure, or the hold for which it refuses.
fn why_not(host: &HostProgress) -> Option<Failure> {
    let refused = host.refusal().map(|held| {
        Failure::new(Code::P01, StepName::Check, Blame::Environment, format!("held: {}", held.reason))
    });
    refused.or_else(|| host.failure.as_ref().map(|last| last.failure.clone()))
}

pub fn hold_row(hold: &Hold) -> pb::HoldRow {
    let Hold { kind, what, owner, since, until, then, command, hosts } = hold;
    pb::HoldRow {
        kind: kind.as_str().to_owned(),
        what: what.clone(),
        owner: owner.clone(),
        since_ms: *since,
        until_ms: until.unwrap_or_default(),
        then: then.clone(),
        command: command.clone().unwrap_or_default(),
        hosts: hosts.iter().map(ToString::to_string).collect(),
    }
}

pub fn explained(view: &View) -> pb::ExplainReply {
    let first = first_failure(&view.rollout).map(|(id, host, last)| pb::FirstFailure {
        host: id.to_string(),
        name: host.name.to_string(),
        failure: Some((&last.failure).into()),
        time_ms: last.at,
    });
    pb::ExplainReply {
        rollout: Some(whole(view)),
        holds: view.holds.iter().map(hold_row).collect(),
        summary: summary(view),
        first_failure: first,
    }
}

/// One sentence: where it is and what comes first.
fn summary(view: &View) -> String {
    let Header { app, env, target, phase, .. } = &view.rollout.header;
    let what = format!("{app}@{} to {env}", target.version);
    match (phase, view.holds.first()) {
        (Phase::Done(done), _) => format!("{what}: {}. {}", done.outcome.as_str(), done.reason),
        (phase, Some(hold)) => format!("{what}: {}. {}", phase.as_str(), hold.what),
        (phase, None) => format!("{what}: {}", phase.as_str()),
    }
}
