//! Newcomers that are not brought what is live, and why: for whoever looks at the environment or the host. Not kept: every
//! look for newcomers finds it anew. How a calendar stands is not remembered either, but looked up whenever somebody asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use longshore_common::{
    ids::{AppName, EnvName, HostId, HostName, Version},
    time::Millis,
};

use super::Engine;
use crate::{environments::freeze, rollout::Closed, trouble::Trouble};

/// A host that waits to be brought what is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbrought {
    pub env: EnvName,
    pub app: AppName,
    pub host: HostId,
    pub name: HostName,
    /// What is in the way, and the next step.
    pub why: String,
    /// When it was first found to be in the way.
    pub since_ms: Millis,
    pub obstacle: Obstacle,
}

/// What kind of thing is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The environment is closed; it opens then, if nobody opens it before. `None`: only somebody does.
    Closed {
        opens_ms: Option<Millis>,
    },
    /// It does not come by itself: somebody has to start what is live once more.
    Unstarted,
    Other,
}

impl Unbrought {
    /// Where there is something against what is live (`is revoked …`), it is not started once more.
    pub fn with(self, against: Option<&str>, version: &Version) -> Self {
        let Some(against) = against.filter(|_| self.obstacle == Obstacle::Unstarted) else { return self };
        let (app, env) = (&self.app, &self.env);
        let why = format!(
            "it does not come by itself, and {version} {against}; next: start another, or longshore rollout rollback {app} \
             --to {env}"
        );
        Unbrought { why, ..self }
    }

    fn is_the_same(&self, other: &Unbrought) -> bool {
        (&self.env, &self.app, &self.host, &self.why) == (&other.env, &other.app, &other.host, &other.why)
    }
}

/// What the last look has found.
#[derive(Debug, Default)]
pub(super) struct Left(Mutex<Vec<Unbrought>>);

impl Left {
    pub(super) fn replace(&self, mut found: Vec<Unbrought>) {
        let mut known = self.0.lock().expect("nothing panics while it holds the lock");
        for one in &mut found {
            if let Some(before) = known.iter().find(|before| before.is_the_same(one)) {
                one.since_ms = before.since_ms;
            }
        }
        *known = found;
    }

    fn found(&self) -> Vec<Unbrought> {
        self.0.lock().expect("nothing panics while it holds the lock").clone()
    }

    /// When the first of the closed environments opens by itself.
    pub(super) fn opens_ms(&self) -> Option<Millis> {
        let opens = self.found().into_iter().filter_map(|left| match left.obstacle {
            Obstacle::Closed { opens_ms } => opens_ms,
            Obstacle::Unstarted | Obstacle::Other => None,
        });
        opens.min()
    }
}

impl Engine {
    /// Newcomers of all environments that wait to be brought what is live. One whose environment is open by now is none of
    /// them: the next look brings it.
    pub async fn unbrought(&self) -> Result<Vec<Unbrought>, Trouble> {
        let found = self.inner.left.found();
        let is_closed = |left: &&Unbrought| matches!(left.obstacle, Obstacle::Closed { .. });
        let kept = found.iter().filter(is_closed).map(|left| &left.env);
        let mut closed: BTreeMap<EnvName, Closed> = BTreeMap::new();
        for env in kept.collect::<BTreeSet<&EnvName>>() {
            closed.extend(self.closed_now(env).await?.map(|closed| (env.clone(), closed)));
        }
        let as_it_stands = |left: Unbrought| match left.obstacle {
            Obstacle::Unstarted | Obstacle::Other => Some(left),
            Obstacle::Closed { .. } => {
                let why = closed.get(&left.env)?.reason.clone();
                Some(Unbrought { why, ..left })
            }
        };
        Ok(found.into_iter().filter_map(as_it_stands).collect())
    }

    async fn closed_now(&self, env: &EnvName) -> Result<Option<Closed>, Trouble> {
        match freeze::calendar(&self.inner.store, env).await {
            Ok(calendar) => Ok(calendar.closed(env, self.now())),
            Err(Trouble::Refused(_)) => Ok(None), // it was removed
            Err(trouble) => Err(trouble),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// The command that would be refused is not the next step.
    #[test]
    fn what_is_revoked_is_not_to_be_started_once_more() {
        let left = |obstacle: Obstacle| Unbrought {
            env: "production".parse().unwrap(),
            app: "shop".parse().unwrap(),
            host: HostId(Uuid::from_u128(1)),
            name: "web-1".parse().unwrap(),
            why: "as it was".to_owned(),
            since_ms: 0,
            obstacle,
        };
        let why = |obstacle: Obstacle, against: Option<&str>| {
            left(obstacle).with(against, &"1.5".parse().unwrap()).why
        };
        let revoked = Some("is revoked by the organisation: stolen key");
        assert_eq!(
            why(Obstacle::Unstarted, revoked),
            "it does not come by itself, and 1.5 is revoked by the organisation: stolen key; next: start another, or longshore \
             rollout rollback shop --to production"
        );
        assert_eq!(why(Obstacle::Unstarted, None), "as it was");
        assert_eq!(
            why(Obstacle::Other, revoked),
            "as it was",
            "it comes when it is back, or nobody is asked"
        );
    }
}
