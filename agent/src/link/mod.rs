//! The way to the controller: one connection, one stream on it, for as long as the agent lives.
//!
//! The agent connects, never the other way round. It goes through its controllers' addresses until one answers, says
//! hello, takes assignments, hands out reports until they are acknowledged, answers questions, and renews its
//! certificate in time. When the connection is lost it comes back with jittered, growing pauses; work on the host goes
//! on meanwhile.

mod answer;
mod backoff;
mod dial;
mod duties;
mod facts;
mod gates;
mod renew;
mod session;
mod survey;
#[cfg(test)]
mod tests;
mod witness;
mod words;

pub use witness::Witness;

use std::{path::PathBuf, sync::Arc, time::Duration};

use longshore_common::{
    code::{Code, Coded},
    label::Labels,
    recovery::RECOVERY_MAX,
    time::{Millis, rounded},
    tls::{LiveIdentity, LiveServerTrust, client_config},
};
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use dial::dial_from;
pub use dial::{dial, with_port};
pub use facts::Facts;
pub(crate) use words::{app_state, hold_state, line};

use crate::{
    identity::{Folder, Pair, recover},
    run::Works,
    uplink::UplinkSender,
};
use backoff::Backoff;
use session::{End, Session};

/// The controller's main port, where an address names none.
pub const MAIN_PORT: u16 = 7440;
/// Where hosts enrol, where nobody said otherwise.
pub const ENROL_PORT: u16 = 7443;

/// How the connection stands, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The address in use, or the one tried last.
    pub controller: String,
    pub connected: bool,
    /// Connected, or away, since then.
    pub since_ms: Millis,
    /// Why it is away; empty while connected.
    pub error: String,
    pub certificate_expires_ms: Millis,
    /// It is renewed before that, when all is well.
    pub certificate_renew_by_ms: Millis,
    /// Of this host's public key, in hex.
    pub fingerprint: String,
    /// `key=value` of labels in `agent.toml` that the controller knows otherwise, or not at all.
    pub labels_out_of_force: Vec<String>,
}

/// Keeps the session. One per agent.
pub struct Link<W> {
    pub(crate) controllers: Vec<String>,
    pub(crate) labels: Labels,
    pub(crate) crew: W,
    pub(crate) facts: Facts,
    pub(crate) folder: Folder,
    pub(crate) pair: Pair,
    pub(crate) identity: Arc<LiveIdentity>,
    pub(crate) trust: Arc<LiveServerTrust>,
    pub(crate) uplink: UplinkSender,
    pub(crate) connection: watch::Sender<Connection>,
    /// Secrets encrypted to it are opened by this host only.
    pub(crate) recipient: String,
    pub(crate) witness: Witness,
}

/// What a link is made from.
pub struct Parts<W> {
    /// `host:port`, never empty, best first.
    pub controllers: Vec<String>,
    pub labels: Labels,
    pub crew: W,
    pub facts: Facts,
    /// Where the identity lies.
    pub identity: PathBuf,
    pub pair: Pair,
    pub uplink: UplinkSender,
    pub recipient: String,
    pub witness: Witness,
}

impl<W: Works> Link<W> {
    pub fn new(parts: Parts<W>) -> (Self, watch::Receiver<Connection>) {
        let Parts { controllers, labels, crew, facts, identity: folder, pair, uplink, recipient, witness } =
            parts;
        let (identity, trust) = pair.live();
        let standing = Connection {
            controller: controllers.first().cloned().unwrap_or_default(),
            since_ms: crew.now_ms(),
            error: "not connected yet".into(),
            certificate_expires_ms: pair.validity.not_after_ms,
            certificate_renew_by_ms: pair.validity.renew_by(),
            fingerprint: pair.fingerprint(),
            ..Connection::default()
        };
        let (connection, receiver) = watch::channel(standing);
        let folder = Folder::new(folder);
        let link = Self {
            controllers,
            labels,
            crew,
            facts,
            folder,
            pair,
            identity,
            trust,
            uplink,
            connection,
            recipient,
            witness,
        };
        (link, receiver)
    }

    /// Until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new();
        let mut next = 0;
        loop {
            let address = self.controllers[next % self.controllers.len()].clone();
            let (mut session, key) = (None, self.pair.fingerprint());
            let end = tokio::select! {
                end = self.visit(&address, &mut session) => end,
                () = shutdown.cancelled() => break,
            };
            self.uplink.send_replace(None);
            backoff.note(session);
            // Until a new key has been shown, the one before counts as well, for whoever else may have it.
            if self.pair.fingerprint() != key {
                backoff.reset();
            }
            self.lost(&address, &end);
            next += 1; // another controller may know more; after the last comes the first again
            let pause = backoff.pause(self.controllers.len());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => break,
            }
        }
        self.uplink.send_replace(None);
    }

    /// One connection, from dialling to its end, and for how long there was a session.
    async fn visit(&mut self, address: &str, lasted: &mut Option<Duration>) -> Coded {
        if let Some(expired) = self.expired() {
            tracing::warn!("{expired}");
            if let Err(error) = self.recover(address).await
                && error.code != Code::C01
            {
                return error;
            } // where it could not be asked, the session is still tried: this host's clock may be what is wrong
        }
        if self.helper_away() {
            // Nothing could be told of this host, and a wrong word would be worse than none.
            return self.crew.away();
        }
        let (channel, own) = match dial_from(address, self.tls()).await {
            Ok(reached) => reached,
            Err(error) => return self.expired().unwrap_or(error),
        };
        self.facts.uplink = own;
        match Session::open(self, address, channel).await {
            Ok(session) => {
                let begun = tokio::time::Instant::now();
                let (End::Told(error) | End::Lost(error)) = session.live().await;
                *lasted = Some(begun.elapsed());
                error
            }
            Err(error) => self.expired().unwrap_or(error),
        }
    }

    async fn recover(&mut self, address: &str) -> Result<(), Coded> {
        let pair = recover(self.folder.clone(), &self.pair, address).await?;
        tracing::info!("the certificate had expired; there is a new one");
        self.take_over(pair);
        Ok(())
    }

    /// From the next handshake on.
    fn take_over(&mut self, pair: Pair) {
        pair.take_over(&self.identity, &self.trust);
        let (validity, fingerprint) = (pair.validity, pair.fingerprint());
        self.pair = pair;
        self.connection.send_modify(|connection| {
            connection.certificate_expires_ms = validity.not_after_ms;
            connection.certificate_renew_by_ms = validity.renew_by();
            connection.fingerprint = fingerprint;
        });
    }

    /// There should be one, and it is not there.
    fn helper_away(&self) -> bool {
        self.crew.helper().is_some_and(|version| version.is_empty())
    }

    fn tls(&self) -> Arc<ClientConfig> {
        client_config(Arc::clone(&self.identity), Arc::clone(&self.trust))
    }

    fn expired(&self) -> Option<Coded> {
        let ago = self.crew.now_ms() - self.pair.validity.not_after_ms;
        (ago > 0).then(|| {
            let then = match ago > RECOVERY_MAX.as_millis() as Millis {
                true => "After 90 days there is no other way, if the clock is right (timedatectl):",
                false => {
                    "Within 90 days the agent gets another by itself, once it reaches the controller's enrolment \
                     port. Check the clock (timedatectl); after that:"
                }
            };
            let message = format!(
                "this host's certificate expired {} ago. Apps are unaffected. {then} longshore token create, then on \
                 this host: longshore-agent enroll --again",
                rounded(ago)
            );
            Coded::new(Code::E05, message)
        })
    }

    fn lost(&self, address: &str, error: &Coded) {
        let news = self.connection.borrow().connected || self.connection.borrow().error != error.to_string();
        if news {
            tracing::warn!(controller = address, "not connected: {error}");
        }
        let now = self.crew.now_ms();
        self.connection.send_modify(|connection| {
            if connection.connected || connection.since_ms == 0 {
                connection.since_ms = now;
            }
            connection.controller = address.to_owned();
            connection.connected = false;
            connection.error = error.to_string();
        });
    }
}

/// `ahead`: by how much this host's clock runs ahead of the controller's.
pub fn wrong_clock(ahead: Millis) -> Coded {
    let (size, way) = (rounded(ahead.abs()), if ahead > 0 { "ahead of" } else { "behind" });
    let message = format!(
        "this host's clock is {size} {way} the controller's; certificates look expired or not yet valid. \
         Nothing was changed. Set it (timedatectl) and try again"
    );
    Coded::new(Code::E05, message)
}
