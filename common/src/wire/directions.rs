//! What balancers are told, as messages. An address ends up in a file of nginx, so it has to be one.

use std::{collections::BTreeSet, net::SocketAddr};

use longshore_proto::v1 as pb;

use super::{Invalid, parse};
use crate::{
    text::visible,
    time::Span,
    traffic::{Directions, Director, SERVERS_MAX, Server, WEIGHT_MAX},
};

pub fn to_message(directions: &Directions) -> pb::Directions {
    let server = |server: &Server| pb::Server {
        name: server.name.to_string(),
        address: server.address.clone().unwrap_or_default(),
        weight: u32::from(server.weight),
        if_up: server.if_up,
    };
    pb::Directions {
        director: directions.director.to_string(),
        backend: directions.backend.to_string(),
        servers: directions.servers.iter().map(server).collect(),
        drain_ms: directions.drain.as_ms() as u64,
    }
}

pub fn from_message(message: pb::Directions) -> Result<Directions, Invalid> {
    let pb::Directions { director, backend, servers, drain_ms } = message;
    let odd = |field, why: String| Err(Invalid::Malformed { field, why });
    let director: Director = parse("directions.director", &director)?;
    if director == Director::Socket {
        return odd("directions.director", "sockets of our own direct nothing between hosts".into());
    }
    if servers.len() > SERVERS_MAX {
        return odd("directions.servers", format!("are {}; at most {SERVERS_MAX}", servers.len()));
    }
    let servers = servers.into_iter().map(server).collect::<Result<Vec<_>, _>>()?;
    let names: BTreeSet<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    if names.len() < servers.len() {
        return odd("directions.servers", "name one server twice".into());
    }
    if director == Director::Nginx && servers.iter().any(|server| server.address.is_none()) {
        return odd("directions.servers", "nginx needs the address of each".into());
    }
    if director == Director::Nginx && servers.iter().any(|server| server.if_up) {
        return odd("directions.if_up", "nginx has no check of its own that says who is up".into());
    }
    Ok(Directions {
        director,
        backend: parse("directions.backend", &backend)?,
        servers,
        drain: Span::millis(drain_ms.min(Span::MAX_MS)),
    })
}

fn server(message: pb::Server) -> Result<Server, Invalid> {
    let pb::Server { name, address, weight, if_up } = message;
    if !address.is_empty() && address.parse::<SocketAddr>().is_err() {
        let why = format!("\"{}\" is no address with a port", visible(&address));
        return Err(Invalid::Malformed { field: "directions.address", why });
    }
    let weight = u16::try_from(weight).ok().filter(|weight| *weight <= WEIGHT_MAX);
    let why = || format!("is not 0 to {WEIGHT_MAX}");
    Ok(Server {
        name: parse("directions.server", &name)?,
        address: (!address.is_empty()).then_some(address),
        weight: weight.ok_or_else(|| Invalid::Malformed { field: "directions.weight", why: why() })?,
        if_up,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directions() -> Directions {
        let server = |name: &str, address: &str, weight| Server {
            name: name.parse().unwrap(),
            address: Some(address.to_owned()),
            weight,
            if_up: false,
        };
        Directions {
            director: Director::Nginx,
            backend: "shop".parse().unwrap(),
            servers: vec![server("web-1", "10.0.0.1:80", 100), server("web-2", "[::1]:80", 0)],
            drain: Span::secs(30),
        }
    }

    #[test]
    fn directions_survive_the_wire() {
        assert_eq!(from_message(to_message(&directions())).unwrap(), directions());
        let mut unheard = Directions { director: Director::Haproxy, ..directions() };
        unheard.servers[0].if_up = true;
        assert_eq!(from_message(to_message(&unheard)).unwrap(), unheard);
    }

    #[test]
    fn each_field_is_checked() {
        let spoilt: [fn(&mut pb::Directions); 10] = [
            |m| m.director = "socket".into(),
            |m| m.director = "envoy".into(),
            |m| m.backend = "a;b".into(),
            |m| m.servers[0].address = "10.0.0.1:80; evil".into(),
            |m| m.servers[0].address = "10.0.0.1".into(),
            |m| m.servers[0].address.clear(),
            |m| m.servers[0].weight = 257,
            |m| m.servers[0].if_up = true,
            |m| m.servers[1].name = "web-1".into(),
            |m| m.servers = vec![m.servers[0].clone(); SERVERS_MAX + 1],
        ];
        for spoil in spoilt {
            let mut message = to_message(&directions());
            spoil(&mut message);
            assert!(from_message(message.clone()).is_err(), "{message:?}");
        }
    }
}
