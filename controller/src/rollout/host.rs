//! One host's part in a rollout: stored as a record of its own, so that writes are proportional to change.

use std::net::IpAddr;

use longshore_common::{
    ids::{HostName, Version},
    report::{Blame, DRAINED, FROZEN, Failure},
    time::Millis,
    traffic::Side,
};
use serde::{Deserialize, Serialize};

use super::{
    balance::Route,
    model::{Header, Target},
    routing,
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProgress {
    pub name: HostName,
    /// From 0. Of no meaning when the host was excluded from the start.
    pub wave: u32,
    /// Of the target's settings: the layers that hold for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<u16>,
    /// What it ran before; `None`: nothing of this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Target>,
    /// Another environment gave it that, and this one had something live; or it came when balancers had no word of it: it
    /// gets no traffic here before it is changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub foreign: bool,
    pub state: HostState,
    /// When the state was entered.
    pub since: Millis,
    /// Its last failure in this rollout. It stays while the host goes back or tries again, until it is healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<LastFailure>,
    /// What it is asked to do at present; `None`: nothing by this rollout yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Ask>,
    /// Of the present ask; 0: none yet. Only rises.
    #[serde(default)]
    pub round: u16,
    /// Percent of its traffic that its present ask gives what it asks for; 100 where nobody directs any.
    #[serde(default = "routing::whole", skip_serializing_if = "routing::is_whole")]
    pub share: u8,
    /// What it ran has no sides, and the release has: it gets all of the host's traffic at once, and nothing is kept warm.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
    /// Of two groups between which traffic is switched: its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Side>,
    /// Where balancers find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Balancers are to send it no new connections: it is about to be changed, is changed, or was never good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drained: bool,
    /// An operator drained it: balancers send it nothing until that is lifted, whatever becomes of it. Or, when
    /// the rollout was over, it was removed, then for good, or left the environment by its labels, until it is back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub benched: bool,
    /// It left, and came back to what is live when the rollout was over: balancers send it something again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_back: bool,
    /// It was left out because an operator had drained it when the rollout began; where others took part, it missed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_drained: bool,
    /// What balancers are told of it; `None`: there are none, or they are told nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// Tries begun since the last retry by an operator.
    #[serde(default)]
    pub attempts: u8,
    /// Not heard from since then: unknown, whatever `state` said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<Millis>,
    /// Somebody on the host holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<LocalHold>,
    /// It refused what it is asked at present, because it is held: nothing is under way there.
    #[serde(default)]
    pub declined: bool,
    /// It was asked to run the target since it last ran what it ran before.
    #[serde(default)]
    pub touched: bool,
    /// It was healthy on the target when it was asked to go back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub served: bool,
    /// It was found unwell on the target before it was asked to go back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unwell: bool,
    /// It was excluded in the middle of a change, which it finishes by itself: down until it says how that ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub finishing: bool,
    /// The app is known not to serve there.
    #[serde(default)]
    pub sick: bool,
    /// It came to be of the environment when the rollout was under way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joined: bool,
    /// It is in the first wave in the place of a canary of which nobody was left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stands_in: bool,
    /// An operator resumed knowing how it stands: neither counted nor waited for, until it changes.
    #[serde(default)]
    pub forgiven: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalHold {
    pub reason: String,
    pub since: Millis,
}

impl LocalHold {
    /// It stands for an operator's word, not for somebody's on the host.
    pub(super) fn is_drain(&self) -> bool {
        self.reason.starts_with(DRAINED)
    }

    /// It stands for the organisation's word to all hosts.
    pub(super) fn is_freeze(&self) -> bool {
        self.reason.contains(FROZEN)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    pub failure: Failure,
    /// When the controller learned of it.
    pub at: Millis,
}

/// What a host is asked to do. With the round it makes the host's assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Fetch and unpack the target.
    Stage,
    /// Run the target.
    Run,
    /// Run what it ran before, or remove the app where there was nothing.
    Return,
}

/// What is known of the host in this rollout. Silence and local holds lie over it: see [`HostProgress::as_str`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum HostState {
    Waiting,
    Staging,
    Staged,
    Switching,
    Healthy,
    /// Ran exactly this already.
    Unchanged,
    Failed,
    /// Failed, and is back on its last good release by itself.
    Reverted {
        to: Version,
    },
    /// Not to be touched by this rollout.
    Excluded {
        reason: String,
    },
    RollingBack,
    RolledBack,
    /// Neither here nor there: a human has to look.
    Inconsistent,
    /// No longer of the fleet, or of the environment.
    Left,
}

impl HostState {
    pub fn as_str(&self) -> &'static str {
        match self {
            HostState::Waiting => "waiting",
            HostState::Staging => "staging",
            HostState::Staged => "staged",
            HostState::Switching => "switching",
            HostState::Healthy => "healthy",
            HostState::Unchanged => "unchanged",
            HostState::Failed => "failed",
            HostState::Reverted { .. } => "reverted",
            HostState::Excluded { .. } => "excluded",
            HostState::RollingBack => "rolling-back",
            HostState::RolledBack => "rolled-back",
            HostState::Inconsistent => "inconsistent",
            HostState::Left => "left",
        }
    }

    /// Failed by any of its names; the host's `failure` says how.
    pub fn is_failed(&self) -> bool {
        match self {
            HostState::Failed | HostState::Reverted { .. } | HostState::Inconsistent => true,
            HostState::Waiting
            | HostState::Staging
            | HostState::Staged
            | HostState::Switching
            | HostState::Healthy
            | HostState::Unchanged
            | HostState::Excluded { .. }
            | HostState::RollingBack
            | HostState::RolledBack
            | HostState::Left => false,
        }
    }
}

impl HostProgress {
    /// What it is to run in the end.
    pub fn target(&self, header: &Header) -> Target {
        header.target.on_host(&self.layers)
    }

    /// Every word that `as_str` may give.
    pub const NAMES: [&'static str; 17] = [
        "waiting",
        "staging",
        "staged",
        "draining",
        "switching",
        "joining",
        "healthy",
        "unchanged",
        "failed",
        "reverted",
        "unknown",
        "refused",
        "excluded",
        "rolling-back",
        "rolled-back",
        "inconsistent",
        "left",
    ];

    /// The stable name: `HostRow.state` in the API. A silent host is `unknown`, a held one that has work to do
    /// `refused`, one that loses its connections before it is changed `draining`, one that is to have them again
    /// `joining`.
    pub fn as_str(&self) -> &'static str {
        if self.is_out() {
            self.state.as_str()
        } else if self.silent.is_some() {
            "unknown"
        } else if self.is_refusing() {
            "refused"
        } else if self.parts() {
            "draining"
        } else if self.joins() && self.is_to_serve() {
            "joining"
        } else {
            self.state.as_str()
        }
    }

    /// Healthy, or back.
    pub(super) fn is_to_serve(&self) -> bool {
        matches!(self.state, HostState::Healthy | HostState::Unchanged | HostState::RolledBack)
    }

    /// Not of this rollout: excluded, or gone.
    pub fn is_out(&self) -> bool {
        matches!(self.state, HostState::Excluded { .. } | HostState::Left)
    }

    /// `web-1`, or while it refuses `web-1 (disk swap)`.
    pub(super) fn name_with_hold(&self) -> String {
        match self.refusal() {
            Some(held) => format!("{} ({})", self.name, held.reason),
            None => self.name.to_string(),
        }
    }

    /// The hold for which it does not take what is asked of it.
    pub fn refusal(&self) -> Option<&LocalHold> {
        self.held.as_ref().filter(|_| self.silent.is_none() && self.is_refusing())
    }

    /// Held, and there is work that it does not take.
    pub fn is_refusing(&self) -> bool {
        let has_work = matches!(self.state, HostState::Waiting | HostState::Staged | HostState::RollingBack);
        (self.held.is_some() && has_work) || self.is_stopped()
    }

    /// An operator drained it in the midst of what it was asked: its apps stop, and it goes on by itself when that is
    /// lifted. How far it came says nothing of the release.
    pub(super) fn is_stopped(&self) -> bool {
        let amid = matches!(self.state, HostState::Staging | HostState::Switching | HostState::RollingBack);
        amid && self.held.as_ref().is_some_and(LocalHold::is_drain)
    }

    /// Whose failure it is, if it has failed.
    pub fn blame(&self) -> Option<Blame> {
        let last = self.failure.as_ref().filter(|_| self.state.is_failed())?;
        Some(last.failure.blame)
    }
}
