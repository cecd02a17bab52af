//! What is known of a rollout while it is watched: the stored state as the controller sends it, and over it what
//! agents say between two stored states.

use std::collections::BTreeMap;

use longshore_proto::v1 as pb;

use crate::cli::{
    moment::Moment,
    view::{
        log::LogLine,
        rollout::{HostRow, Rollout},
    },
};

#[derive(Clone, Debug)]
pub struct Tracker {
    pub rollout: Rollout,
    /// The last line that a hook or the app said on a host, by host id, while the host is at work.
    pub said: BTreeMap<String, String>,
    /// Bytes that each host had to fetch, by host id, as far as agents said so while we watched.
    pub fetched: BTreeMap<String, u64>,
    /// When a host was first seen in its state: for controllers that do not say.
    entered: BTreeMap<String, (String, Moment)>,
}

/// What an update changed.
#[derive(Clone, Debug)]
pub enum News {
    /// The stored state; with what it was before.
    State(Box<Rollout>),
    /// A host began another step.
    Step(Box<HostRow>),
    Said(LogLine),
    /// A few more bytes, or a host that is not part of it.
    Little,
}

impl Tracker {
    pub fn new(rollout: Rollout, now: Moment) -> Self {
        let mut tracker =
            Self { rollout, said: BTreeMap::new(), fetched: BTreeMap::new(), entered: BTreeMap::new() };
        tracker.note_entries(now);
        tracker
    }

    /// None for an update that holds nothing, which a later controller may send.
    pub fn absorb(&mut self, update: pb::RolloutUpdate, now: Moment) -> Option<News> {
        use pb::rollout_update::Update;
        Some(match update.update? {
            Update::Rollout(rollout) => self.state(rollout.into(), now),
            Update::Progress(progress) => self.progress(progress),
            Update::Log(line) => self.log(line.into()),
        })
    }

    fn state(&mut self, mut rollout: Rollout, now: Moment) -> News {
        for host in &mut rollout.hosts {
            let before = self.rollout.hosts.iter().find(|known| known.id == host.id);
            // What the agent said still holds while the stored state is the same.
            if let Some(before) = before
                && before.state == host.state
                && before.generation == host.generation
                && host.step.is_none()
            {
                host.step = before.step.clone();
                host.detail = before.detail.clone();
                (host.bytes_done, host.bytes_total) = (before.bytes_done, before.bytes_total);
            }
        }
        let before = std::mem::replace(&mut self.rollout, rollout);
        self.note_entries(now);
        News::State(Box::new(before))
    }

    fn note_entries(&mut self, now: Moment) {
        for host in &mut self.rollout.hosts {
            let entry = self.entered.entry(host.id.clone()).or_insert_with(|| (host.state.clone(), now));
            if entry.0 != host.state {
                *entry = (host.state.clone(), now);
                self.said.remove(&host.id);
            }
            host.since.get_or_insert(entry.1);
        }
    }

    fn progress(&mut self, progress: pb::HostProgress) -> News {
        let pb::HostProgress { host: id, name: _, progress } = progress;
        let Some(pb::Progress { app, generation, step, bytes_done, bytes_total, detail }) = progress else {
            return News::Little;
        };
        if app != self.rollout.app {
            return News::Little;
        }
        let Some(host) = self.rollout.hosts.iter_mut().find(|host| host.id == id) else {
            return News::Little;
        };
        if generation < host.generation {
            return News::Little; // of a round that is over
        }
        let new_step = host.step.as_deref() != Some(&step);
        host.step = (!step.is_empty()).then_some(step);
        host.detail = (!detail.is_empty()).then_some(detail);
        (host.bytes_done, host.bytes_total) = (bytes_done, bytes_total);
        if bytes_total > 0 {
            self.fetched.insert(id, bytes_total);
        }
        if new_step { News::Step(Box::new(host.clone())) } else { News::Little }
    }

    fn log(&mut self, line: LogLine) -> News {
        if self.rollout.hosts.iter().any(|host| host.id == line.host) {
            self.said.insert(line.host.clone(), line.line.clone());
        }
        News::Said(line)
    }
}
