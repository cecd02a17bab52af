//! Rollouts.

use clap::{Args, Subcommand};
use longshore_common::{
    code::Coded,
    time::{Clock as _, Millis, Span, SystemClock},
};

use crate::{calendar::Calendar, rollout::Share};

use super::Waiting;

#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Begin to move an environment to a release
    #[command(
        after_help = "Examples:\n  longshore rollout start shop@1.4.2 --to staging\n  longshore rollout start shop@1.4.2 --to production --wait --timeout 1h\n  longshore rollout start shop@1.4.2 --to production --at \"2026-11-29 01:45\"\n  longshore rollout start 1a2b3c4d                             exactly that plan\n  longshore rollout start 1a2b3c4d --override disk --reason \"the log is removed at noon\""
    )]
    Start(StartArgs),
    /// Rollouts, newest first
    #[command(
        after_help = "Examples:\n  longshore rollout list\n  longshore rollout list --env production --active"
    )]
    List {
        /// Only of this app
        #[arg(long)]
        app: Option<String>,
        /// Only in this environment
        #[arg(long)]
        env: Option<String>,
        /// Only those that are not over
        #[arg(long)]
        active: bool,
        /// At most so many
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// One rollout, host by host
    #[command(after_help = "Example:\n  longshore rollout show latest")]
    Show(Which),
    /// Follow a rollout until it is over; the exit code says how it ended
    #[command(
        after_help = "Examples:\n  longshore rollout watch\n  longshore rollout watch 0192f3a1 --timeout 10m"
    )]
    Watch {
        /// Its id, the beginning of it, or `latest`
        #[arg(default_value = "latest")]
        rollout: String,
        /// Stop watching after this long, with exit code 5
        #[arg(long, value_name = "TIME", default_value = "1d")]
        timeout: Span,
    },
    /// Say what a rollout waits for, who can act, and the first failure
    #[command(after_help = "Example:\n  longshore rollout explain latest")]
    Explain(Which),
    /// Agree that a plan may start, or deny it; whoever made the plan cannot
    #[command(
        after_help = "Examples:\n  longshore rollout approve 9c1e5a5f\n  longshore rollout approve 9c1e5a5f --deny --reason \"not before the sale\""
    )]
    Approve {
        /// The plan: its digest, or the beginning of it
        plan: String,
        /// Say no: it does not start until you say otherwise
        #[arg(long)]
        deny: bool,
        /// Kept with the plan
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Plans that wait for approvals
    #[command(
        after_help = "Examples:\n  longshore rollout approvals\n  longshore rollout approvals --env production --all"
    )]
    Approvals {
        /// Only for this environment
        #[arg(long)]
        env: Option<String>,
        /// Also those that need nothing more
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Begin nothing new until resumed
    #[command(
        after_help = "Example:\n  longshore rollout pause latest --reason \"looking at the error rate\""
    )]
    Pause(Acting),
    /// Go on after a pause
    #[command(after_help = "Example:\n  longshore rollout resume latest")]
    Resume(Acting),
    /// End the present bake, say yes to a promotion, or go past gates that allow it; one of these at a time
    #[command(
        after_help = "Examples:\n  longshore rollout promote latest\n  longshore rollout promote latest --reason \"the metric is known to be wrong\"\n  longshore rollout promote latest --full --reason \"hotfix\""
    )]
    Promote {
        #[command(flatten)]
        acting: Acting,
        /// Past every gate and wait that is left, where each of them allows it
        #[arg(long)]
        full: bool,
    },
    /// Approve a gate that asks operators, or deny it
    #[command(
        after_help = "Examples:\n  longshore rollout open latest go-live\n  longshore rollout open latest go-live --deny --reason \"the shop is full\""
    )]
    Open {
        /// Its id, the beginning of it, or `latest`
        rollout: String,
        /// The gate's name
        gate: String,
        /// Say no: the gate fails
        #[arg(long)]
        deny: bool,
        /// Kept with the gate
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Change the pace of a rollout under way
    #[command(
        after_help = "Examples:\n  longshore rollout pace latest --wave 50% --max-unavailable 4\n  longshore rollout pace latest --bake 10s"
    )]
    Pace {
        /// Its id, the beginning of it, or `latest`
        rollout: String,
        #[command(flatten)]
        pace: PaceArgs,
        /// Kept with the rollout
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Try failed hosts again
    #[command(
        after_help = "Examples:\n  longshore rollout retry latest\n  longshore rollout retry 0192f3a1 web-3 web-4"
    )]
    Retry {
        /// Its id, the beginning of it, or `latest`
        rollout: String,
        /// Names or ids; none: all that failed
        hosts: Vec<String>,
        /// Kept with the rollout
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Touch these hosts no more, neither forward nor back; the rollout goes on without them. One that is in the middle of
    /// a switch finishes it by itself, and counts as down until it has
    #[command(
        after_help = "Example:\n  longshore rollout exclude latest web-3 --reason \"disk is being replaced\""
    )]
    Exclude {
        /// Its id, the beginning of it, or `latest`
        rollout: String,
        /// Names or ids
        #[arg(required = true)]
        hosts: Vec<String>,
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Stop a rollout and put every host that it touched back
    #[command(after_help = "Example:\n  longshore rollout abort latest --reason \"wrong build\"")]
    Abort(Acting),
    /// Go back: undo a rollout under way, or move an environment to what it ran before, past no gate a second time
    #[command(
        after_help = "Examples:\n  longshore rollout rollback latest                      undo the rollout that is under way\n  longshore rollout rollback shop --to production        back to the release before\n  longshore rollout rollback shop@1.4.1 --to production  back to that one"
    )]
    Rollback(RollbackArgs),
}

#[derive(Debug, Args)]
pub struct StartArgs {
    /// A release such as shop@1.4.2, or the digest of a plan
    #[arg(value_name = "APP@VERSION|PLAN")]
    pub what: String,
    /// The environment; a plan knows its own
    #[arg(long, value_name = "ENV")]
    pub to: Option<String>,
    /// Start although this precondition of the plan does not hold, where the environment allows it
    #[arg(long = "override", value_name = "NAME", requires = "reason")]
    pub overrides: Vec<String>,
    /// Begin later: "2026-11-29 01:45" on the environment's clock, "+2h", or "next" for its next opening
    #[arg(long, value_name = "TIME", value_parser = begins_at)]
    pub at: Option<String>,
    /// Follow it until it is over; the exit code says how it ended
    #[arg(long)]
    pub wait: bool,
    /// Kept with the rollout
    #[arg(long)]
    pub reason: Option<String>,
    /// Give up after this long (30s; with --wait 1d)
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Span>,
}

/// How far the clock of the westernmost zone is behind that of UTC.
const WESTERNMOST_MS: Millis = 12 * 3_600_000;

/// A slip is found before a plan is made. What only the environment's calendar can tell, the controller does.
fn begins_at(text: &str) -> Result<String, String> {
    check_time(text, SystemClock.now_ms()).map(|()| text.to_owned())
}

fn check_time(text: &str, now: Millis) -> Result<(), String> {
    if text.trim() == "next" {
        return Ok(());
    }
    let at = Calendar::default().moment(text, now).map_err(|error: Coded| error.message)?;
    match at.saturating_add(WESTERNMOST_MS) < now {
        true => Err("it is past; to start now, leave --at away".to_owned()),
        false => Ok(()),
    }
}

/// What is to be otherwise from now on.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct PaceArgs {
    /// Size of the waves that have not begun: a count, or a percentage of all hosts
    #[arg(long, value_name = "HOSTS")]
    pub wave: Option<Share>,
    /// How many hosts may be down at once: a count, or a percentage
    #[arg(long, value_name = "HOSTS")]
    pub max_unavailable: Option<Share>,
    /// How long each wave is watched, the present one included
    #[arg(long, value_name = "TIME")]
    pub bake: Option<Span>,
    /// How long each step of traffic is watched
    #[arg(long, value_name = "TIME")]
    pub hold: Option<Span>,
}

#[derive(Debug, Args)]
pub struct Which {
    /// Its id, the beginning of it, or `latest`
    #[arg(default_value = "latest")]
    pub rollout: String,
    #[command(flatten)]
    pub waiting: Waiting,
}

#[derive(Debug, Args)]
pub struct Acting {
    /// Its id, the beginning of it, or `latest`
    pub rollout: String,
    /// Kept with the rollout
    #[arg(long)]
    pub reason: Option<String>,
    #[command(flatten)]
    pub waiting: Waiting,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// A rollout under way; with --to, APP or APP@VERSION
    #[arg(value_name = "ROLLOUT|APP[@VERSION]")]
    pub what: String,
    /// The environment to move back
    #[arg(long, value_name = "ENV")]
    pub to: Option<String>,
    /// Follow it until it is over; the exit code says how it ended
    #[arg(long)]
    pub wait: bool,
    /// Kept with the rollout
    #[arg(long)]
    pub reason: Option<String>,
    /// Give up after this long (30s; with --wait 1d)
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Span>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_at_which_nothing_can_begin_is_found_here() {
        let now = 1_795_824_000_000; // 2026-11-28 00:00 UTC
        for good in ["next", "+2h", "2026-11-29 01:45", "2026-11-27 12:00", "2026-11-29T00:45:00Z"] {
            assert_eq!(check_time(good, now), Ok(()), "{good}");
        }
        for (bad, says) in [
            ("yesterday", "is no time"),
            ("", "is no time"),
            ("+2x", "2x"),
            ("2026-11-27 11:59", "past"),
            ("2020-01-01", "past"),
        ] {
            let why = check_time(bad, now).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
}
