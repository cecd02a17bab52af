//! It is over. No host is asked anything any more; one that was still owed its way back may say that it is back, and one
//! that was excluded in the middle of a change how that ended. What balancers were told last stands, and is put right when
//! a host is drained, may serve again, or is removed.

use crate::rollout::{
    draft::Draft,
    event::{Event, Refused},
    host::{HostProgress, HostState},
};

pub(super) fn when_done(draft: &mut Draft, event: Event) -> Result<(), Refused> {
    match event {
        Event::HostDrained { host, drained } => draft.bench_afterwards(host, drained),
        Event::HostRemoved(host) => draft.removed_afterwards(host),
        Event::Report { host, generation, outcome } if draft.rollout.is_balancer(&host) => {
            draft.directed(host, generation, outcome);
        }
        Event::Report { host, generation, outcome } => {
            let finishes = |host: &HostProgress| host.is_out() && (host.finishing || host.drained);
            let owing = |host: &HostProgress| host.state == HostState::RollingBack || finishes(host);
            if draft.rollout.hosts.get(&host).is_some_and(|host| owing(host)) {
                draft.report(host, generation, outcome);
            }
        }
        Event::Silent(_)
        | Event::Back(_)
        | Event::HoldChanged { .. }
        | Event::HostJoined { .. }
        | Event::Gate { .. }
        | Event::Calendar { .. }
        | Event::Withdrawn { .. }
        | Event::Tick => {}
        Event::Supersede(_) => {}
        Event::Start => return draft.refuse("start", "it is over: start a new rollout"),
        Event::Pause { .. } => return draft.refuse("pause", "it is over"),
        Event::Resume => return draft.refuse("resume", "it is over"),
        Event::Promote(_) => return draft.refuse("promote", "it is over"),
        Event::Abort { .. } => return draft.refuse("abort", "it is over"),
        Event::Retry(_) => return draft.refuse("retry", "it is over: start a new rollout"),
        Event::Pace(_) => return draft.refuse("pace", "it is over"),
        Event::Exclude(_) => return draft.refuse("exclude", "it is over"),
        Event::Rollback { .. } => {
            let header = &draft.rollout.header;
            let (app, env) = (&header.app, &header.env);
            let why = format!("it is over; to go back: longshore rollout rollback {app} --to {env}");
            return draft.refuse("rollback", why);
        }
    }
    Ok(())
}
