//! A session of an agent whose helper goes.

use std::sync::Arc;

use longshore_common::time::SystemClock;
use longshore_proto::v1::from_agent::Message as Heard;
use tokio_util::sync::CancellationToken;

use super::{
    enrolling,
    fake::{Fake, PATIENCE},
};
use crate::{
    helper::{Courier, Peers, Remote, tests::listen},
    host::sim::SimHost,
    identity::{Again, Folder, enroll},
    link::{Facts, Link, Parts, Witness},
    run::{Crew, Limits},
    state::State,
    uplink::Uplink,
};

/// Without its helper an agent has nothing to tell of its host, and a controller that hears nothing does not know why.
#[tokio::test]
async fn that_the_helper_is_away_is_the_last_word_of_a_session() {
    let mut fake = Fake::start().await;
    let dir = tempfile::tempdir().unwrap();
    enroll(&enrolling(&fake, dir.path(), Again::Refuse)).await.unwrap();
    let pair = Folder::new(dir.path().join("identity")).load().unwrap().unwrap();
    let state = State::open(&dir.path().join("state"), Arc::new(SystemClock)).await.unwrap();
    let crew = Crew::new(Arc::new(SimHost::new()), state, pair.host, Limits::default());
    let peers = Peers::root_and(rustix::process::geteuid().as_raw());
    let (socket, helper) = listen(dir.path(), crew, Courier::default(), peers);
    let shutdown = CancellationToken::new();
    let (sender, uplink) = Uplink::new();
    let remote = Remote::attach(&socket, dir.path(), uplink, shutdown.clone()).await.unwrap();
    let (link, mut connection) = Link::new(Parts {
        controllers: vec![fake.main_address.clone()],
        labels: [("zone".to_owned(), "eu".to_owned())].into(),
        crew: remote,
        facts: Facts { root: dir.path().to_owned(), driver: "process".into(), loopback: None, uplink: None },
        identity: dir.path().join("identity"),
        pair,
        uplink: sender,
        recipient: String::new(),
        witness: Witness::open(dir.path().join("audit-checkpoints.json")),
    });
    tokio::spawn(link.run(shutdown.clone()));
    let _agent = shutdown.drop_guard();
    let (mut visit, hello) = fake.session().await;
    assert_eq!(hello.facts.unwrap().trust.unwrap().state, "unsigned");

    // Welcomed, so that nothing is asked of the helper any more.
    visit.hear_the(|heard| matches!(heard, Heard::Heartbeat(_)).then_some(())).await;
    drop(helper);
    let told = visit.hear_the(|heard| if let Heard::Facts(facts) = heard { facts.trust } else { None }).await;
    assert_eq!(told.state, "unknown");
    assert!(told.problem.starts_with("LS-C01 the helper does not answer"), "{}", told.problem);
    let ended = connection.wait_for(|now| now.error.starts_with("LS-C01 the helper does not answer"));
    assert!(!tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap().connected);
}
