//! A host that balances others, on real parts: Debian's HAProxy and nginx under constant load. No request may fail when
//! hosts are drained and join one after the other, when traffic moves between two groups, and when it moves back.

mod bench;
mod gone;
#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use bench::{Balancer, PATIENCE, Web, admin, haproxy};
use longshore_agent::{
    host::{Event, Host as _, Sink, layout::Layout},
    plan::Step,
};
use longshore_common::{durable::write_atomic, traffic::Director};
use support::{
    load::{Front, Load, get, there, until_answered},
    until,
};

/// Two hosts that are changed one after the other, then two groups between which traffic moves there and back.
async fn moves_without_a_failed_request(director: Director) {
    let site = Balancer::new(director).await;
    let [a, b, c, d] = site.ports;
    let mut webs = [Some(Web::on(a, "1")), Some(Web::on(b, "1"))];
    site.direct([100, 100, 0, 0]).await;
    until_answered(site.public, "1");
    let load = Load::on(site.public);
    for (index, port) in [a, b].into_iter().enumerate() {
        let mut away = [100, 100, 0, 0];
        away[index] = 0;
        site.direct(away).await;
        // Drained, it may be stopped and changed.
        webs[index] = None;
        webs[index] = Some(Web::on(port, "2"));
        site.direct([100, 100, 0, 0]).await;
    }
    load.comes_to("2");

    let green = [Web::on(c, "3"), Web::on(d, "3")];
    site.direct([86, 86, 256, 256]).await;
    let answers = load.answers(400);
    let (old, new) = (answers["2"] as f64, answers["3"] as f64);
    assert!((0.6..0.9).contains(&(new / (old + new))), "three of four: {answers:?}");
    site.direct([0, 0, 100, 100]).await;
    load.comes_to("3");
    site.direct([100, 100, 0, 0]).await;
    load.comes_to("2");
    drop(green); // it is undone: nobody notices
    let answers = load.end();
    assert!(answers.keys().all(|said| !said.starts_with("FAILED")), "{answers:?}");
}

#[tokio::test]
async fn haproxy_loses_no_request() {
    if there("/usr/sbin/haproxy") {
        moves_without_a_failed_request(Director::Haproxy).await;
    }
}

#[tokio::test]
async fn nginx_loses_no_request() {
    if there("/usr/sbin/nginx") {
        moves_without_a_failed_request(Director::Nginx).await;
    }
}

/// Scenario 35: while what is to get traffic is not up, what has it keeps it; and the failure says who is not.
#[tokio::test]
async fn traffic_stays_where_it_is_until_what_gains_is_up() {
    if !there("/usr/sbin/haproxy") {
        return;
    }
    let site = Balancer::new(Director::Haproxy).await;
    let [a, b, c, _] = site.ports;
    let _webs = [Web::on(a, "1"), Web::on(b, "1"), Web::on(c, "2")];
    site.direct([100, 100, 0, 0]).await;
    let load = Load::on(site.public);
    let step = Step::Direct(site.directions([0, 0, 100, 100]));
    let failure = site.host.perform(&site.app, &step, &Sink::nowhere()).await.unwrap_err();
    assert_eq!(failure.code, "LS-L01");
    assert!(failure.message.contains("holds shop/d for down"), "{}", failure.message);
    load.comes_to("1");
    let answers = load.end();
    assert!(answers.keys().all(|said| !said.starts_with("FAILED")), "{answers:?}");
    load_is_back_on(&site, "1");
}

/// Of whoever nobody has heard only the balancer's own check knows whether it is up: while it is not it gets nothing and
/// keeps nobody waiting, and when it is it gets its share. Where nobody else could have the traffic, it stays.
#[tokio::test]
async fn who_was_not_heard_gets_traffic_while_it_is_up() {
    if !there("/usr/sbin/haproxy") {
        return;
    }
    let site = Balancer::new(Director::Haproxy).await;
    let [a, b, c, _] = site.ports;
    let old = Web::on(a, "old");
    let new = Web::on(c, "new");
    site.direct([100, 0, 0, 0]).await;
    site.direct([0, 0, 100, 0]).await;
    until_answered(site.public, "new");
    let load = Load::on(site.public);
    drop(old);
    let mut back = site.directions([100, 100, 0, 0]);
    for server in &mut back.servers[..2] {
        server.if_up = true;
    }
    let step = Step::Direct(back);
    let failure = site.host.perform(&site.app, &step, &Sink::nowhere()).await.unwrap_err();
    assert!(failure.message.contains("holds all of shop for down"), "{}", failure.message);
    load_is_back_on(&site, "new");

    let old = Web::on(a, "old");
    site.host.perform(&site.app, &step, &Sink::nowhere()).await.unwrap();
    site.until_shown("who was not heard").await;
    load_is_back_on(&site, "old"); // b is down, and nobody waits for it
    drop(new);
    let _late = Web::on(b, "late");
    assert!(
        until(PATIENCE, || get(site.public).as_deref() == Ok("late")),
        "it is up, and nobody is sent there"
    );
    let answers = load.end();
    assert!(answers.keys().all(|said| !said.starts_with("FAILED")), "{answers:?}");
    drop(old);
}

fn load_is_back_on(site: &Balancer, word: &str) {
    let said: Vec<_> = (0..20).map(|_| get(site.public)).collect();
    assert!(said.iter().all(|said| said.as_deref() == Ok(word)), "{said:?}");
}

/// Scenario 38: whoever is pinned to a host by a cookie stays there while it is drained, and is let go when it is stopped.
#[tokio::test]
async fn who_is_pinned_stays_until_the_host_is_let_go() {
    if !there("/usr/sbin/haproxy") {
        return;
    }
    let site = Balancer::new(Director::Haproxy).await;
    let [a, b, ..] = site.ports;
    let _webs = [Web::on(a, "a"), Web::on(b, "b")];
    site.direct([100, 100, 0, 0]).await;
    assert_eq!(pinned(site.public, "b"), "b");
    site.direct([100, 100, 0, 0]).await;
    assert_eq!(pinned(site.public, "b"), "b", "a weight that stays moves nobody");
    site.direct([100, 0, 0, 0]).await;
    assert_eq!(pinned(site.public, "b"), "a", "its time is over");
}

/// What is answered to somebody with this cookie.
fn pinned(port: u16, cookie: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: shop\r\nCookie: pin={cookie}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()
}

/// While nobody is up there is nothing to protect: what mends it can be rolled out, and is served when it is up.
#[tokio::test]
async fn what_is_down_everywhere_can_be_mended() {
    if !there("/usr/sbin/haproxy") {
        return;
    }
    let site = Balancer::new(Director::Haproxy).await;
    let [a, b, ..] = site.ports;
    let webs = [Web::on(a, "1"), Web::on(b, "1")];
    site.direct([100, 100, 0, 0]).await;
    until_answered(site.public, "1");
    drop(webs);
    assert!(until(PATIENCE, || get(site.public).is_err()), "somebody still answers");
    site.direct([100, 100, 0, 0]).await;
    site.direct([0, 100, 0, 0]).await;
    let _mended = Web::on(a, "2");
    site.direct([100, 100, 0, 0]).await;
    until_answered(site.public, "2");
    // From here on there is something to protect.
    let step = Step::Direct(site.directions([0, 100, 0, 0]));
    let failure = site.host.perform(&site.app, &step, &Sink::nowhere()).await.unwrap_err();
    assert!(failure.message.contains("holds all of shop for down"), "{}", failure.message);
    load_is_back_on(&site, "2");
}

/// HAProxy forgets weights when it is started again, and is away before that; the agent sees both.
#[tokio::test]
async fn a_balancer_that_forgot_is_told_again() {
    if !there("/usr/sbin/haproxy") {
        return;
    }
    let mut site = Balancer::new(Director::Haproxy).await;
    let [a, b, ..] = site.ports;
    let _webs = [Web::on(a, "a"), Web::on(b, "b")];
    site.direct([100, 0, 0, 0]).await;
    site.front = Front(None); // its end is waited for
    assert!(!site.shows().await);
    let _ = fs::remove_file(site.root.path().join("haproxy.sock"));
    site.front = Front(Some(haproxy(site.root.path(), site.public, site.ports)));
    assert!(!site.shows().await, "it has b again");
    site.direct([100, 0, 0, 0]).await;
    load_is_back_on(&site, "a");
}

/// One that is started again while a host drains has forgotten that it does, and is told again; nothing fails for it.
#[tokio::test]
async fn a_balancer_that_is_started_again_while_a_host_drains_is_told_again() {
    if !there("/usr/sbin/haproxy") {
        return;
    }
    let site = Balancer::new(Director::Haproxy).await;
    let [a, b, ..] = site.ports;
    let _web = Web::on(a, "a");
    let silent = TcpListener::bind(("127.0.0.1", b)).unwrap();
    let (asked, heard) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for mut stream in silent.incoming().flatten() {
            // HAProxy's own checks say nothing.
            if stream.read(&mut [0; 64]).is_ok_and(|read| read > 0) {
                let _ = asked.send(stream);
            }
        }
    });
    site.direct([100, 100, 0, 0]).await;
    let mut waits = TcpStream::connect(("127.0.0.1", site.public)).unwrap();
    write!(waits, "GET / HTTP/1.1\r\nHost: shop\r\nCookie: pin=b\r\n\r\n").unwrap();
    let _unanswered = heard.recv_timeout(PATIENCE).unwrap();
    let step = Step::Direct(site.directions([100, 0, 0, 0]));
    let Balancer { host, app, public, ports, front, root, .. } = site;
    let (sink, events) = Sink::collecting();
    let said = async |word: &str| {
        let told = |event: &Event| matches!(event, Event::Progress { detail, .. } if detail.contains(word));
        while !events.lock().unwrap().iter().any(told) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let restarted = async {
        said("b drains").await;
        // As one that was started again between two looks shows it.
        admin(root.path(), "set server shop/b state ready");
        said("is told again").await;
        drop(front); // its end is waited for
        said("cannot be asked").await;
        let _ = fs::remove_file(root.path().join("haproxy.sock"));
        Front(Some(haproxy(root.path(), public, ports)))
    };
    let both = async { tokio::join!(host.perform(&app, &step, &sink), restarted) };
    let (done, _front) = tokio::time::timeout(PATIENCE, both).await.expect("it is told again");
    done.unwrap_or_else(|failure| panic!("{}", failure.message));
    let said: Vec<_> = (0..20).map(|_| get(public)).collect();
    assert!(said.iter().all(|said| said.as_deref() == Ok("a")), "{said:?}");
}

/// A clock that was set back makes nobody wait for longer than the drain.
#[tokio::test]
async fn a_clock_that_was_set_back_keeps_nobody_waiting() {
    if !there("/usr/sbin/nginx") {
        return;
    }
    let site = Balancer::new(Director::Nginx).await;
    site.direct([100, 100, 0, 0]).await;
    let path = Layout::under(site.root.path()).unwrap().directions(&site.app);
    let mut told: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for since in told["idle"].as_object_mut().unwrap().values_mut() {
        *since = (since.as_i64().unwrap() + 86_400_000).into();
    }
    write_atomic(&path, told.to_string().as_bytes(), 0o600).unwrap();
    let again = tokio::time::timeout(PATIENCE, site.direct([100, 100, 0, 0]));
    again.await.expect("600 ms are enough");
}

/// What does not fit is refused by name, and nothing is half done.
#[tokio::test]
async fn odd_backends_are_named() {
    if !there("/usr/sbin/haproxy") {
        return;
    }
    let site = Balancer::new(Director::Haproxy).await;
    let [a, b, ..] = site.ports;
    let _webs = [Web::on(a, "a"), Web::on(b, "b")];
    site.direct([100, 100, 0, 0]).await;
    let (socket, backend) = (site.root.path().join("haproxy.sock"), "shop".parse().unwrap());
    let haproxy = longshore_agent::host::direct::haproxy::Haproxy::new(&socket, &backend);
    let ours = Default::default();
    let mut servers = site.directions([100, 0, 0, 0]).servers;
    servers[3].name = "web-9".parse().unwrap();
    let failure = haproxy.direct(&servers, &ours).await.unwrap_err();
    assert!(failure.message.contains("has no server shop/web-9"), "{}", failure.message);
    let mut servers = site.directions([100, 0, 0, 0]).servers;
    servers[0].address = Some("10.0.0.1:80".to_owned());
    let failure = haproxy.direct(&servers, &ours).await.unwrap_err();
    assert!(failure.message.contains("listens at 10.0.0.1:80"), "{}", failure.message);
    site.until_shown("what was there before").await;
    // What an admin takes out stays out, whatever is said again.
    admin(site.root.path(), "set server shop/b state maint");
    site.direct([100, 100, 0, 0]).await;
    assert!((0..20).all(|_| get(site.public).as_deref() == Ok("a")), "b is in maintenance");

    // A plan asks before anything begins, and is told all of it at once.
    servers[3].name = "web-9".parse().unwrap();
    let problems = haproxy.look(&servers, None, &Default::default()).await.problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].contains("sends shop/a to 127.0.0.1:") && problems[1].contains("no server shop/web-9")
    );
    let other = "nowhere".parse().unwrap();
    let problems = longshore_agent::host::direct::haproxy::Haproxy::new(&socket, &other)
        .look(&[], None, &Default::default())
        .await
        .problems;
    assert!(problems[0].contains("has no backend nowhere"), "{problems:?}");
    drop((_webs, site.front));
    let problems = haproxy.look(&servers, None, &Default::default()).await.problems;
    assert!(problems[0].contains("cannot be asked") && problems[0].contains("is it running"), "{problems:?}");
}
