//! The whole controller in one value: store, fleet, engine, services on two ports.
//!
//! `serve` is all of it, for the daemon, for tests and for `longshore demo` alike; `listen` has the two ports and
//! their limits; `process` is what only the daemon does: signals, systemd, exit codes.

mod deadline;
mod listen;
pub mod process;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use longshore_common::{
    chain::Chain,
    code::{Code, Coded},
    durable,
    ledger::LedgerFailed,
    time::{Clock, SystemClock},
    tls::{Connections, LiveClientTrust},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::{OPERATORS_DIR, Waiting},
    audit::Audit,
    bundle::{self, BundleStore},
    config::Config,
    engine::Engine,
    fleet::Fleet,
    gate::OwnFiles,
    http::Trust,
    identity::{
        Authority, Door, IdentityError,
        enrol::Enrolment,
        init::join_address,
        keep::{Keeper, Recorded},
        leaf::Leaf,
        revoke::Revoker,
    },
    notify::{Courier, Mailer, Means},
    prepare::Planner,
    rpc::{
        AccessService, ApprovalsService, CalendarsService, ControllerService, EnrolmentService,
        EnvironmentsService, HostsService, NoticesService, PlansService, RenewalService, Reply,
        RolloutsService, SessionService, SettingsService, TrustService, blobs::BlobsService,
        releases::ReleasesService,
    },
    sealed,
    store::{SharedStore, SledStore},
    trouble::Trouble,
    trust::{self, TrustCheck, TrustDesk},
};
use listen::{Port, Services};

/// How often blobs that no release names are looked for.
const COLLECT_EVERY: Duration = Duration::from_secs(6 * 3600);
/// What calls under way have to end in when the controller stops.
const GRACE: Duration = Duration::from_secs(5);

/// Where a controller that runs can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For agents and operators.
    pub main: SocketAddr,
    /// For hosts that enrol.
    pub enrol: SocketAddr,
}

/// Why a controller did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("use the identity")]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Refused(#[from] Coded),
    #[error("listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("take up the state")]
    State(#[from] Trouble),
    #[error("make {}", path.display())]
    Folder { path: std::path::PathBuf, source: durable::DurableError },
    #[error("use the CA")]
    Tls(#[from] longshore_common::tls::TlsError),
}

/// Why a controller that ran has ended.
#[derive(Debug)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// Its store takes nothing any more until a new process opens it: exit with 75, to be started again.
    StoreFailed(LedgerFailed),
}

/// A controller that runs. Dropping it leaves it running until its token is cancelled.
#[derive(Debug)]
pub struct Serving {
    pub addresses: Addresses,
    task: JoinHandle<Ended>,
    renames: mpsc::Sender<Vec<String>>,
}

impl Serving {
    /// Reads the CA's files again now, and goes by these names from the next handshake on.
    pub fn reload(&self, names: Vec<String>) {
        // One that waits already reads the same files.
        drop(self.renames.try_send(names));
    }

    /// Until it has ended: every session closed, everything committed, the store free for the next.
    pub async fn ended(&mut self) -> Ended {
        match (&mut self.task).await {
            Ok(ended) => ended,
            Err(died) => {
                tracing::error!(%died, "the controller's own task died");
                Ended::Stopped
            }
        }
    }
}

/// Starts a controller. It runs until `stop` is cancelled or its store fails.
pub async fn serve(config: Config, stop: CancellationToken) -> Result<Serving, ServeError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let authority = Arc::new(Authority::load(&config.identity_dir())?);
    let leaf = Leaf::new(authority.clone(), config.names.clone(), clock.now_ms())?;
    let sled = open_store(&config).await?;
    let store: SharedStore = sled.clone();
    let bundle = open_bundle(&config).await?;
    let desk = open_trust(&config, clock.clone()).await?;
    let main = listen::bind(config.listen).await?;
    let enrol = listen::bind(config.enrol_listen).await?;
    let addresses = Addresses { main: listen::address(&main), enrol: listen::address(&enrol) };

    // Sessions and calls end before the engine, which answers their reports, and the store ends last.
    let calls = stop.child_token();
    let inner = CancellationToken::new();
    let (fleet, events) = Fleet::start(store.clone(), clock.clone(), config.heartbeat, inner.clone()).await?;
    let (own, at) = (OwnFiles::of(&config), clock.clone());
    let engine = Engine::start_all(store.clone(), at, fleet.clone(), events, own, inner.clone()).await?;
    let audit = open_audit(&config, &clock).await?;
    fleet.record_in(audit.clone());
    let waiting = Waiting(Some(config.identity_dir().join(OPERATORS_DIR)));
    waiting.take_all(&store, Some(&audit), clock.now_ms()).await?;
    let parts =
        Parts { config, clock, authority, store, bundle, desk, fleet, engine, audit, waiting, addresses };
    let clients = LiveClientTrust::new(parts.authority.pem().as_bytes())?;
    let connections = Connections::default();
    let tasks = TaskTracker::new();
    let port = |listener| Port {
        listener,
        identity: leaf.live.clone(),
        audit: parts.audit.clone(),
        connections: connections.clone(),
        stop: calls.clone(),
    };
    tasks.spawn(listen::serve_main(port(main), clients.clone(), parts.services()));
    tasks.spawn(listen::serve_enrolment(port(enrol), parts.enrolment()));
    let revoker = Revoker {
        store: parts.store.clone(),
        clock: parts.clock.clone(),
        connections: connections.clone(),
        door: parts.door(),
    };
    tasks.spawn(revoker.clone().run(calls.clone()));
    let (renames, names) = mpsc::channel(1);
    tasks.spawn(parts.keeper(leaf, clients, revoker, names).run(calls.clone()));
    tasks.spawn(parts.audit.clone().keep(calls.clone()));
    tasks.spawn(tell_checkpoints(parts.audit.clone(), parts.fleet.clone(), calls.clone()));
    tasks.spawn(trust::keep_current(parts.desk.clone(), calls.clone()));
    let courier = courier(&parts)?;
    tasks.spawn(courier.run(calls.clone()));
    tasks.spawn(collect(parts.store.clone(), parts.bundle.clone(), parts.clock.clone(), calls.clone()));
    tracing::info!(main = %addresses.main, enrol = %addresses.enrol, version = env!("CARGO_PKG_VERSION"), "serving");
    let task = tokio::spawn(run(parts, sled, tasks, calls, inner));
    Ok(Serving { addresses, task, renames })
}

/// Waits for the end, whichever comes first, and ends everything in order.
async fn run(
    parts: Parts,
    sled: Arc<SledStore>,
    tasks: TaskTracker,
    calls: CancellationToken,
    inner: CancellationToken,
) -> Ended {
    let ended = tokio::select! {
        () = calls.cancelled() => Ended::Stopped,
        failed = sled.failed() => Ended::StoreFailed(failed),
    };
    calls.cancel();
    inner.cancel(); // sessions say farewell, and with them the streams that keep calls open
    parts.fleet.stopped().await;
    parts.engine.stopped().await;
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::warn!("calls were cut: they did not end within {GRACE:?}");
    }
    drop(parts);
    sled.close().await;
    ended
}

/// What services are made from.
struct Parts {
    config: Config,
    clock: Arc<dyn Clock>,
    authority: Arc<Authority>,
    store: SharedStore,
    bundle: Arc<BundleStore>,
    desk: Arc<TrustDesk>,
    fleet: Fleet,
    engine: Engine,
    audit: Audit,
    waiting: Waiting,
    addresses: Addresses,
}

impl Parts {
    fn door(&self) -> Door {
        let door = Door::new(self.store.clone(), self.clock.clone()).believing(self.authority.clone());
        door.with(self.waiting.clone(), self.audit.clone(), self.config.two_persons.clone())
    }

    fn enroller(&self) -> Arc<Enrolment> {
        let (store, authority, clock) = (self.store.clone(), self.authority.clone(), self.clock.clone());
        Arc::new(Enrolment { store, authority, clock, door: self.door() })
    }

    fn reply(&self) -> Reply {
        let port = self.addresses.main.port();
        let controllers = self.config.names.iter().map(|name| join_address(name, port)).collect();
        let enrol_port = self.addresses.enrol.port();
        Reply { authority: self.authority.clone(), clock: self.clock.clone(), controllers, enrol_port }
    }

    fn keeper(
        &self,
        leaf: Leaf,
        clients: Arc<LiveClientTrust>,
        revoker: Revoker,
        names: mpsc::Receiver<Vec<String>>,
    ) -> Keeper {
        Keeper {
            authority: self.authority.clone(),
            leaf,
            clients,
            store: self.store.clone(),
            clock: self.clock.clone(),
            fleet: self.fleet.clone(),
            door: self.door(),
            revoker,
            recorded: Recorded::within(&self.config.identity_dir()),
            names,
        }
    }

    fn planner(&self) -> Planner {
        Planner {
            store: self.store.clone(),
            clock: self.clock.clone(),
            fleet: self.fleet.clone(),
            engine: self.engine.clone(),
            bundle: self.bundle.clone(),
            signed: self.signed(),
        }
    }

    fn signed(&self) -> TrustCheck {
        TrustCheck { desk: self.desk.clone(), store: self.store.clone(), bundle: self.bundle.clone() }
    }

    fn enrolment(&self) -> EnrolmentService {
        EnrolmentService::new(self.enroller(), self.reply(), self.door())
    }

    fn services(&self) -> Services {
        let Parts { store, clock, fleet, engine, bundle, desk, .. } = self;
        let door = self.door();
        Services {
            session: SessionService { fleet: fleet.clone(), door: door.clone() },
            renewal: RenewalService { enrolment: self.enroller(), reply: self.reply(), door: door.clone() },
            blobs: BlobsService {
                store: store.clone(),
                bundle: bundle.clone(),
                trust: desk.clone(),
                door: door.clone(),
            },
            trust: TrustService {
                desk: desk.clone(),
                store: store.clone(),
                fleet: fleet.clone(),
                door: door.clone(),
            },
            controller: ControllerService {
                store: store.clone(),
                clock: clock.clone(),
                fleet: fleet.clone(),
                engine: engine.clone(),
                authority: self.authority.clone(),
                door: door.clone(),
            },
            hosts: HostsService {
                store: store.clone(),
                clock: clock.clone(),
                fleet: fleet.clone(),
                engine: engine.clone(),
                started_ms: clock.now_ms(),
                authority: self.authority.clone(),
                check: self.signed(),
                door: door.clone(),
                enroll_address: join_address(&self.config.names[0], self.addresses.enrol.port()),
            },
            environments: EnvironmentsService {
                store: store.clone(),
                clock: clock.clone(),
                engine: engine.clone(),
                tell: self.config.tell.clone(),
                check: self.signed(),
                door: door.clone(),
            },
            releases: ReleasesService {
                store: store.clone(),
                bundle: bundle.clone(),
                trust: desk.clone(),
                clock: clock.clone(),
                door: door.clone(),
                whole: ReleasesService::places(),
            },
            settings: SettingsService {
                store: store.clone(),
                clock: clock.clone(),
                door: door.clone(),
                sealing: SettingsService::places(),
            },
            rollouts: RolloutsService {
                store: store.clone(),
                engine: engine.clone(),
                planner: self.planner(),
                fleet: fleet.clone(),
                check: self.signed(),
                door: door.clone(),
            },
            access: AccessService {
                store: store.clone(),
                clock: clock.clone(),
                fleet: fleet.clone(),
                authority: self.authority.clone(),
                audit: self.audit.clone(),
                door: door.clone(),
            },
            plans: PlansService { planner: self.planner(), door: door.clone() },
            calendars: CalendarsService { store: store.clone(), clock: clock.clone(), door: door.clone() },
            approvals: ApprovalsService { store: store.clone(), clock: clock.clone(), door: door.clone() },
            notices: NoticesService { store: store.clone(), clock: clock.clone(), door },
        }
    }
}

/// Who tells people. Wrong settings are found at the start, not when somebody is to be told.
fn courier(parts: &Parts) -> Result<Courier, ServeError> {
    let tell = &parts.config.tell;
    let mailer = tell.mail.as_ref().map(Mailer::new).transpose()?;
    let means = Means { mailer, keys: Arc::new(tell.keys.clone()), trust: Arc::new(Trust::system()) };
    Ok(Courier { store: parts.store.clone(), clock: parts.clock.clone(), means })
}

async fn open_store(config: &Config) -> Result<Arc<SledStore>, ServeError> {
    let dir = config.state_dir();
    let opened = tokio::task::spawn_blocking(move || {
        durable::create_dir_durable(&dir, 0o700)
            .map_err(|source| ServeError::Folder { path: dir.clone(), source })?;
        SledStore::open(&dir).map_err(|error| ServeError::Refused(error.coded()))
    });
    Ok(Arc::new(joined(opened.await)??))
}

async fn open_audit(config: &Config, clock: &Arc<dyn Clock>) -> Result<Audit, ServeError> {
    let (dir, keys, clock) = (config.audit_dir(), config.identity_dir(), clock.clone());
    let opened = tokio::task::spawn_blocking(move || Audit::open(&dir, &keys, clock)).await;
    Ok(joined(opened)?.map_err(|error| Coded::new(Code::S02, Chain(&error).to_string()))?)
}

/// Every checkpoint goes to every host.
async fn tell_checkpoints(audit: Audit, fleet: Fleet, stop: CancellationToken) {
    let mut checkpoints = audit.checkpoints();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = checkpoints.changed() => if changed.is_err() { return },
        }
        let latest = checkpoints.borrow_and_update().clone();
        if let Some(checkpoint) = latest {
            fleet.tell_checkpoint(checkpoint);
        }
    }
}

async fn open_bundle(config: &Config) -> Result<Arc<BundleStore>, ServeError> {
    let (dir, cache) = (config.blobs_dir(), config.block_cache_bytes);
    let opened = tokio::task::spawn_blocking(move || BundleStore::open(&dir, cache));
    Ok(joined(opened.await)?.map_err(|error| error.coded())?)
}

async fn open_trust(config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<TrustDesk>, ServeError> {
    let dir = config.trust_dir();
    Ok(joined(tokio::task::spawn_blocking(move || TrustDesk::open(&dir, clock)).await)??)
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, Coded> {
    result.map_err(|died| Coded::new(Code::X01, format!("opening the state ended: {died}")))
}

/// Takes away what no release names and secrets that nothing names, now and then.
async fn collect(
    store: SharedStore,
    bundle: Arc<BundleStore>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(COLLECT_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        match bundle::collect(&*store, &bundle, bundle::GRACE).await {
            Ok(collected) if collected.blobs > 0 => {
                tracing::info!(blobs = collected.blobs, bytes = collected.bytes, "collected");
            }
            Ok(_) => {}
            Err(trouble) => tracing::warn!(trouble = %Chain(&trouble), "blobs were not collected"),
        }
        if let Err(trouble) = sealed::sweep(&store, clock.now_ms()).await {
            tracing::warn!(trouble = %Chain(&trouble), "old sealed secrets were not dropped");
        }
    }
}
