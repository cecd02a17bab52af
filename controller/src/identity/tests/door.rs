//! What the door believes, what it keeps, and what it says.

use std::{net::IpAddr, path::PathBuf};

use longshore_common::{
    ids::OperatorName,
    tls::{Connections, Peer},
};
use tonic::Extensions;

use super::{super::revoke::Revoker, *};
use crate::{
    access::{self, Called, FirstKeys, Grants, OperatorKey, Scope, TwoPersons, User, Waiting},
    audit::{Audit, Chained, What},
    store::Key,
};

/// A call as it stands after TLS and the table of methods.
fn call(identity: Identity, key: [u8; 32], method: &str) -> Extensions {
    let mut call = Extensions::new();
    call.insert(Peer {
        address: SocketAddr::from((IpAddr::from([10, 0, 0, 9]), 1)),
        identity: Some(identity),
        certificate: None,
        key: Some(key),
        serial: Arc::new([]),
    });
    call.insert(Called::by_path(&format!("/longshore.v1.{method}")));
    call
}

impl World {
    fn door(&self) -> Door {
        Door::new(self.store.clone(), Arc::new(self.clock.clone()))
    }

    /// A door that records, and the folder of operators who wait.
    fn recording(&self, two: &[&str]) -> (Door, Audit, PathBuf) {
        let (folder, clock) = (self.dir.path().join("audit"), Arc::new(self.clock.clone()));
        let audit = Audit::open(&folder, self.dir.path(), clock).unwrap();
        let two: Vec<String> = two.iter().map(|&rule| rule.to_owned()).collect();
        let waiting = self.dir.path().join("operators");
        let door =
            self.door().with(Waiting(Some(waiting.clone())), audit.clone(), TwoPersons::parse(&two).unwrap());
        (door, audit, waiting)
    }

    fn key_of(&self, number: u8) -> OperatorKey {
        let expires_ms = self.clock.now_ms() + 1000;
        OperatorKey { key: [number; 32], expires_ms, ca: String::new(), replaces: String::new() }
    }

    async fn operator(&self, name: &str, grant: &str) -> OperatorName {
        let keys = vec![self.key_of(7)];
        let grants = Grants(vec![grant.parse().unwrap()]);
        let user = User { keys, ..User::new(name.parse().unwrap(), grants, "a test", 0) };
        access::create(&self.store, &user).await.unwrap();
        user.name
    }
}

#[tokio::test]
async fn a_host_that_calls_what_is_for_operators_is_named() {
    let world = World::new();
    let enrolled = world.enrolment.enrol(asking(&world.token(1).await, &key(), "web-1")).await.unwrap();
    let host = enrolled.host;
    let call = call(Identity::Host(host.id), host.keys[0].spki, "Hosts/List");
    let refused = world.door().operator(&call, &Scope::Any, String::new()).await.err().unwrap().coded();
    assert!(
        refused.code == Code::C02 && refused.message.starts_with("host web-1 may not do this"),
        "{refused}"
    );
    let refused = world.door().agent(&call).await.unwrap_err().coded();
    assert!(refused.message.contains("it is for operators"), "{refused}");
}

/// Handlers ask again where only they can tell what a call touches.
#[tokio::test]
async fn who_is_let_in_is_held_to_what_the_call_touches() {
    let world = World::new();
    let ann = world.operator("ann", "deployer:shop").await;
    let call = call(Identity::Operator(ann.clone()), [7; 32], "Rollouts/Start");
    let admitted = world.door().operator(&call, &Scope::Any, String::new()).await.ok().unwrap();
    let app = |name: &str| Scope::App(name.parse().unwrap());
    admitted.within(&app("shop"), "shop").await.unwrap();
    let refused = admitted.within(&app("blog"), "blog").await.unwrap_err().coded();
    assert!(refused.code == Code::C02 && refused.message.contains("\"deploy\" for app blog"), "{refused}");
}

/// Only a key that takes another's place changes the record when it is first used.
#[tokio::test]
async fn a_call_does_not_write_to_its_operators_record() {
    let world = World::new();
    let ann = world.operator("ann", "viewer").await;
    let call = call(Identity::Operator(ann.clone()), [7; 32], "Hosts/List");
    let revision = async || world.store.get(&Key::user(&ann)).await.unwrap().unwrap().revision;
    let before = revision().await;
    world.door().operator(&call, &Scope::Any, String::new()).await.ok().unwrap();
    assert_eq!(revision().await, before);
}

impl World {
    fn revoker(&self, door: Door) -> Revoker {
        let (store, clock) = (self.store.clone(), Arc::new(self.clock.clone()));
        Revoker { store, clock, connections: Connections::default(), door }
    }
}

/// Whatever changes of their record: connections are cut for a key that does not count, and for no other.
#[tokio::test]
async fn the_keys_of_an_operator_count_until_they_expire_or_the_operator_is_locked() {
    let world = World::new();
    let ann = world.operator("ann", "viewer").await;
    let bob = world.operator("bob", "policy-admin").await;
    let (revoker, identity) = (world.revoker(world.door()), Identity::Operator(ann.clone()));
    assert_eq!(revoker.keys_of(&identity).await.unwrap(), [[7; 32]]);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(revoker.keys_of(&identity).await.unwrap(), [[0; 32]; 0]);
    let again = |user: &mut User| {
        let expires_ms = world.clock.now_ms() + 1000;
        let key = OperatorKey { key: [8; 32], expires_ms, ca: String::new(), replaces: String::new() };
        user.add_key(key, world.clock.now_ms());
        Ok(())
    };
    access::change(&world.store, &ann, again).await.unwrap();
    assert_eq!(revoker.keys_of(&identity).await.unwrap(), [[8; 32]]);
    let lock = |user: &mut User| {
        user.lock(&bob, "left", 1);
        Ok(())
    };
    access::change(&world.store, &ann, lock).await.unwrap();
    assert_eq!(revoker.keys_of(&identity).await.unwrap(), [[0; 32]; 0]);
}

/// As the log has it: who, with which key, what, and of what.
fn recorded(audit: &Audit) -> Vec<String> {
    let lines = audit.read(0, usize::MAX).unwrap().0;
    let told = lines.iter().filter_map(|line| match Chained::parse(line)?.what {
        What::Allowed { actor, key, method, target } => Some(format!("{actor} {key} {method} {target}")),
        What::Denied { actor, key, method, target, code, .. } => {
            Some(format!("{actor} {key} {method} {target}: {code}"))
        }
        _ => None,
    });
    told.collect()
}

#[tokio::test]
async fn what_changes_something_is_on_record_and_what_is_only_read_is_not() {
    let world = World::new();
    let (door, audit, _) = world.recording(&[]);
    let ann = world.operator("ann", "host-admin").await;
    let as_ann = |method| call(Identity::Operator(ann.clone()), [7; 32], method);
    for (method, target) in [("Hosts/List", ""), ("Hosts/Label", "host web-1")] {
        door.operator(&as_ann(method), &Scope::Any, target.to_owned()).await.ok().unwrap();
    }
    let refused = door.operator(&as_ann("Rollouts/Start"), &Scope::Any, "shop".to_owned()).await;
    assert_eq!(refused.err().unwrap().coded().code, Code::C02);
    assert_eq!(
        recorded(&audit),
        ["ann 07070707 Hosts/Label host web-1", "ann 07070707 Rollouts/Start shop: LS-C02"]
    );
}

#[tokio::test]
async fn what_two_people_decide_is_done_by_the_second_and_both_are_on_record() {
    let world = World::new();
    let (door, audit, _) = world.recording(&["Hosts/Remove"]);
    let (ann, bob) = (world.operator("ann", "host-admin").await, world.operator("bob", "host-admin").await);
    let removes = async |who: &OperatorName| {
        let call = call(Identity::Operator(who.clone()), [7; 32], "Hosts/Remove");
        door.operator(&call, &Scope::Any, "host web-1".to_owned()).await.map(drop)
    };
    assert_eq!(removes(&ann).await.unwrap_err().coded().code, Code::W02);
    removes(&bob).await.ok().unwrap();
    assert_eq!(
        recorded(&audit),
        ["ann 07070707 Hosts/Remove host web-1: LS-W02", "bob 07070707 Hosts/Remove host web-1 (with ann)"]
    );
}

#[tokio::test]
async fn an_operator_whose_file_waits_is_taken_up_with_the_first_call() {
    let world = World::new();
    let (door, _, waiting) = world.recording(&[]);
    let ann = FirstKeys { name: "ann".parse().unwrap(), key: world.key_of(7), grants: Grants::all() };
    ann.write(&waiting).unwrap();
    let calls = async |key| {
        let call = call(Identity::Operator(ann.name.clone()), key, "Hosts/List");
        door.operator(&call, &Scope::Any, String::new()).await.map(drop)
    };
    let refused = calls([8; 32]).await.unwrap_err().coded();
    assert!(refused.message.contains("not one of operator ann's"), "{refused}");
    calls([7; 32]).await.ok().unwrap();
}

#[tokio::test]
async fn a_key_that_is_used_ends_the_one_it_replaces() {
    let world = World::new();
    let (ann, _) = (world.operator("ann", "viewer").await, world.operator("bob", "policy-admin").await);
    let next = OperatorKey { replaces: longshore_common::digest::hex(&[7; 32]), ..world.key_of(8) };
    let with_next = |user: &mut User| {
        user.add_key(next.clone(), world.clock.now_ms());
        Ok(())
    };
    access::change(&world.store, &ann, with_next).await.unwrap();
    let keys_after = async |key| {
        let call = call(Identity::Operator(ann.clone()), key, "Hosts/List");
        world.door().operator(&call, &Scope::Any, String::new()).await.ok().unwrap();
        let (user, _) = access::get(&world.store, &ann).await.unwrap().unwrap();
        user.keys.iter().map(|known| known.key[0]).collect::<Vec<_>>()
    };
    assert_eq!(keys_after([7; 32]).await, [7, 8], "the login may not have arrived");
    assert_eq!(keys_after([8; 32]).await, [8]);
}

/// What a retired root signed opens nothing, also where the connection is older; records without a root stay.
#[tokio::test]
async fn keys_of_a_retired_root_open_nothing() {
    let world = World::new();
    let authority = world.enrolment.authority.clone();
    let door = world.door().believing(authority.clone());
    let host = world.enrolment.enrol(asking(&world.token(1).await, &key(), "web-1")).await.unwrap().host;
    let (ann, _) = (world.operator("ann", "viewer").await, world.operator("bob", "policy-admin").await);
    let of = async |ca: &str| {
        let of_root = |user: &mut User| {
            user.keys[0].ca = ca.to_owned();
            Ok(())
        };
        access::change(&world.store, &ann, of_root).await.unwrap();
        let of_root = |host: &mut host::Host| {
            host.keys[0].ca = ca.to_owned();
            Ok(())
        };
        host::change(&world.store, host.id, of_root).await.unwrap();
        let as_ann = call(Identity::Operator(ann.clone()), [7; 32], "Hosts/List");
        let operator = door.operator(&as_ann, &Scope::Any, String::new()).await.map(drop);
        let agent = door.agent(&call(Identity::Host(host.id), host.keys[0].spki, "Session/Open")).await;
        [operator.err(), agent.map(drop).err()].map(|refused| refused.map(|trouble| trouble.coded()))
    };
    assert_eq!(of("").await, [None, None]);
    assert_eq!(of(&authority.id()).await, [None, None]);
    let [operator, agent] = of("00ff00ff00ff00ff").await.map(Option::unwrap);
    assert!(
        operator.code == Code::C02 && operator.message.starts_with("the root of operator ann's certificate"),
        "{operator}"
    );
    assert!(
        agent.code == Code::E06 && agent.message.starts_with("the root of the certificate of host web-1"),
        "{agent}"
    );
}
