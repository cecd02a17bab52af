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
    let mut text = fs::read(&mine).unwrap();
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

#[test]
fn an_operator_keeps_the_newest_sixteen_keys() {
    let mut ann = user("ann", Grants::all());
    (0..16).for_each(|number| ann.add_key(key_of(number, 100), 0));
    assert_eq!(ann.keys.len(), 16);
    ann.add_key(key_of(16, 100), 0);
    let kept: Vec<u8> = ann.keys.iter().map(|known| known.key[0]).collect();
    assert_eq!(kept, (1..=16).collect::<Vec<_>>());
}

#[test]
fn a_key_that_is_used_takes_the_place_of_the_one_it_replaces_and_of_no_other() {
    let mut ann = user("ann", Grants::all());
    let second = OperatorKey { replaces: longshore_common::digest::hex(&[1; 32]), ..key_of(2, 100) };
    for key in [key_of(1, 100), second, key_of(3, 100)] {
        ann.add_key(key, 0);
    }
    let keys = |ann: &User| ann.keys.iter().map(|known| known.key[0]).collect::<Vec<_>>();
    for unrelated in [[1; 32], [3; 32], [9; 32]] {
        ann.settle(&unrelated);
        assert_eq!(keys(&ann), [1, 2, 3]);
    }
    ann.settle(&[2; 32]);
    assert_eq!(keys(&ann), [2, 3]);
    assert!(ann.keys[0].replaces.is_empty(), "it is there to stay");
}

#[test]
fn a_certificate_is_good_for_ninety_days_or_for_what_was_meant() {
    let ann = user("ann", Grants::all());
    assert_eq!(ann.life(), std::time::Duration::from_secs(7_776_000));
    assert!(!serde_json::to_string(&ann).unwrap().contains("life_ms"), "a usual record stays as it was");
    let short = User { life_ms: 1500, ..ann };
    assert_eq!(short.life(), std::time::Duration::from_millis(1500));
    let kept = serde_json::from_str::<User>(&serde_json::to_string(&short).unwrap()).unwrap();
    assert_eq!(kept, short, "it is in the record");
}

#[test]
fn a_refusal_says_what_is_lacking_where_and_what_there_is() {
    let ann = user("ann", Grants(vec!["deployer:shop@staging".parse().unwrap(), "viewer".parse().unwrap()]));
    let app = || "blog".parse().unwrap();
    let env = || "production".parse().unwrap();
    for (scope, over) in [
        (Scope::Any, ""),
        (Scope::Fleet, " for the whole fleet"),
        (Scope::App(app()), " for app blog"),
        (Scope::Env(env()), " for environment production"),
        (Scope::Both(app(), env()), " for blog in production"),
    ] {
        let said = ann.allow(Permission::Approve, &scope).unwrap_err().message;
        let lacks = format!(
            "operator ann lacks the permission \"approve\"{over} (has: deployer:shop@staging, viewer). A \
             policy-admin gives it: longshore user grant ann ROLE"
        );
        assert_eq!(said, lacks);
    }
    let nobody = user("bob", Grants::default()).allow(Permission::Read, &Scope::Any).unwrap_err().message;
    assert!(nobody.contains("(has: none)"), "{nobody}");
}

#[test]
fn an_operator_holds_the_very_role_and_only_where_it_is_given() {
    let ann = Grants(vec!["approver:shop".parse().unwrap()]);
    assert!(ann.hold(Role::Approver, &both("shop", "staging")));
    assert!(!ann.hold(Role::Approver, &both("blog", "staging")) && !ann.hold(Role::Viewer, &Scope::Any));
}

#[tokio::test]
async fn there_are_at_most_a_thousand_operators() {
    let store = store();
    for number in 0..999 {
        let user = user(&format!("u{number}"), Grants::default());
        let key = crate::store::Key::user(&user.name);
        let value = crate::store::record::encode(&key, &user).unwrap();
        store.commit(crate::store::Txn::new().put(key, value)).await.unwrap();
    }
    create(&store, &user("ann", Grants::default())).await.unwrap();
    assert_eq!(code(create(&store, &user("bob", Grants::default())).await.unwrap_err()), Code::A04);
}

#[tokio::test]
async fn a_proposal_waits_for_an_hour_and_is_cleared_when_another_is_made() {
    let (store, ann) = (store(), "ann".parse().unwrap());
    let method = table::find("/longshore.v1.Hosts/Remove").unwrap();
    let act = async |target: &str, now| {
        proposal::settle(&store, method, target, &Scope::Fleet, &ann, now).await.unwrap().unwrap_err()
    };
    let hour = 3_600_000;
    act("host web-2", 1).await;
    act("host web-1", 0).await;
    let waiting = async |now| {
        let all = proposal::list(&store, now).await.unwrap();
        all.into_iter().map(|proposal| proposal.target).collect::<Vec<_>>()
    };
    assert_eq!(waiting(hour - 1).await, ["host web-1", "host web-2"], "the oldest first");
    assert_eq!(waiting(hour).await, ["host web-2"]);
    let kept = async || store.list(&crate::store::Prefix::proposals()).await.unwrap().entries.len();
    act("host web-3", hour).await;
    assert_eq!((waiting(hour).await.len(), kept().await), (2, 2), "what is over is not kept");
    // What is over is proposed anew, in its own place.
    act("host web-2", hour + 1).await;
    assert_eq!((waiting(hour + 1).await.len(), kept().await), (2, 2));
}

#[test]
fn a_method_is_found_by_its_whole_path() {
    let found = table::find("/longshore.v1.Hosts/Remove").unwrap();
    assert_eq!(found.to_string(), "Hosts/Remove");
    for none in [
        "/longshore.v1.Hosts/List/",
        "/longshore.v1.Hosts",
        "/longshore.v1.Rollouts/Remove",
        "/longshore.v2.Hosts/Remove",
        "Hosts/Remove",
        "",
    ] {
        assert!(table::find(none).is_none(), "{none}");
    }
}

#[tokio::test]
async fn a_record_that_others_change_all_the_time_is_tried_five_times() {
    let contended = Arc::new(crate::testing::ContendedStore::default());
    let (store, ann): (SharedStore, OperatorName) = (contended.clone(), "ann".parse().unwrap());
    create(&store, &user("ann", Grants::all())).await.unwrap();
    let give = |user: &mut User| {
        user.grants.0.push("viewer".parse().unwrap());
        Ok(())
    };
    contended.lose(5);
    let late = change(&store, &ann, give).await.unwrap_err().coded();
    assert!(late.code == Code::R01 && late.message.contains("is being changed by somebody else"), "{late}");
    assert_eq!(contended.left(), 0);
    contended.lose(4);
    assert_eq!(change(&store, &ann, give).await.unwrap().grants.0.len(), Grants::all().0.len() + 1);
}

#[test]
fn whoever_confirms_is_another_who_may_do_the_same() {
    let proposal = proposal::Proposal {
        id: "00ff".into(),
        method: "Hosts/Remove".into(),
        target: "host web-1".into(),
        scope: Scope::Fleet,
        by: "ann".parse().unwrap(),
        at_ms: 0,
        confirmed_by: None,
    };
    let confirms = |name: &str, grant: &str| {
        let who = user(name, Grants(vec![grant.parse().unwrap()]));
        proposal.may_confirm(&who).map_err(|refused| refused.code)
    };
    assert_eq!(confirms("bob", "host-admin"), Ok(()));
    assert_eq!(confirms("bob", "host-admin:@staging"), Err(Code::C02));
    assert_eq!(confirms("bob", "policy-admin"), Err(Code::C02));
    assert_eq!(confirms("ann", "host-admin"), Err(Code::W02), "one's own");
}
