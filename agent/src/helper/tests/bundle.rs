//! A bundle on its way through both halves: the agent expands it, the helper takes no frame from anybody.

use std::fs;

use bytes::Bytes;
use longshore_common::{
    code::{Code, Coded},
    offline::{Documents, Head, Writer},
    report::Outcome,
    trust::Offer,
};
use tokio::{io::AsyncWriteExt as _, net::UnixStream, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    NOBODY, call, call_as_nobody, hear, listen, own_uid,
    signed::{Helper, Release, app, squeezed},
};
use crate::{
    helper::{
        Courier, Peers, Remote, VERSION, frame,
        words::{Ask, Call, Say},
    },
    offline::{HandOrder, Ordered},
    run::{Told, Works as _},
    uplink::Uplink,
};

/// Bytes of one piece of what somebody brings.
const PIECE: usize = 1000;

fn bundle_of(helper: &Helper, release: &Release, list: Offer) -> Vec<u8> {
    let head = Head {
        documents: Some(Documents { fleet: helper.operator.fleet.clone(), app: list }),
        manifest: release.manifest.to_bytes(),
        index: squeezed(&release.index),
        ..Head::default()
    };
    let mut writer = Writer::begin(Vec::new(), &head).unwrap();
    let wire = squeezed(&release.content);
    writer.block(wire.len() as u64).and_then(|()| writer.data(&wire)).unwrap();
    writer.end().unwrap()
}

fn wanted() -> HandOrder {
    HandOrder { env: Some("production".parse().unwrap()), by: "ann".into(), ..HandOrder::default() }
}

/// Through the agent's half, as the local socket hands it over.
async fn deploy(agent: &Remote, bundle: &[u8]) -> Result<Ordered, Coded> {
    deploy_by(agent, bundle, "ann").await
}

async fn deploy_by(agent: &Remote, bundle: &[u8], by: &str) -> Result<Ordered, Coded> {
    let (bring, pieces) = mpsc::channel(bundle.len() / PIECE + 1);
    bundle.chunks(PIECE).for_each(|piece| bring.try_send(Ok(Bytes::copy_from_slice(piece))).unwrap());
    drop(bring);
    agent.deploy(HandOrder { by: by.to_owned(), ..wanted() }, pieces).await
}

/// How the deployment ended.
async fn concluded(mut ordered: Ordered) -> Outcome {
    loop {
        if let Told::Concluded { outcome, .. } = ordered.told.recv().await.unwrap() {
            return outcome;
        }
    }
}

#[tokio::test]
async fn a_bundle_is_expanded_by_the_agent_and_verified_by_the_helper() {
    let helper = Helper::new().await;
    let stop = CancellationToken::new();
    let (_sender, uplink) = Uplink::new();
    let agent = Remote::attach(&helper.socket, helper.dir.path(), uplink, stop.clone()).await.unwrap();
    let release = Release::new("1.0", "");
    let list = helper.operator.list(1, &[&release], 2, None);
    let good = bundle_of(&helper, &release, list.clone());
    let before = helper.all().await;

    let mut other = release.clone();
    other.content[0] ^= 1;
    let evil = Release::new("6.6", "");
    for (what, bundle, code) in [
        ("cut off", good[..good.len() - 40].to_vec(), Code::A05),
        ("an error page", b"<html>502</html>".to_vec(), Code::A05),
        ("other content", bundle_of(&helper, &other, list.clone()), Code::A01),
        ("not signed", bundle_of(&helper, &evil, list), Code::T02),
    ] {
        let refused = deploy(&agent, &bundle).await.unwrap_err();
        assert_eq!(refused.code, code, "{what}: {refused}");
        assert_eq!(helper.all().await, before, "{what}");
    }

    assert_eq!(concluded(deploy(&agent, &good).await.unwrap()).await, Outcome::Healthy);
    let live = helper.dir.path().join("var/lib/longshore/apps/shop/current/file");
    assert_eq!(fs::read(live).unwrap(), release.content);
    stop.cancel();
}

#[tokio::test]
async fn a_bundle_is_on_record_under_the_name_of_whoever_brings_it() {
    let helper = Helper::new().await;
    let stop = CancellationToken::new();
    let (_sender, uplink) = Uplink::new();
    let agent = Remote::attach(&helper.socket, helper.dir.path(), uplink, stop.clone()).await.unwrap();
    let release = Release::new("1.0", "");
    let bundle = bundle_of(&helper, &release, helper.operator.list(1, &[&release], 2, None));
    let before = helper.all().await;
    let endless = Box::new(HandOrder { by: "x".repeat(501), ..wanted() });
    match hear(&mut call(&helper.socket, Ask::Deploy { wanted: endless }).await).await {
        Say::No(wrong) => assert_eq!((wrong.code.as_str(), helper.all().await), ("LS-V01", before)),
        other => panic!("{other:?}"),
    }

    let ordered = deploy_by(&agent, &bundle, "ann\u{1b}[2J").await.unwrap();
    assert_eq!(concluded(ordered).await, Outcome::Healthy);
    let rows = helper.crew.state().history(Some(&app()), 1).await.unwrap();
    assert_eq!(rows[0].by, "ann\\x1b[2J");
    stop.cancel();
}

/// The agent cannot give root's word.
#[tokio::test]
async fn that_documents_have_expired_is_passed_over_for_root_alone() {
    let (helper, dir) = (Helper::new().await, tempfile::tempdir().unwrap());
    let is_root = own_uid() == 0;
    let agent = Peers::root_and(if is_root { NOBODY } else { own_uid() });
    let (socket, _guard) = listen(dir.path(), helper.crew.clone(), Courier::default(), agent);
    let stale = || Ask::Deploy { wanted: Box::new(HandOrder { stale: true, ..wanted() }) };
    let mut of_the_agent = match is_root {
        true => call_as_nobody(&socket, stale()).await,
        false => call(&socket, stale()).await,
    };
    match hear(&mut of_the_agent).await {
        Say::No(wrong) => {
            assert!(wrong.code == "LS-C02" && wrong.message.contains("root alone"), "{wrong:?}")
        }
        other => panic!("{other:?}"),
    }
    if is_root {
        // Asked by root, the bundle is looked at; of this one nothing comes.
        let mut of_root = call(&socket, stale()).await;
        of_root.shutdown().await.unwrap();
        match hear(&mut of_root).await {
            Say::No(wrong) => assert_eq!(wrong.code, "LS-A05", "{wrong:?}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Whoever owns the agent passes a bundle on as it is: to the helper it is none, and its decoder is not asked.
#[tokio::test]
async fn the_helper_takes_no_bundle_with_frames() {
    let helper = Helper::new().await;
    let release = Release::new("1.0", "");
    let framed = bundle_of(&helper, &release, helper.operator.list(1, &[&release], 2, None));
    let before = helper.all().await;
    let mut stream = UnixStream::connect(&helper.socket).await.unwrap();
    let ask = Ask::Deploy { wanted: Box::new(wanted()) };
    frame::say(&mut stream, &Call { version: VERSION, ask }).await.unwrap();
    frame::pass(&mut stream, &framed).await.unwrap();
    stream.shutdown().await.unwrap();
    match frame::hear::<Say>(&mut stream, 8 << 20).await.unwrap() {
        Some(Say::No(wrong)) => assert_eq!(wrong.code, "LS-A05", "{wrong:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(helper.all().await, before);
}
