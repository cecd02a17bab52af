//! Carries notices out: each until it is told, again and again with longer and longer waits, and not for ever.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use longshore_common::{
    chain::Chain,
    time::{Clock, Millis},
    wire::cut,
};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Address, Mailer, Notice, hook, mail, outbox};
use crate::{
    http::Trust,
    store::{Prefix, Revision, SharedStore},
    trouble::Trouble,
};

/// Receivers that are being told at once, one thing each. Mail has places of its own: a mail server that hangs takes none
/// from webhooks.
const WEBHOOKS_AT_ONCE: usize = 24;
const MAILS_AT_ONCE: usize = 8;
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
        let mut under_way = UnderWay::default();
        loop {
            let pause = match courier.round(&mut under_way, &stop).await {
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

    /// Sends out what is due and whose receiver is free, the oldest first, and returns when something else may go.
    async fn round(
        self: &Arc<Self>,
        under_way: &mut UnderWay,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        let listed = self.store.list(&Prefix::notices()).await?.revision;
        let mut changes = self.store.watch(&Prefix::notices(), listed).await?;
        let waiting = outbox::list(&self.store).await?.into_iter().filter(|(notice, _)| !notice.dead);
        let now = self.clock.now_ms();
        let (due, later): (Vec<_>, Vec<_>) = waiting.partition(|(notice, _)| notice.next_ms <= now);
        for (notice, read) in due {
            if under_way.has_room_for(&notice.address) {
                under_way.begin(self.clone(), notice, read);
            }
        }
        let next = later.iter().map(|(notice, _)| notice.next_ms - now).min();
        let next = next.map_or(LOOK, |ms| Duration::from_millis(ms.max(0) as u64).min(LOOK));
        tokio::select! {
            () = stop.cancelled() => Err(Trouble::Stopping),
            ended = under_way.ended() => ended,
            _ = changes.next() => Ok(()),
            () = tokio::time::sleep(next) => Ok(()),
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

/// Who is being told: each receiver one thing at a time, in the order in which they came to be due, so that one that is
/// slow holds up nothing but its own.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<Result<(), Trouble>>,
    receivers: HashMap<Id, Address>,
}

impl UnderWay {
    fn has_room_for(&self, address: &Address) -> bool {
        let by_mail = |address: &Address| matches!(address, Address::Email { .. });
        let room = if by_mail(address) { MAILS_AT_ONCE } else { WEBHOOKS_AT_ONCE };
        let alike = self.receivers.values().filter(|other| by_mail(other) == by_mail(address)).count();
        alike < room && self.receivers.values().all(|other| other != address)
    }

    fn begin(&mut self, courier: Arc<Courier>, notice: Notice, read: Revision) {
        let address = notice.address.clone();
        let task = self.tasks.spawn(async move { courier.carry(notice, read).await });
        self.receivers.insert(task.id(), address);
    }

    /// When one of them was tried; never while there is none.
    async fn ended(&mut self) -> Result<(), Trouble> {
        let Some(ended) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
        match ended {
            Ok((task, result)) => {
                self.receivers.remove(&task);
                result
            }
            Err(died) => {
                self.receivers.remove(&died.id());
                tracing::error!(%died, "a notice's task died; it is tried again");
                Ok(())
            }
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
