//! Somebody owns the agent: a program with its user and the helper's socket tries every word. Each is refused with its
//! code, and what the host runs, would run and believes is the same afterwards.

use std::collections::BTreeMap;

use longshore_common::{
    assignment::Assignment,
    code::Code,
    digest::ReleaseDigest,
    report::Outcome,
    trust::{FLEET, Offer},
};
use longshore_proto::v1 as pb;
use prost::Message;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::UnixStream};

use super::{
    call, call_as_nobody, hear, listen, own_uid,
    signed::{Helper, Release, block, documents, framed, squeezed},
};
use crate::{
    helper::{
        Courier, Errand, Peers, VERSION,
        frame::{self, ASK_BYTES},
        words::{Ask, Ended, Say},
    },
    run::Told,
};

/// What the attacker brings when it is sent for something.
#[derive(Clone)]
struct Loot {
    documents: BTreeMap<String, Offer>,
    manifest: Vec<u8>,
    index: Vec<u8>,
    blocks: Vec<Vec<u8>>,
}

impl Loot {
    fn of(helper: &Helper, list: Offer, release: &Release) -> Self {
        let fleet = helper.operator.fleet.clone();
        Self {
            documents: [(FLEET.to_owned(), fleet), ("shop".to_owned(), list)].into(),
            manifest: release.manifest.to_bytes(),
            index: release.index.clone(),
            blocks: vec![release.block()],
        }
    }

    fn answer(&self, errand: Errand) -> Vec<u8> {
        let message = |message: Vec<u8>| framed(frame::PIECE, &message);
        match errand {
            Errand::Trust { repository, .. } => {
                message(documents(&self.documents[&repository]).encode_to_vec())
            }
            Errand::Manifest { .. } => {
                message(pb::ManifestReply { manifest: self.manifest.clone().into() }.encode_to_vec())
            }
            Errand::Index { .. } => framed(frame::CONTENT, &self.index),
            Errand::Blocks { .. } => self.blocks.concat(),
            Errand::Sealed { .. } | Errand::Reach { .. } | Errand::Online {} => {
                unreachable!("these releases ask for none")
            }
        }
    }
}

/// Attaches, gives the assignment, serves every errand, and says how it ended.
async fn assign(helper: &Helper, loot: &Loot, assignment: Assignment) -> Outcome {
    let mut attached = call(&helper.socket, Ask::Attach {}).await;
    assert!(matches!(hear(&mut attached).await, Say::Snapshot(_)));
    let before = helper.crew.state().outbox_len();
    let ask = Ask::Assign { assignment: Box::new(assignment) };
    assert!(matches!(hear(&mut call(&helper.socket, ask).await).await, Say::Done {}));
    let mut reports = 0;
    loop {
        match hear(&mut attached).await {
            Say::Errand { ticket, errand } => {
                let mut bringing = call(&helper.socket, Ask::Deliver { ticket }).await;
                // The helper may have heard enough.
                drop(bringing.write_all(&loot.answer(errand)).await);
                drop(frame::say(&mut bringing, &Ended::Brought {}).await);
            }
            Say::Report { report, .. } => {
                reports += 1;
                if reports > before {
                    return report.outcome;
                }
            }
            Say::Told(
                Told::Progress { .. } | Told::Line(_) | Told::Concluded { .. } | Told::Tidied { .. },
            ) => {}
            Say::Apps { .. } | Say::Hold { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn code_of(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed { failure } | Outcome::Refused { failure } => &failure.code,
        other => panic!("it was not refused: {other:?}"),
    }
}

/// A helper with 1.0 deployed by a list of 1.0 and 1.1.
async fn deployed() -> (Helper, Release, Release, Offer) {
    let helper = Helper::new().await;
    let (one, two) = (Release::new("1.0", ""), Release::new("1.1", ""));
    let list = helper.operator.list(1, &[&one, &two], 2, None);
    let loot = Loot::of(&helper, list.clone(), &one);
    assert_eq!(assign(&helper, &loot, one.assigned(10)).await, Outcome::Healthy);
    (helper, one, two, list)
}

#[tokio::test]
async fn what_is_signed_and_newer_can_be_replayed_and_nothing_else() {
    let (helper, one, two, list) = deployed().await;
    let evil = Release::new("6.6", "");
    let hooked = Release::new("1.1", "[hooks]\nbefore_switch = { run = [\"/bin/sh\", \"-c\", \"id\"] }\n");
    let before = helper.all().await;
    let signed = Loot::of(&helper, list.clone(), &two);
    let held = helper.held();
    let forged = helper.operator.list(2, &[&one, &two, &evil], 9, Some(&held));
    let foreign =
        Assignment { host: longshore_common::ids::HostId(uuid::Uuid::from_u128(8)), ..two.assigned(99) };
    // As long as what it stands for, so that it is looked at to its end.
    let mut framed = squeezed(&two.content);
    framed.resize(two.content.len(), 0);
    let tries: Vec<(&str, Loot, Assignment, Code)> = vec![
        ("an unsigned release", Loot::of(&helper, list.clone(), &evil), evil.assigned(11), Code::T02),
        ("with a list of the online key's", Loot::of(&helper, forged, &evil), evil.assigned(12), Code::T02),
        ("another hook", Loot::of(&helper, list.clone(), &hooked), hooked.assigned(13), Code::T02),
        ("an older generation", signed.clone(), two.assigned(9), Code::O03),
        ("the same generation for something else", signed.clone(), two.assigned(10), Code::O03),
        ("what is meant for another host", signed.clone(), foreign, Code::O03),
        (
            "another manifest under a signed digest",
            Loot { manifest: hooked.manifest.to_bytes(), ..signed.clone() },
            two.assigned(14),
            Code::A01,
        ),
        ("another index", Loot { index: evil.index.clone(), ..signed.clone() }, two.assigned(15), Code::A01),
        ("other content", Loot { blocks: vec![evil.block()], ..signed.clone() }, two.assigned(16), Code::A01),
        (
            "a frame where content belongs, as the controller sends it",
            Loot { blocks: vec![block(&framed)], ..signed.clone() },
            two.assigned(17),
            Code::A01,
        ),
        (
            "an index in a frame",
            Loot { index: squeezed(&two.index), ..signed.clone() },
            two.assigned(18),
            Code::A01,
        ),
        (
            "more content than was asked for",
            Loot { blocks: vec![two.block(), two.block()], ..signed.clone() },
            two.assigned(19),
            Code::A04,
        ),
        (
            "documents of the fleet as the app's",
            Loot {
                documents: [
                    (FLEET.to_owned(), helper.operator.fleet.clone()),
                    ("shop".to_owned(), helper.operator.fleet.clone()),
                ]
                .into(),
                ..signed.clone()
            },
            two.assigned(20),
            Code::T02,
        ),
    ];
    for (what, loot, assignment, code) in tries {
        let outcome = assign(&helper, &loot, assignment).await;
        assert_eq!(code_of(&outcome), code.to_string(), "{what}: {outcome:?}");
        assert_eq!(helper.all().await, before, "{what}");
    }
    // What is left to it.
    assert_eq!(assign(&helper, &signed, two.assigned(21)).await, Outcome::Healthy);
}

/// The app's own release key signs it, and so it may run; only not under the name of our unit.
#[tokio::test]
async fn a_signed_manifest_cannot_take_the_place_of_our_own_units() {
    let (helper, one, two, _) = deployed().await;
    let (before, held) = (helper.all().await, helper.held());
    let text = String::from_utf8(two.manifest.to_bytes()).unwrap();
    let taken = text.replace("\"app\":\"shop\"", "\"app\":\"helper\"").into_bytes();
    let releases =
        vec![("1.0".parse().unwrap(), one.manifest.to_bytes()), ("1.1".parse().unwrap(), taken.clone())];
    let list = helper.operator.list_of(2, releases, 2, Some(&held));
    let release = ReleaseDigest::of(&taken);
    let loot = Loot { manifest: taken, ..Loot::of(&helper, list, &two) };
    let assignment = Assignment { release, ..two.assigned(11) };
    match assign(&helper, &loot, assignment).await {
        Outcome::Failed { failure } | Outcome::Refused { failure } => {
            assert!(failure.code == "LS-M01" && failure.message.contains("is reserved"), "{failure:?}")
        }
        other => panic!("{other:?}"),
    }
    // The list is newer, and that is all.
    let trusted = |all: BTreeMap<std::path::PathBuf, String>| {
        all.into_iter().filter(|(path, _)| !path.iter().any(|part| part == "trust")).collect::<Vec<_>>()
    };
    assert_eq!(trusted(helper.all().await), trusted(before));
}

#[tokio::test]
async fn a_way_back_to_what_was_withdrawn_is_refused() {
    let (helper, one, two, list) = deployed().await;
    let loot = Loot::of(&helper, list, &two);
    assert_eq!(assign(&helper, &loot, two.assigned(11)).await, Outcome::Healthy);
    let (three, held) = (Release::new("1.2", ""), helper.held());
    // 1.0 is not in it any more. It arrives with an assignment that fails after it, so that nothing else changes.
    let list = helper.operator.list(2, &[&two, &three], 2, Some(&held));
    let loot = Loot { manifest: b"{}".to_vec(), ..Loot::of(&helper, list, &three) };
    assert_eq!(code_of(&assign(&helper, &loot, three.assigned(12)).await), "LS-A01");
    let before = helper.all().await;
    let to = Some(one.assigned(10).slot());
    let revert = Ask::Revert { app: super::signed::app(), to, by: "root".into() };
    match hear(&mut call(&helper.socket, revert).await).await {
        Say::No(wrong) => assert_eq!(wrong.code, "LS-T02", "{wrong:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(helper.all().await, before);
}

#[tokio::test]
async fn words_that_are_torn_too_long_unknown_or_crooked_are_refused() {
    let (helper, one, ..) = deployed().await;
    let before = helper.all().await;
    let asked = |version: u32, ask: Value| {
        framed(b'w', json!({ "version": version, "ask": ask }).to_string().as_bytes())
    };
    let assignment = |change: &dyn Fn(&mut Value)| {
        let mut value = serde_json::to_value(one.assigned(50)).unwrap();
        change(&mut value);
        asked(VERSION, json!({ "assign": { "assignment": value } }))
    };
    let whole = asked(VERSION, json!({ "trust": {} }));
    let endless = [&b"w"[..], &u32::MAX.to_be_bytes()].concat();
    let tries: Vec<(&str, Vec<u8>, &str)> = vec![
        ("torn", whole[..whole.len() - 1].to_vec(), "LS-V01"),
        ("torn in its head", whole[..3].to_vec(), "LS-V01"),
        ("endless", endless, "LS-V01"),
        ("one byte too long", framed(b'w', &vec![b' '; ASK_BYTES + 1]), "LS-V01"),
        ("of no kind", framed(b'x', b"{}"), "LS-V01"),
        ("a piece out of turn", framed(b'p', b"{}"), "LS-V01"),
        ("no JSON", framed(b'w', b"\xff\x00"), "LS-V01"),
        ("of another version", asked(VERSION + 1, json!({ "trust": {} })), "LS-R01"),
        ("an unknown verb", asked(VERSION, json!({ "run": { "exec": ["/bin/sh"] } })), "LS-V01"),
        ("an unknown field", asked(VERSION, json!({ "trust": { "root": "x" } })), "LS-V01"),
        ("an app of dots", assignment(&|a| a["app"] = json!("../../etc")), "LS-V01"),
        ("an app of a path", assignment(&|a| a["app"] = json!("/etc/cron.d/x")), "LS-V01"),
        ("a version of a path", assignment(&|a| a["version"] = json!("1.0/../../x")), "LS-V01"),
        ("a digest of another length", assignment(&|a| a["release"] = json!("77ab")), "LS-V01"),
        (
            "a slot of a path",
            asked(VERSION, json!({ "revert": { "app": "shop", "to": "../../x-00000000", "by": "x" } })),
            "LS-V01",
        ),
        (
            "a name of a mile",
            asked(VERSION, json!({ "revert": { "app": "shop", "to": null, "by": "x".repeat(501) } })),
            "LS-V01",
        ),
        (
            "a test that is not in the release",
            asked(
                VERSION,
                json!({ "test": { "app": "shop", "release": ReleaseDigest::of(b"x").hex(), "test": "../sh", "limit_ms": 1 } }),
            ),
            "",
        ),
    ];
    for (what, bytes, code) in tries {
        let mut stream = UnixStream::connect(&helper.socket).await.unwrap();
        // Refused before all of it was read, a writer sees a closed pipe.
        drop(stream.write_all(&bytes).await);
        drop(stream.shutdown().await);
        match frame::hear::<Say>(&mut stream, 8 << 20).await {
            Ok(Some(Say::No(wrong))) => {
                assert_eq!(wrong.code, code, "{what}: {wrong:?}");
                assert!(
                    wrong.message.contains("Nothing was changed") || code == "LS-R01",
                    "{what}: {wrong:?}"
                );
            }
            Ok(Some(Say::Tested { outcome: None })) if code.is_empty() => {}
            // The kernel throws an unread answer away where more was sent than was read.
            Ok(None) | Err(frame::FrameError::Broken(_)) if what == "one byte too long" => {}
            // A test whose asker closes its end is given up.
            Ok(None) if code.is_empty() => {}
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(helper.all().await, before, "{what}");
    }
}

#[tokio::test]
async fn somebody_else_at_the_socket_is_told_nothing() {
    let helper = Helper::new().await;
    let dir = tempfile::tempdir().unwrap();
    // A user that this process is not; root is let in everywhere, so only others can be tried by others.
    if own_uid() == 0 {
        return tried_as_another(&helper).await;
    }
    let (socket, _guard) =
        listen(dir.path(), helper.crew.clone(), Courier::default(), Peers::root_and(own_uid() + 1));
    match hear(&mut call(&socket, Ask::Attach {}).await).await {
        Say::No(wrong) => assert_eq!(wrong.code, Code::C02.to_string()),
        other => panic!("{other:?}"),
    }
}

async fn tried_as_another(helper: &Helper) {
    match hear(&mut call_as_nobody(&helper.socket, Ask::Attach {}).await).await {
        Say::No(wrong) => {
            assert_eq!(wrong.code, Code::C02.to_string());
            assert!(wrong.message.contains("65534"), "{wrong:?}");
        }
        other => panic!("{other:?}"),
    }
}
