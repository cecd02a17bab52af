//! Operators with roles, over real TLS: let in, kept out, cut off; and the record of it.

use super::*;

use longshore_common::{
    time::{Clock as _, SystemClock},
    tls::LiveIdentity,
};
use tonic::transport::Channel;

use crate::{
    access::TwoPersons,
    audit::{Chained, Verifier, What},
};
use longshore_proto::v1::{
    access_client::AccessClient, change_user_request::Act, environments_client::EnvironmentsClient,
    hosts_client::HostsClient, rollouts_client::RolloutsClient, seal_piece::Piece,
    settings_client::SettingsClient,
};

async fn change(site: &Site, name: &str, act: Act) {
    let request = pb::ChangeUserRequest { name: name.into(), act: Some(act) };
    AccessClient::new(site.operator().await).change_user(request).await.unwrap();
}

pub(super) async fn log(site: &Site) -> Vec<String> {
    let request = pb::AuditRequest { from: 0, follow: false };
    let mut pages = AccessClient::new(site.operator().await).audit(request).await.unwrap().into_inner();
    let mut lines = vec![];
    while let Some(page) = pages.message().await.unwrap() {
        lines.extend(page.lines);
    }
    lines
}

fn start(app: &str, env: &str) -> pb::StartRolloutRequest {
    pb::StartRolloutRequest {
        app: app.into(),
        version: "1".into(),
        env: env.into(),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    }
}

#[tokio::test]
async fn roles_are_held_against_every_call_and_its_scope() {
    let site = Site::start().await;
    let bob = site.add_operator("bob", &["deployer:shop@staging"]).await;
    let code = |status: tonic::Status| from_status(&status).code;

    HostsClient::new(bob.clone()).list(pb::ListHostsRequest::default()).await.unwrap();
    let token = HostsClient::new(bob.clone()).create_token(pb::CreateTokenRequest::default()).await;
    let why = from_status(&token.unwrap_err());
    assert_eq!(why.code, Code::C02);
    assert!(
        why.message
            .contains("lacks the permission \"hosts\" for the whole fleet (has: deployer:shop@staging)")
    );
    let mut rollouts = RolloutsClient::new(bob);
    assert_eq!(code(rollouts.start(start("shop", "production")).await.unwrap_err()), Code::C02);
    assert_eq!(code(rollouts.start(start("blog", "staging")).await.unwrap_err()), Code::C02);
    // Nor by the name of some plan beside the way back, which follows none.
    for (app, env) in [("shop", "production"), ("blog", "staging")] {
        let back = pb::StartRolloutRequest { rollback: true, plan: "1a2b".into(), ..start(app, env) };
        assert_eq!(code(rollouts.start(back).await.unwrap_err()), Code::C02, "{app} in {env}");
    }
    let back = pb::StartRolloutRequest { rollback: true, plan: "1a2b".into(), ..start("shop", "staging") };
    let why = from_status(&rollouts.start(back).await.unwrap_err());
    assert!(why.code == Code::V01 && why.message.contains("follows no plan"), "{why}");
    let allowed = code(rollouts.start(start("shop", "staging")).await.unwrap_err());
    assert_ne!(allowed, Code::C02, "let in; there is no such environment");
    site.stop().await;
}

#[tokio::test]
async fn a_locked_or_removed_operator_fails_on_the_next_call_of_an_open_connection() {
    let site = Site::start().await;
    let mut bob = AccessClient::new(site.add_operator("bob", &["viewer"]).await);
    assert_eq!(bob.who_am_i(pb::WhoAmIRequest {}).await.unwrap().into_inner().grants, ["viewer"]);
    change(&site, "bob", Act::Lock("left".into())).await;
    let why = from_status(&bob.who_am_i(pb::WhoAmIRequest {}).await.unwrap_err());
    assert!(why.message.contains("operator bob was locked by alice: left"), "{why}");
    change(&site, "bob", Act::Unlock(pb::Nothing {})).await;
    bob.who_am_i(pb::WhoAmIRequest {}).await.unwrap();
    let request = pb::RemoveUserRequest { name: "bob".into() };
    AccessClient::new(site.operator().await).remove_user(request).await.unwrap();
    let why = from_status(&bob.who_am_i(pb::WhoAmIRequest {}).await.unwrap_err());
    assert!(why.message.contains("operator bob is not known here"), "{why}");
    site.stop().await;
}

#[tokio::test]
async fn what_was_let_through_refused_and_done_is_recorded_over_a_restart() {
    let site = Site::start().await;
    site.token().await;
    let bob = site.add_operator("bob", &["viewer"]).await;
    let denied = HostsClient::new(bob).remove(pb::RemoveHostRequest { host: "web-1".into() }).await;
    assert!(denied.is_err());
    let site = site.restart().await;

    let lines = log(&site).await;
    let mut verifier = Verifier::new([]);
    lines.iter().try_for_each(|line| verifier.line(line)).unwrap();
    let entries: Vec<Chained> = lines.iter().map(|line| Chained::parse(line).unwrap()).collect();
    let at = |wanted: &str| {
        let found = entries.iter().find(
            |entry| matches!(&entry.what, What::Allowed { method, .. } | What::Denied { method, .. } if method == wanted),
        );
        found.unwrap_or_else(|| panic!("no {wanted} in {lines:#?}")).clone()
    };
    let token = at("Hosts/CreateToken");
    assert_eq!(token.what.actor(), "alice");
    assert!(entries.iter().any(|e| matches!(&e.what, What::Ended { of, code: None, .. } if *of == token.i)));
    let removal = at("Hosts/Remove");
    assert!(matches!(&removal.what, What::Denied { actor, target, code, .. }
        if actor == "bob" && target == "host web-1" && code == "LS-C02"));
    site.stop().await;
}

/// Whoever writes an environment says which file a gate reads and where it is sent: no key of the controller's is.
#[tokio::test]
async fn an_environment_has_none_of_the_controllers_own_files_sent() {
    let site = Site::start().await;
    let plain = "[environment]\nname = \"staging\"\nselector = \"env=staging\"\n";
    let plain = pb::ApplyEnvironmentRequest { file: plain.into(), file_name: "staging.toml".into() };
    EnvironmentsClient::new(site.operator().await).apply(plain).await.unwrap();
    let mut eve = EnvironmentsClient::new(site.add_operator("eve", &["policy-admin:@staging"]).await);
    let apply = |file: &std::path::Path| {
        let file = format!(
            "[environment]\nname = \"staging\"\nselector = \"env=staging\"\n[[gate]]\nname = \"up\"\n\
             kind = \"metrics\"\nafter = \"before\"\nprometheus = \"http://127.0.0.1:1\"\nquery = \"up\"\nmax = 1\n\
             token_file = {:?}\n",
            file.display().to_string()
        );
        pb::ApplyEnvironmentRequest { file, file_name: "staging.toml".into() }
    };
    let key = site.config().data.join("trust/online.key");
    assert!(key.exists(), "{}", key.display());
    let why = from_status(&eve.apply(apply(&key)).await.unwrap_err());
    assert_eq!(why.code, Code::M01, "{why}");
    assert!(why.message.contains("is the controller's own, and no gate uses it"), "{why}");
    eve.apply(apply(&site.folder().join("token"))).await.unwrap();
    site.stop().await;
}

/// Whoever has the policy of one environment says all that its file says, but not whose the fleet's hosts are.
#[tokio::test]
async fn which_hosts_an_environment_takes_is_decided_for_the_whole_fleet() {
    let site = Site::start().await;
    let mut alice = EnvironmentsClient::new(site.operator().await);
    let mut eve = EnvironmentsClient::new(site.add_operator("eve", &["policy-admin:@staging"]).await);
    let file = |name: &str, selector: &str, rest: &str| pb::ApplyEnvironmentRequest {
        file: format!("[environment]\nname = \"{name}\"\nselector = \"{selector}\"\n{rest}"),
        file_name: "staging.toml".into(),
    };
    let refused = |status: tonic::Status| {
        let why = from_status(&status);
        assert_eq!(why.code, Code::C02, "{why}");
        why.message
    };
    let new = refused(eve.apply(file("staging", "env=staging", "")).await.unwrap_err());
    assert!(new.contains("environment.selector from none to \"env=staging\""), "{new}");
    alice.apply(file("staging", "env=staging", "")).await.unwrap();

    let (wider, balanced) =
        ("*", "[traffic]\ndriver = \"haproxy\"\nbackend = \"shop\"\nbalancers = \"role=lb\"\n");
    let why = refused(eve.apply(file("staging", wider, "")).await.unwrap_err());
    for word in ["from \"env=staging\" to \"*\"", "\"policy\" for the whole fleet", "Nothing was changed"] {
        assert!(why.contains(word), "no {word} in {why}");
    }
    let why = refused(eve.apply(file("staging", "env=staging", balanced)).await.unwrap_err());
    assert!(why.contains("traffic.balancers from none to \"role=lb\""), "{why}");
    let other = refused(eve.apply(file("production", "env=staging", "")).await.unwrap_err());
    assert!(other.contains("lacks the permission \"policy\" for environment production"), "{other}");

    let values = "[rollout]\nwave = \"50%\"\n[values]\nworkers = 4\n";
    let applied = eve.apply(file("staging", "env=staging", values)).await.unwrap().into_inner();
    assert!(applied.changed);
    alice.apply(file("staging", "env=staging", balanced)).await.unwrap();
    let again = format!("{balanced}{values}");
    assert!(eve.apply(file("staging", "env=staging", &again)).await.unwrap().into_inner().changed);

    let lines = log(&site).await;
    let denied = lines.iter().filter_map(|line| match Chained::parse(line)?.what {
        What::Denied { actor, method, target, .. } if method == "Environments/Apply" => Some((actor, target)),
        _ => None,
    });
    let denied: Vec<(String, String)> = denied.collect();
    assert_eq!(denied.len(), 4, "{denied:#?}");
    assert!(denied.iter().all(|(actor, _)| actor == "eve"), "{denied:#?}");
    let named = "environment staging (environment.selector from \"env=staging\" to \"*\"): staging.toml";
    assert!(denied[1].1.starts_with(named), "{denied:#?}");
    site.stop().await;
}

/// What two people decide is done when both have said so, and both are on record.
#[tokio::test]
async fn what_two_people_decide_waits_for_the_second() {
    let acts = ["users".to_owned(), "Hosts/Remove".to_owned()];
    let site = Site::start_with(|config| config.two_persons = TwoPersons::parse(&acts).unwrap()).await;
    site.enrol(&site.token().await, &HostKey::new(), "web-1").await.unwrap();
    let remove = || pb::RemoveHostRequest { host: "web-1".into() };
    let waits = from_status(&site.hosts().await.remove(remove()).await.unwrap_err());
    assert_eq!(waits.code, Code::W02, "{waits}");
    assert!(waits.message.contains("Nothing was changed") && site.host_names().await == ["web-1"], "{waits}");

    let mut alice = AccessClient::new(site.operator().await);
    let proposals = alice.proposals(pb::ProposalsRequest {}).await.unwrap().into_inner().proposals;
    let [proposal] = &proposals[..] else { panic!("{proposals:?}") };
    assert_eq!((proposal.method.as_str(), proposal.target.as_str()), ("Hosts/Remove", "host web-1"));
    let confirm = || pb::ConfirmRequest { id: proposal.id.clone() };
    let own = from_status(&alice.confirm(confirm()).await.unwrap_err());
    assert!(own.message.contains("is your own"), "{own}");

    // The controller's own machine makes the second: alice alone may not.
    let [bob, eve] = ["bob", "eve"]
        .map(|name| site.machine_operator(name, if name == "bob" { "host-admin" } else { "viewer" }));
    let mut eve = AccessClient::new(site.with_identity(eve).await);
    assert_eq!(from_status(&eve.confirm(confirm()).await.unwrap_err()).code, Code::C02);
    AccessClient::new(site.with_identity(bob).await).confirm(confirm()).await.unwrap();
    site.hosts().await.remove(remove()).await.unwrap();
    assert!(site.host_names().await.is_empty());
    let lines = log(&site).await;
    for said in ["host web-1 (with bob)", "proposed by alice"] {
        assert!(lines.iter().any(|line| line.contains(said)), "no {said} in {lines:#?}");
    }
    // Who said yes is on record, and who tried to and may not as what it was.
    let spoke = lines.iter().filter_map(|line| match Chained::parse(line)?.what {
        What::Event { actor, event, .. } if event == "confirmed" => Some((actor, "yes".to_owned())),
        What::Denied { actor, method, code, .. } if method == "Access/Confirm" => Some((actor, code)),
        _ => None,
    });
    let expected = [("alice", "LS-W02"), ("eve", "LS-C02"), ("bob", "yes")];
    assert_eq!(spoke.collect::<Vec<_>>(), expected.map(|(who, what)| (who.to_owned(), what.to_owned())));
    site.stop().await;
}

/// What is applied already changes nothing: nobody is asked, and the call is on record all the same.
#[tokio::test]
async fn a_file_that_is_applied_already_asks_no_second_person() {
    let acts = ["Environments/Apply".to_owned()];
    let site = Site::start_with(|config| config.two_persons = TwoPersons::parse(&acts).unwrap()).await;
    let mut alice = EnvironmentsClient::new(site.operator().await);
    let mut bob = EnvironmentsClient::new(site.add_operator("bob", &["policy-admin"]).await);
    let mut eve = EnvironmentsClient::new(site.add_operator("eve", &["viewer"]).await);
    let file = |rest: &str| pb::ApplyEnvironmentRequest {
        file: format!("[environment]\nname = \"staging\"\nselector = \"env=staging\"\n{rest}"),
        file_name: "staging.toml".into(),
    };
    let waits = from_status(&alice.apply(file("")).await.unwrap_err());
    assert_eq!(waits.code, Code::W02, "{waits}");
    assert!(bob.apply(file("")).await.unwrap().into_inner().changed);

    assert!(!alice.apply(file("")).await.unwrap().into_inner().changed);
    let proposals = AccessClient::new(site.operator().await).proposals(pb::ProposalsRequest {}).await;
    assert!(proposals.unwrap().into_inner().proposals.is_empty());
    let may_not = from_status(&eve.apply(file("")).await.unwrap_err());
    assert_eq!(may_not.code, Code::C02, "{may_not}");
    let other = from_status(&alice.apply(file("[values]\nworkers = 4\n")).await.unwrap_err());
    assert_eq!(other.code, Code::W02, "{other}");

    let let_in = log(&site).await.into_iter().filter_map(|line| match Chained::parse(&line)?.what {
        What::Allowed { actor, method, .. } if method == "Environments/Apply" => Some(actor),
        _ => None,
    });
    assert_eq!(let_in.collect::<Vec<_>>(), ["bob", "alice"]);
    site.stop().await;
}

/// What `latest` meant when it was proposed, and not what it means when it is done.
#[tokio::test]
async fn two_people_decide_about_one_rollout_however_they_name_it() {
    let acts = ["Rollouts/Steer".to_owned()];
    let site = Site::start_with(|config| config.two_persons = TwoPersons::parse(&acts).unwrap()).await;
    let labels = BTreeMap::from([("env".to_owned(), "prod".to_owned())]);
    site.enrol(&site.token_with(1, labels).await, &HostKey::new(), "web-1").await.unwrap();
    site.apply_environment().await;
    site.publish("1.0").await;
    let id = site.start_rollout("1.0").await;
    let pause = |rollout: &str| pb::SteerRequest {
        rollout: rollout.into(),
        reason: String::new(),
        act: Some(pb::steer_request::Act::Pause(pb::Nothing {})),
    };
    let channel = site.operator().await;
    let waits = RolloutsClient::new(channel.clone()).steer(pause("latest")).await.unwrap_err();
    assert_eq!(from_status(&waits).code, Code::W02, "{waits}");
    let asked = AccessClient::new(channel).proposals(pb::ProposalsRequest {}).await.unwrap().into_inner();
    let [proposal] = &asked.proposals[..] else { panic!("{asked:?}") };
    assert!(proposal.target.ends_with(&format!("pause rollout {id}")), "{}", proposal.target);

    let bob = site.with_identity(site.machine_operator("bob", "deployer")).await;
    RolloutsClient::new(bob).steer(pause(&id[id.len() - 12..])).await.expect("he means the same one");
    site.stop().await;
}

/// Two people agree to one ciphertext for these hosts, told by its digest, and not to whatever is sealed
/// next.
#[tokio::test]
async fn a_secret_that_two_people_decide_is_told_and_bound() {
    let acts = ["Settings/Seal".to_owned()];
    let site = Site::start_with(|config| config.two_persons = TwoPersons::parse(&acts).unwrap()).await;
    let host = site.enrol(&site.token().await, &HostKey::new(), "web-1").await.unwrap().host_id;
    let pieces = |env: &str, text: &str| {
        let text = format!("age-encryption.org/v1\n{text}").into_bytes().into();
        let head = Piece::Head(pb::SealHead { env: env.into(), name: "db_password".into() });
        let row = Piece::Row(pb::SealedFor { host: host.clone(), recipient: "age1qqq".into(), text });
        tokio_stream::iter([head, row].map(|piece| pb::SealPiece { piece: Some(piece) }))
    };
    let mut alice = SettingsClient::new(site.operator().await);
    let waits = from_status(&alice.seal(pieces("production", "ciphertext one")).await.unwrap_err());
    assert_eq!(waits.code, Code::W02, "{waits}");

    let bob = site.with_identity(site.machine_operator("bob", "policy-admin:@production")).await;
    let mut confirmer = AccessClient::new(bob.clone());
    let waiting = confirmer.proposals(pb::ProposalsRequest {}).await.unwrap().into_inner().proposals;
    let [proposal] = &waiting[..] else { panic!("{waiting:?}") };
    let (said, digest) = (proposal.target.clone(), proposal.target.split(", ").nth(1).unwrap());
    let expected = format!("environment production: seal secret db_password, {digest}, for web-1");
    assert!(said == expected && digest.len() == 64, "{said}");
    confirmer.confirm(pb::ConfirmRequest { id: proposal.id.clone() }).await.unwrap();

    let other = from_status(&alice.seal(pieces("production", "ciphertext two")).await.unwrap_err());
    assert_eq!(other.code, Code::W02, "{other}");
    let kept = alice.seal(pieces("production", "ciphertext one")).await.unwrap().into_inner();
    assert_eq!((kept.digest.as_str(), kept.hosts), (digest, 1));
    let elsewhere = SettingsClient::new(bob).seal(pieces("staging", "ciphertext one")).await;
    assert_eq!(from_status(&elsewhere.unwrap_err()).code, Code::C02);
    let lines = log(&site).await;
    assert!(lines.iter().any(|line| line.contains(&format!("{expected} (with bob)"))), "{lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("ciphertext")), "{lines:#?}");
    site.stop().await;
}

/// All of a secret is held before anybody decides about it.
#[tokio::test]
async fn so_many_secrets_are_taken_in_at_a_time() {
    let site = Site::start().await;
    let channel = site.operator().await;
    let seal = || {
        let mut client = SettingsClient::new(channel.clone());
        Box::pin(async move { client.seal(tokio_stream::pending::<pb::SealPiece>()).await.map(drop) })
    };
    let first = futures_util::future::select_all((0..2).map(|_| seal()));
    let (answered, ..) =
        tokio::time::timeout(PATIENCE, first).await.expect("one is refused, the other waits");
    let why = from_status(&answered.unwrap_err());
    assert!(
        why.code == Code::C01
            && why.message.contains("secrets are being taken in by operator alice, one at a time"),
        "{why}"
    );
    site.stop().await;
}

/// Hosts that ask for what is not theirs and tokens that are not good are on record, beside what operators do.
#[tokio::test]
async fn refusals_of_hosts_and_strangers_are_recorded() {
    let site = Site::start().await;
    let key = HostKey::new();
    let token = site.token().await;
    let enrolled = site.enrol(&token, &key, "web-1").await.unwrap();
    HostsClient::new(site.host(&enrolled, &key).await)
        .list(pb::ListHostsRequest::default())
        .await
        .unwrap_err();
    site.enrol(&token, &HostKey::new(), "web-2").await.unwrap_err();
    let lines = log(&site).await;
    let denied = |actor: &str, method: &str, code: &str| {
        lines.iter().filter_map(|line| Chained::parse(line)).any(|entry| {
            matches!(&entry.what, What::Denied { actor: a, method: m, code: c, .. } if a == actor && m == method && c == code)
        })
    };
    assert!(denied(&format!("host {}", enrolled.host_id), "Hosts/List", "LS-C02"), "{lines:#?}");
    assert!(denied("127.0.0.1", "Enrolment/Enroll", "LS-E02"), "{lines:#?}");
    assert!(
        lines.iter().any(|line| line.contains("\"event\":\"enrolled\"") && line.contains("web-1")),
        "{lines:#?}"
    );
    assert!(
        lines.iter().all(|line| !line.contains(token.split('.').nth(2).unwrap())),
        "a secret is in the log"
    );
    site.stop().await;
}

/// Whoever was let in for a day does not stay for longer by logging in.
#[tokio::test]
async fn a_login_lasts_no_longer_than_the_operator_was_added_for() {
    const DAY_MS: u64 = 86_400_000;
    let site = Site::start().await;
    let key = HostKey::new();
    let request = pb::AddUserRequest {
        name: "bob".into(),
        grants: vec!["viewer".into()],
        csr_der: key.csr().into(),
        ttl_ms: DAY_MS,
    };
    let added = AccessClient::new(site.operator().await).add_user(request).await.unwrap().into_inner();
    let identity = LiveIdentity::new(&added.certificate_pem, key.pair.serialize_pem().as_bytes()).unwrap();
    let bob = site.with_identity(identity).await;
    let login = async |channel: &Channel, ttl_ms: u64| {
        let request = pb::LoginRequest { csr_der: HostKey::new().csr().into(), ttl_ms };
        let reply = AccessClient::new(channel.clone()).login(request).await;
        let left = reply.map(|reply| reply.into_inner().not_after_ms - SystemClock.now_ms());
        left.map(|left| left as u64).map_err(|status| from_status(&status))
    };
    let about = |left: u64, meant: u64| left.abs_diff(meant) < 60_000;
    assert!(about(login(&bob, 0).await.unwrap(), DAY_MS));
    assert!(about(login(&bob, DAY_MS / 2).await.unwrap(), DAY_MS / 2));
    let longer = login(&bob, DAY_MS + 60_000).await.unwrap_err();
    assert_eq!(longer.code, Code::V01);
    assert!(longer.message.contains("a certificate lives from 1m to 1d, not"), "{longer}");
    let shorter = login(&bob, 59_999).await.unwrap_err();
    assert_eq!(shorter.code, Code::V01, "{shorter}");
    // Alice made the controller, and nobody said how long for.
    assert!(about(login(&site.operator().await, 0).await.unwrap(), 90 * DAY_MS));
    site.stop().await;
}
