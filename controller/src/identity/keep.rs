//! What keeps the controller's own identity fresh while it runs: its certificate, the CA's files when they change, and
//! the end of a rotation when nobody uses the older root any more.
//!
//! Nothing of it drops a connection: what is new counts from the next handshake on. Only who is of a root that somebody
//! retired by hand is cut.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use longshore_common::{
    chain::Chain,
    durable,
    time::{Clock, Millis},
    tls::LiveClientTrust,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Authority, Door, IdentityError, leaf::Leaf, revoke::Revoker, token};
use crate::{
    access,
    fleet::{Fleet, host},
    store::SharedStore,
    trouble::Trouble,
};

/// How often the clock and the files are looked at: a suspended machine must not sleep through its renewal.
const LOOK: Duration = Duration::from_secs(5);

/// Beside the CA's files: the roots of which the audit log knows, one a line.
const RECORDED: &str = "ca-recorded";

/// Of one root: who still needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// Hosts whose certificate is of this root, by name.
    pub hosts: Vec<String>,
    /// Operators with a key whose certificate is of this root and has not expired.
    pub operators: Vec<String>,
    /// Join tokens that pin it and are still good.
    pub tokens: Vec<String>,
}

impl Users {
    pub fn is_none(&self) -> bool {
        self.hosts.is_empty() && self.operators.is_empty() && self.tokens.is_empty()
    }
}

/// Who still needs a root, by its short name. Records that name no root are of the oldest.
pub async fn users(store: &SharedStore, ca: &str, oldest: bool, now: Millis) -> Result<Users, Trouble> {
    let of = |named: &str| named == ca || (oldest && named.is_empty());
    let hosts = host::list(store).await?.into_iter();
    let operators = access::list(store).await?.into_iter();
    let tokens = token::list(store).await?.into_iter();
    Ok(Users {
        hosts: hosts
            .filter(|host| host.keys.iter().any(|key| of(&key.ca)))
            .map(|host| host.name.to_string())
            .collect(),
        operators: operators
            .filter(|user| user.keys.iter().any(|key| of(&key.ca) && key.expires_ms > now))
            .map(|user| user.name.to_string())
            .collect(),
        tokens: tokens
            .filter(|token| of(&token.ca) && token.expires_ms > now && token.uses_left() > 0)
            .map(|token| token.id)
            .collect(),
    })
}

/// What the CA's files said.
enum News {
    None,
    /// Another root signs, or others are believed.
    Roots,
}

/// Keeps it all fresh. One per controller.
pub struct Keeper {
    pub authority: Arc<Authority>,
    pub leaf: Leaf,
    pub clients: Arc<LiveClientTrust>,
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
    pub fleet: Fleet,
    pub door: Door,
    pub revoker: Revoker,
    pub recorded: Recorded,
    /// The controller's names as its file has them now; sent when it is to be read again.
    pub names: mpsc::Receiver<Vec<String>>,
}

impl Keeper {
    /// Until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            let renamed = tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => false,
                Some(names) = self.names.recv() => self.leaf.rename(names),
            };
            let freshened = match self.record_roots().await {
                Ok(()) => self.freshen(renamed),
                Err(trouble) => {
                    tracing::error!(trouble = %Chain(&trouble), "the CA's change is not recorded; trying again");
                    continue;
                }
            };
            match freshened {
                Ok(News::None) => {}
                Ok(News::Roots) => cut_who_is_of_no_root(&self.revoker).await,
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "own identity not refreshed; trying again");
                }
            }
            if let Err(trouble) = self.advance().await {
                tracing::error!(trouble = %Chain(&trouble), "the rotation of the CA does not go on; trying again");
            }
        }
    }

    /// Puts on record what the CA's files say, before it counts; at the start, too, what was changed while no
    /// controller ran.
    async fn record_roots(&mut self) -> Result<(), Trouble> {
        // What does not read is told, and tried again, by whoever reads it next.
        let Ok(now) = self.authority.on_disk() else { return Ok(()) };
        let before = self.recorded.roots();
        if before == now {
            return Ok(());
        }
        if let Some(event) = changed(&before, &now) {
            self.door.note(access::MACHINE, event, &now.join(", ")).await?;
        }
        self.recorded.store(now);
        Ok(())
    }

    fn freshen(&mut self, renamed: bool) -> Result<News, IdentityError> {
        let news = self.authority.reload()?;
        if news {
            self.clients.replace(self.authority.pem().as_bytes())?;
            tracing::info!(
                ca = self.authority.id(),
                rotating = self.authority.is_rotating(),
                "CA read again"
            );
        }
        match news || renamed {
            true => self.leaf.renew(self.clock.now_ms())?,
            false => drop(self.leaf.renew_if_due(self.clock.now_ms())?),
        }
        Ok(if news { News::Roots } else { News::None })
    }

    /// Has everybody renew who has not; ends the rotation when that is done.
    async fn advance(&mut self) -> Result<(), Trouble> {
        let rotating = self.authority.is_rotating();
        self.fleet.renew_towards(rotating.then(|| self.authority.id()));
        if !rotating {
            return Ok(());
        }
        for older in self.authority.roots().iter().skip(1) {
            let older = super::roots::id(&older.hash);
            if !users(&self.store, &older, true, self.clock.now_ms()).await?.is_none() {
                return Ok(());
            }
        }
        // What cannot be recorded is not done.
        self.door.note("the controller", "the CA's rotation has ended", &self.authority.id()).await?;
        match self.authority.retire().and_then(|()| self.freshen_trust()) {
            Ok(()) => {
                self.recorded.store(vec![self.authority.id()]);
                tracing::info!(ca = self.authority.id(), "nobody needs the older root; it is retired");
            }
            Err(error) => {
                tracing::error!(error = %Chain(&error), "the older root is not retired; trying again")
            }
        }
        self.fleet.renew_towards(None);
        Ok(())
    }

    fn freshen_trust(&mut self) -> Result<(), IdentityError> {
        self.clients.replace(self.authority.pem().as_bytes())?;
        self.leaf.renew(self.clock.now_ms())
    }
}

/// Which roots the audit log knows of, in a file beside the CA's. Without one nothing was ever changed.
pub struct Recorded {
    path: PathBuf,
    roots: Vec<String>,
}

impl Recorded {
    pub fn within(identity: &Path) -> Self {
        let path = identity.join(RECORDED);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        Self { path, roots: text.lines().map(str::to_owned).collect() }
    }

    fn roots(&self) -> Vec<String> {
        self.roots.clone()
    }

    /// Where it cannot be written, the same is recorded once more after the next start.
    fn store(&mut self, roots: Vec<String>) {
        if let Err(error) = durable::write_atomic(&self.path, roots.join("\n").as_bytes(), 0o600) {
            tracing::warn!(error = %Chain(&error), "which roots are on record was not kept");
        }
        self.roots = roots;
    }
}

/// What somebody on this machine did to the CA, by its roots, the one that signs first. None: nothing was known.
fn changed(before: &[String], now: &[String]) -> Option<&'static str> {
    let signed = before.first()?;
    Some(match now.first() == Some(signed) && now.len() < before.len() {
        true => "the CA's older root was retired by hand",
        false => "the CA has another root",
    })
}

/// Who has renewed stays connected; who has not is cut, where somebody retired their root by hand.
async fn cut_who_is_of_no_root(revoker: &Revoker) {
    if let Err(trouble) = revoker.look_at_everybody().await {
        // Every call of theirs is refused at the door all the same.
        tracing::error!(trouble = %Chain(&trouble), "connections of a retired root were not cut");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_to_the_ca_is_told_by_its_roots() {
        let owned = |roots: &[&str]| roots.iter().map(|&root| root.to_owned()).collect::<Vec<_>>();
        let told = |before: &[&str], now: &[&str]| changed(&owned(before), &owned(now));
        let (another, retired) =
            (Some("the CA has another root"), Some("the CA's older root was retired by hand"));
        assert_eq!(told(&[], &["a"]), None, "the first look");
        assert_eq!(told(&["a"], &["b", "a"]), another);
        assert_eq!(told(&["b", "a"], &["b"]), retired);
        assert_eq!(told(&["b", "a"], &["a"]), another, "the one that signed is gone");
        assert_eq!(told(&["b", "a"], &["b", "c"]), another);
    }

    #[test]
    fn which_roots_are_on_record_is_kept_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let roots = vec!["b".to_owned(), "a".to_owned()];
        let mut recorded = Recorded::within(dir.path());
        assert!(recorded.roots().is_empty());
        recorded.store(roots.clone());
        assert_eq!((recorded.roots(), Recorded::within(dir.path()).roots()), (roots.clone(), roots));
    }
}
