//! One controller, its agents, and the operator.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use longshore_agent::{
    agent,
    config::{Config as AgentConfig, Runner},
    host::{layout::Layout, process::ProcessDriver, real::RealHost, reexec::SelfExec},
    identity::{Again, Enrolling, enroll},
    link::dial,
};
use longshore_common::{
    durable,
    ids::AppName,
    tls::{LiveIdentity, LiveServerTrust, client_config},
};
use longshore_controller::{
    audit::{Chained, What},
    cli::{operator, publish},
    config::Config,
    daemon::{Addresses, serve},
    fleet::Heartbeat,
    identity::init::{self, Made, Wanted},
};
use longshore_proto::v1::{
    self as pb, access_client::AccessClient, environments_client::EnvironmentsClient,
    hosts_client::HostsClient, rollout_update::Update, rollouts_client::RolloutsClient,
};
use longshore_tests::own_address;
use tokio::{runtime::Runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Of one rollout on two busy cores that now and then stand still.
const PATIENCE: Duration = Duration::from_secs(300);

/// How carefully, unless a test says otherwise.
const STRATEGY: &str =
    "canary = 1\ncanary_bake = \"100ms\"\nwave = \"50%\"\nbake = \"0s\"\nmax_unavailable = 2\n";

pub struct Site {
    dir: tempfile::TempDir,
    made: Made,
    daemon: Option<Daemon>,
    agents: Vec<Agent>,
}

/// A controller in a runtime of its own, so that it can be dropped as a process would be.
struct Daemon {
    runtime: Runtime,
    addresses: Addresses,
}

struct Agent {
    name: String,
    config: AgentConfig,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Site {
    /// A controller and `count` connected agents with the label env=prod.
    pub async fn raise(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Agents come back to the ports that they know, and meanwhile nobody else may have taken them.
        let address = own_address();
        let any = SocketAddr::from((address, 0));
        let wanted = Wanted {
            dir: dir.path().join("controller"),
            listen: any,
            enrol_listen: any,
            names: vec![address.to_string()],
            operator: "alice".parse().unwrap(),
        };
        let now = longshore_common::time::Clock::now_ms(&longshore_common::time::SystemClock);
        let mut made = init::init(wanted, now).unwrap();
        // Longer than a machine stands still.
        made.config.heartbeat = Heartbeat { every: Duration::from_secs(2), missed: 60 };
        let daemon = Daemon::start(made.config.clone()).await;
        made.config.listen = daemon.addresses.main;
        made.config.enrol_listen = daemon.addresses.enrol;
        let mut site = Self { dir, made, daemon: Some(daemon), agents: vec![] };
        let token = site.token(count as u32).await;
        for number in 1..=count {
            let agent = site.agent(&format!("web-{number}"), &token).await;
            site.agents.push(agent);
        }
        site.apply(STRATEGY).await;
        site.await_connected(count).await;
        site
    }

    /// Ends everything, and looks whether it ends in order. The apps end when the site is dropped.
    pub async fn lower(mut self) {
        for agent in &mut self.agents {
            agent.stop.cancel();
            (&mut agent.task).await.unwrap();
        }
        self.daemon.take().expect("it runs").drop_at_once();
    }

    /// Drops the controller with everything that is under way in it, and starts another on the same ports.
    pub async fn kill_controller(&mut self) {
        self.daemon.take().expect("it runs").drop_at_once();
        self.daemon = Some(Daemon::start(self.made.config.clone()).await);
    }

    async fn agent(&self, name: &str, token: &str) -> Agent {
        let root = self.dir.path().join(name);
        let mut config = AgentConfig::new(root, vec![]);
        config.driver = Some(Runner::Process);
        let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
        durable::create_dir_durable(&config.root, 0o755).unwrap();
        let enrolling = Enrolling {
            server: self.addresses().enrol.to_string(),
            token: token.parse().unwrap(),
            name: name.parse().unwrap(),
            labels,
            folder: config.identity(),
            vault: config.vault(),
            again: Again::Refuse,
        };
        let joined = enroll(&enrolling).await.unwrap();
        config.controllers = joined.controllers;
        let stop = CancellationToken::new();
        let (own, shutdown) = (config.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let host =
                async |config: &AgentConfig, uplink| RealHost::open(config, uplink, SelfExec::this()).await;
            agent::run_over(own, host, shutdown).await.unwrap();
        });
        Agent { name: joined.name, config, stop, task }
    }

    fn addresses(&self) -> Addresses {
        self.daemon.as_ref().expect("it runs").addresses
    }

    async fn operator(&self) -> Channel {
        let read = |name: &str| std::fs::read(self.made.operator_dir.join(name)).unwrap();
        let identity = LiveIdentity::new(&read(operator::CERTIFICATE), &read(operator::KEY)).unwrap();
        let trust = LiveServerTrust::new(&read(operator::CA)).unwrap();
        let tls = client_config(identity, trust);
        dial(&self.addresses().main.to_string(), tls).await.unwrap()
    }

    async fn hosts(&self) -> HostsClient<Channel> {
        HostsClient::new(self.operator().await)
    }

    async fn rollouts(&self) -> RolloutsClient<Channel> {
        RolloutsClient::new(self.operator().await)
    }

    async fn token(&self, uses: u32) -> String {
        let request = pb::CreateTokenRequest { uses, ..pb::CreateTokenRequest::default() };
        self.hosts().await.create_token(request).await.unwrap().into_inner().token
    }

    async fn await_connected(&self, count: usize) {
        let mut hosts = self.hosts().await;
        let begun = Instant::now();
        loop {
            let reply = hosts.list(pb::ListHostsRequest::default()).await.unwrap().into_inner();
            if reply.hosts.iter().filter(|host| host.connected).count() == count {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{:#?}", reply.hosts);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn ping(&self) -> Vec<pb::PingReply> {
        // Longer than a host that is there ever takes.
        let request = pb::PingRequest { deadline_ms: 60_000, ..pb::PingRequest::default() };
        let mut replies = self.hosts().await.ping(request).await.unwrap().into_inner();
        let mut all = vec![];
        while let Some(reply) = replies.message().await.unwrap() {
            all.push(reply);
        }
        all
    }

    /// Its apps stop at once, or start again.
    pub async fn drain(&self, name: &str, stops: bool) {
        let stop_within_ms = stops.then_some(0);
        let request = pb::DrainHostRequest {
            host: name.into(),
            undrain: !stops,
            reason: String::new(),
            stop_within_ms,
        };
        assert!(self.hosts().await.drain(request).await.unwrap().into_inner().changed);
    }

    /// Until the list of hosts, and the host's own page, say that its apps run, or that they do not.
    pub async fn until_shown(&self, name: &str, running: bool) {
        let mut hosts = self.hosts().await;
        let begun = Instant::now();
        loop {
            let list = hosts.list(pb::ListHostsRequest::default()).await.unwrap().into_inner().hosts;
            let listed = list.into_iter().find(|host| host.name == name).unwrap();
            let shown = hosts.show(pb::ShowHostRequest { host: name.into() }).await.unwrap().into_inner();
            if [&listed, &shown].into_iter().all(|host| host.apps.iter().all(|app| app.running == running)) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{listed:#?}\n{shown:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn remove_host(&self, name: &str) {
        self.hosts().await.remove(pb::RemoveHostRequest { host: name.into() }).await.unwrap();
    }

    /// The environment, with another strategy.
    pub async fn apply(&self, strategy: &str) {
        self.declare(strategy, "ahoy").await;
    }

    /// The environment as it is raised, with another greeting.
    pub async fn greet(&self, greeting: &str) {
        self.declare(STRATEGY, greeting).await;
    }

    async fn declare(&self, strategy: &str, greeting: &str) {
        let file = format!(
            "[environment]\nname = \"production\"\nselector = \"env=prod\"\n\
             [rollout]\n{strategy}[plan]\ndeadline = \"60s\"\n[values]\ngreeting = \"{greeting}\"\n"
        );
        let request = pb::ApplyEnvironmentRequest { file, file_name: "production.toml".into() };
        EnvironmentsClient::new(self.operator().await).apply(request).await.unwrap();
    }

    pub async fn publish(&self, version: &str) {
        let folder = self.dir.path().join("releases").join(version);
        write_release(&folder, version);
        let options = publish::Options {
            file: folder,
            version: Some(version.parse().unwrap()),
            attestations: Default::default(),
        };
        publish::publish(self.operator().await, options, Arc::new(|_| ())).await.unwrap();
    }

    pub async fn start(&self, version: &str) -> String {
        let request = pb::StartRolloutRequest {
            app: "shop".into(),
            version: version.into(),
            env: "production".into(),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..pb::StartRolloutRequest::default()
        };
        self.rollouts().await.start(request).await.unwrap().into_inner().id
    }

    /// To what was live before.
    pub async fn roll_back(&self) -> String {
        let request = pb::StartRolloutRequest {
            app: "shop".into(),
            env: "production".into(),
            rollback: true,
            request_id: uuid::Uuid::new_v4().to_string(),
            ..pb::StartRolloutRequest::default()
        };
        self.rollouts().await.start(request).await.unwrap().into_inner().id
    }

    /// Who called a method, and on what, in order.
    pub async fn audited(&self, method: &str) -> Vec<(String, String)> {
        let request = pb::AuditRequest { from: 0, follow: false };
        let mut pages = AccessClient::new(self.operator().await).audit(request).await.unwrap().into_inner();
        let mut found = vec![];
        while let Some(page) = pages.message().await.unwrap() {
            for entry in page.lines.iter().filter_map(|line| Chained::parse(line)) {
                if let What::Allowed { actor, method: called, target, .. } = entry.what
                    && called == method
                {
                    found.push((actor, target));
                }
            }
        }
        found
    }

    /// A file of the live slot.
    pub fn live_file(&self, name: &str, path: &str) -> String {
        let current = self.layout(name).current(&"shop".parse().unwrap());
        std::fs::read_to_string(current.join(path)).unwrap()
    }

    /// What the app and its hooks wrote beside their releases, line by line.
    pub fn shared_log(&self, name: &str) -> Vec<String> {
        let path = self.layout(name).shared(&"shop".parse().unwrap()).join("log");
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    /// From now on the release's probe fails on the host.
    pub fn fall_ill(&self, name: &str, version: &str) {
        let shared = self.layout(name).shared(&"shop".parse().unwrap());
        durable::write_atomic(&shared.join(format!("ill-{version}")), b"", 0o644).unwrap();
    }

    fn layout(&self, name: &str) -> Layout {
        let agent = self.agents.iter().find(|agent| agent.name == name).expect("it was raised");
        Layout::under(&agent.config.root).unwrap()
    }

    pub async fn steer(&self, id: &str, act: pb::steer_request::Act) {
        let request = pb::SteerRequest { rollout: id.into(), reason: "a test".into(), act: Some(act) };
        self.rollouts().await.steer(request).await.unwrap();
    }

    /// Returns once the rollout is, or was, in this phase: a watch shows how it stands, and may come too late for what is
    /// short.
    pub async fn when(&self, id: &str, phase: &str) {
        let is_past =
            |now: &str| matches!((phase, now), ("staging", "switching" | "baking") | ("switching", "baking"));
        let enough = |rollout: &pb::Rollout| {
            rollout.phase == phase || is_past(&rollout.phase) || !rollout.outcome.is_empty()
        };
        self.watch(id, enough).await;
    }

    /// The rollout as it is when it is over.
    pub async fn outcome(&self, id: &str) -> pb::Rollout {
        self.watch(id, |rollout| !rollout.outcome.is_empty()).await
    }

    async fn watch(&self, id: &str, enough: impl Fn(&pb::Rollout) -> bool) -> pb::Rollout {
        let request = pb::ShowRolloutRequest { rollout: id.to_owned() };
        let mut updates = self.rollouts().await.watch(request).await.unwrap().into_inner();
        let mut last = pb::Rollout::default();
        let watched = tokio::time::timeout(PATIENCE, async {
            while let Some(update) = updates.message().await.unwrap() {
                if let Some(Update::Rollout(rollout)) = update.update {
                    last = rollout;
                    if enough(&last) {
                        return;
                    }
                }
            }
        });
        assert!(watched.await.is_ok(), "stuck: {last:#?}");
        last
    }

    /// The failing host, its step, and what its probe said.
    pub async fn assert_explained(&self, id: &str) {
        let request = pb::ShowRolloutRequest { rollout: id.to_owned() };
        let explained = self.rollouts().await.explain(request).await.unwrap().into_inner();
        let first = explained.first_failure.expect("it failed");
        let failure = first.failure.expect("with words");
        assert_eq!((first.name.as_str(), failure.step.as_str()), ("web-1", "probe"), "{failure:#?}");
        assert!(failure.evidence.iter().any(|line| line.contains("this is 1.2")), "{failure:#?}");
    }

    /// The version of what `current` names on the host.
    pub fn runs(&self, name: &str) -> Option<String> {
        let current = std::fs::canonicalize(self.layout(name).current(&"shop".parse().unwrap())).ok()?;
        let slot = current.file_name()?.to_str()?.to_owned();
        Some(slot.rsplit_once('-')?.0.to_owned())
    }

    pub fn assert_runs(&self, version: &str) {
        for agent in &self.agents {
            assert_eq!(self.runs(&agent.name).as_deref(), Some(version), "{}", agent.name);
        }
    }
}

/// Also when the test fails: no app outlives it.
impl Drop for Site {
    fn drop(&mut self) {
        let layouts: Vec<Layout> =
            self.agents.iter().filter_map(|agent| Layout::under(&agent.config.root).ok()).collect();
        let ended = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let app: AppName = "shop".parse().unwrap();
            for layout in layouts {
                let driver = ProcessDriver::new(SelfExec::this(), layout);
                runtime.block_on(driver.stop(&app, Duration::from_secs(10))).unwrap();
            }
        });
        if ended.join().is_err() {
            eprintln!("an app may still run below {}", self.dir.path().display());
        }
    }
}

impl Daemon {
    /// Waits for the one before to let go of the state and the ports.
    async fn start(config: Config) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let begun = Instant::now();
        loop {
            let serving = runtime.spawn(serve(config.clone(), CancellationToken::new())).await.unwrap();
            match serving {
                Ok(serving) => return Self { addresses: serving.addresses, runtime },
                Err(error) if begun.elapsed() < PATIENCE => {
                    tracing::debug!(%error, "not yet");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{}", longshore_common::chain::Chain(&error)),
            }
        }
    }

    fn drop_at_once(self) {
        self.runtime.shutdown_background();
    }
}

/// A program that says what it is and stays, and a probe that fails from 1.2 on.
fn write_release(folder: &Path, version: &str) {
    let write = |path: PathBuf, text: &str, mode: u32| {
        durable::create_dir_durable(path.parent().unwrap(), 0o755).unwrap();
        durable::write_atomic(&path, text.as_bytes(), mode).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
    };
    let serve = format!(
        "#!/bin/sh\necho this is {version}\necho \"$LONGSHORE_VERSION started\" >>\"$LONGSHORE_SHARED/log\"\n\
         exec sleep 1000\n"
    );
    let hook = "#!/bin/sh\necho \"$LONGSHORE_VERSION $1\" >>\"$LONGSHORE_SHARED/log\"\n";
    write(folder.join("dist/bin/hook"), hook, 0o755);
    write(folder.join("dist/shop.conf.j2"), "{{ greeting }} from {{ version }}", 0o644);
    // Not before the program has said that it started.
    let well = "#!/bin/sh\n\
        [ \"$(grep started \"$LONGSHORE_SHARED/log\" | tail -n 1)\" = \"$LONGSHORE_VERSION started\" ] || exit 1\n\
        [ ! -e \"$LONGSHORE_SHARED/ill-$LONGSHORE_VERSION\" ] || { echo fell ill; exit 1; }\n";
    // Only what is never healthy runs into the deadline, and not before the program has said what it is.
    let ill = "#!/bin/sh\n\
        until grep -qx \"$LONGSHORE_VERSION started\" \"$LONGSHORE_SHARED/log\"; do sleep 0.1; done\n\
        echo no good\nexit 1\n";
    let (check, deadline) = if version < "1.2" { (well, "300s") } else { (ill, "3s") };
    write(folder.join("dist/bin/serve"), &serve, 0o755);
    write(folder.join("dist/bin/check"), check, 0o755);
    write(folder.join("longshore.toml"), &APP.replace("$DEADLINE", deadline), 0o644);
}

const APP: &str = r#"
[app]
name = "shop"

[artifact]
path = "dist"

[service]
driver = "process"
exec = ["./bin/serve"]
stop = { signal = "SIGTERM", grace = "2s" }

[config."shop.conf"]
template = "shop.conf.j2"

[hooks]
before_switch = { run = ["./bin/hook", "before_switch"] }
after_healthy = { run = ["./bin/hook", "after_healthy"] }

[[probe]]
name = "check"
exec = ["./bin/check"]
interval = "100ms"
timeout = "60s"
healthy_for = "200ms"
deadline = "$DEADLINE"
"#;
