//! A look at HAProxy before anything begins: whether it could be told what it will be told. Nothing is changed.

use std::{collections::BTreeSet, path::Path};

use longshore_common::{
    ids::HostName,
    report::Failure,
    text::visible,
    traffic::{BackendName, Looked, Server as Wanted},
};

use super::{super::loses_its_traffic, Haproxy, Server, farm::is_others, read_servers};

impl Haproxy<'_> {
    /// A plan gives the whole host a few seconds to answer: see `glanced_at`. `ours` are servers that we took out
    /// ourselves; `None`: that is not known. `left_out` were wanted before, and will get nothing.
    pub async fn look(
        &self,
        wanted: &[Wanted],
        ours: Option<&BTreeSet<HostName>>,
        left_out: &BTreeSet<HostName>,
    ) -> Looked {
        let said = match self.ask(&format!("show servers state {}", self.backend)).await {
            Ok(said) => said,
            Err(Failure { message, .. }) => {
                let way = "is it running, and is traffic.haproxy of the agent.toml there its socket?";
                return problem(format!("{message}: {way}"));
            }
        };
        match read_servers(&said) {
            Some(servers) => {
                let mut looked = judge(self.socket, self.backend, &servers, wanted, ours);
                let serves = |name: &&HostName| {
                    servers.iter().any(|server| server.name == name.as_str() && server.counts() > 0)
                };
                let at = format!("HAProxy at {}", self.socket.display());
                looked.notes.extend(loses_its_traffic(&at, self.backend, left_out.iter().filter(serves)));
                looked
            }
            None => problem(format!(
                "HAProxy at {} has no backend {}: define it there, or name another as traffic.backend of the environment",
                self.socket.display(),
                self.backend
            )),
        }
    }
}

fn problem(what: String) -> Looked {
    Looked { problems: vec![what], notes: vec![] }
}

fn judge(
    socket: &Path,
    backend: &BackendName,
    servers: &[Server],
    wanted: &[Wanted],
    ours: Option<&BTreeSet<HostName>>,
) -> Looked {
    let (mut looked, mut down, mut out) = (Looked::default(), vec![], vec![]);
    let at = format!("HAProxy at {}", socket.display());
    for each in wanted {
        let Wanted { name, address, weight, .. } = each;
        let Some(server) = servers.iter().find(|server| server.name == name.as_str()) else {
            looked
                .problems
                .push(format!("{at} has no server {backend}/{name}: give the backend one of that name"));
            continue;
        };
        if let Some(address) = address.as_ref().filter(|address| **address != server.address) {
            let (theirs, ours) = (visible(&server.address), visible(address));
            looked.problems.push(format!(
                "{at} sends {backend}/{name} to {theirs}, and it listens at {ours}: they must be the same"
            ));
        }
        if *weight > 0 && server.counts() > 0 && server.is_checked() && !server.is_up() {
            down.push(name.as_str());
        }
        if *weight > 0 && ours.is_some_and(|ours| is_others(each, server, ours)) {
            out.push(name.as_str());
        }
    }
    if !out.is_empty() {
        let names = out.join(", ");
        looked.notes.push(format!(
            "{at} has hosts of {backend} that somebody there took out, and they stay out: {names}. \
             To let one in: set server {backend}/NAME state ready"
        ));
    }
    if !down.is_empty() {
        let serving = wanted.iter().filter(|wanted| wanted.weight > 0).count();
        let names = down.join(", ");
        looked.notes.push(match down.len() == serving {
            true => format!("{at} takes all hosts of {backend} that serve for down: {names}"),
            false => format!("{at} takes hosts of {backend} that serve for down: {names}"),
        });
    }
    looked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(servers: &str, wanted: &str) -> Looked {
        looked_at_by(servers, wanted, Some(""))
    }

    /// With the names of those that we took out.
    fn looked_at_by(servers: &str, wanted: &str, ours: Option<&str>) -> Looked {
        let text = format!(
            "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port srv_check_state\n{servers}\n"
        );
        let wanted: Vec<Wanted> = wanted
            .split(' ')
            .map(|word| {
                let (name, rest) = word.split_once('=').unwrap();
                let (weight, address) = rest.split_once('@').unwrap();
                let address = (!address.is_empty()).then(|| address.to_owned());
                let (name, weight) = (name.parse().unwrap(), weight.parse().unwrap());
                Wanted { name, address, weight, if_up: false }
            })
            .collect();
        let ours: Option<BTreeSet<HostName>> =
            ours.map(|ours| ours.split_whitespace().map(|name| name.parse().unwrap()).collect());
        let servers = read_servers(&text).unwrap();
        judge(Path::new("/s"), &"shop".parse().unwrap(), &servers, &wanted, ours.as_ref())
    }

    #[test]
    fn what_does_not_fit_is_named_and_who_is_down() {
        let up = "4 shop 1 a 10.0.0.1 2 0 100 80 6\n4 shop 2 b 10.0.0.2 0 0 100 80 6";
        assert_eq!(looked(up, "a=100@10.0.0.1:80"), Looked::default());
        let odd = looked(up, "a=100@10.0.0.9:80 c=100@");
        assert_eq!(
            odd.problems,
            [
                "HAProxy at /s sends shop/a to 10.0.0.1:80, and it listens at 10.0.0.9:80: they must be the same",
                "HAProxy at /s has no server shop/c: give the backend one of that name"
            ]
        );
        let some = looked(up, "a=100@ b=100@");
        assert_eq!(some.notes, ["HAProxy at /s takes hosts of shop that serve for down: b"]);
        let all = looked(up, "b=100@");
        assert_eq!(all.notes, ["HAProxy at /s takes all hosts of shop that serve for down: b"]);
        // Whoever is to get nothing may be down, and in maintenance nobody is looked at.
        assert_eq!(looked(up, "a=100@ b=0@"), Looked::default());
        let out = "4 shop 2 b 10.0.0.2 0 1 100 80 6";
        assert_eq!(looked_at_by(out, "b=100@", Some("b")), Looked::default());
        assert_eq!(looked_at_by(out, "b=100@", None), Looked::default());
        assert_eq!(
            looked(out, "b=100@").notes,
            ["HAProxy at /s has hosts of shop that somebody there took out, and they stay out: b. \
              To let one in: set server shop/NAME state ready"]
        );
        // Who warms up is not down.
        assert_eq!(looked("4 shop 2 b 10.0.0.2 1 0 100 80 6", "b=100@"), Looked::default());
    }

    #[tokio::test]
    async fn one_that_is_stopped_is_named_with_its_socket() {
        let backend = "shop".parse().unwrap();
        let haproxy = Haproxy::new(Path::new("/nowhere/admin.sock"), &backend);
        let looked = haproxy.look(&[], None, &BTreeSet::new()).await;
        assert!(looked.problems[0].contains("/nowhere/admin.sock cannot be asked"), "{looked:?}");
        assert!(looked.problems[0].contains("is it running"), "{looked:?}");
    }
}
