//! Freezes by hand: somebody says that nothing is to be begun in an environment, why, and for how long.

use longshore_common::{
    code::{Code, Coded},
    ids::{EnvName, OperatorName},
    time::Millis,
};
use serde::{Deserialize, Serialize};

use super::load;
use crate::{
    calendar::{Calendar, Freeze, Times},
    engine::records,
    store::{Key, SharedStore, Txn, record},
    trouble::Trouble,
};

/// Bytes of a reason.
pub const REASON_BYTES: usize = 512;

/// Under `freezes/<env>`: there is one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    pub by: OperatorName,
    pub reason: String,
    /// When it was said.
    pub at_ms: Millis,
    pub from_ms: Millis,
    /// `None`: until somebody lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<Millis>,
    /// Whether hosts may go back meanwhile; `None`: as the calendar says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<bool>,
}

impl Frozen {
    /// As a calendar takes it.
    pub fn freeze(&self) -> Freeze {
        Freeze {
            name: "by hand".to_owned(),
            reason: self.reason.clone(),
            by: Some(self.by.to_string()),
            times: Times::Span { from: self.from_ms, to: self.until_ms },
            rollback: self.rollback,
        }
    }

    fn is_over(&self, now: Millis) -> bool {
        self.until_ms.is_some_and(|until| until <= now)
    }
}

pub async fn get(store: &SharedStore, env: &EnvName) -> Result<Option<Frozen>, Trouble> {
    Ok(records::get::<Frozen>(store, &Key::freeze(env)).await?.map(|(frozen, _)| frozen))
}

/// The environment's calendar with what was frozen by hand.
pub async fn calendar(store: &SharedStore, env: &EnvName) -> Result<Calendar, Trouble> {
    let (environment, _) = load(store, env).await?;
    let mut calendar = environment.calendar;
    calendar.freezes.extend(get(store, env).await?.as_ref().map(Frozen::freeze));
    Ok(calendar)
}

/// Freezes the environment. Refused while another freeze by hand is ahead or holds: two would clash.
pub async fn freeze(store: &SharedStore, env: &EnvName, frozen: Frozen, now: Millis) -> Result<(), Trouble> {
    let (environment, revision) = load(store, env).await?;
    check(&environment.calendar, &frozen, now)?;
    let key = Key::freeze(env);
    let known = records::get::<Frozen>(store, &key).await?;
    let (known, read) = known.unzip();
    if let Some(known) = known.filter(|known| !known.is_over(now)) {
        let said = environment.calendar.say_moment(known.at_ms);
        let message = format!(
            "{env} is frozen already, by {} ({said}): {}. Lift that first: longshore env unfreeze {env}",
            known.by, known.reason
        );
        return Err(Trouble::refused(Code::W01, message));
    }
    let txn = Txn::new()
        .unchanged(Key::env(env), revision)
        .as_read(key.clone(), read)
        .put(key.clone(), record::encode(&key, &frozen)?);
    store.commit(txn).await?;
    tracing::info!(%env, by = %frozen.by, reason = frozen.reason, "frozen");
    Ok(())
}

fn check(calendar: &Calendar, frozen: &Frozen, now: Millis) -> Result<(), Coded> {
    let refuse = |message: String| Err(Coded::new(Code::V01, message));
    if frozen.reason.trim().is_empty() {
        return refuse("say why: --reason TEXT".to_owned());
    }
    if frozen.reason.len() > REASON_BYTES {
        return refuse(format!(
            "the reason has {} bytes; at most {REASON_BYTES} are kept",
            frozen.reason.len()
        ));
    }
    let Some(until) = frozen.until_ms else { return Ok(()) };
    let said = calendar.say_moment(until);
    if until <= now {
        return refuse(format!("until {said} is past already"));
    }
    if until <= frozen.from_ms {
        return refuse(format!("until {said} is not after its beginning"));
    }
    Ok(())
}

/// Lifts the freeze. Refused when there is none; what the file says stays.
pub async fn unfreeze(store: &SharedStore, env: &EnvName, now: Millis) -> Result<Frozen, Trouble> {
    let (environment, _) = load(store, env).await?;
    let key = Key::freeze(env);
    let Some((frozen, revision)) = records::get::<Frozen>(store, &key).await? else {
        let reasons = environment.calendar.reasons(now);
        let message = match reasons.is_empty() {
            true => format!("{env} is not frozen"),
            false => format!(
                "nobody froze {env} by hand; its file says: {}. Change the file: longshore env apply FILE",
                reasons.join(" and ")
            ),
        };
        return Err(Trouble::refused(Code::N01, message));
    };
    store.commit(Txn::new().unchanged(key.clone(), revision).delete(key)).await?;
    tracing::info!(%env, "unfrozen");
    Ok(frozen)
}
