//! Tokens, enrolment and recovery exactly at a limit and one beyond it.

use longshore_common::label::{LABELS_MAX, Labels};

use super::{super::token::TTL_MAX, *};
use crate::{fleet::host::BoundKey, testing::ContendedStore};

fn labels(count: usize) -> Labels {
    (0..count).map(|n| (format!("k{n}"), "v".to_owned())).collect()
}

fn wanted() -> NewToken {
    NewToken {
        uses: 1,
        ttl: TTL_DEFAULT,
        labels: BTreeMap::new(),
        created_by: "alice".into(),
        narrowed: Narrowed::default(),
    }
}

fn narrowed(name: &str, networks: usize) -> NewToken {
    let networks = (0..networks).map(|n| format!("10.{n}.0.0/16")).collect();
    NewToken { narrowed: Narrowed { name: name.into(), networks, ask: false }, ..wanted() }
}

impl World {
    async fn make(&self, wanted: NewToken) -> Result<JoinToken, Code> {
        let ca = self.enrolment.authority.hash();
        let made = token::create(&self.store, ca, wanted, self.clock.now_ms()).await;
        made.map(|(join, _)| join).map_err(|trouble| trouble.coded().code)
    }

    /// Tokens that the store still has.
    async fn tokens(&self) -> Vec<String> {
        token::list(&self.store).await.unwrap().into_iter().map(|token| token.id).collect()
    }
}

#[tokio::test]
async fn a_token_is_within_its_limits() {
    let world = World::new();
    let second = Duration::from_secs(1);
    let lives = |ttl| NewToken { ttl, ..wanted() };
    let labelled = |count| NewToken { labels: labels(count), ..wanted() };
    let uses = |uses| NewToken { uses, ..wanted() };
    for (fits, beyond) in [
        (lives(TTL_MAX), lives(TTL_MAX + second)),
        (lives(second), lives(second - Duration::from_millis(1))),
        (labelled(LABELS_MAX), labelled(LABELS_MAX + 1)),
        (uses(50), uses(51)),
        (uses(1), uses(0)),
        (narrowed(&"w".repeat(253), 0), narrowed(&"w".repeat(254), 0)),
        (narrowed("", 16), narrowed("", 17)),
        (narrowed("web-*.a", 0), narrowed("web_*", 0)),
    ] {
        world.make(fits).await.unwrap();
        assert_eq!(world.make(beyond.clone()).await, Err(Code::V01), "{beyond:?}");
    }
    assert_eq!((TTL_DEFAULT, TTL_MAX), (Duration::from_secs(1800), 30 * DAY));
}

#[tokio::test]
async fn old_tokens_are_told_of_for_a_day_and_cleared_when_another_is_made() {
    let world = World::new();
    let first = world.make(wanted()).await.unwrap();
    world.clock.advance(TTL_DEFAULT + DAY);
    world.make(wanted()).await.unwrap();
    assert!(world.tokens().await.contains(&first.id), "a day after its end it is still known");
    world.clock.advance(Duration::from_millis(1));
    let third = world.make(wanted()).await.unwrap();
    let kept = world.tokens().await;
    assert!(kept.len() == 2 && !kept.contains(&first.id) && kept.contains(&third.id), "{kept:?}");
}

#[tokio::test]
async fn a_revoked_token_is_gone_and_enrols_nobody() {
    let world = World::new();
    let token = world.make(wanted()).await.unwrap();
    token::revoke(&world.store, &token.id).await.unwrap();
    assert_eq!(world.tokens().await, Vec::<String>::new());
    let refused = world.enrolment.enrol(asking(&token, &key(), "web-1")).await.unwrap_err().coded();
    assert_eq!(refused.code, Code::E02);
    assert_eq!(token::revoke(&world.store, &token.id).await.unwrap_err().coded().code, Code::N01);
}

#[tokio::test]
async fn a_host_says_no_more_of_itself_than_it_may() {
    let world = World::new();
    let token = world.token(9).await;
    let with = |count: usize, machine_id: String| Asking {
        labels: labels(count),
        machine_id,
        ..asking(&token, &key(), "web-1")
    };
    world.enrolment.enrol(with(LABELS_MAX, "m".repeat(128))).await.unwrap();
    for beyond in [with(LABELS_MAX + 1, String::new()), with(0, "m".repeat(129)), with(0, "mäh".to_owned())]
    {
        let refused = world.enrolment.enrol(beyond).await.unwrap_err().coded();
        assert_eq!(refused.code, Code::V01, "{refused}");
    }
}

#[tokio::test]
async fn a_used_token_says_by_whom_from_where_and_when() {
    let world = World::new();
    let token = world.token(1).await;
    world.enrolment.enrol(asking(&token, &key(), "web-1")).await.unwrap();
    let refused = world.enrolment.enrol(asking(&token, &key(), "web-2")).await.unwrap_err().coded();
    assert!(refused.message.contains("already used by web-1 at 10.0.0.9 2023-11-14T22:13:20Z"), "{refused}");
}

#[tokio::test]
async fn a_way_back_is_open_from_the_end_of_the_certificate_for_ninety_days() {
    let world = World::new();
    let held = pair();
    let asked = AskedKey::from_csr(&csr(&held)).unwrap();
    let id = world.enrolment.enrol(asking(&world.token(1).await, &asked, "web-1")).await.unwrap().host.id;
    let back = async |recoveries| {
        let asked = recovering(&id.to_string(), &held, &pair(), recoveries);
        world.enrolment.recover(asked).await.map_err(|trouble| trouble.coded().message)
    };
    world.clock.advance(HOST_LIFETIME - Duration::from_millis(90_500));
    let early = back(0).await.unwrap_err();
    assert!(early.contains("is good for another 1m30s: this host's clock is ahead"), "{early}");
    world.clock.advance(Duration::from_millis(90_500));
    back(0).await.unwrap();
    world.clock.advance(90 * DAY);
    back(1).await.unwrap();
    world.clock.advance(Duration::from_millis(1));
    assert!(back(2).await.unwrap_err().contains("expired 90 days ago"));
}

/// Beside the expired key, which may have to serve once more, stand the newest of those that are good.
#[tokio::test]
async fn a_way_back_leaves_a_host_few_keys_and_its_good_ones_first() {
    let world = World::new();
    let (held, next) = (pair(), pair());
    let asked = AskedKey::from_csr(&csr(&held)).unwrap();
    let id = world.enrolment.enrol(asking(&world.token(1).await, &asked, "web-1")).await.unwrap().host.id;
    world.clock.advance(HOST_LIFETIME + DAY);
    let now = world.clock.now_ms();
    let good = |spki| BoundKey { spki: [spki; 32], expires_ms: now + 1, ca: String::new() };
    let with_more = |host: &mut host::Host| {
        host.keys = vec![good(1), good(2), host.keys[0].clone()];
        Ok(())
    };
    host::change(&world.store, id, with_more).await.unwrap();
    let back = world.enrolment.recover(recovering(&id.to_string(), &held, &next, 0)).await.unwrap().host;
    let next = AskedKey::from_csr(&csr(&next)).unwrap();
    let keys: Vec<[u8; 32]> = back.keys.iter().map(|key| key.spki).collect();
    assert_eq!(keys, [next.spki, [1; 32], asked.spki]);
    assert_eq!(keys.len(), KEYS_MAX);
}

/// Whoever loses so often is told, and nothing came of it.
#[tokio::test]
async fn a_race_that_is_lost_is_run_again_63_times() {
    let (mut world, store) = (World::new(), Arc::new(ContendedStore::default()));
    world.store = store.clone();
    world.enrolment.store = store.clone();
    let token = world.token(2).await;
    store.lose(64);
    let late = world.enrolment.enrol(asking(&token, &key(), "web-1")).await.unwrap_err();
    assert!(late.is_conflict(), "{late:?}");
    assert_eq!((store.left(), host::list(&world.store).await.unwrap().len()), (0, 0));
    store.lose(63);
    world.enrolment.enrol(asking(&token, &key(), "web-1")).await.unwrap();
    assert_eq!((store.left(), host::list(&world.store).await.unwrap().len()), (0, 1));
}

/// Each with a token of its own, so that nothing else keeps them apart.
#[tokio::test]
async fn two_hosts_that_ask_for_one_name_at_the_same_moment_get_two() {
    let (mut world, store) = (World::new(), Arc::new(ContendedStore::default()));
    world.store = store.clone();
    world.enrolment.store = store.clone();
    let (one, other) = (world.token(1).await, world.token(1).await);
    let (one, other) = (asking(&one, &key(), "web-1"), asking(&other, &key(), "web-1"));
    store.meet();
    let (one, other) = tokio::join!(world.enrolment.enrol(one), world.enrolment.enrol(other));
    let mut names = [one, other].map(|enrolled| enrolled.unwrap().host.name.to_string());
    names.sort();
    assert!(names[0] == "web-1" && names[1].starts_with("web-1-"), "{names:?}");
}

#[tokio::test]
async fn a_token_is_for_its_names_networks_and_holder() {
    let world = World::new();
    let narrowed =
        Narrowed { name: "web-*".into(), networks: vec!["10.0.0.0/24".into(), "::1/128".into()], ask: false };
    let token = world.make(NewToken { uses: 1, narrowed, ..wanted() }).await.unwrap();
    let from = |octets: [u8; 4]| SocketAddr::from((octets, 1));
    let forged = JoinToken { secret: [0; 32], ..token.clone() };
    for (asking, code) in [
        (asking(&token, &key(), "db-1"), Code::C02),
        (Asking { from: from([10, 0, 1, 9]), ..asking(&token, &key(), "web-1") }, Code::C02),
        (asking(&forged, &key(), "web-1"), Code::E02),
    ] {
        let refused = world.enrolment.enrol(asking).await.unwrap_err().coded();
        assert_eq!(refused.code, code, "{refused}");
    }
    world.enrolment.enrol(asking(&token, &key(), "web-1")).await.expect("nothing was used up");
}
