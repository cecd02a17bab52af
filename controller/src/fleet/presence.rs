//! Who is connected, and who has not been heard of for how long. In memory only.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use longshore_common::{
    code::Coded,
    ids::{AppName, HostId},
    report::Report,
    time::Millis,
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Host,
    session::Command,
    words::{APPS_MAX, AppSeen, Facts, HostHold, Progress},
};

/// Commands that wait for one session. A session that lets more wait is stuck, and what it is asked times out.
pub const COMMAND_QUEUE: usize = 32;

#[derive(Default)]
pub struct Presence {
    hosts: Mutex<HashMap<HostId, Entry>>,
}

struct Entry {
    /// When the last word came, or when this controller first expected one.
    heard: Instant,
    /// Said to be silent; stays so until it connects again.
    silent: bool,
    last_seen_ms: Millis,
    session: Option<Session>,
}

/// The session that is there already.
pub(super) struct Older {
    pub number: u64,
    pub address: String,
}

struct Session {
    /// Tells a session's end from that of its successor.
    number: u64,
    commands: mpsc::Sender<Command>,
    connected: Connected,
}

/// What is known of a connected host, from its own mouth.
#[derive(Clone, Debug, Default)]
pub struct Connected {
    pub since_ms: Millis,
    pub address: String,
    pub agent_version: String,
    pub facts: Facts,
    pub apps: Vec<AppSeen>,
    pub hold: Option<HostHold>,
    /// The host's clock minus ours when it connected, in ms.
    pub clock_offset_ms: Millis,
    /// The step in progress of each app.
    pub progress: BTreeMap<AppName, Progress>,
}

impl Presence {
    fn lock(&self) -> MutexGuard<'_, HashMap<HostId, Entry>> {
        self.hosts.lock().expect("nothing panics while it holds the lock")
    }

    /// The host may be silent from now on, and is noticed when it stays so.
    pub(super) fn expect(&self, host: HostId) {
        self.lock().entry(host).or_insert_with(Entry::unheard);
    }

    /// A session has begun; unless the host has one, which is then named.
    pub(super) fn connect(
        &self,
        host: HostId,
        number: u64,
        commands: mpsc::Sender<Command>,
        connected: Connected,
    ) -> Result<(), Older> {
        let mut hosts = self.lock();
        let entry = hosts.entry(host).or_insert_with(Entry::unheard);
        if let Some(session) = &entry.session {
            return Err(Older { number: session.number, address: session.connected.address.clone() });
        }
        entry.last_seen_ms = connected.since_ms;
        entry.heard = Instant::now();
        entry.silent = false;
        entry.session = Some(Session { number, commands, connected });
        Ok(())
    }

    /// The number of the host's session.
    pub(super) fn session(&self, host: &HostId) -> Option<u64> {
        Some(self.lock().get(host)?.session.as_ref()?.number)
    }

    /// Makes room for another session of the host, if this one is still there.
    pub(super) fn evict(&self, host: &HostId, number: u64, why: Coded) {
        if let Some(entry) = self.lock().get_mut(host)
            && let Some(session) = entry.session.take_if(|session| session.number == number)
        {
            drop(session.commands.try_send(Command::Cut(why)));
        }
    }

    /// Ends the host's session, whichever it is.
    pub(super) fn cut(&self, host: &HostId, why: Coded) {
        if let Some(entry) = self.lock().get_mut(host)
            && let Some(session) = entry.session.take()
        {
            drop(session.commands.try_send(Command::Cut(why)));
        }
    }

    /// The session has ended; a later one of the same host is left alone.
    pub(super) fn disconnect(&self, host: &HostId, number: u64) {
        if let Some(entry) = self.lock().get_mut(host)
            && entry.session.as_ref().is_some_and(|session| session.number == number)
        {
            entry.session = None;
        }
    }

    pub(super) fn heard(&self, host: &HostId, now_ms: Millis) {
        if let Some(entry) = self.lock().get_mut(host) {
            entry.heard = Instant::now();
            entry.last_seen_ms = now_ms;
        }
    }

    pub(super) fn update(&self, host: &HostId, edit: impl FnOnce(&mut Connected)) {
        if let Some(session) = self.lock().get_mut(host).and_then(|entry| entry.session.as_mut()) {
            edit(&mut session.connected);
        }
    }

    /// Hosts that have just become silent: no session, and nothing heard for `silence`. Each is named once.
    pub(super) fn fallen_silent(&self, silence: Duration) -> Vec<HostId> {
        let mut fallen = vec![];
        for (host, entry) in self.lock().iter_mut() {
            if entry.session.is_none() && !entry.silent && entry.heard.elapsed() >= silence {
                entry.silent = true;
                fallen.push(*host);
            }
        }
        fallen
    }

    /// Ends the session, if there is one, and knows the host no more. Whether it was known.
    pub(super) fn forget(&self, host: &HostId, why: Coded) -> bool {
        let Some(entry) = self.lock().remove(host) else { return false };
        if let Some(session) = entry.session {
            // A full queue means a stuck session; dropping its sender ends it as well.
            drop(session.commands.try_send(Command::Cut(why)));
        }
        true
    }

    /// The record of a host has changed: what it is told of itself may have as well.
    pub(super) fn tell_of(&self, host: Host) {
        let mut hosts = self.lock();
        let entry = hosts.entry(host.id).or_insert_with(Entry::unheard);
        if let Some(session) = &entry.session {
            // A session whose queue is full says it when it next connects.
            drop(session.commands.try_send(Command::Welcome(Box::new(host))));
        }
    }

    pub(super) fn commands(&self, host: &HostId) -> Option<mpsc::Sender<Command>> {
        self.lock().get(host)?.session.as_ref().map(|session| session.commands.clone())
    }

    pub(super) fn known(&self) -> Vec<HostId> {
        self.lock().keys().copied().collect()
    }

    /// What a connected host says of itself; None when it has no session.
    pub fn connected(&self, host: &HostId) -> Option<Connected> {
        Some(self.lock().get(host)?.session.as_ref()?.connected.clone())
    }

    pub fn connected_count(&self) -> usize {
        self.lock().values().filter(|entry| entry.session.is_some()).count()
    }

    /// 0: not since this controller started.
    pub fn last_seen_ms(&self, host: &HostId) -> Millis {
        self.lock().get(host).map_or(0, |entry| entry.last_seen_ms)
    }

    /// Whether the host has been said to be silent and has not come back.
    pub fn is_silent(&self, host: &HostId) -> bool {
        self.lock().get(host).is_some_and(|entry| entry.silent)
    }

    /// For how long nothing was heard of a host without a session; `None`: it has one, or was said to be silent.
    pub fn away_for(&self, host: &HostId) -> Option<Duration> {
        let hosts = self.lock();
        let entry = hosts.get(host).filter(|entry| entry.session.is_none() && !entry.silent)?;
        Some(entry.heard.elapsed())
    }

    /// Why it is, where a connected host says so; `None`: it has no session.
    pub fn why_helper_away(&self, host: &HostId) -> Option<Option<String>> {
        let hosts = self.lock();
        let facts = &hosts.get(host)?.session.as_ref()?.connected.facts;
        Some(facts.why_helper_away().map(str::to_owned))
    }

    pub fn progress(&self, host: &HostId, app: &AppName) -> Option<Progress> {
        self.lock().get(host)?.session.as_ref()?.connected.progress.get(app).cloned()
    }
}

impl Connected {
    /// It has heard that nothing new begins anywhere, and would decline whatever it is asked.
    pub fn is_frozen(&self) -> bool {
        self.why_frozen().is_some()
    }

    /// Why the fleet is frozen, as the organisation signed it.
    pub fn why_frozen(&self) -> Option<&str> {
        self.facts.trust.as_ref().map(|trust| trust.frozen.as_str()).filter(|why| !why.is_empty())
    }

    /// Of one app more than a host may have, no step is known.
    pub(super) fn note_step(&mut self, step: &Progress) {
        if self.progress.len() < APPS_MAX || self.progress.contains_key(&step.app) {
            self.progress.insert(step.app.clone(), step.clone());
        }
    }

    /// A report says how its app stands now; of one app more than a host may have, it is not known.
    pub(super) fn note(&mut self, report: &Report) {
        let at = self.apps.iter().position(|seen| seen.app == report.app);
        if at.is_none() && self.apps.len() >= APPS_MAX {
            return;
        }
        let known = at.map(|at| self.apps.remove(at));
        self.apps.extend(AppSeen::after(known, report));
        self.apps.sort_by(|a, b| a.app.cmp(&b.app));
    }
}

impl Entry {
    fn unheard() -> Self {
        Self { heard: Instant::now(), silent: false, last_seen_ms: 0, session: None }
    }
}

#[cfg(test)]
mod tests {
    use longshore_common::{digest::ReleaseDigest, ids::Generation, report::Outcome};

    use super::*;

    /// A rogue host that names apps without end.
    #[test]
    fn of_so_many_apps_of_a_host_it_is_known_how_they_stand() {
        let generation = Generation::new(1, 1);
        let mut connected = Connected::default();
        for number in 0..APPS_MAX + 10 {
            let app: AppName = format!("app-{number}").parse().unwrap();
            connected.note_step(&Progress {
                app: app.clone(),
                generation,
                step: "fetch".into(),
                bytes_done: 0,
                bytes_total: 0,
                detail: String::new(),
            });
            connected.note(&Report {
                app,
                rollout: "0193f3a0-0000-7000-8000-000000000001".parse().unwrap(),
                generation,
                release: ReleaseDigest::of(b"manifest"),
                time_ms: 0,
                outcome: Outcome::Staged,
                live: None,
                by: None,
            });
        }
        assert_eq!((connected.apps.len(), connected.progress.len()), (APPS_MAX, APPS_MAX));
        let (first, seen) = ("app-0".parse().unwrap(), connected.apps.len());
        connected.note_step(&Progress { step: "probe".into(), ..connected.progress[&first].clone() });
        assert_eq!((connected.progress[&first].step.as_str(), connected.apps.len()), ("probe", seen));
    }
}
