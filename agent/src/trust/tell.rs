//! How it stands with trust on this host, in messages.

use longshore_common::{digest::hex, time::Millis, trust::FLEET};
use longshore_proto::v1 as pb;

use super::{Break, Gate, Repository};

/// Documents that have run out and are told, and damaged repositories.
const TOLD: usize = 64;
/// Repositories that one answer tells of.
const ROWS: usize = 256;

impl Gate {
    /// How it stands, for whoever looks at this host.
    pub fn facts(&self) -> pb::TrustFacts {
        let pin = self.0.pin.load();
        let breaks = pin.as_ref().map(|pin| pin.breaks.iter().map(Break::to_string).collect());
        let breaks = breaks.unwrap_or_default();
        let looked = self.pinned().and_then(|pinned| Ok((pinned, self.verified()?)));
        let (state, root_sha256, verified_ms, mut problem) = match looked {
            Err(why) => ("damaged", String::new(), 0, why.to_string()),
            Ok((Some(root), verified)) => ("signed", hex(&root), verified, String::new()),
            Ok((None, _)) if self.policy().is_ok_and(|policy| policy.allow_unsigned) => {
                ("unsigned-allowed", String::new(), 0, String::new())
            }
            Ok((None, _)) => ("unsigned", String::new(), 0, String::new()),
        };
        let mut all = self.repositories().unwrap_or_default(); // where nothing can be read, the state says so
        all.sort_by_key(|(app, _)| app != FLEET);
        let (expired, damaged) = (expired(&all, self.now_ms()), damaged(&all));
        let (mut ahead, why) = self.ahead(&all);
        ahead.truncate(TOLD);
        if let Some(why) = why.filter(|_| problem.is_empty()) {
            problem = why.to_string();
        }
        pb::TrustFacts {
            state: state.to_owned(),
            root_sha256,
            verified_ms,
            breaks,
            problem,
            expired,
            damaged,
            ahead,
            frozen: frozen(&all),
        }
    }

    /// Every repository that was verified here, read from disk; the fleet's first.
    pub fn verified_repositories(&self) -> Vec<pb::VerifiedRepository> {
        let mut all = self.repositories().unwrap_or_default(); // why it cannot be read, `facts` says
        all.sort_by_key(|(app, _)| (app != FLEET, app.clone()));
        all.into_iter().take(ROWS).map(row).collect()
    }

    /// All that is asked of a host about what it trusts.
    pub fn answer(&self) -> pb::TrustAnswer {
        pb::TrustAnswer {
            facts: Some(self.facts()),
            repositories: self.verified_repositories(),
            time_ms: self.now_ms(),
        }
    }

    pub(super) fn now_ms(&self) -> Millis {
        self.0.clock.now_ms()
    }
}

/// What the organisation said last, as far as this host has heard and can read it.
fn frozen(all: &[Repository]) -> String {
    let fleet = all.iter().find(|(app, _)| app == FLEET).and_then(|(_, held)| held.as_ref().ok()?.as_ref());
    fleet.and_then(|held| held.catalog(FLEET).ok()?.frozen).unwrap_or_default()
}

/// Which of them cannot be read.
fn damaged(all: &[Repository]) -> Vec<String> {
    all.iter().filter(|(_, held)| held.is_err()).map(|(app, _)| app.clone()).take(TOLD).collect()
}

/// What keeps this host from taking anything new. What cannot be read is told as damage.
fn expired(all: &[Repository], now: Millis) -> Vec<String> {
    let held = all.iter().filter_map(|(app, held)| Some((app, held.as_ref().ok()?.as_ref()?)));
    held.flat_map(|(app, held)| held.expired(app, now)).take(TOLD).map(|one| one.dated()).collect()
}

fn row((app, held): Repository) -> pb::VerifiedRepository {
    let read = held.and_then(|held| {
        let held = held.expect("what has begun is held");
        Ok((held.catalog(&app)?, held))
    });
    match read {
        Err(why) => pb::VerifiedRepository { app, problem: why.to_string(), ..Default::default() },
        Ok((catalog, held)) => pb::VerifiedRepository {
            app,
            problem: String::new(),
            root_version: held.root_version(),
            list_version: catalog.version,
            releases: catalog.releases.len() as u64,
            floor: held.floor,
            verified_ms: held.latest_ms,
            expires_ms: held.expiries().into_iter().map(|(_, at)| at).min().unwrap_or(0),
            frozen: catalog.frozen.unwrap_or_default(),
            revoked: catalog.revoked.len() as u64,
        },
    }
}
