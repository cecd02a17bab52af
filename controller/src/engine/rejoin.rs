//! Hosts that an operator takes back behind load balancers: connections come when the apps serve there again, and not
//! before. That is waited for until a deadline, the progress deadline of the rollout whose word the balancers have; a
//! host that does not serve by then is drained again, and its record says why. Where it is of an environment no more, or runs
//! what another gave it, it gets none (`belonging`).

use std::{collections::BTreeMap, time::Duration};

use longshore_common::{
    ids::{AppName, HostId},
    time::Span,
};

use super::Engine;
use crate::{
    fleet::{
        Asked, Drained, Host, Rejoining, host,
        words::{Answer, AppSeen, Question},
    },
    rollout::{Benched, Event, Rollout},
    trouble::Trouble,
};

/// Who takes back a host that is back by its labels, and drains one again that does not serve.
const BY: &str = "longshore";
/// Between questions to a host whether it serves again.
const ASK: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(5);

impl Engine {
    /// Lets a host take work again. Whether anything was changed by it.
    pub async fn undrain(&self, id: HostId, by: &str) -> Result<(Host, bool), Trouble> {
        let rollouts = match host::get(&self.inner.store, &id).await? {
            Some((host, _)) => self.that_may_send(&host).await?,
            None => vec![],
        };
        let rejoining = (!rollouts.is_empty()).then(|| self.rejoining(&rollouts, by));
        let (host, changed) = self.inner.fleet.undrain(&id.to_string(), rejoining).await?;
        if !rollouts.is_empty() {
            self.drain_changed(id);
        }
        Ok((host, changed))
    }

    fn rejoining(&self, rollouts: &[Rollout], by: &str) -> Rejoining {
        let longest =
            rollouts.iter().map(|rollout| rollout.spec().progress_deadline).max().unwrap_or_default();
        let since_ms = self.now();
        Rejoining { by: by.to_owned(), since_ms, until_ms: since_ms + longest.as_ms() }
    }

    /// Until balancers may send it connections, it is drained, or it is gone.
    pub(super) async fn put_back(&self, id: &HostId) -> Result<(), Trouble> {
        let fleet = &self.inner.fleet;
        loop {
            let Some((host, _)) = host::get(&self.inner.store, id).await? else { return Ok(()) };
            if host.drained.is_some() {
                return Ok(());
            }
            let mut left = self.that_may_send(&host).await?;
            left.retain(|rollout| rollout.hosts[id].benched || rollout.hosts[id].has_left());
            match &host.rejoining {
                Some(_) if left.is_empty() => return fleet.end_rejoining(&host, None, None).await,
                None if left.is_empty() => return Ok(()),
                // It came back by its labels, or was taken back before anybody wrote down for how long that is waited for.
                None => fleet.end_rejoining(&host, Some(self.rejoining(&left, BY)), None).await?,
                Some(wait) => {
                    let seen = self.seen(id).await;
                    let missing = self.let_in(&host, &left, seen.as_ref()).await?;
                    if self.now() < wait.until_ms || missing.is_empty() {
                        tokio::time::sleep(ASK).await;
                        continue;
                    }
                    let drained = self.give_up(wait, &missing);
                    tracing::warn!(host = %host.name, reason = drained.reason, "drained again");
                    return fleet.end_rejoining(&host, None, Some(drained)).await;
                }
            }
        }
    }

    /// Balancers are told of every app that serves there; what keeps the others from it.
    async fn let_in(
        &self,
        host: &Host,
        left: &[Rollout],
        seen: Option<&BTreeMap<AppName, AppSeen>>,
    ) -> Result<Vec<String>, Trouble> {
        let mut missing = vec![];
        for rollout in left {
            let (app, known) = (&rollout.header.app, &rollout.hosts[&host.id]);
            // Where nothing of the app ever was, there is nothing to wait for, and nothing is sent there.
            let nothing = known.previous.is_none() && known.ask.is_none() && !known.has_left();
            match lacking(host.name.as_str(), app, seen).filter(|_| !nothing) {
                Some(lacking) => missing.push(lacking),
                None => {
                    let event = Event::HostDrained { host: host.id, drained: false };
                    self.tell(&rollout.header.id, &event).await?;
                    tracing::info!(%app, host = %host.name, "balancers may send the host connections again");
                }
            }
        }
        missing.dedup();
        Ok(missing)
    }

    fn give_up(&self, wait: &Rejoining, missing: &[String]) -> Drained {
        let waited = Span::millis((wait.until_ms - wait.since_ms).max(0).unsigned_abs());
        let back = match wait.by == BY {
            true => "it was back".to_owned(),
            false => format!("{} undrained it", wait.by),
        };
        let reason = format!("{back}, and {waited} later {}", missing.join(", "));
        Drained { by: BY.to_owned(), reason, since_ms: self.now(), stop_ms: None, waits: false }
    }

    /// How apps stand there by the host's own word; `None` while it cannot be asked.
    async fn seen(&self, host: &HostId) -> Option<BTreeMap<AppName, AppSeen>> {
        match self.inner.fleet.ask(*host, Question::Ping, ANSWER).await {
            Asked::Answered { answer: Answer::Pong { apps, .. }, .. } => {
                Some(apps.into_iter().map(|seen| (seen.app.clone(), seen)).collect())
            }
            Asked::Answered { .. } | Asked::Silent => None,
        }
    }

    /// Hosts of the rollout to which balancers send nothing by an operator's word, for whoever asks why.
    pub(super) async fn benched(&self, rollout: &Rollout) -> Result<BTreeMap<HostId, Benched>, Trouble> {
        let mut found = BTreeMap::new();
        if rollout.header.balancing.is_none() {
            return Ok(found);
        }
        for id in rollout.hosts.iter().filter(|(_, host)| host.benched).map(|(id, _)| id) {
            let Some((host, _)) = host::get(&self.inner.store, id).await? else { continue };
            let benched = match (host.drained, host.rejoining) {
                (Some(Drained { by, reason, since_ms, .. }), _) => {
                    Benched::Drained { by, reason, since: since_ms }
                }
                (None, Some(Rejoining { by, since_ms, until_ms })) => {
                    Benched::Rejoining { by, since: since_ms, until: until_ms }
                }
                (None, None) => continue, // its connections are on their way, or it gets none (`belonging`)
            };
            found.insert(*id, benched);
        }
        Ok(found)
    }
}

/// What keeps the app from getting connections there; `None`: it serves.
fn lacking(host: &str, app: &AppName, seen: Option<&BTreeMap<AppName, AppSeen>>) -> Option<String> {
    let Some(seen) = seen else { return Some(format!("{host} does not answer")) };
    match seen.get(app) {
        Some(seen) if seen.running && seen.verdict == "healthy" => None,
        Some(seen) if seen.running && !seen.verdict.is_empty() => Some(format!("{app} is {}", seen.verdict)),
        Some(seen) if seen.running => Some(format!("{app} has no verdict yet")),
        Some(_) | None => Some(format!("{app} does not run")),
    }
}
