//! What a grant covers, what every method asks for, and what happens to a record.

mod edges;

use std::{fs, path::Path, sync::Arc};

use longshore_common::{code::Code, ids::OperatorName, time::ManualClock};

use super::*;
use crate::{
    audit::Audit,
    store::{MemoryStore, SharedStore},
    trouble::Trouble,
};

fn both(app: &str, env: &str) -> Scope {
    Scope::Both(app.parse().unwrap(), env.parse().unwrap())
}

/// The table of `docs/access.md`, said once more by hand.
#[test]
fn roles_may_do_what_the_documented_table_says() {
    use Permission::*;
    let all = [Read, Publish, Deploy, Approve, Hosts, Policy, Users, Audit];
    let text = include_str!("../../../docs/access.md");
    for role in Role::ALL {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{role}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/access.md has no row for {role}"));
        for permission in all {
            let said = row.contains(&format!("`{permission}`"));
            assert_eq!(role.permissions().contains(&permission), said, "{role} and {permission}: {row}");
        }
    }
}

#[test]
fn a_grant_covers_its_scope_and_nothing_else() {
    let grant: Grant = "deployer:shop@staging".parse().unwrap();
    assert!(grant.allows(Permission::Deploy, &both("shop", "staging")));
    assert!(!grant.allows(Permission::Deploy, &both("shop", "production")));
    assert!(!grant.allows(Permission::Deploy, &both("blog", "staging")));
    assert!(grant.allows(Permission::Publish, &Scope::App("shop".parse().unwrap())));
    assert!(!grant.allows(Permission::Deploy, &Scope::Fleet));
    assert!(!grant.allows(Permission::Policy, &Scope::Any));
    let policy: Grant = "policy-admin:shop@staging".parse().unwrap();
    assert!(
        !policy.allows(Permission::Policy, &Scope::Env("staging".parse().unwrap())),
        "goes for other apps too"
    );
    let policy: Grant = "policy-admin:@staging".parse().unwrap();
    assert!(policy.allows(Permission::Policy, &Scope::Env("staging".parse().unwrap())));
    assert!(!policy.allows(Permission::Users, &Scope::Fleet), "operators are everybody's");
}

#[test]
fn a_grant_reads_back_as_it_is_written() {
    for text in ["viewer", "deployer:shop", "deployer:@staging", "ci:shop@staging"] {
        assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
        let json = serde_json::to_string(&text.parse::<Grant>().unwrap()).unwrap();
        assert_eq!(serde_json::from_str::<Grant>(&json).unwrap().to_string(), text);
    }
    for bad in ["", "root", "deployer:", "deployer:a b", "deployer:shop@", "deployer:@A"] {
        assert!(bad.parse::<Grant>().is_err(), "{bad:?}");
    }
    let scoped = "deployer@staging".parse::<Grant>().unwrap_err().message;
    assert!(scoped.contains("is no role") && scoped.contains("ROLE:APP@ENV"), "{scoped}");
    assert!(!"root".parse::<Grant>().unwrap_err().message.contains("ROLE:"));
}

/// A method that the protocol has and the table lacks would be denied to everybody; one too many is a slip.
#[test]
fn the_table_has_every_method_of_the_protocol_and_no_other() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/longshore/v1");
    // The local one is served by agents, on a socket.
    let ours = fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    let ours = ours.filter(|path| !path.ends_with("local.proto"));
    let protos: Vec<String> = ours.map(|path| fs::read_to_string(path).unwrap()).collect();
    let mut declared = vec![];
    for line in protos.iter().flat_map(|proto| proto.lines()) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("service"), Some(name)) => declared.push((name.to_owned(), vec![])),
            (Some("rpc"), Some(rest)) => {
                let method = rest.split('(').next().unwrap().to_owned();
                declared.last_mut().expect("a method is in a service").1.push(method);
            }
            _ => {}
        }
    }
    let mut declared: Vec<String> = declared
        .into_iter()
        .flat_map(|(service, methods)| methods.into_iter().map(move |method| format!("{service}/{method}")))
        .collect();
    let mut listed: Vec<String> = METHODS.iter().map(Method::to_string).collect();
    declared.sort();
    listed.sort();
    assert_eq!(listed, declared);
}

fn store() -> SharedStore {
    Arc::new(MemoryStore::new())
}

fn user(name: &str, grants: Grants) -> User {
    User::new(name.parse().unwrap(), grants, "a test", 0)
}

fn code(trouble: Trouble) -> Code {
    trouble.coded().code
}

#[tokio::test]
async fn the_last_who_may_manage_operators_stays() {
    let (store, ann, bob) = (store(), "ann".parse().unwrap(), "bob".parse().unwrap());
    create(&store, &user("ann", Grants::all())).await.unwrap();
    create(&store, &user("bob", Grants(vec!["viewer".parse().unwrap()]))).await.unwrap();
    let lock = |user: &mut User| {
        user.lock(&"bob".parse().unwrap(), "left", 1);
        Ok(())
    };
    assert_eq!(code(change(&store, &ann, lock).await.unwrap_err()), Code::R01);
    assert_eq!(code(remove(&store, &ann).await.unwrap_err()), Code::R01);
    let give = |user: &mut User| {
        user.grants.0.push("policy-admin".parse().unwrap());
        Ok(())
    };
    change(&store, &bob, give).await.unwrap();
    assert!(change(&store, &ann, lock).await.unwrap().locked.is_some());
    remove(&store, &ann).await.unwrap();
    assert!(get(&store, &ann).await.unwrap().is_none());
    assert_eq!(code(create(&store, &user("bob", Grants::default())).await.unwrap_err()), Code::N02);
}

#[test]
fn a_key_speaks_for_its_operator_until_it_expires_is_replaced_or_the_operator_is_locked() {
    let mut ann = user("ann", Grants::all());
    ann.add_key(OperatorKey { key: [1; 32], expires_ms: 10, ca: String::new(), replaces: String::new() }, 0);
    assert!(ann.admit(&[1; 32], 9).is_ok());
    assert!(ann.admit(&[1; 32], 10).unwrap_err().message.contains("has expired"));
    assert!(ann.admit(&[2; 32], 9).unwrap_err().message.contains("not one of operator ann's"));
    for number in 0..40 {
        ann.add_key(
            OperatorKey { key: [number; 32], expires_ms: 100, ca: String::new(), replaces: String::new() },
            20,
        );
    }
    assert!(ann.keys.len() <= 16, "bounded");
    ann.lock(&"bob".parse().unwrap(), "left\u{1b}[2J", 0);
    let why = ann.admit(&[39; 32], 21).unwrap_err().message;
    assert!(why.contains("locked by bob") && !why.contains('\u{1b}'), "{why:?}");
}

#[tokio::test]
async fn what_the_machine_made_is_taken_up_once() {
    let (store, folder) = (store(), tempfile::tempdir().unwrap());
    let name = "ann".parse().unwrap();
    let key = OperatorKey { key: [3; 32], expires_ms: 100, ca: String::new(), replaces: String::new() };
    let first = FirstKeys { name, key, grants: Grants::all() };
    first.write(folder.path()).unwrap();
    let waiting = Waiting(Some(folder.path().into()));
    assert!(waiting.take(&store, None, &first.name, 0).await.unwrap());
    assert!(!waiting.take(&store, None, &first.name, 0).await.unwrap(), "the file is gone");
    let (ann, _) = get(&store, &first.name).await.unwrap().unwrap();
    assert!(ann.admit(&[3; 32], 1).is_ok());
    // Another key for one who exists adds the key and leaves the grants.
    let narrower = FirstKeys {
        key: OperatorKey { key: [4; 32], expires_ms: 100, ca: String::new(), replaces: String::new() },
        grants: Grants::default(),
        ..first
    };
    narrower.write(folder.path()).unwrap();
    waiting.take_all(&store, None, 0).await.unwrap();
    let (ann, _) = get(&store, &narrower.name).await.unwrap().unwrap();
    assert_eq!((ann.keys.len(), ann.grants), (2, Grants::all()));
}

/// Whoever is root beside the daemon can make operators, and the log has each; it has it first.
#[tokio::test]
async fn what_the_machine_made_is_on_record_before_it_counts() {
    let (store, folder) = (store(), tempfile::tempdir().unwrap());
    let (operators, log) = (folder.path().join("operators"), folder.path().join("audit"));
    let open = || Audit::open(&log, folder.path(), Arc::new(ManualClock::at(1))).unwrap();
    let name: OperatorName = "ann".parse().unwrap();
    let key = OperatorKey { key: [3; 32], expires_ms: 100, ca: String::new(), replaces: String::new() };
    FirstKeys { name: name.clone(), key, grants: Grants::all() }.write(&operators).unwrap();
    let waiting = Waiting(Some(operators));

    let audit = open();
    fs::remove_dir_all(&log).unwrap();
    let why = waiting.take_all(&store, Some(&audit), 0).await.unwrap_err();
    assert_eq!(why.coded().code, Code::S04);
    assert!(get(&store, &name).await.unwrap().is_none(), "what cannot be recorded is not done");

    let audit = open();
    waiting.take_all(&store, Some(&audit), 0).await.unwrap();
    assert!(get(&store, &name).await.unwrap().is_some());
    let (lines, _) = audit.read(0, usize::MAX).unwrap();
    assert_eq!(lines.len(), 1);
    for word in ["the controller's machine", "operator's key taken up", "ann, key 03030303"] {
        assert!(lines[0].contains(word), "{}", lines[0]);
    }
}
