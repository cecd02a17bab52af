//! What the session has the host do beside it: whoever carries it out may hang, and the heartbeat must not.

use std::collections::VecDeque;

use longshore_common::{
    assignment::Assignment,
    code::{Code, Coded},
};
use longshore_proto::v1 as pb;
use tokio::task::JoinSet;

use super::words::app_states;
use crate::{plan::Drain, run::Works};

/// Of those that wait. While there is no room, nothing more is heard from the controller.
const WAITING: usize = 64;

pub(super) enum Duty {
    /// The controller has committed this report.
    Acknowledge(u64),
    /// As for [`Works::drain`].
    Drain(Option<Drain>),
    Assign(Box<Assignment>),
}

pub(super) enum Done {
    Duty(Result<(), Coded>),
    /// How this host knows what may run on it.
    Trust(Box<pb::TrustFacts>),
    /// How every app stands.
    Apps(Vec<pb::AppState>),
}

/// One duty at a time, in their order: who is told to take work again, and then what, is not to refuse it.
pub(super) struct Duties<W> {
    crew: W,
    waiting: VecDeque<Duty>,
    /// At most one.
    under_way: JoinSet<Result<(), Coded>>,
    /// At most one.
    looking: JoinSet<pb::TrustFacts>,
    /// At most one.
    surveying: JoinSet<Vec<pb::AppState>>,
    /// Something has changed since that began.
    survey_again: bool,
}

impl<W: Works> Duties<W> {
    pub(super) fn new(crew: W) -> Self {
        Self {
            crew,
            waiting: VecDeque::new(),
            under_way: JoinSet::new(),
            looking: JoinSet::new(),
            surveying: JoinSet::new(),
            survey_again: false,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING
    }

    pub(super) fn take(&mut self, duty: Duty) {
        self.waiting.push_back(duty);
        self.go_on();
    }

    /// One look at a time.
    pub(super) fn look_at_trust(&mut self) {
        if self.looking.is_empty() {
            let crew = self.crew.clone();
            self.looking.spawn(async move { crew.trust().await });
        }
    }

    /// One look at a time, and one more for all that changes meanwhile.
    pub(super) fn look_at_apps(&mut self) {
        if !self.surveying.is_empty() {
            self.survey_again = true;
            return;
        }
        let crew = self.crew.clone();
        self.surveying.spawn(async move { app_states(&crew).await });
    }

    /// The next that is done. Pending while there is nothing to do; may be dropped at any time.
    pub(super) async fn next(&mut self) -> Done {
        tokio::select! {
            Some(done) = self.under_way.join_next() => {
                self.go_on();
                let died = |died| Err(Coded::new(Code::X01, format!("what the controller asked for ended: {died}")));
                Done::Duty(done.unwrap_or_else(died))
            }
            Some(Ok(trust)) = self.looking.join_next() => Done::Trust(Box::new(trust)),
            Some(Ok(apps)) = self.surveying.join_next() => {
                if std::mem::take(&mut self.survey_again) {
                    self.look_at_apps();
                }
                Done::Apps(apps)
            }
            else => std::future::pending().await,
        }
    }

    fn go_on(&mut self) {
        while self.under_way.is_empty()
            && let Some(duty) = self.waiting.pop_front()
        {
            let crew = self.crew.clone();
            match duty {
                Duty::Assign(assignment) => crew.assign(*assignment),
                Duty::Acknowledge(seq) => {
                    self.under_way.spawn(async move { crew.acknowledge(seq).await });
                }
                Duty::Drain(drain) => {
                    self.under_way.spawn(async move { crew.drain(drain).await });
                }
            }
        }
    }
}
