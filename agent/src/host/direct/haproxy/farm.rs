//! Many servers of a backend, each a host: weights, drain, ready and maintenance.
//!
//! Servers that gain have to be up before any other loses something, and of those that are to get connections one has to
//! be. While nobody who has connections is up there is nothing to protect: whoever is to get them is made ready for when
//! it is up, so that what is down everywhere can be mended.
//!
//! HAProxy takes a server that leaves maintenance for up until a check of it fails; so it is drained first, its
//! health taken away, and made ready when a check has passed. One without weight is drained: what is pinned to it by a
//! cookie stays until it is let go, which puts it into maintenance and so clears the cookie at the next request.
//!
//! Of a server that nobody has heard (`if_up`) HAProxy's own check alone decides: it is made ready without being waited
//! for, its health taken away, so that HAProxy sends it something from when a check passes. Without checks it gets nothing.
//!
//! What somebody else took out over the runtime socket stays out until they let it in: nothing is said of it, and it counts
//! for nobody who could serve. `ours` are those that we took out ourselves, or may have.

use std::{collections::BTreeSet, time::Duration};

use longshore_common::{ids::HostName, report::Failure, text::visible, traffic::Server as Wanted};
use tokio::time::{Instant, sleep};

use super::{Haproxy, LOOK, MAINTENANCE, Server, UP};

/// For somebody to come up where nobody is: unless it is told otherwise, HAProxy checks every two seconds and believes the
/// second good answer.
const BELIEVED: Duration = Duration::from_secs(5);

/// How it stands with those that are to get connections.
#[derive(Debug, PartialEq, Eq)]
enum Gain {
    Up,
    /// They are, but for some of which nobody has heard.
    Enough,
    /// Not all of them are up, and neither is anybody who has connections now.
    NothingToLose,
    /// Why what has connections keeps them.
    NotYet(String),
}

impl Haproxy<'_> {
    /// Of these servers those that `direct` would take out, or may have to. To be kept before it is called: cut off in the
    /// middle of it, what it took out would pass for what somebody else did.
    pub async fn takes(
        &self,
        wanted: &[Wanted],
        ours: &BTreeSet<HostName>,
    ) -> Result<BTreeSet<HostName>, Failure> {
        let (wanted, servers) = left_to_us(wanted, self.servers(wanted).await?, ours);
        let due = self.due(&wanted, &servers)?;
        let idle = due.iter().zip(&servers).filter(|(due, server)| due.weight == 0 || server.counts() == 0);
        Ok(idle.map(|(due, _)| due.name.clone()).collect())
    }

    /// Gives every server its weight, and says who gets connections now. What the backend has beside these is left as it is.
    pub async fn direct(
        &self,
        asked: &[Wanted],
        ours: &BTreeSet<HostName>,
    ) -> Result<BTreeSet<HostName>, Failure> {
        let (wanted, before) = left_to_us(asked, self.servers(asked).await?, ours);
        if serves(asked) && !serves(&wanted) {
            let words = format!(
                "has all of {0} taken out that are to get connections, by somebody there: \
                 \"set server {0}/NAME state ready\" lets one in",
                self.backend
            );
            return Err(self.failure(words));
        }
        let wanted = &self.due(&wanted, &before)?[..];
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
        match self.shows(wanted, ours).await? {
            true => Ok(wanted
                .iter()
                .filter(|wanted| wanted.weight > 0)
                .map(|wanted| wanted.name.clone())
                .collect()),
            false => Err(self.failure(format!("was told weights for {} and shows others", self.backend))),
        }
    }

    /// Those of these names that the backend has servers of.
    pub async fn known(&self, mut names: BTreeSet<HostName>) -> Result<BTreeSet<HostName>, Failure> {
        if !names.is_empty() {
            let all = self.all().await?;
            names.retain(|name| all.iter().any(|server| server.name == name.as_str()));
        }
        Ok(names)
    }

    /// Whether these are the weights by which new connections are shared out, but for what somebody else took out.
    pub async fn shows(&self, wanted: &[Wanted], ours: &BTreeSet<HostName>) -> Result<bool, Failure> {
        let (wanted, servers) = left_to_us(wanted, self.servers(wanted).await?, ours);
        let wanted = self.due(&wanted, &servers)?;
        Ok(wanted.iter().zip(&servers).all(|(wanted, server)| server.counts() == u32::from(wanted.weight)))
    }

    /// Who is to get what, as far as it can be told who is up.
    fn due(&self, wanted: &[Wanted], servers: &[Server]) -> Result<Vec<Wanted>, Failure> {
        let blind = |wanted: &Wanted, server: &Server| wanted.if_up && !server.is_checked();
        let due = wanted.iter().zip(servers).map(|(wanted, server)| match blind(wanted, server) {
            true => Wanted { weight: 0, ..wanted.clone() },
            false => wanted.clone(),
        });
        let due: Vec<Wanted> = due.collect();
        if serves(wanted) && !serves(&due) {
            let words = format!(
                "cannot say whether anybody of {} is up: its servers have no \"check\", and their agents are silent",
                self.backend
            );
            return Err(self.failure(words));
        }
        Ok(due)
    }

    /// Out of maintenance, without connections, and down until a check says otherwise, where there is one.
    async fn wake(&self, server: &Server) -> Result<(), Failure> {
        self.set(&server.name, "state drain").await?;
        match server.is_checked() {
            true => self.set(&server.name, "health down").await,
            false => Ok(()),
        }
    }

    /// Until whoever joins is up, and one of those is that get connections. Who was not heard has a moment for that.
    async fn wait_for(&self, joining: &[&str], wanted: &[Wanted]) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut since = None;
        loop {
            match gain(self.backend, &self.servers(wanted).await?, joining, wanted) {
                Gain::Up => return Ok(()),
                Gain::NothingToLose | Gain::Enough => {
                    if since.get_or_insert_with(Instant::now).elapsed() >= BELIEVED {
                        return Ok(());
                    }
                }
                Gain::NotYet(why) if begun.elapsed() >= UP => return Err(self.failure(why)),
                Gain::NotYet(_) => since = None,
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

fn serves(wanted: &[Wanted]) -> bool {
    wanted.iter().any(|wanted| wanted.weight > 0)
}

/// Without those that somebody else took out. `servers` are those that are wanted, in their order.
fn left_to_us(
    wanted: &[Wanted],
    servers: Vec<Server>,
    ours: &BTreeSet<HostName>,
) -> (Vec<Wanted>, Vec<Server>) {
    let each = wanted.iter().cloned().zip(servers);
    each.filter(|(wanted, server)| !is_others(wanted, server, ours)).unzip()
}

/// Somebody else took it out.
pub(super) fn is_others(wanted: &Wanted, server: &Server, ours: &BTreeSet<HostName>) -> bool {
    server.is_taken_out() && !ours.contains(&wanted.name)
}

/// `servers` are those that are wanted, in their order.
fn gain(backend: impl std::fmt::Display, servers: &[Server], joining: &[&str], wanted: &[Wanted]) -> Gain {
    let late = |if_up: bool| {
        let each = wanted.iter().zip(servers).filter(move |(wanted, _)| wanted.if_up == if_up);
        each.map(|(_, server)| server)
            .find(|server| joining.contains(&server.name.as_str()) && !server.is_up())
    };
    let down = late(false);
    let gaining = || wanted.iter().zip(servers).filter(|(wanted, _)| wanted.weight > 0);
    let nobody = gaining().next().is_some() && !gaining().any(|(_, server)| server.is_up());
    let why = match down {
        _ if nobody => format!("holds all of {backend} for down that are to get connections"),
        Some(down) => format!("holds {backend}/{} for down though it is to get connections", down.name),
        None if late(true).is_some() => return Gain::Enough,
        None => return Gain::Up,
    };
    match servers.iter().any(|server| server.counts() > 0 && server.is_up()) {
        true => Gain::NotYet(why),
        false => Gain::NothingToLose,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RUNNING, STARTING};
    use super::*;

    /// `a=100>0:up b=0>100:down c=0>100?:warms`: what it has and is to get (`?`: if it is up), and whether it is up.
    fn gained(setup: &str) -> Gain {
        let (mut servers, mut wanted, mut joining) = (vec![], vec![], vec![]);
        for word in setup.split(' ') {
            let (name, rest) = word.split_once('=').unwrap();
            let (weights, health) = rest.split_once(':').unwrap();
            let (has, gets) = weights.split_once('>').unwrap();
            let if_up = gets.ends_with('?');
            let (has, weight) = (has.parse().unwrap(), gets.trim_end_matches('?').parse().unwrap());
            if has == 0 && weight > 0 {
                joining.push(name);
            }
            wanted.push(Wanted { name: name.parse().unwrap(), address: None, weight, if_up });
            let operational = match health {
                "up" => RUNNING,
                "warms" => STARTING,
                _ => 0,
            };
            let (name, address) = (name.to_owned(), "127.0.0.1:1".to_owned());
            servers.push(Server { name, address, operational, administrative: 0, weight: has, check: 6 });
        }
        gain("shop", &servers, &joining, &wanted)
    }

    /// An admin's maintenance stands, and our own does not.
    #[test]
    fn what_somebody_else_took_out_is_not_ours_to_let_in() {
        for (administrative, ours, left) in [
            (0x00, "", true),
            // Maintenance and drain, over the runtime socket.
            (0x01, "", false),
            (0x08, "", false),
            (0x01, "a", true),
            (0x08, "a", true),
            // Configured `disabled`: after a start, made ready since, and drained since.
            (0x05, "", true),
            (0x04, "", true),
            (0x0c, "", false),
            // By what it tracks, and by the resolver.
            (0x02, "", true),
            (0x20, "", true),
        ] {
            let wanted = Wanted { name: "a".parse().unwrap(), address: None, weight: 100, if_up: false };
            let (name, address) = ("a".to_owned(), "127.0.0.1:1".to_owned());
            let server =
                Server { name, address, operational: RUNNING, administrative, weight: 100, check: 6 };
            let ours: BTreeSet<HostName> =
                ours.split_whitespace().map(|name| name.parse().unwrap()).collect();
            let (kept, servers) = left_to_us(&[wanted], vec![server], &ours);
            assert_eq!(
                (kept.len(), servers.len()),
                (left.into(), left.into()),
                "{administrative:#x} {ours:?}"
            );
        }
    }

    #[test]
    fn what_has_connections_keeps_them_until_somebody_else_is_up() {
        let not_yet = |why: &str| Gain::NotYet(format!("holds {why}"));
        let nobody = || not_yet("all of shop for down that are to get connections");
        for (setup, gain) in [
            ("a=100>0:up b=0>100:up", Gain::Up),
            ("a=100>0:up b=0>100:down", nobody()),
            ("a=100>0:up b=0>100:warms", Gain::Up),
            (
                "a=100>0:up b=0>100:up c=0>100:down",
                not_yet("shop/c for down though it is to get connections"),
            ),
            ("a=100>0:up b=100>100:down", nobody()),
            ("a=100>0:up b=100>0:up", Gain::Up),
            // All of it is down: nothing is lost by going on.
            ("a=100>100:down b=100>100:down", Gain::NothingToLose),
            ("a=100>0:down b=100>100:down", Gain::NothingToLose),
            ("a=100>0:down b=0>100:down", Gain::NothingToLose),
            ("a=100>0:down b=0>100:up", Gain::Up),
            ("a=100>100:down b=0>100:up c=0>100:down", Gain::NothingToLose),
            // Nobody waits for whoever was not heard, and nobody loses anything before one of them is up.
            ("a=100>0:up b=0>100?:up", Gain::Up),
            ("a=100>0:up b=0>100?:up c=0>100?:down", Gain::Enough),
            ("a=100>0:up b=0>100:up c=0>100?:down", Gain::Enough),
            ("a=100>0:up b=0>100?:down c=0>100?:down", nobody()),
            (
                "a=100>0:up b=0>100:down c=0>100?:up",
                not_yet("shop/b for down though it is to get connections"),
            ),
        ] {
            assert_eq!(gained(setup), gain, "{setup}");
        }
    }
}
