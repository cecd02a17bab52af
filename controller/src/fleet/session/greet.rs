//! From the hello to the first assignments.

use std::{collections::BTreeMap, time::Duration};

use futures_util::StreamExt;
use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    time::Millis,
};
use tokio::sync::mpsc;

use super::{Command, End, Session};
use crate::{
    fleet::{
        Asked, Connected, FleetEvent, Host,
        host::{self, Barred, BarredKind, PAUSED, Seen, Started},
        words::{Facts, FromAgent, Hello, Question},
    },
    store::Watch,
};

/// From the opening of the stream to the hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// How long the older of two sessions of one host has to prove that it lives.
const PROOF_DEADLINE: Duration = Duration::from_secs(2);
/// The only protocol there has been.
const PROTOCOL: u32 = 1;
/// A clock that is further off than this is said to be wrong; certificates are back-dated by as much.
const CLOCK_TOLERANCE_MS: Millis = 5 * 60_000;

impl Session {
    /// From the hello to the first assignments.
    pub(super) async fn greet(&mut self, commands: mpsc::Sender<Command>) -> Result<Watch, End> {
        let hello = self.hello().await?;
        if let Some(reason) = older_copy(&self.host, &hello) {
            return Err(self.bar(reason).await);
        }
        self.refuse_impossible(&hello).await?;
        let now = self.fleet.inner.clock.now_ms();
        let offset = hello.time_ms - now;
        if offset.abs() > CLOCK_TOLERANCE_MS {
            tracing::warn!(host = %self.host.id, name = %self.host.name, offset_ms = offset,
                "LS-E05 the host's clock is wrong; set it with timedatectl");
        }
        let connected = Connected {
            since_ms: now,
            address: self.address.to_string(),
            agent_version: hello.agent_version.clone(),
            facts: hello.facts.clone(),
            apps: hello.apps.clone(),
            hold: hello.hold.clone(),
            clock_offset_ms: offset,
            progress: BTreeMap::new(),
        };
        self.take_place(commands, connected).await?;
        tracing::info!(host = %self.host.id, name = %self.host.name, address = %self.address,
            agent = hello.agent_version, boot = hello.boot_counter, "session begun");
        self.remember(&hello).await;
        // Whoever changed it before this session had its place could not tell it.
        let known = host::get(&self.fleet.inner.store, &self.host.id).await?;
        self.welcome(known.map_or_else(|| self.host.clone(), |(host, _)| host)).await?;
        let (host, apps) = (self.host.id, hello.apps.clone());
        self.fleet.tell(FleetEvent::Back { host, apps }).await;
        self.fleet.tell(FleetEvent::Hold(self.host.id, hello.hold.clone())).await;
        self.sent = hello.apps.iter().map(|seen| (seen.app.clone(), seen.generation)).collect();
        self.tell_if_ahead(&hello).await?;
        self.push_all().await
    }

    async fn hello(&mut self) -> Result<Hello, End> {
        let first = tokio::time::timeout(HELLO_DEADLINE, self.inbound.next()).await;
        let refuse = |why: String| End::Said(Coded::new(Code::V01, why));
        match first {
            Ok(Some(Ok(FromAgent::Hello(hello)))) if hello.protocol == PROTOCOL => Ok(*hello),
            Ok(Some(Ok(FromAgent::Hello(hello)))) => Err(refuse(format!(
                "the agent speaks protocol {}, this controller {PROTOCOL}: bring both to one version",
                hello.protocol
            ))),
            Ok(Some(Ok(_))) => Err(refuse("a session begins with a hello".into())),
            Ok(Some(Err(why))) => Err(End::Said(why)),
            Ok(None) => Err(End::Closed),
            Err(_) => Err(refuse(format!("no hello within {HELLO_DEADLINE:?}"))),
        }
    }

    /// Becomes the host's one session. When there is one already that still answers, one identity is in two places:
    /// which of them is the host is not ours to guess.
    async fn take_place(&mut self, commands: mpsc::Sender<Command>, connected: Connected) -> Result<(), End> {
        let presence = &self.fleet.inner.presence;
        loop {
            let taken = presence.connect(self.host.id, self.number, commands.clone(), connected.clone());
            let Err(older) = taken else { return Ok(()) };
            let proof = self.fleet.ask(self.host.id, Question::Ping, PROOF_DEADLINE).await;
            if matches!(proof, Asked::Answered { .. })
                && presence.session(&self.host.id) == Some(older.number)
            {
                let reason = twice(&self.host, &older.address, &self.address.to_string());
                return Err(self.bar(reason).await);
            }
            let why = Coded::new(Code::C01, "this session stopped answering and the host has opened another");
            presence.evict(&self.host.id, older.number, why);
        }
    }

    /// Neither this session nor another of the host is served until an operator decides.
    async fn bar(&mut self, reason: String) -> End {
        if let Err(why) = self.fleet.record(&self.host, PAUSED, &reason).await {
            return End::Said(why);
        }
        let kind = BarredKind::Cloned;
        let barred = Barred { kind, reason, since_ms: self.fleet.inner.clock.now_ms() };
        let changed = self.fleet.change(self.host.id, |host| {
            host.barred.get_or_insert_with(|| barred.clone());
            Ok(())
        });
        match changed.await {
            Ok(host) => {
                let why = host.let_in().expect_err("it has just been barred");
                tracing::warn!(host = %host.id, name = %host.name, %why, "paused");
                self.fleet.inner.presence.cut(&host.id, why.clone());
                End::Said(why)
            }
            Err(trouble) => trouble.into(),
        }
    }

    /// Keeps what the host said of itself, when it is news. Without it nothing goes wrong, so a store that fails
    /// here is met again where it matters.
    async fn remember(&mut self, hello: &Hello) {
        let seen = Seen {
            at_ms: self.fleet.inner.clock.now_ms(),
            address: self.address.ip().to_string(),
            agent_version: hello.agent_version.clone(),
            facts: self.fleet.on_record(&self.host, &hello.facts).await,
        };
        self.fleet.inner.presence.update(&self.host.id, |connected| {
            connected.facts.trust.clone_from(&seen.facts.trust);
        });
        let known = self.host.seen.as_ref().is_some_and(|held| {
            held.address == seen.address
                && held.agent_version == seen.agent_version
                && held.facts.alike(&seen.facts)
        });
        let started = Started { count: hello.boot_counter, boot_id: hello.boot_id.clone() };
        let known = known && self.host.started.as_ref() == Some(&started);
        let newest = self.host.keys.first().is_some_and(|newest| newest.spki == self.key);
        let known = known && !(newest && self.host.keys.len() > 1);
        let (told, shown) = (&hello.recipient, self.key);
        // An agent of before sealed secrets tells none; that takes nothing back.
        let same = told.is_empty() || *told == self.host.recipient;
        if known && same {
            return;
        }
        let kept = self.fleet.change(self.host.id, |host| {
            host.seen = Some(seen.clone());
            host.started = Some(started.clone());
            host.forget_older_keys(&shown);
            if !told.is_empty() {
                host.recipient.clone_from(told);
            }
            Ok(())
        });
        match kept.await {
            Ok(_) => self.host.seen = Some(seen),
            Err(trouble) => {
                tracing::warn!(host = %self.host.id, trouble = %Chain(&trouble), "facts not kept");
            }
        }
    }

    /// What is told of broken glass during a session is kept as well, once it is on record.
    pub(super) async fn remember_breaks(&mut self, told: &Facts) {
        let kept = self.fleet.on_record(&self.host, told).await;
        let trust = kept.trust.clone();
        self.fleet.inner.presence.update(&self.host.id, |connected| connected.facts = kept);
        if trust.is_none() || self.host.seen.as_ref().is_none_or(|seen| seen.facts.trust == trust) {
            return;
        }
        let kept = self.fleet.change(self.host.id, |host| {
            if let Some(seen) = &mut host.seen {
                seen.facts.trust.clone_from(&trust);
            }
            Ok(())
        });
        match kept.await {
            Ok(host) => self.host.seen = host.seen,
            Err(trouble) => {
                tracing::warn!(host = %self.host.id, trouble = %Chain(&trouble), "facts not kept");
            }
        }
    }
}

fn twice(host: &Host, older: &str, newer: &str) -> String {
    format!(
        "host {} ({}) is connected twice with one key ({older}, {newer}): a cloned image?",
        host.id, host.name
    )
}

/// The count of an agent's starts rises, and is another on every boot. Where it does not, its disk is an older copy.
fn older_copy(host: &Host, hello: &Hello) -> Option<String> {
    let known = host.started.as_ref()?;
    let counts = known.count > 0 && hello.boot_counter > 0;
    let told = [&known.boot_id, &hello.boot_id].iter().all(|id| !id.is_empty());
    let again = hello.boot_counter == known.count && told && hello.boot_id != known.boot_id;
    if !counts || !(hello.boot_counter < known.count || again) {
        return None;
    }
    let both = [&host.machine_id, &hello.machine_id].iter().all(|id| !id.is_empty());
    let machine = if both && host.machine_id != hello.machine_id { " on another machine" } else { "" };
    Some(format!(
        "host {} ({}) has started {} times by its own count{machine}, and {} times by what it said before: an older \
         copy of its disk, or its state was taken away?",
        host.id, host.name, hello.boot_counter, known.count
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::HandAgent;

    #[test]
    fn a_count_that_does_not_rise_tells_a_copy() {
        let agent = HandAgent::new("web-1", &[]);
        let mut host = agent.host.clone();
        let is_copy = |host: &Host, count, boot_id: &str| {
            let hello = Hello { boot_counter: count, boot_id: boot_id.into(), ..agent.hello() };
            older_copy(host, &hello).is_some()
        };
        assert!(!is_copy(&host, 1, "a"), "never seen before");
        host.started = Some(Started { count: 5, boot_id: "a".into() });
        for (count, boot_id, expected) in [
            (5, "a", false),
            (6, "a", false),
            (6, "b", false),
            (4, "a", true),
            (5, "b", true),
            (5, "", false),
        ] {
            assert_eq!(is_copy(&host, count, boot_id), expected, "{count} {boot_id}");
        }
    }
}
