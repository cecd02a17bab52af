//! The agent's half sees what the helper's crew does, and brings what it is sent for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use longshore_common::{code::Code, headers::Headers, report::Outcome, time::SystemClock};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, UnixListener},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{listen, own_uid};
use crate::{
    helper::{Courier, Errand, Peers, Remote},
    host::{Follow, Sink, probe::Reach, sim::SimHost},
    plan::{
        Hold, HoldKind,
        tests::bench::{app, run},
    },
    run::{Accounts, Crew, Limits, Told, Works},
    state::State,
    uplink::{Uplink, UplinkSender},
};

struct Pair {
    crew: Crew<SimHost>,
    courier: Courier,
    remote: Remote,
    helper: Option<DropGuard>,
    /// There is no controller, and one could come.
    _uplink: UplinkSender,
    dir: TempDir,
    _agent: DropGuard,
}

async fn pair() -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let state = State::open(&dir.path().join("state"), Arc::new(SystemClock)).await.unwrap();
    let crew = Crew::new(Arc::new(SimHost::new()), state, super::host_id(), Limits::default());
    let courier = Courier::default();
    let (path, helper) = listen(dir.path(), crew.clone(), courier.clone(), Peers::root_and(own_uid()));
    let shutdown = CancellationToken::new();
    let (sender, uplink) = Uplink::new();
    let remote = Remote::attach(&path, dir.path(), uplink, shutdown.clone()).await.unwrap();
    Pair { crew, courier, remote, helper: Some(helper), _uplink: sender, dir, _agent: shutdown.drop_guard() }
}

/// With a deadline, so that what never comes fails.
async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), wait).await.expect("it comes")
}

async fn deploy(remote: &Remote, generation: u64, version: &str) -> Outcome {
    let mut told = remote.watch();
    remote.assign(run(generation, version));
    within(async {
        loop {
            if let Told::Concluded { outcome, .. } = told.recv().await.unwrap() {
                return outcome;
            }
        }
    })
    .await
}

async fn until(mut holds: impl FnMut() -> bool) {
    within(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_agent_sees_what_the_helper_does() {
    let pair = pair().await;
    let remote = &pair.remote;
    assert_eq!(remote.helper().as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!((remote.boot().counter, remote.apps()), (1, vec![]));
    assert_eq!(deploy(remote, 1, "1").await, Outcome::Healthy);
    until(|| remote.apps() == [app()] && remote.outbox_len() == 1).await;
    let here = remote.standing(&app()).await;
    let there = pair.crew.standing(&app()).await;
    assert_eq!((here.record, here.seen), (there.record, there.seen));
    assert_eq!(here.activity, there.activity);
    let (seq, report) = remote.outbox_after(0).remove(0);
    assert_eq!(pair.crew.state().outbox_after(0), [(seq, report)]);
    remote.acknowledge(seq).await.unwrap();
    assert_eq!((remote.outbox_len(), pair.crew.state().outbox_len()), (0, 0));
    deploy(remote, 2, "2").await;
    let mut told = remote.watch();
    remote.revert(&app(), None, "ada".into()).await.unwrap();
    let back = within(async {
        loop {
            if let Told::Concluded { outcome, .. } = told.recv().await.unwrap() {
                return outcome;
            }
        }
    });
    assert!(matches!(back.await, Outcome::Reverted { .. }));
    let rows = remote.history(Some(&app()), 10).await.unwrap();
    assert_eq!(rows, pair.crew.state().history(Some(&app()), 10).await.unwrap());
    assert_eq!((rows.len(), rows[0].by.as_str()), (3, "ada"));
    let refused = remote.revert(&"other".parse().unwrap(), None, "ada".into()).await.unwrap_err();
    assert_eq!(refused.code, Code::N01);
    let (sink, _) = Sink::collecting();
    remote.logs(&app(), 5, Follow::No, &sink).await.unwrap();
    assert_eq!(remote.trust().await.state, "unsigned");
    let users = vec!["root".to_owned(), "no-such-user".to_owned()];
    let wanted = Accounts { users, run_as: "no-such-user".into(), driver: "process".into() };
    let found = remote.accounts(wanted).await;
    assert_eq!(found.missing, ["no-such-user"]);
    assert!(found.problem.unwrap().contains("no-such-user"));
}

#[tokio::test]
async fn a_hold_is_the_same_on_both_sides() {
    let pair = pair().await;
    let hold = Hold { reason: "disk".into(), by: "ada".into(), since_ms: 5, kind: HoldKind::Admin };
    assert!(pair.remote.set_hold(Some(hold.clone()), "ada").await.unwrap());
    assert_eq!((pair.crew.state().hold(), pair.remote.hold()), (Some(hold.clone()), Some(hold)));
    assert!(pair.crew.state().set_hold(None, "bob").await.unwrap());
    until(|| pair.remote.hold().is_none()).await;
}

#[tokio::test]
async fn the_agent_looks_at_the_network_for_the_helper() {
    let pair = pair().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    within(pair.courier.reach(Reach::Tcp { address })).await.unwrap();
    let nobody = TcpSocket::new_v4().unwrap(); // has its port, and never listens
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    let refused = within(pair.courier.reach(Reach::Tcp { address: address.clone() })).await.unwrap_err();
    assert!(refused.contains(&address) && refused.contains("refused"), "{refused}");
}

/// What a probe says beside its address goes over the socket with it.
#[tokio::test]
async fn the_agent_says_the_headers_of_a_probe_for_the_helper() {
    let pair = pair().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = [0; 1024];
        let read = stream.read(&mut heard).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&heard[..read]).into_owned()
    };
    let headers = BTreeMap::from([("Host".to_owned(), "shop.example".to_owned())]);
    let wanted = Reach::Http { url, status: None, headers: Headers::try_from(headers).unwrap() };
    let (reached, heard) = within(async { tokio::join!(pair.courier.reach(wanted), server) }).await;
    assert_eq!(reached, Ok(()));
    assert!(heard.contains("\r\nHost: shop.example\r\n"), "{heard}");
}

#[tokio::test]
async fn an_errand_that_nobody_waits_for_any_more_is_given_up() {
    let pair = pair().await;
    // The agent waits for a controller for as long as somebody waits for the agent.
    let errand = Errand::Manifest { app: app(), release: run(1, "1").release };
    let wait = pair.courier.send(errand);
    let mut parcels = within(wait).await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(50), parcels.next::<()>()).await;
    assert!(nothing.is_err(), "{nothing:?}");
}

#[tokio::test]
async fn work_goes_on_while_the_agent_is_away_and_is_told_later() {
    let mut pair = pair().await;
    drop(pair.helper.take());
    until(|| pair.remote.helper().as_deref() == Some("")).await;
    let standing = pair.remote.standing(&app()).await;
    assert_eq!(standing.seen.unwrap_err().code, Code::C01.to_string());
    pair.remote.assign(run(1, "1"));
    std::fs::remove_file(pair.dir.path().join("helper.sock")).unwrap();
    let peers = Peers::root_and(own_uid());
    let (_, _again) = listen(pair.dir.path(), pair.crew.clone(), pair.courier.clone(), peers);
    until(|| pair.remote.outbox_len() == 1).await;
    assert_eq!(pair.remote.apps(), [app()]);
}

/// A socket whose service cannot start takes questions, and nobody answers them.
#[tokio::test]
async fn a_helper_that_cannot_start_is_away_and_what_it_knows_is_not_known() {
    let mut pair = pair().await;
    deploy(&pair.remote, 1, "1").await;
    pair.crew.host().break_glass("recovered by bob");
    assert_eq!(pair.remote.trust().await.breaks, ["recovered by bob"]);
    drop(pair.helper.take());
    until(|| pair.remote.helper().as_deref() == Some("")).await;
    let socket = pair.dir.path().join("helper.sock");
    std::fs::remove_file(&socket).unwrap();
    let _deaf = UnixListener::bind(&socket).unwrap();
    let (begun, shop) = (std::time::Instant::now(), app());
    let (trust, standing) = tokio::join!(pair.remote.trust(), pair.remote.standing(&shop));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(trust.state, "unknown");
    assert_eq!(trust.breaks, ["recovered by bob"], "it is no news when the helper is back");
    assert!(trust.problem.starts_with("LS-C01 the helper does not answer"), "{}", trust.problem);
    assert!(standing.seen.unwrap_err().message.starts_with("the helper does not answer"));
}

/// One that dies in the midst of a word takes nothing along that was to be handed to it.
#[tokio::test]
async fn an_assignment_waits_for_a_helper_whatever_the_last_one_died_of() {
    let mut pair = pair().await;
    drop(pair.helper.take());
    until(|| pair.remote.helper().as_deref() == Some("")).await;
    let socket = pair.dir.path().join("helper.sock");
    std::fs::remove_file(&socket).unwrap();
    let deaf = UnixListener::bind(&socket).unwrap();
    let (mut dying, _) = within(deaf.accept()).await.unwrap();
    dying.write_all(b"w\0").await.unwrap();
    drop(dying);
    pair.remote.assign(run(1, "1"));
    for _ in 0..2 {
        let trust = pair.remote.trust().await; // for as long as the assignment is waited with
        assert!(trust.problem.starts_with("LS-C01 the helper does not answer"), "{}", trust.problem);
    }
    std::fs::remove_file(&socket).unwrap();
    let peers = Peers::root_and(own_uid());
    let (_, _again) = listen(pair.dir.path(), pair.crew.clone(), pair.courier.clone(), peers);
    drop(deaf); // and with it the connection that waits there
    until(|| pair.remote.outbox_len() == 1).await;
}
