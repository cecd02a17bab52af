//! Keys that say what may run, and what the operator's machine signs with them.
//!
//! Nothing outside of this folder, and nothing of the daemon, can read such a key. What the controller hands over is
//! verified here against what this machine pins before anything is signed on top of it: a controller that lies gets
//! no signature.

mod acts;
mod alone;
mod keyring;
mod passphrase;
mod sealed;
mod ssh_agent;

use longshore_common::{
    code::{Code, Coded},
    digest::sha256,
    time::{Clock as _, SystemClock},
    trust::{
        Anchor, Catalog, FLEET, Held, Offer, Part, PublicKey, TrustState, author, update_even_if_expired,
    },
};
use longshore_proto::v1 as pb;
use tokio::time::Instant;

pub use acts::{
    AppKeys, Changes, FleetWord, Floor, Overtaken, Signed, create_app, expired, fleet_list, init, rotate,
    say_to_fleet, sign_release, signed_digest, withdraw,
};
pub use keyring::{Holder, KeyRing, KnownKey, ORG};
pub use passphrase::{FILE_VARIABLE, Passphrase, VARIABLE};
pub use ssh_agent::{SOCKET_VARIABLE, SshAgent};

use super::{client::Client, exit::Exit, failure::Failure};

/// A controller, the keys for it that lie here, and until when an answer is waited for.
pub struct Signer<'a> {
    pub client: &'a Client,
    pub ring: &'a KeyRing,
    pub by: Instant,
}

/// What became of documents that the controller had lost.
#[derive(Debug, Default)]
pub struct HandedBack {
    pub taken: Vec<String>,
    pub refused: Vec<(String, Failure)>,
}

/// Which roots are believed beyond those that were seen here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Roots {
    Newer,
    AsSeen,
}

impl Signer<'_> {
    /// What the controller has of `app`, verified by what this machine pins, whatever of it has expired: to be signed
    /// anew. None: it has nothing.
    pub async fn verified(&self, app: &str) -> Result<Option<Held>, Failure> {
        let Some(pin) = self.ring.pin()? else {
            return Err(pins_nothing(fleet_root(self.client, self.by).await?.is_some()));
        };
        let Some(fleet) = self.verified_by(FLEET, &Anchor::Pin(pin), Roots::Newer).await? else {
            return Ok(None);
        };
        match app {
            FLEET => Ok(Some(fleet)),
            app => self.verified_by(app, &Anchor::of_fleet(&fleet)?, Roots::Newer).await,
        }
    }

    /// As [`Signer::verified`], for whoever gives an app's root the organisation's present keys. One that still names
    /// those of before is believed as far as this machine has seen it: a key that was replaced may be a thief's by now,
    /// and what it signed since is not to be signed on top of.
    pub async fn verified_to_rotate(&self, app: &str, fleet: &Held) -> Result<Option<Held>, Failure> {
        let (present, seen) = (Anchor::of_fleet(fleet)?, self.seen(app)?);
        let Some(seen) = seen.load().map_err(|why| here(why.message))? else {
            return self.verified(app).await.map_err(|why| match why.code {
                Some(Code::T02) => why.next(format!(
                    "where the organisation's keys were changed: on the machine that signed for {app} last"
                )),
                _ => why,
            });
        };
        let root = seen.root(app)?;
        if app == FLEET || present.fits(app, &root).is_ok() {
            return self.verified(app).await;
        }
        let (threshold, keys) = root.role(Part::Root);
        let before = Anchor::Organisation { threshold, keys: keys.clone() };
        match self.verified_by(app, &before, Roots::AsSeen).await {
            // Somebody else has done it already.
            Err(_) => self.verified(app).await,
            held => held,
        }
    }

    /// Hands back what was verified here and the controller has older or not at all, as one whose folder was put back to
    /// an older copy. It verifies that as it does any other submission. Of which apps it was taken, and of which not, and
    /// why.
    pub async fn hand_back(&self) -> Result<HandedBack, Failure> {
        let mut done = HandedBack::default();
        if self.ring.pin()?.is_none() {
            return Ok(done);
        }
        for app in self.ring.seen() {
            match self.hand_back_one(&app).await {
                Ok(true) => done.taken.push(app),
                Ok(false) => {}
                Err(why) => done.refused.push((app, why)),
            }
        }
        Ok(done)
    }

    async fn hand_back_one(&self, app: &str) -> Result<bool, Failure> {
        let _alone = self.alone().await?;
        let Some(seen) = self.seen(app)?.load().map_err(|why| here(why.message))? else { return Ok(false) };
        let has = self.get(app).await?.documents.map(Offer::from);
        let root = has.iter().flat_map(|offer| &offer.roots).map(|root| author::version(root)).max();
        let list = has.as_ref().map_or(0, |offer| author::version(&offer.targets));
        let newer = |version: &u64| root.is_none_or(|root| *version > root);
        let roots = seen.roots.iter().filter(|(version, _)| newer(version)).map(|(_, root)| root.clone());
        let roots: Vec<Vec<u8>> = roots.collect();
        let targets = if author::version(&seen.targets) > list { seen.targets } else { vec![] };
        if roots.is_empty() && targets.is_empty() {
            return Ok(false);
        }
        let signed = self.submit(app, roots, targets).await?;
        Ok(matches!(signed, Signed::Enough { .. }))
    }

    /// What was verified here last.
    fn seen(&self, app: &str) -> Result<TrustState, Failure> {
        let dir = self.ring.seen_dir()?;
        let remedy = format!(
            "Fix: move {} to another folder; then what the controller has is believed as far as this fleet's keys have \
             signed it",
            dir.join(app).display()
        );
        Ok(TrustState::new(&dir, app).mended_by(remedy))
    }

    async fn verified_by(&self, app: &str, anchor: &Anchor, roots: Roots) -> Result<Option<Held>, Failure> {
        let state = self.seen(app)?;
        let known = state.load().map_err(|why| here(why.message))?;
        let Some(documents) = self.get(app).await?.documents else {
            return match known {
                None => Ok(None),
                Some(_) => Err(here(format!("the controller has lost the signed documents of {app}"))
                    .next("to hand it what was seen on this machine: longshore trust refresh")),
            };
        };
        let offer = Offer::from(documents);
        let (app, anchor, dir) = (app.to_owned(), anchor.clone(), self.ring.seen_dir()?);
        let looked = tokio::task::spawn_blocking(move || {
            let held =
                update_even_if_expired(&app, &anchor, known.as_ref(), &offer, SystemClock.now_ms(), &dir)?;
            let seen = known.map_or(0, |known| known.root_version());
            if roots == Roots::AsSeen && held.root_version() != seen {
                let message = format!("a root of {app} that this machine has not seen; nothing was signed");
                return Err(Coded::new(Code::T02, message));
            }
            state.persist(&held)?;
            Ok::<_, Coded>(held)
        });
        let held =
            looked.await.map_err(|died| Failure::new(Exit::Failed, format!("verification ended: {died}")))?;
        Ok(Some(held?))
    }

    async fn get(&self, app: &str) -> Result<pb::GetTrustReply, Failure> {
        let request = pb::GetTrustRequest { app: app.to_owned() };
        self.client.answer(self.by, self.client.trust().get(request)).await
    }

    /// Hands documents in.
    async fn submit(&self, app: &str, roots: Vec<Vec<u8>>, targets: Vec<u8>) -> Result<Signed, Failure> {
        let request = pb::SubmitTrustRequest {
            app: app.to_owned(),
            roots: roots.into_iter().map(Into::into).collect(),
            targets: targets.into(),
        };
        let reply = self.client.answer(self.by, self.client.trust().submit(request)).await?;
        let overtaken =
            reply.overtaken.into_iter().map(|other| Overtaken { what: other.what, next: other.command });
        Ok(match reply.accepted {
            true => Signed::Enough { overtaken: overtaken.collect() },
            false => Signed::Waiting(reply.waiting),
        })
    }

    async fn status(&self) -> Result<pb::TrustStatusReply, Failure> {
        self.client.answer(self.by, self.client.trust().status(pb::TrustStatusRequest {})).await
    }

    /// The controller's own key, as it says. It can only say that lists are current.
    async fn online(&self) -> Result<PublicKey, Failure> {
        let reply = self.status().await?;
        let bytes: Result<[u8; 32], _> = reply.online_key[..].try_into();
        bytes.map(PublicKey).map_err(|_| super::command::hollow("key"))
    }
}

/// Whether the fleet behind a controller has a root, and what hosts pin then; as the controller says.
pub async fn fleet_root(client: &Client, by: Instant) -> Result<Option<[u8; 32]>, Failure> {
    let reply = client.answer(by, client.trust().status(pb::TrustStatusRequest {})).await?;
    let fleet = reply.repositories.into_iter().find(|repository| repository.app == FLEET);
    Ok(fleet.and_then(|fleet| fleet.root_sha256[..].try_into().ok()))
}

/// The list after `held`'s, to be changed.
fn next_list(app: &str, held: &Held) -> Result<Catalog, Failure> {
    let mut catalog = held.catalog(app)?;
    catalog.version += 1;
    Ok(catalog)
}

fn first_root(held: &Held) -> [u8; 32] {
    held.roots.values().next().map(|root| sha256(root)).unwrap_or_default()
}

/// `signed`: the controller has a root of the fleet.
fn pins_nothing(signed: bool) -> Failure {
    if !signed {
        return Failure::coded(Code::T02, "nothing is signed in this fleet yet: it has no root")
            .next("make the fleet's keys first, on this machine: longshore init");
    }
    Failure::coded(
        Code::T02,
        "this machine does not know the fleet's root, so nothing that the controller says can be verified",
    )
    .next("ask whoever ran longshore init for its SHA-256, then: longshore trust pin SHA256")
}

fn here(message: String) -> Failure {
    Failure::coded(Code::T01, longshore_common::text::visible(&message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nothing_is_signed_nobody_is_sent_to_whoever_made_the_root() {
        assert_eq!(
            pins_nothing(false).next,
            ["make the fleet's keys first, on this machine: longshore init"]
        );
        assert!(pins_nothing(true).next[0].contains("longshore trust pin SHA256"));
    }
}
