//! Operators' keys, grants and files exactly at a limit and one beyond it, and what is recorded of a call's end.

use longshore_common::{
    code::Coded,
    time::{Clock, ManualClock},
    wire::to_status,
};

use super::{super::layer, *};
use crate::audit::{Audit, What};

fn key_of(number: u8, expires_ms: i64) -> OperatorKey {
    OperatorKey { key: [number; 32], expires_ms, ca: String::new(), replaces: String::new() }
}

#[test]
fn a_new_key_takes_the_place_of_itself_and_of_those_that_have_expired() {
    let mut ann = user("ann", Grants::all());
    for (key, now) in [(key_of(1, 10), 0), (key_of(2, 20), 0), (key_of(1, 30), 0), (key_of(3, 40), 20)] {
        ann.add_key(key, now);
    }
    let kept: Vec<(u8, i64)> = ann.keys.iter().map(|known| (known.key[0], known.expires_ms)).collect();
    assert_eq!(kept, [(1, 30), (3, 40)]);
}

#[tokio::test]
async fn an_operator_has_at_most_32_grants() {
    let store = store();
    let with = |count: usize| Grants(vec!["viewer".parse().unwrap(); count]);
    create(&store, &user("ann", with(32))).await.unwrap();
    assert_eq!(code(create(&store, &user("bob", with(33))).await.unwrap_err()), Code::A04);
}

/// Whoever can write the folder owns the controller; a file that is not what it should be is left alone all the same.
#[tokio::test]
async fn a_waiting_file_is_taken_up_by_the_operator_whose_name_it_has_within_and_without() {
    let (store, folder) = (store(), tempfile::tempdir().unwrap());
    let [ann, bob, eve] = ["ann", "bob", "eve"].map(|name| name.parse().unwrap());
    let waiting = Waiting(Some(folder.path().into()));
    let first = FirstKeys { name: ann, key: key_of(3, 100), grants: Grants::all() };
    first.write(folder.path()).unwrap();
    let mine = folder.path().join("ann.json");
    let mut text = std::fs::read(&mine).unwrap();
    longshore_common::durable::write_atomic(&folder.path().join("bob.json"), &text, 0o600).unwrap();
    assert!(!waiting.take(&store, None, &bob, 0).await.unwrap(), "it says that it is ann's");
    text.resize(64 * 1024, b' ');
    longshore_common::durable::write_atomic(&mine, &text, 0o600).unwrap();
    assert!(waiting.take(&store, None, &first.name, 0).await.unwrap());
    let large = FirstKeys { name: eve, ..first };
    let mut text = serde_json::to_vec(&large).unwrap();
    text.resize(64 * 1024 + 1, b' ');
    longshore_common::durable::write_atomic(&folder.path().join("eve.json"), &text, 0o600).unwrap();
    assert!(!waiting.take(&store, None, &large.name, 0).await.unwrap());
    assert!(get(&store, &large.name).await.unwrap().is_none() && get(&store, &bob).await.unwrap().is_none());
}

#[tokio::test]
async fn what_two_people_decide_is_bounded_in_length_and_number() {
    let (store, ann) = (store(), "ann".parse().unwrap());
    let method = table::find("/longshore.v1.Hosts/Remove").unwrap();
    let act = async |target: &str| proposal::settle(&store, method, target, &Scope::Fleet, &ann, 0).await;
    assert_eq!(act(&"t".repeat(4096)).await.unwrap().unwrap_err().code, Code::W02);
    assert_eq!(code(act(&"t".repeat(4097)).await.unwrap_err()), Code::A04);
    for number in 1..100 {
        assert_eq!(act(&format!("host web-{number}")).await.unwrap().unwrap_err().code, Code::W02);
    }
    assert_eq!(code(act("host web-100").await.unwrap_err()), Code::A04);
    assert_eq!(act("host web-1").await.unwrap().unwrap_err().code, Code::W02, "it waits already");
}

#[tokio::test]
async fn a_call_that_was_let_through_is_recorded_as_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(1));
    let audit = Audit::open(&folder.path().join("audit"), folder.path(), clock).unwrap();
    let allowed = || What::Allowed {
        actor: "ann".into(),
        key: "00".into(),
        method: "Hosts/Remove".into(),
        target: "host web-1".into(),
    };
    let refusal = to_status(&Coded::new(Code::N01, "no host web-1")).into_http::<()>();
    for headers in [refusal.headers(), &Default::default()] {
        let entry = audit.append(allowed()).await.unwrap().unwrap();
        layer::end(&audit, entry, headers);
        // It is not waited for: what counts was recorded before.
        while audit.read(entry + 1, 1).unwrap().0.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    let ends: Vec<String> = audit.read(0, 9).unwrap().0.into_iter().skip(1).step_by(2).collect();
    assert!(ends[0].contains("LS-N01") && ends[0].contains("no host web-1"), "{ends:?}");
    assert!(!ends[1].contains("code"), "{ends:?}");
}
