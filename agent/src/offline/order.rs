//! A deployment by hand, from the bundle's first piece to the order that a worker takes.

use std::sync::Arc;

use bytes::Bytes;
use longshore_common::{
    assignment::{Assignment, Intent},
    code::{Code, Coded},
    ids::{AppName, EnvName, Generation, RolloutId, Version},
    settings::Settings,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};

use super::{Arrival, Examined, Trusting, examine};
use crate::{
    host::Host,
    run::{Crew, LocalOrder, Told},
    trust::{Brought, Stale},
};

/// Good slots that stay, where no assignment said how many.
const KEEP_SLOTS: u32 = 3;

/// What is asked for beside the bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandOrder {
    /// None: as the app was assigned here last.
    pub env: Option<EnvName>,
    pub settings: Option<Settings>,
    pub despite_hold: bool,
    /// What only says that the list is current may have expired.
    pub stale: bool,
    /// The local user.
    pub by: String,
}

/// It was taken, and goes on whether or not anybody listens.
#[derive(Debug)]
pub struct Ordered {
    pub app: AppName,
    pub version: Version,
    pub generation: Generation,
    pub told: broadcast::Receiver<Told>,
}

/// The bundle as it comes; an error where it breaks off.
pub type Pieces = mpsc::Receiver<Result<Bytes, Coded>>;

/// Takes the bundle in, asks every question of it, and has the app's worker deploy it.
pub async fn order<H: Host>(crew: &Crew<H>, wanted: HandOrder, mut pieces: Pieces) -> Result<Ordered, Coded> {
    let trusting =
        crew.host().trusting().ok_or_else(|| Coded::new(Code::X01, "this host takes no bundles"))?;
    let hand = Hand { crew, trusting, stale: if wanted.stale { Stale::Allowed } else { Stale::Refused } };
    let mut arrival = hand.apart(|trusting| trusting.shelf.arrive(trusting.supply.form())).await?;
    while let Some(piece) = pieces.recv().await {
        let piece = piece?;
        arrival = hand
            .apart(move |_| {
                arrival.write(&piece)?;
                Ok(arrival)
            })
            .await?;
    }
    hand.begin(arrival, wanted).await
}

struct Hand<'a, H> {
    crew: &'a Crew<H>,
    trusting: Trusting,
    stale: Stale,
}

impl<H: Host> Hand<'_, H> {
    async fn begin(self, arrival: Arrival, wanted: HandOrder) -> Result<Ordered, Coded> {
        let stale = self.stale;
        let (arrival, examined) = self
            .apart(move |trusting| {
                let examined = examine(trusting.supply.form(), &arrival.read()?, &trusting.gate, stale)?;
                Ok((arrival, examined))
            })
            .await?;
        let Examined { brought, documents, .. } = examined;
        let assignment = self.assignment(&brought, &wanted)?;
        let allowed = assignment.clone();
        self.apart(move |trusting| trusting.gate.allow(&allowed)).await?;
        let HandOrder { despite_hold, by, .. } = wanted;
        let order = LocalOrder { assignment, by: by.clone(), despite_hold, stale };
        self.crew.may_deploy(&order)?;
        // Only now does anything of it count.
        let Brought { app, version, release, .. } = brought.clone();
        self.apart(move |trusting| {
            trusting.gate.take_bundle(&brought, documents.as_ref(), stale, &by)?;
            arrival.keep(&brought.app, &brought.release)
        })
        .await?;
        let taken = self.crew.deploy(order).await;
        let shelf = self.trusting.shelf.clone();
        let (name, put_away) = (app.clone(), move |app: AppName| shelf.remove(&app, &release));
        let told = match taken {
            Ok(told) => told,
            Err(refusal) => {
                self.apart(move |_| put_away(name)).await?;
                return Err(refusal);
            }
        };
        let listening = told.resubscribe(); // before the look: whatever ends after it is heard
        let record = self.crew.state().record(&app);
        match record.concluded {
            Some(_) => self.apart(move |_| put_away(name)).await?,
            None => drop(tokio::spawn(when_over(name, listening, put_away))),
        }
        let generation = record.accepted.map(|accepted| accepted.generation).unwrap_or_default();
        Ok(Ordered { app, version, generation, told })
    }

    /// What the controller would have assigned, with what is said here in its place.
    fn assignment(&self, brought: &Brought, wanted: &HandOrder) -> Result<Assignment, Coded> {
        let record = self.crew.state().record(&brought.app);
        let before = record.accepted.as_ref();
        let env =
            wanted.env.clone().or_else(|| before.map(|before| before.env.clone())).ok_or_else(|| {
                let app = &brought.app;
                let message =
                    format!("{app} was never assigned to this host: say for which environment with --env");
                Coded::new(Code::V01, message)
            })?;
        let settings = wanted.settings.clone().or_else(|| before.map(|before| before.settings.clone()));
        Ok(Assignment {
            host: self.crew.me(),
            app: brought.app.clone(),
            env,
            rollout: RolloutId::NONE,
            generation: Generation::default(),
            version: brought.version.clone(),
            release: brought.release,
            settings: settings.unwrap_or_default(),
            intent: Intent::Run,
            keep_slots: before.map_or(KEEP_SLOTS, |before| before.keep_slots),
            traffic: before.and_then(|before| before.traffic.clone()),
            directions: None,
            unwell: None,
        })
    }

    /// Off the threads that must not block.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Trusting) -> Result<T, Coded> + Send + 'static,
    ) -> Result<T, Coded> {
        let trusting = Arc::new(self.trusting.clone());
        let done = tokio::task::spawn_blocking(move || work(&trusting)).await;
        done.unwrap_or_else(|died| Err(Coded::new(Code::X01, format!("the deployment ended: {died}"))))
    }
}

/// The bundle is of no use any more when the app's next word is how something ended.
async fn when_over(
    app: AppName,
    mut told: broadcast::Receiver<Told>,
    put_away: impl FnOnce(AppName) -> Result<(), Coded> + Send + 'static,
) {
    loop {
        match told.recv().await {
            Ok(Told::Concluded { app: of, .. }) if of == app => break,
            Err(broadcast::error::RecvError::Closed) => return,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
        }
    }
    if let Ok(Err(why)) = tokio::task::spawn_blocking(move || put_away(app)).await {
        tracing::warn!("a bundle stays until the next start: {why}");
    }
}

#[cfg(test)]
mod tests {
    use longshore_common::{ids::Generation, report::Outcome};

    use super::*;

    fn ended(app: &str) -> Told {
        let outcome = Outcome::Staged;
        Told::Concluded { app: app.parse().unwrap(), generation: Generation(1), outcome }
    }

    /// Runs until something was put away or nobody tells any more.
    async fn put_away_after(words: &[&str]) -> Option<AppName> {
        let (teller, told) = broadcast::channel(8);
        for word in words {
            teller.send(ended(word)).unwrap();
        }
        drop(teller);
        let (sender, receiver) = std::sync::mpsc::channel();
        let put_away = move |app| {
            sender.send(app).expect("the test listens");
            Ok(())
        };
        when_over("shop".parse().unwrap(), told, put_away).await;
        receiver.try_recv().ok()
    }

    #[tokio::test]
    async fn a_bundle_is_put_away_when_its_own_app_has_ended() {
        assert_eq!(put_away_after(&["blog", "shop"]).await, Some("shop".parse().unwrap()));
        assert_eq!(put_away_after(&["blog"]).await, None);
    }
}
