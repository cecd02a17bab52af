//! What whoever directs traffic has to know, for a look before a rollout begins.

use std::net::SocketAddr;

use longshore_common::{
    manifest::Service,
    traffic::{Directed, Directions, Director, Server, Side},
};

use crate::rollout::{Behind, Member, Routing};

/// Of a server that is to serve; how much of it is not the question.
const SERVES: u16 = 100;

/// What load balancers are told at the beginning; where nobody knows a host's address, nginx cannot be asked about it.
pub(super) fn hosts(routing: &Routing, behind: &Behind, members: &[Member]) -> Directions {
    let port = routing.balancers.as_ref().and_then(|balancers| balancers.port);
    let serving = behind.side.map(|(gets, has)| if has { gets } else { gets.other() });
    let server = |member: &Member| {
        let address =
            member.address.zip(port).map(|(address, port)| SocketAddr::new(address, port).to_string());
        let serves =
            member.previous.is_some() && !member.drained && (serving.is_none() || member.group == serving);
        let weight = if serves { SERVES } else { 0 };
        Server { name: member.name.clone(), address, weight, if_up: false }
    };
    let servers = members.iter().map(server);
    let nginx = routing.director == Director::Nginx;
    let servers = servers.filter(|server| !nginx || server.address.is_some()).collect();
    Directions { director: routing.director, backend: routing.backend.clone(), servers, drain: routing.drain }
}

/// What each host's own HAProxy or nginx has to know of the app's two sides; `None`: there are none, or sockets of ours
/// move the traffic.
pub(super) fn sides(routing: &Routing, service: &Service) -> Option<Directed> {
    let (sides, None) = (service.sides.as_ref()?, &routing.balancers) else { return None };
    if routing.director == Director::Socket {
        return None;
    }
    let server = |side: Side| {
        let listen = sides.listen(side);
        let address = (!listen.starts_with('/')).then(|| listen.to_owned());
        let name = side.as_str().parse().expect("a side's name is that of a server");
        Server { name, address, weight: 0, if_up: false }
    };
    let nginx = routing.director == Director::Nginx;
    let servers = Side::BOTH.into_iter().map(server).filter(|server| !nginx || server.address.is_some());
    Some(Directed::Sides(Directions {
        director: routing.director,
        backend: routing.backend.clone(),
        servers: servers.collect(),
        drain: routing.drain,
    }))
}
