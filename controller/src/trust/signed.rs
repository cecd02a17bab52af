//! How releases stand with those who sign, for people who look at them.

use longshore_common::{
    code::Coded,
    digest::ReleaseDigest,
    ids::{AppName, Version},
    trust::{FLEET, PublicKey},
};

use super::TrustDesk;

/// Of which release it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub version: Version,
    pub release: ReleaseDigest,
    pub withdrawn: bool,
}

/// How a release stands. That documents have expired is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    /// Nothing is signed in this fleet.
    Unneeded,
    Never,
    /// Hosts take it.
    Listed,
    BelowFloor,
    Delisted,
    /// By the organisation, for this reason.
    Revoked(String),
    /// It was signed, and another list was taken meanwhile.
    Overtaken {
        command: String,
    },
    /// Keys have to sign that it is listed, or that it is no longer.
    Waits {
        delisting: bool,
        have: usize,
        takes: u64,
        lacking: Vec<PublicKey>,
        command: String,
    },
}

impl TrustDesk {
    /// In the order in which it was asked.
    pub fn signed(&self, app: &AppName, releases: &[Asked]) -> Result<Vec<Signed>, Coded> {
        let Some(fleet) = self.held(FLEET)? else { return Ok(vec![Signed::Unneeded; releases.len()]) };
        let revoked = fleet.catalog(FLEET)?.revoked;
        let held = self.held(app.as_str())?;
        let list = held.as_ref().map(|held| held.catalog(app.as_str())).transpose()?;
        let floor = held.as_ref().map_or(0, |held| held.floor);
        let waiting = self.waiting_beside(app.as_str(), held.as_ref())?;
        let one = |asked: &Asked| {
            let Asked { version, release, withdrawn } = asked;
            if let Some(why) = revoked.get(release) {
                return Signed::Revoked(why.clone());
            }
            let listed = list.as_ref().and_then(|list| list.by_digest(release));
            let listed = listed.filter(|listed| listed.version == *version);
            let mut of_it = waiting.iter().filter(|waiting| match listed {
                Some(_) => waiting.delists(version),
                None => waiting.lists(version, release),
            });
            // The one that can still be signed, if any can.
            let of_it = of_it.clone().find(|waiting| !waiting.overtaken).or_else(|| of_it.next());
            match (listed, of_it) {
                (_, Some(waits)) if !waits.overtaken => Signed::Waits {
                    delisting: listed.is_some(),
                    have: waits.list.have.len(),
                    takes: waits.list.takes,
                    lacking: waits.list.lacking.clone(),
                    command: waits.command(),
                },
                (Some(listed), _) if listed.seq < floor => Signed::BelowFloor,
                (Some(_), _) => Signed::Listed,
                (None, _) if *withdrawn => Signed::Delisted,
                (None, Some(overtaken)) => Signed::Overtaken { command: overtaken.command() },
                (None, None) => Signed::Never,
            }
        };
        Ok(releases.iter().map(one).collect())
    }
}
