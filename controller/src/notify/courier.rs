//! Carries notices out: each until it is told, again and again with longer and longer waits, and not for ever.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use longshore_common::{
    chain::Chain,
    time::{Clock, Millis},
    wire::cut,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Address, Mailer, Notice, hook, mail, outbox};
use crate::{
    http::Trust,
    store::{Prefix, Revision, SharedStore},
    trouble::Trouble,
};

/// On their way at once.
const AT_ONCE: usize = 8;
/// Attempts before a notice is dead: over these waits, about six hours.
pub(super) const ATTEMPTS: u32 = 12;
/// After the first attempt that failed; doubled after each further one.
const WAIT: Duration = Duration::from_secs(10);
const WAIT_MAX: Duration = Duration::from_secs(4 * 3600);
/// The outbox is looked at again at least this often.
const LOOK: Duration = Duration::from_secs(60);
/// Before a store that failed is asked again.
const STORE_PAUSE: Duration = Duration::from_secs(5);
const ERROR_BYTES: usize = 512;

/// By what notices can be carried.
#[derive(Clone)]
pub struct Means {
    /// `None`: this controller sends no mail.
    pub mailer: Option<Mailer>,
    /// Files with the keys of webhooks, by the names that environments use.
    pub keys: Arc<BTreeMap<String, PathBuf>>,
    pub trust: Arc<Trust>,
}

/// Why a notice was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undelivered {
    pub error: String,
    /// Trying again may help.
    pub again: bool,
    /// The receiver said how long to wait.
    pub wait: Option<Duration>,
}

impl Undelivered {
    pub fn later(error: impl fmt::Display) -> Self {
        Self { error: cut(&error.to_string(), ERROR_BYTES), again: true, wait: None }
    }

    pub fn never(error: impl fmt::Display) -> Self {
        Self { again: false, ..Self::later(error) }
    }
}

pub struct Courier {
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
    pub means: Means,
}

impl Courier {
    /// Until the controller stops. What is under way then is tried again by the next one.
    pub async fn run(self, stop: CancellationToken) {
        let courier = Arc::new(self);
        loop {
            let pause = match courier.round(&stop).await {
                Ok(()) => continue,
                Err(Trouble::Stopping) => return,
                Err(trouble) => {
                    tracing::error!(trouble = %Chain(&trouble), "the outbox cannot be read; looking again");
                    STORE_PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tries what is due, and returns when something else may be.
    async fn round(self: &Arc<Self>, stop: &CancellationToken) -> Result<(), Trouble> {
        let listed = self.store.list(&Prefix::notices()).await?.revision;
        let mut changes = self.store.watch(&Prefix::notices(), listed).await?;
        let waiting = outbox::list(&self.store).await?.into_iter().filter(|(notice, _)| !notice.dead);
        let now = self.clock.now_ms();
        let (due, later): (Vec<_>, Vec<_>) = waiting.partition(|(notice, _)| notice.next_ms <= now);
        if !due.is_empty() {
            return self.carry_all(due, stop).await;
        }
        let next = later.iter().map(|(notice, _)| notice.next_ms - now).min();
        let next = next.map_or(LOOK, |ms| Duration::from_millis(ms.max(0) as u64).min(LOOK));
        tokio::select! {
            () = stop.cancelled() => Err(Trouble::Stopping),
            _ = changes.next() => Ok(()),
            () = tokio::time::sleep(next) => Ok(()),
        }
    }

    async fn carry_all(
        self: &Arc<Self>,
        due: Vec<(Notice, Revision)>,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        let mut left = due.into_iter();
        let mut under_way: JoinSet<Result<(), Trouble>> = JoinSet::new();
        loop {
            while under_way.len() < AT_ONCE
                && let Some((notice, read)) = left.next()
            {
                let courier = self.clone();
                under_way.spawn(async move { courier.carry(notice, read).await });
            }
            let ended = tokio::select! {
                () = stop.cancelled() => return Err(Trouble::Stopping),
                ended = under_way.join_next() => ended,
            };
            match ended {
                None => return Ok(()),
                Some(Ok(result)) => result?,
                Some(Err(died)) => tracing::error!(%died, "a notice's task died; it is tried again"),
            }
        }
    }

    /// One attempt, and what is written down of it. A crash between the two has it told twice, never not at all.
    async fn carry(&self, notice: Notice, read: Revision) -> Result<(), Trouble> {
        let now = self.clock.now_ms();
        match self.deliver(&notice, now).await {
            Ok(()) => {
                tracing::info!(notice = %notice.id, env = %notice.env, kind = notice.kind.as_str(),
                    teller = notice.teller, "told");
                outbox::told(&self.store, &notice).await
            }
            Err(undelivered) => {
                let kept = after(notice, &undelivered, self.clock.now_ms());
                tracing::warn!(notice = %kept.id, env = %kept.env, teller = kept.teller, dead = kept.dead,
                    attempts = kept.attempts, error = kept.error, "not told");
                outbox::keep(&self.store, &kept, read).await
            }
        }
    }

    async fn deliver(&self, notice: &Notice, now: Millis) -> Result<(), Undelivered> {
        match &notice.address {
            Address::Email { to } => match &self.means.mailer {
                Some(mailer) => mailer.send(notice, to).await,
                None => {
                    Err(Undelivered::never("this controller sends no mail: give controller.toml a [mail]"))
                }
            },
            Address::Webhook { url, secret } => {
                let key = self.key(secret).await?;
                hook::post(notice, url, key.as_bytes(), self.means.trust.clone(), now).await
            }
        }
    }

    /// Read anew each time, so that a key can be changed without a restart.
    async fn key(&self, name: &str) -> Result<String, Undelivered> {
        let Some(path) = self.means.keys.get(name).cloned() else {
            let error = format!("controller.toml names no key \"{name}\" in [webhooks]");
            return Err(Undelivered::never(error));
        };
        let read = tokio::task::spawn_blocking(move || mail::secret(&path));
        match read.await {
            Ok(Ok(key)) => Ok(key),
            Ok(Err(why)) => Err(Undelivered::later(why.message)),
            Err(died) => Err(Undelivered::later(died)),
        }
    }
}

/// How a notice stands after an attempt that failed.
pub(super) fn after(notice: Notice, undelivered: &Undelivered, now: Millis) -> Notice {
    let attempts = notice.attempts + 1;
    let doubled = WAIT.saturating_mul(1 << (attempts - 1).min(16)).min(WAIT_MAX);
    let wait = undelivered.wait.map_or(doubled, |asked| asked.max(doubled));
    Notice {
        attempts,
        next_ms: now.saturating_add(wait.as_millis() as Millis),
        error: undelivered.error.clone(),
        dead: !undelivered.again || attempts >= ATTEMPTS,
        ..notice
    }
}
