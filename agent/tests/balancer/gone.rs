//! Hosts that directions named before and name no more: removed, or in another environment.

use longshore_agent::{
    host::{Host as _, Sink, direct::haproxy::Haproxy},
    plan::Step,
};
use longshore_common::traffic::{Directed, Director};

use crate::{
    bench::{Balancer, Web, admin},
    support::load::{get, there, until_answered},
};

impl Balancer {
    /// Directions that know nothing of b, c and d.
    async fn direct_a_alone(&self) {
        let done = self.host.perform(&self.app, &Step::Direct(self.of_a_alone()), &Sink::nowhere()).await;
        done.unwrap_or_else(|failure| panic!("{}", failure.message));
        self.until_shown("a alone").await;
    }

    fn of_a_alone(&self) -> longshore_common::traffic::Directions {
        let mut directions = self.directions([100, 0, 0, 0]);
        directions.servers.truncate(1);
        directions
    }

    fn answers(&self, word: &str) -> bool {
        (0..20).all(|_| get(self.public).as_deref() == Ok(word))
    }
}

/// It gets nothing from the next directions on, whatever HAProxy forgets, until it is named again.
#[tokio::test]
async fn a_host_that_is_named_no_more_gets_nothing() {
    if !there("/usr/sbin/haproxy") {
        return;
    }
    let mut site = Balancer::new(Director::Haproxy).await;
    let [a, b, ..] = site.ports;
    let (_a, b) = (Web::on(a, "a"), Web::on(b, "b"));
    site.direct([100, 100, 0, 0]).await;

    // A plan says so before.
    let notes = site.host.look_at_director(&site.app, Directed::Hosts(site.of_a_alone())).await.notes;
    assert!(
        notes.iter().any(|note| note.ends_with("no longer of this environment: b. They will get none")),
        "{notes:?}"
    );
    // Directions of another app on this backend take nothing away from hosts that this one was told of.
    let till = "till".parse().unwrap();
    let notes = site.host.look_at_director(&till, Directed::Hosts(site.of_a_alone())).await.notes;
    assert!(notes.iter().all(|note| !note.contains("They will get none")), "{notes:?}");
    let done = site.host.perform(&till, &Step::Direct(site.of_a_alone()), &Sink::nowhere()).await;
    done.unwrap_or_else(|failure| panic!("{}", failure.message));
    assert!((0..20).any(|_| get(site.public).as_deref() == Ok("b")), "b keeps its traffic");

    site.direct_a_alone().await;
    assert!(site.answers("a"), "b is named no more");
    let notes = site.host.look_at_director(&site.app, Directed::Hosts(site.of_a_alone())).await.notes;
    assert!(notes.iter().all(|note| !note.contains("They will get none")), "{notes:?}");

    // Started again, HAProxy has b as it is configured.
    site.restart_haproxy();
    assert!(!site.shows().await, "it has b again");
    site.direct_a_alone().await;
    assert!(site.answers("a"), "b is still gone");

    site.direct([0, 100, 0, 0]).await;
    until_answered(site.public, "b");
    assert!(site.answers("b"), "it is named again");
    drop(b);
}

/// A backend that has lost the server of a host that is gone is no fault.
#[tokio::test]
async fn a_backend_without_a_host_that_is_gone_is_directed_all_the_same() {
    if !there("/usr/sbin/haproxy") {
        return;
    }
    let mut site = Balancer::new(Director::Haproxy).await;
    let [a, b, ..] = site.ports;
    let _webs = [Web::on(a, "a"), Web::on(b, "b")];
    site.direct([100, 100, 0, 0]).await;
    site.direct_a_alone().await;
    site.restart_haproxy();
    admin(site.root.path(), "set server shop/b state maint");
    admin(site.root.path(), "disable health shop/b");
    admin(site.root.path(), "del server shop/b");
    site.direct_a_alone().await;
    assert!(site.answers("a"));
    let backend = "shop".parse().unwrap();
    let socket = site.root.path().join("haproxy.sock");
    let known = Haproxy::new(&socket, &backend).known(["b".parse().unwrap()].into()).await.unwrap();
    assert!(known.is_empty(), "{known:?}");
}
