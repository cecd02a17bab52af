//! Raising the demo's fleet: the controller's identity, the controller, a join token, five agents.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use longshore_agent::{
    config::{Config as AgentConfig, Runner},
    host::process::Lives,
    identity::{Again, Enrolling, enroll},
};
use longshore_common::{
    durable::{create_dir_durable, write_atomic},
    join::JoinToken,
    label::Labels,
    time::{Clock, SystemClock},
};
use longshore_proto::v1 as pb;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::Instant,
};

use super::{
    role::{AGENT, CONTROLLER},
    world::{HostPlace, World, blame, failed},
};
use crate::{
    cli::{
        client::Client,
        context::Context,
        exit::Exit,
        failure::Failure,
        operator::{self, OperatorFolder},
        signing::{Signer, create_app, init as init_fleet},
    },
    identity::init::{Wanted, init},
};

/// For the controller to open its store and listen.
const SERVE: Duration = Duration::from_secs(120);
/// For one answer of the controller.
pub const ANSWER: Duration = Duration::from_secs(60);
/// For all hosts to connect.
const CONNECT: Duration = Duration::from_secs(120);
/// Between two looks at who is connected.
const LOOK: Duration = Duration::from_millis(50);
/// Every host that joins with the demo's token gets it; the environment selects by it.
const LABEL: (&str, &str) = ("role", "shop");

/// A controller of our own, from nothing. Its addresses and a client for it, as its first operator.
pub async fn raise_controller(world: &mut World, operator: &str) -> Result<(Client, Addresses), Failure> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let wanted = Wanted {
        dir: world.folder.join("controller"),
        listen: any,
        enrol_listen: any,
        names: vec!["127.0.0.1".to_owned()],
        operator: operator.parse()?,
    };
    let made = init(wanted, SystemClock.now_ms()).map_err(|error| failed(&error))?;
    let config = made.config_path.display().to_string();
    let part = world.spawn("controller", &[CONTROLLER, &config], Stdio::piped())?;
    let stdout = part.child.stdout.take().expect("it was piped");
    let mut lines = BufReader::new(stdout).lines();
    let line = match tokio::time::timeout(SERVE, lines.next_line()).await {
        Ok(Ok(Some(line))) => line,
        Ok(Ok(None) | Err(_)) => return Err(blame(part, "did not start")),
        Err(_) => return Err(blame(part, &format!("did not listen within {} s", SERVE.as_secs()))),
    };
    let Some(addresses) = Addresses::read(&line) else {
        return Err(blame(part, "said something else than its addresses"));
    };
    let folder = made.operator_dir;
    let text = format!("{}\n", addresses.main);
    write_atomic(&folder.join(operator::ADDRESS), text.as_bytes(), 0o644).map_err(|error| failed(&error))?;
    let operator = OperatorFolder::read(&folder).map_err(|error| failed(&error))?;
    let client = Client::connect(&Context { name: folder.display().to_string(), operator }).await?;
    Ok((client, addresses))
}

/// An organisation's key and a release key: from here on what runs is signed, and the controller has none of them.
pub async fn make_keys(world: &World, client: &Client) -> Result<(), Failure> {
    let signer = Signer { client, ring: &world.ring, by: Instant::now() + ANSWER };
    init_fleet(&signer).await?;
    let app = "shop".parse().expect("a sound name");
    create_app(&signer, &app, &[], 1).await.map(drop)
}

#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub main: SocketAddr,
    pub enrol: SocketAddr,
}

impl Addresses {
    fn read(line: &str) -> Option<Self> {
        let (main, enrol) = line.split_once(' ')?;
        Some(Self { main: main.parse().ok()?, enrol: enrol.parse().ok()? })
    }
}

/// Five hosts: each makes its key, shows the token, gets its certificate, and connects.
pub async fn raise_hosts(world: &mut World, client: &Client, addresses: Addresses) -> Result<(), Failure> {
    let request = pb::CreateTokenRequest {
        uses: world.hosts.len() as u32,
        ttl_ms: 10 * 60_000,
        labels: [(LABEL.0.to_owned(), LABEL.1.to_owned())].into(),
        ..pb::CreateTokenRequest::default()
    };
    let made = client.answer(Instant::now() + ANSWER, client.hosts().create_token(request)).await?;
    let token = JoinToken { root: world.ring.pin()?, ..made.token.parse()? };
    for host in world.hosts.clone() {
        enrol_host(&host, &token, addresses).await?;
        let root = host.root.display().to_string();
        world.spawn(&host.name, &[AGENT, "--root", &root, "run"], Stdio::null())?;
    }
    all_connected(world, client).await
}

async fn enrol_host(host: &HostPlace, token: &JoinToken, addresses: Addresses) -> Result<(), Failure> {
    create_dir_durable(&host.root, 0o755).map_err(|error| failed(&error))?;
    let mut config = AgentConfig::new(host.root.clone(), vec![]);
    let joined = enroll(&Enrolling {
        server: addresses.enrol.to_string(),
        token: token.clone(),
        name: host.name.parse()?,
        labels: Labels::new(),
        folder: config.identity(),
        vault: config.vault(),
        again: Again::Refuse,
    })
    .await?;
    config.controllers = joined.controllers;
    config.driver = Some(Runner::Process);
    config.apps = Lives::WithAgent; // so that nothing is left when the demo is killed
    config.loopback = Some(host.loopback);
    let path = AgentConfig::file_below(&host.root);
    let folder = path.parent().expect("a file lies in a folder");
    create_dir_durable(folder, 0o755).map_err(|error| failed(&error))?;
    write_atomic(&path, config.to_toml().as_bytes(), 0o644).map_err(|error| failed(&error))
}

async fn all_connected(world: &mut World, client: &Client) -> Result<(), Failure> {
    let by = Instant::now() + CONNECT;
    loop {
        let request = pb::ListHostsRequest { selector: "*".to_owned() };
        let hosts = client.answer(by, client.hosts().list(request)).await?.hosts;
        let connected = hosts.iter().filter(|host| host.connected).count();
        if connected == world.hosts.len() {
            return Ok(());
        }
        if let Some(failure) = world.fallen() {
            return Err(failure);
        }
        if Instant::now() >= by {
            let away = world
                .hosts
                .iter()
                .find(|place| !hosts.iter().any(|host| host.connected && host.name == place.name));
            let part = away.and_then(|away| world.parts.iter().find(|part| part.name == away.name));
            let late = format!("is not connected after {} s", CONNECT.as_secs());
            return Err(
                part.map_or_else(|| Failure::new(Exit::Failed, late.clone()), |part| blame(part, &late))
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}
