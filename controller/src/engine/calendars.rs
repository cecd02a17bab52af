//! When the environments of active rollouts are closed: worked out anew whenever the file or a freeze changes, and
//! when the calendar itself does.

use std::sync::Arc;

use longshore_common::{chain::Chain, ids::EnvName, time::Millis};

use crate::{
    calendar::Calendar,
    environments::{Applied, freeze::Frozen},
    rollout::{Closed, Event, Rollout, UnderWay},
    store::{Key, Revision, SharedStore, record},
    trouble::Trouble,
};

/// One rollout's view of its environment's calendar.
pub(super) struct EnvCalendar {
    env: EnvName,
    /// Of the file and of the freeze, as they were read last.
    read: Option<(Option<Revision>, Option<Revision>)>,
    calendar: Arc<Calendar>,
    closed: Option<Closed>,
    /// From when on `closed` may be something else.
    until: Option<Millis>,
}

impl EnvCalendar {
    pub fn new(env: EnvName) -> Self {
        Self { env, read: None, calendar: Arc::default(), closed: None, until: None }
    }

    /// What the rollout has to be told, if its environment stands otherwise than it knows.
    pub async fn event(
        &mut self,
        store: &SharedStore,
        rollout: &Rollout,
        now: Millis,
    ) -> Result<Option<Event>, Trouble> {
        self.look(store, now).await?;
        let known = rollout.header.closed.as_ref();
        let same = match (known, &self.closed) {
            (None, None) => true,
            (Some(known), Some(closed)) => Closed { since: known.since, ..closed.clone() } == *known,
            _ => false,
        };
        Ok((!same).then(|| Event::Calendar { closed: self.closed.clone() }))
    }

    /// When the calendar itself changes next.
    pub fn until(&self) -> Option<Millis> {
        self.until
    }

    async fn look(&mut self, store: &SharedStore, now: Millis) -> Result<(), Trouble> {
        let (file, freeze) =
            (store.get(&Key::env(&self.env)).await?, store.get(&Key::freeze(&self.env)).await?);
        let read = (file.as_ref().map(|entry| entry.revision), freeze.as_ref().map(|entry| entry.revision));
        let stale = self.read != Some(read);
        if stale {
            match calendar(file.as_ref(), freeze.as_ref()) {
                Ok(calendar) => self.calendar = Arc::new(calendar),
                Err(trouble) => {
                    tracing::error!(env = %self.env, trouble = %Chain(&trouble), "its calendar cannot be read: it counts as closed");
                    self.closed = Some(unreadable(&self.env, now));
                    (self.read, self.until) = (Some(read), None);
                    return Ok(());
                }
            }
            self.read = Some(read);
        }
        if stale || self.until.is_some_and(|until| now >= until) {
            self.closed = self.calendar.closed(&self.env, now);
            self.until = self.calendar.next_change(now);
        }
        Ok(())
    }
}

fn calendar(
    file: Option<&crate::store::Entry>,
    freeze: Option<&crate::store::Entry>,
) -> Result<Calendar, Trouble> {
    let mut calendar = match file {
        Some(entry) => record::decode_entry::<Applied>(entry)?.read()?.calendar,
        None => Calendar::default(),
    };
    if let Some(entry) = freeze {
        calendar.freezes.push(record::decode_entry::<Frozen>(entry)?.freeze());
    }
    Ok(calendar)
}

/// Who cannot tell whether a window is open does not go through it. Going back is no worse than staying.
fn unreadable(env: &EnvName, now: Millis) -> Closed {
    Closed {
        reason: "its file cannot be read by this version".to_owned(),
        since: now,
        until: None,
        owner: "an operator".to_owned(),
        command: format!("longshore env show {env}"),
        under_way: UnderWay::Hold,
        rollback: true,
    }
}
