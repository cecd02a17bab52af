//! What a calendar means for a rollout at a moment.

use longshore_common::{ids::EnvName, time::Millis};

use super::{Calendar, Standing};
use crate::rollout::Closed;

impl Calendar {
    /// How the environment is closed at this moment; `None` while it is open.
    pub fn closed(&self, env: &EnvName, at: Millis) -> Option<Closed> {
        let by_hand = match self.standing(at) {
            Standing::Open(_) => return None,
            Standing::Outside => None,
            Standing::Frozen(freezes) => freezes.into_iter().find_map(|freeze| freeze.by.clone()),
        };
        let until = self.next_opening(at);
        let opens = match (until, &by_hand) {
            (Some(until), _) => format!("; it opens {}", self.say_moment(until)),
            (None, Some(_)) => String::new(),
            (None, None) => "; it does not open in the next year".to_owned(),
        };
        let (owner, command) = match by_hand {
            Some(by) => (by, format!("longshore env unfreeze {env}")),
            None => (format!("the calendar of {env}"), format!("longshore env calendar {env}")),
        };
        Some(Closed {
            reason: format!("{}{opens}", self.reasons(at).join(" and ")),
            since: at,
            until,
            owner,
            command,
            under_way: self.when_closed,
            rollback: self.may_go_back(at),
        })
    }
}
