//! HAProxy, over its runtime socket: weights, drain, ready and maintenance of two servers of a backend.
//!
//! The side that gains is made ready first and has to be up before the other side loses anything. A side without
//! traffic is drained: connections that are pinned to it by a cookie stay until it is let go, which puts it into
//! maintenance and so clears their cookie at the next request. Weights are forgotten when HAProxy is started again;
//! the agent looks every few seconds and says them again.

mod farm;
mod look;

use std::{collections::BTreeSet, path::Path, time::Duration};

use longshore_common::{
    report::Failure,
    text::visible,
    traffic::{BackendName, Side},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use super::{ANSWER, Addresses, GLANCE, LOOK, failure};

/// Of an answer; the list of a large HAProxy has some 200 bytes a server.
const ANSWER_BYTES: u64 = 4 << 20;
/// For HAProxy's own check of a server that was made ready.
const UP: Duration = Duration::from_secs(20);

/// Bits of an administrative state: maintenance of any origin, drain of any origin. That a server was configured
/// `disabled` (0x04) stays said of it when it is ready.
const MAINTENANCE: u32 = 0x01 | 0x02 | 0x20 | 0x40;
const DRAIN: u32 = 0x08 | 0x10;
/// Of these, what is said over the runtime socket, by us or by an admin; and that it was configured `disabled`.
const TOLD_MAINTENANCE: u32 = 0x01;
const TOLD_DRAIN: u32 = 0x08;
const CONFIGURED: u32 = 0x04;
/// Of the state of its check: it is configured and enabled.
const CHECKED: u32 = 0x04;
/// The operational states of a server that is up: it warms up (`slowstart`), or gets all that is due to it.
const STARTING: u32 = 1;
const RUNNING: u32 = 2;

#[derive(Clone, Debug)]
pub struct Haproxy<'a> {
    pub socket: &'a Path,
    pub backend: &'a BackendName,
    /// For one answer.
    patience: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    name: String,
    address: String,
    operational: u32,
    administrative: u32,
    weight: u32,
    check: u32,
}

impl Server {
    /// HAProxy looks itself whether it is up.
    fn is_checked(&self) -> bool {
        self.check & CHECKED != 0
    }

    fn is_up(&self) -> bool {
        matches!(self.operational, STARTING | RUNNING)
    }

    /// Somebody said so over the runtime socket. Maintenance of one that is configured `disabled` says nothing: it has
    /// that whenever HAProxy is started.
    fn is_taken_out(&self) -> bool {
        let maintenance = self.administrative & (TOLD_MAINTENANCE | CONFIGURED) == TOLD_MAINTENANCE;
        maintenance || self.administrative & TOLD_DRAIN != 0
    }

    /// What it gets of new connections, in relation to the others.
    fn counts(&self) -> u32 {
        if self.administrative & (MAINTENANCE | DRAIN) == 0 { self.weight } else { 0 }
    }
}

impl<'a> Haproxy<'a> {
    pub fn new(socket: &'a Path, backend: &'a BackendName) -> Self {
        Self { socket, backend, patience: ANSWER }
    }

    /// Only looked at: not for long.
    pub fn glanced_at(self) -> Self {
        Self { patience: GLANCE, ..self }
    }

    /// Percent of new connections that go to green.
    pub async fn green(&self) -> Result<u8, Failure> {
        Ok(percent(&self.sides().await?))
    }

    /// The same, but for what somebody else took out: see `shown`.
    pub async fn green_of(&self, told: u8, ours: &BTreeSet<Side>) -> Result<u8, Failure> {
        Ok(shown(&self.sides().await?, told, ours))
    }

    /// Gives green its percentage of new connections and blue the rest.
    pub async fn split(&self, green: u8, addresses: &Addresses) -> Result<(), Failure> {
        let shares = [(Side::Blue, 100 - green), (Side::Green, green)];
        let before = self.sides().await?;
        for (side, server) in Side::BOTH.into_iter().zip(&before) {
            self.check_address(server, addresses.of(side))?;
        }
        for (side, share) in shares.into_iter().filter(|(_, share)| *share > 0) {
            self.set(side.as_str(), "state ready").await?;
            let was = before[side as usize].counts();
            // What loses some keeps it until the other is up.
            if u32::from(share) >= was {
                self.set(side.as_str(), &format!("weight {share}")).await?;
            }
        }
        // Who only loses some need not be up: that it is not may be what is being mended. Who has all of it has to be.
        let has_to = |(side, share): &(Side, u8)| match share {
            0 => false,
            100 => true,
            share => u32::from(*share) >= before[*side as usize].counts(),
        };
        for (side, _) in shares.into_iter().filter(has_to) {
            if let Err(failure) = self.wait_until_up(side).await {
                if before[side as usize].counts() == 0 {
                    self.set(side.as_str(), "state maint").await?;
                }
                return Err(failure);
            }
        }
        for (side, share) in shares {
            match share {
                0 => self.set(side.as_str(), "state drain").await?,
                share => self.set(side.as_str(), &format!("weight {share}")).await?,
            }
        }
        let shown = self.green().await?;
        if shown == green {
            return Ok(());
        }
        Err(self.failure(format!("was told {green}% for green and shows {shown}%")))
    }

    /// Connections to this side that have not ended.
    pub async fn active(&self, side: Side) -> Result<u64, Failure> {
        self.active_on(side.as_str()).await
    }

    /// Connections to this server that have not ended.
    pub async fn active_on(&self, name: &str) -> Result<u64, Failure> {
        let text = self.ask("show stat").await?;
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default().trim_start_matches("# ");
        let column = |name: &str| head.split(',').position(|field| field == name);
        let (Some(proxy), Some(server), Some(now)) = (column("pxname"), column("svname"), column("scur"))
        else {
            return Err(self.failure("answered \"show stat\" without the columns pxname, svname and scur"));
        };
        let row = lines
            .map(|line| line.split(',').collect::<Vec<_>>())
            .find(|row| row.get(proxy) == Some(&self.backend.as_str()) && row.get(server) == Some(&name));
        Ok(row.and_then(|row| row.get(now)?.parse().ok()).unwrap_or(0))
    }

    /// Nothing is pinned to this side any more.
    pub async fn let_go(&self, side: Side) -> Result<(), Failure> {
        self.let_go_of(side.as_str()).await
    }

    /// Nothing is pinned to this server any more.
    pub async fn let_go_of(&self, name: &str) -> Result<(), Failure> {
        self.set(name, "state maint").await
    }

    async fn wait_until_up(&self, side: Side) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            if self.sides().await?[side as usize].is_up() {
                return Ok(());
            }
            if begun.elapsed() >= UP {
                let words = format!("holds {}/{side} for down though it is healthy here", self.backend);
                return Err(self.failure(words));
            }
            sleep(LOOK).await;
        }
    }

    fn check_address(&self, server: &Server, ours: &str) -> Result<(), Failure> {
        if server.address == ours || ours.starts_with('/') {
            return Ok(());
        }
        let (name, theirs) = (&server.name, visible(&server.address));
        let words = format!(
            "sends {}/{name} to {theirs}, and the release listens at {ours} there: they must be the same",
            self.backend
        );
        Err(self.failure(words))
    }

    /// Blue and green, as they are now.
    async fn sides(&self) -> Result<[Server; 2], Failure> {
        let servers = self.all().await?;
        let find = |side: Side| {
            let found = servers.iter().find(|server| server.name == side.as_str()).cloned();
            found.ok_or_else(|| self.failure(format!("has no server {}/{side}", self.backend)))
        };
        Ok([find(Side::Blue)?, find(Side::Green)?])
    }

    /// Every server of the backend, as it is now.
    async fn all(&self) -> Result<Vec<Server>, Failure> {
        let text = self.ask(&format!("show servers state {}", self.backend)).await?;
        read_servers(&text).ok_or_else(|| {
            let said = visible(text.lines().next().unwrap_or_default());
            self.failure(format!("does not know the backend {}: \"{said}\"", self.backend))
        })
    }

    async fn set(&self, server: &str, what: &str) -> Result<(), Failure> {
        let command = format!("set server {}/{server} {what}", self.backend);
        let said = self.ask(&command).await?;
        let said = said.trim();
        // Anything that it says is a complaint.
        if said.is_empty() {
            Ok(())
        } else {
            Err(self.failure(format!("refused \"{command}\": {}", visible(said))))
        }
    }

    async fn ask(&self, command: &str) -> Result<String, Failure> {
        let talk = async {
            let mut stream = UnixStream::connect(self.socket).await?;
            stream.write_all(format!("{command}\n").as_bytes()).await?;
            let mut said = String::new();
            stream.take(ANSWER_BYTES + 1).read_to_string(&mut said).await?;
            // What is cut off would pass for what is not there.
            match said.len() as u64 <= ANSWER_BYTES {
                true => Ok(said),
                false => Err(std::io::Error::other(format!("an answer of more than {ANSWER_BYTES} bytes"))),
            }
        };
        match timeout(self.patience, talk).await {
            Ok(Ok(said)) => Ok(said),
            Ok(Err(e)) => Err(self.failure(format!("cannot be asked: {e}"))),
            Err(_) => Err(self.failure(format!("did not answer within {} s", self.patience.as_secs()))),
        }
    }

    fn failure(&self, words: impl std::fmt::Display) -> Failure {
        failure(format!("HAProxy at {} {words}", self.socket.display()))
    }
}

/// Above 100: neither of them has traffic, which is no split of ours.
fn percent([blue, green]: &[Server; 2]) -> u8 {
    let (blue, green) = (blue.counts(), green.counts());
    (green * 100).checked_div(blue + green).map_or(255, |percent| percent as u8)
}

/// Percent for green. Where somebody else took a side out that was told to have some, it is as it was told, if the other is:
/// theirs stays out until they let it in. `ours` are those that we took out, or may have.
fn shown(sides: &[Server; 2], told: u8, ours: &BTreeSet<Side>) -> u8 {
    let shares = [100_u8.saturating_sub(told), told];
    let is_others = |side: Side| {
        shares[side as usize] > 0 && sides[side as usize].is_taken_out() && !ours.contains(&side)
    };
    let fits =
        |side: Side| is_others(side) || (sides[side as usize].counts() > 0) == (shares[side as usize] > 0);
    let left = Side::BOTH.into_iter().any(is_others) && Side::BOTH.into_iter().all(fits);
    if left { told } else { percent(sides) }
}

/// None: no list of servers.
fn read_servers(text: &str) -> Option<Vec<Server>> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("# "));
    let columns: Vec<&str> = lines.next()?.trim_start_matches("# ").split(' ').collect();
    let servers = lines.filter(|line| !line.is_empty()).map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let field = |name: &str| fields.get(columns.iter().position(|column| *column == name)?).copied();
        let number = |name: &str| field(name)?.parse().ok();
        let (host, port) = (field("srv_addr")?, field("srv_port")?);
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Some(Server {
            name: field("srv_name")?.to_owned(),
            address,
            operational: number("srv_op_state")?,
            administrative: number("srv_admin_state")?,
            weight: number("srv_uweight")?,
            check: number("srv_check_state").unwrap_or(0),
        })
    });
    servers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_servers_reads() {
        let text = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port\n\
                    4 shop 1 blue 127.0.0.1 2 4 90 8081\n4 shop 2 green 127.0.0.1 0 12 10 8082\n\n";
        let servers = read_servers(text).unwrap();
        assert_eq!((servers[0].address.as_str(), servers[0].counts()), ("127.0.0.1:8081", 90));
        assert_eq!((servers[1].name.as_str(), servers[1].counts()), ("green", 0));
        assert!(read_servers("Can't find backend.\n").is_none());
        assert!(read_servers("1\n# srv_name\nblue\n").is_none());
    }

    /// What an admin took out stays out; what we did, or HAProxy by its configuration, is told again.
    #[test]
    fn a_side_that_somebody_else_took_out_is_as_it_was_told() {
        let server = |name: &str, administrative: u32, weight: u32| {
            let (name, address) = (name.to_owned(), "127.0.0.1:1".to_owned());
            Server { name, address, operational: RUNNING, administrative, weight, check: 6 }
        };
        // Administrative states of blue and green, what green was told, which of them are ours, what is shown.
        for (blue, green, told, ours, expected) in [
            (0x00, 0x08, 0, vec![Side::Green], 0),
            (0x01, 0x08, 0, vec![Side::Green], 0),
            (0x08, 0x01, 0, vec![Side::Green], 0),
            (0x01, 0x08, 0, vec![Side::Blue, Side::Green], 255),
            (0x05, 0x05, 0, vec![Side::Green], 255),
            // The other one does not stand as it was told either.
            (0x01, 0x00, 0, vec![Side::Green], 100),
            (0x01, 0x00, 50, vec![], 50),
            (0x01, 0x00, 50, vec![Side::Blue], 100),
        ] {
            let sides = [server("blue", blue, 100), server("green", green, 100)];
            let ours: BTreeSet<Side> = ours.into_iter().collect();
            assert_eq!(shown(&sides, told, &ours), expected, "{blue:#x} {green:#x} {told} {ours:?}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_a_failure_that_names_it() {
        let backend = "shop".parse().unwrap();
        let haproxy = Haproxy::new(Path::new("/nowhere/admin.sock"), &backend);
        let failure = haproxy.green().await.unwrap_err();
        assert!(failure.message.contains("/nowhere/admin.sock cannot be asked"), "{}", failure.message);
        assert_eq!(failure.code, "LS-L01");
    }

    /// A server that is not in what was read of an answer is not one without connections.
    #[tokio::test]
    async fn an_answer_that_is_too_long_is_not_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let speaks = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Whoever reads no more has heard enough.
            let _ = stream.write_all("# pxname,svname,scur\n".repeat(250_000).as_bytes()).await;
        });
        let backend = "shop".parse().unwrap();
        let failure = Haproxy::new(&socket, &backend).active_on("web-1").await.unwrap_err();
        assert!(failure.message.contains("more than 4194304 bytes"), "{}", failure.message);
        speaks.await.unwrap();
    }

    /// A host whose HAProxy hangs says all the same, and soon, how it stands.
    #[tokio::test]
    async fn one_that_hangs_is_not_looked_at_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let _hangs = tokio::net::UnixListener::bind(&socket).unwrap();
        let backend = "shop".parse().unwrap();
        let haproxy = Haproxy::new(&socket, &backend).glanced_at();
        let failure = haproxy.shows(&[], &Default::default()).await.unwrap_err();
        assert!(failure.message.contains("did not answer within 1 s"), "{}", failure.message);
    }
}
