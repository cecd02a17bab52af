//! Many servers of a backend, each a host: weights, drain, ready and maintenance.
//!
//! Servers that gain have to be up before any other loses something, and of those that are to get connections one has to
//! be. HAProxy takes a server that leaves maintenance for up until a check of it fails; so it is drained first, its
//! health taken away, and made ready when a check has passed. One without weight is drained: what is pinned to it by a
//! cookie stays until it is let go, which puts it into maintenance and so clears the cookie at the next request.

use longshore_common::{report::Failure, text::visible, traffic::Server as Wanted};
use tokio::time::{Instant, sleep};

use super::{Haproxy, LOOK, MAINTENANCE, RUNNING, Server, UP};

impl Haproxy<'_> {
    /// Gives every server its weight. What the backend has beside these is left as it is.
    pub async fn direct(&self, wanted: &[Wanted]) -> Result<(), Failure> {
        let before = self.servers(wanted).await?;
        let each = || wanted.iter().zip(&before);
        for (wanted, server) in each().filter(|(wanted, _)| wanted.weight > 0) {
            if server.administrative & MAINTENANCE != 0 {
                self.wake(server).await?;
            }
            if server.counts() == 0 || u32::from(wanted.weight) > server.counts() {
                self.set(&server.name, &format!("weight {}", wanted.weight)).await?;
            }
        }
        let joins = |(wanted, server): &(&Wanted, &Server)| wanted.weight > 0 && server.counts() == 0;
        let joining: Vec<&str> = each().filter(joins).map(|(_, server)| server.name.as_str()).collect();
        if let Err(failure) = self.wait_for(&joining, wanted).await {
            for name in joining {
                self.set(name, "state maint").await?;
            }
            return Err(failure);
        }
        for name in joining {
            self.set(name, "state ready").await?;
        }
        for (wanted, server) in each() {
            match wanted.weight {
                0 if server.counts() > 0 => self.set(&server.name, "state drain").await?,
                0 => {}
                weight => self.set(&server.name, &format!("weight {weight}")).await?,
            }
        }
        match self.shows(wanted).await? {
            true => Ok(()),
            false => Err(self.failure(format!("was told weights for {} and shows others", self.backend))),
        }
    }

    /// Whether these are the weights by which new connections are shared out.
    pub async fn shows(&self, wanted: &[Wanted]) -> Result<bool, Failure> {
        let servers = self.servers(wanted).await?;
        Ok(wanted.iter().zip(&servers).all(|(wanted, server)| server.counts() == u32::from(wanted.weight)))
    }

    /// Out of maintenance, without connections, and down until a check says otherwise, where there is one.
    async fn wake(&self, server: &Server) -> Result<(), Failure> {
        self.set(&server.name, "state drain").await?;
        match server.is_checked() {
            true => self.set(&server.name, "health down").await,
            false => Ok(()),
        }
    }

    /// Whoever joins is up, and one of those is that get connections.
    async fn wait_for(&self, joining: &[&str], wanted: &[Wanted]) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let servers = self.servers(wanted).await?;
            let is_up = |server: &Server| server.operational == RUNNING;
            let down =
                servers.iter().find(|server| joining.contains(&server.name.as_str()) && !is_up(server));
            let serving = || wanted.iter().zip(&servers).filter(|(wanted, _)| wanted.weight > 0);
            let nobody = serving().next().is_some() && !serving().any(|(_, server)| is_up(server));
            let backend = self.backend;
            let why = match down {
                Some(down) => {
                    format!("holds {backend}/{} for down though it is to get connections", down.name)
                }
                None if nobody => format!("holds all of {backend} for down that are to get connections"),
                None => return Ok(()),
            };
            if begun.elapsed() >= UP {
                return Err(self.failure(why));
            }
            sleep(LOOK).await;
        }
    }

    /// As they are now, in the order of what is wanted. Each has to be there, with the address that it should have.
    async fn servers(&self, wanted: &[Wanted]) -> Result<Vec<Server>, Failure> {
        let all = self.all().await?;
        let find = |wanted: &Wanted| {
            let server = all.iter().find(|server| server.name == wanted.name.as_str());
            let server = server
                .ok_or_else(|| self.failure(format!("has no server {}/{}", self.backend, wanted.name)))?;
            match &wanted.address {
                Some(address) if *address != server.address => {
                    let words = format!(
                        "sends {}/{} to {}, and the host listens at {address}: they must be the same",
                        self.backend,
                        wanted.name,
                        visible(&server.address)
                    );
                    Err(self.failure(words))
                }
                Some(_) | None => Ok(server.clone()),
            }
        };
        wanted.iter().map(find).collect()
    }
}
