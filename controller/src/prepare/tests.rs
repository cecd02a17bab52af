//! Plans by a fleet of agents that are driven by hand: made, kept, found, started, refused.

mod gates;
mod people;
mod secrets;
mod sides;
mod unwell;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use longshore_common::{
    bundle::Index,
    code::Code,
    manifest::{Manifest, Requires},
    time::{Clock as _, ManualClock, SystemClock},
    trust::{FLEET, Listed, SigningKey, TARGETS_LIFE_MS, author, author::RootDraft},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Begin, Planner, What, Wish, keep};
use crate::{
    approval::{Answer, Approval},
    bundle::{BLOCK_CACHE_BYTES, BundleStore, Release},
    engine::Engine,
    environments::{
        self,
        approve::{self, Asked},
    },
    fleet::{Fleet, Heartbeat},
    gate::OwnFiles,
    plan::{Check, tests::setup},
    rollout::{Outcome, Phase},
    store::{Key, MemoryStore, SharedStore, Txn, record},
    testing::{self, HandAgent},
    trouble::Trouble,
    trust::{TrustCheck, TrustDesk, at_desk},
};

/// Nothing here takes longer; what does is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

const FILE: &str = r#"
[environment]
name = "production"
selector = "env=prod"
[rollout]
canary = 1
canary_bake = "0s"
wave = "100%"
bake = "0s"
max_unavailable = "100%"
[plan]
deadline = "1m"
"#;

struct Site {
    planner: Planner,
    agents: Vec<HandAgent>,
    /// Of what is signed.
    desk_clock: ManualClock,
    _dir: tempfile::TempDir,
}

impl Site {
    async fn start(hosts: usize) -> Self {
        Self::start_owning(hosts, OwnFiles::default()).await
    }

    /// With files of the controller's own.
    async fn start_owning(hosts: usize, own: OwnFiles) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: SharedStore = Arc::new(MemoryStore::new());
        let (clock, stop) = (Arc::new(SystemClock), CancellationToken::new());
        let agents: Vec<HandAgent> =
            (0..hosts).map(|n| HandAgent::new(&format!("web-{n:03}"), &[])).collect();
        for agent in &agents {
            agent.enrol(&store).await;
        }
        // A machine that stands still is not taken for the agents' silence.
        let beat = Heartbeat { every: Duration::from_millis(200), missed: 600 };
        let (fleet, events) = Fleet::start(store.clone(), clock.clone(), beat, stop.clone()).await.unwrap();
        let engine =
            Engine::start_all(store.clone(), clock.clone(), fleet.clone(), events, own, stop.clone())
                .await
                .unwrap();
        let desk_clock = ManualClock::at(SystemClock.now_ms());
        let bundle = BundleStore::open(dir.path(), BLOCK_CACHE_BYTES).unwrap();
        let desk = TrustDesk::open(&dir.path().join("trust"), Arc::new(desk_clock.clone())).unwrap();
        let signed = TrustCheck { desk, store: store.clone(), bundle: bundle.clone() };
        let planner = Planner { store, clock, fleet: fleet.clone(), engine, bundle, signed };
        let site = Self { planner, agents, desk_clock, _dir: dir };
        site.apply(FILE).await;
        for version in ["1.0", "1.1"] {
            site.publish(version).await;
        }
        for agent in &site.agents {
            tokio::spawn(agent.clone().live_with(fleet.clone()));
        }
        site.connected(hosts).await;
        site
    }

    async fn connected(&self, hosts: usize) {
        for _ in 0..PATIENCE.as_millis() / 5 {
            if self.planner.fleet.presence().connected_count() == hosts {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not every agent connected");
    }

    async fn apply(&self, file: &str) {
        let alice = "alice".parse().unwrap();
        environments::apply(&self.planner.store, &testing::tell(), "production.toml", file, &alice, 0)
            .await
            .unwrap();
    }

    async fn publish(&self, version: &str) {
        let requires = Requires { commands: vec!["openssl".into()], ..Requires::default() };
        let manifest: Manifest = (*setup::release(version, requires, &[]).manifest).clone();
        self.publish_as(version, &manifest).await;
    }

    async fn publish_as(&self, version: &str, manifest: &Manifest) {
        let index = Index::new(vec![]).unwrap();
        let named = &self.planner.bundle.named;
        let release = Release {
            app: "shop".parse().unwrap(),
            version: version.parse().unwrap(),
            digest: named.put_manifest(&manifest.to_bytes()).unwrap(),
            index: named.put_index(&index).unwrap(),
            published_ms: 0,
            published_by: "alice".into(),
            files: 0,
            bytes: 0,
            wire_bytes: 0,
            withdrawn: None,
        };
        let key = Key::release(&release.app, &release.version);
        let value = record::encode(&key, &release).unwrap();
        self.planner.store.commit(Txn::new().put(key, value)).await.unwrap();
    }

    /// The fleet and the app have roots from now on, and this release is on the list.
    async fn sign(&self, version: &str) {
        let (app, version) = ("shop".parse().unwrap(), version.parse().unwrap());
        let (release, _) = crate::bundle::load(&*self.planner.store, &app, &version).await.unwrap().unwrap();
        let length = self.planner.bundle.named.manifest(&release.digest).unwrap().len() as u64;
        let (desk, key) = (&self.planner.signed.desk, SigningKey::from_seed([1; 32]));
        let (online, now) = (desk.online_key(), self.desk_clock.now_ms());
        let only = || (1, BTreeSet::from([key.public()]));
        let mut list = author::empty_catalog("shop");
        list.releases.insert(1, Listed { seq: 1, version, digest: release.digest, length });
        list.next_seq = 2;
        for list in [author::empty_catalog(FLEET), list] {
            let app = list.app.clone();
            let draft = RootDraft { app: app.clone(), version: 1, org: only(), release: only(), online };
            let root = author::sign(&author::root(&draft, now), &key).unwrap();
            let signed = author::sign(&author::targets(&list, now), &key).unwrap();
            at_desk(desk, move |desk| desk.submit(&app, "alice", vec![root], signed)).await.unwrap();
        }
    }

    async fn plan(&self, version: &str) -> crate::plan::Plan {
        self.planner.make(&wish(version), &"alice".parse().unwrap()).await.unwrap()
    }

    async fn begin(&self, what: What, overrides: &[(&str, &str)]) -> Result<Outcome, Trouble> {
        let overrides = overrides.iter().map(|(name, why)| ((*name).to_owned(), (*why).to_owned())).collect();
        let begin = Begin {
            what,
            request_id: Uuid::new_v4(),
            by: "bob".parse().unwrap(),
            reason: String::new(),
            at: String::new(),
            overrides,
        };
        let id = self.planner.begin(begin).await?;
        for _ in 0..PATIENCE.as_millis() / 5 {
            if let Phase::Done(done) = self.planner.engine.view(&id).await?.rollout.phase() {
                return Ok(done.outcome);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not done: {:#?}", self.planner.engine.view(&id).await?.holds);
    }
}

fn wish(version: &str) -> Wish {
    Wish {
        app: "shop".parse().unwrap(),
        version: version.parse().unwrap(),
        env: "production".parse().unwrap(),
    }
}

async fn kept(store: &SharedStore, plan: crate::plan::Plan) -> crate::plan::Plan {
    keep::keep(store, &"alice".parse().unwrap(), |_| plan.clone()).await.unwrap()
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Trouble>) -> (Code, String) {
    let coded = result.unwrap_err().coded();
    (coded.code, coded.message)
}

#[tokio::test]
async fn a_plan_is_made_found_and_followed() {
    let site = Site::start(3).await;
    let plan = site.plan("1.0").await;
    assert_eq!((plan.waves.len(), plan.failed.len(), plan.hosts.len()), (2, 0, 3));
    let digest = plan.digest.hex();
    for name in [&digest, &digest[..6], "latest"] {
        assert_eq!(site.planner.find(name).await.unwrap(), plan);
    }
    let done = site.begin(What::Plan(digest[..8].to_owned()), &[]).await.unwrap();
    assert_eq!(done, Outcome::Succeeded);
    let record = site.planner.engine.records().await.unwrap().remove(0);
    assert_eq!(record.plan, Some(plan.digest));
    let kept = site.planner.list().await.unwrap().remove(0);
    assert_eq!((kept.rollout, kept.made_by.as_str()), (Some(record.header.id), "alice"));
    // Scenario 118: now there is nothing to do, and it is said so.
    let again = site.plan("1.0").await;
    assert!(again.is_nothing_to_do());
    assert_eq!(site.begin(What::Wish(wish("1.0")), &[]).await.unwrap(), Outcome::NothingToDo);
    assert_eq!(site.plan("1.1").await.duration.learnt_from, 1);
}

/// Hosts would take nothing new by documents that have run out: a plan names each, with who renews it.
#[tokio::test]
async fn documents_that_have_run_out_stop_a_plan() {
    let site = Site::start(1).await;
    site.sign("1.0").await;
    assert_eq!(site.plan("1.0").await.failed, []);
    site.desk_clock.advance(Duration::from_millis(TARGETS_LIFE_MS as u64));
    let plan = site.plan("1.0").await;
    let told: Vec<_> = plan.failed.iter().map(|failed| (failed.check, failed.what.as_str())).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for ((check, what), app) in told.iter().zip(["fleet", "shop"]) {
        assert_eq!(*check, Check::Signed);
        assert!(what.starts_with(&format!("targets.json of {app} expired at 2")), "{what}");
        assert!(what.contains(&format!("longshore trust rotate {app} (whoever has")), "{what}");
    }
    let (_, message) = refusal(site.begin(What::Wish(wish("1.0")), &[]).await);
    assert!(message.contains("targets.json of fleet expired"), "{message}");
    assert_eq!(site.plan("1.0").await.digest, plan.digest, "nothing has moved");
}

#[tokio::test]
async fn a_plan_is_refused_when_the_world_has_moved() {
    let site = Site::start(2).await;
    let plan = site.plan("1.0").await;
    site.apply(&FILE.replace("canary = 1", "canary = 2")).await;
    let (code, message) = refusal(site.begin(What::Plan(plan.digest.hex()), &[]).await);
    assert_eq!(code, Code::R03);
    for part in [
        "the file of environment production was applied anew",
        "1 host would be moved in another wave: web-001",
    ] {
        assert!(message.contains(part), "{part}\nis not in\n{message}");
    }
    let new = site.planner.find("latest").await.unwrap();
    assert!(message.contains(&format!("longshore plan show {}", new.digest.short())), "{message}");
    assert_eq!(site.begin(What::Plan(new.digest.hex()), &[]).await.unwrap(), Outcome::Succeeded);
    // The same plan a second time: what is live has moved.
    let (code, message) = refusal(site.begin(What::Plan(new.digest.hex()), &[]).await);
    assert_eq!(code, Code::R03);
    assert!(message.contains("what is live was nothing, and is 1.0"), "{message}");
}

#[tokio::test]
async fn what_does_not_hold_stops_it_unless_the_environment_lets_somebody_override_it() {
    let site = Site::start(2).await;
    *site.agents[1].lacks.lock().unwrap() = vec!["openssl".into()];
    let (code, message) = refusal(site.begin(What::Wish(wish("1.0")), &[]).await);
    assert_eq!(code, Code::R04);
    assert!(message.contains("commands: 1 host has not every command"), "{message}");
    assert!(message.contains("web-001: has no openssl") && !message.contains("--override"), "{message}");
    let because = [("commands", "it is in the image")];
    let (code, message) = refusal(site.begin(What::Wish(wish("1.0")), &because).await);
    assert_eq!(code, Code::R04);
    assert!(message.contains("does not allow to override \"commands\""), "{message}");

    for (at, says) in [("2020-01-01", "is past"), ("yesterday", "is no time")] {
        let begin = Begin {
            what: What::Wish(wish("1.0")),
            request_id: Uuid::new_v4(),
            by: "bob".parse().unwrap(),
            reason: String::new(),
            at: at.to_owned(),
            overrides: vec![],
        };
        let (code, message) = refusal(site.planner.begin(begin).await);
        assert_eq!(code, Code::V01, "what was typed goes before what the world lacks: {message}");
        assert!(message.contains(says), "{message}");
    }

    site.apply(&format!("{FILE}overrides = [\"commands\"]\n")).await;
    let (_, message) = refusal(site.begin(What::Wish(wish("1.0")), &[]).await);
    assert!(message.contains("--override commands --reason"), "{message}");
    let (code, _) = refusal(site.begin(What::Wish(wish("1.0")), &[("commands", " ")]).await);
    assert_eq!(code, Code::V01);
    let (code, message) = refusal(site.begin(What::Wish(wish("1.0")), &[("command", "x")]).await);
    assert_eq!(code, Code::V01);
    assert!(message.contains("a precondition is one of withdrawn"), "{message}");
    assert_eq!(site.begin(What::Wish(wish("1.0")), &because).await.unwrap(), Outcome::Succeeded);
    let record = site.planner.engine.records().await.unwrap().remove(0);
    assert_eq!(record.overrides[0].reason, "it is in the image");
}

#[tokio::test]
async fn strange_digests_are_refused() {
    let site = Site::start(1).await;
    for text in ["latest", "1234abcd", "1", "zzzz", "../../etc", &"0".repeat(64)] {
        let (code, message) = refusal(site.planner.find(text).await);
        assert_eq!(code, Code::N01, "{text}");
        assert!(message.contains("longshore plan APP@VERSION --to ENV"), "{message}");
    }
    let nowhere = Wish { env: "nowhere".parse().unwrap(), ..wish("1.0") };
    let by = "alice".parse().unwrap();
    assert_eq!(refusal(site.planner.make(&nowhere, &by).await).0, Code::N01);
    assert_eq!(refusal(site.planner.make(&wish("7.7"), &by).await).0, Code::N01);
    site.apply(&FILE.replace("env=prod", "env=nothing")).await;
    let (code, message) = refusal(site.planner.make(&wish("1.0"), &by).await);
    assert_eq!(code, Code::R01);
    assert!(message.contains("no host matches the selector \"env=nothing\""), "{message}");
}

/// A silent host is unknown within the deadline, named, and does not hold up the plan.
#[tokio::test]
async fn a_host_that_is_away_is_unknown() {
    let site = Site::start(1).await;
    let away = HandAgent::new("web-away", &[]);
    away.enrol(&site.planner.store).await;
    let plan = site.plan("1.0").await;
    assert_eq!(plan.hosts.len(), 2);
    assert!(plan.remarks.iter().any(|remark| remark.contains("unknown") && remark.contains("web-away")));
}

#[tokio::test]
async fn a_plan_of_a_large_fleet_is_kept_whole_and_old_ones_go() {
    let store: SharedStore = Arc::new(MemoryStore::new());
    let fleet: Vec<String> = (0..9000).map(|n| format!("web-{n}")).collect();
    let mut world = setup::world(&fleet.join(" "));
    let large = kept(&store, crate::plan::plan(&world)).await;
    assert!(keep::list(&store).await.unwrap()[0].pages > 1, "it takes several pages");
    assert_eq!(keep::find(&store, &large.digest.hex()).await.unwrap(), large);
    world.hosts.truncate(2);
    for number in 0..40 {
        world.made_ms += 1;
        world.target.values.insert("n".into(), number.to_string());
        kept(&store, crate::plan::plan(&world)).await;
    }
    assert_eq!(keep::list(&store).await.unwrap().len(), super::PLANS_KEPT);
    assert_eq!(refusal(keep::find(&store, &large.digest.hex()).await).0, Code::N01);
}

/// Whoever may look may make plans, and so pushes out no plan, and no word about one, that others have agreed to.
#[tokio::test]
async fn what_people_agreed_to_is_kept_however_many_plans_are_made_after_it() {
    let store: SharedStore = Arc::new(MemoryStore::new());
    let mut world = setup::world("web-1 web-2");
    let plan = kept(&store, crate::plan::plan(&world)).await;
    let word = Approval {
        by: "bob".parse().unwrap(),
        at: plan.made_ms,
        answer: Answer::Approved,
        reason: String::new(),
    };
    let asked = |plan: &crate::plan::Plan, said| Asked {
        plan: plan.digest,
        app: plan.app.clone(),
        version: plan.to.version.clone(),
        env: plan.env.clone(),
        author: "alice".parse().unwrap(),
        asked_ms: plan.made_ms,
        said,
        used: false,
    };
    approve::ask(&store, asked(&plan, vec![word])).await.unwrap();
    for number in 0..510 {
        world.made_ms += 1;
        world.target.values.insert("n".into(), number.to_string());
        let other = crate::plan::plan(&world);
        approve::ask(&store, asked(&other, vec![])).await.unwrap();
        if number < 40 {
            kept(&store, other).await;
        }
    }
    assert_eq!(keep::find(&store, &plan.digest.hex()).await.unwrap(), plan);
    let (known, _) = approve::get(&store, &plan.digest).await.unwrap().expect("it is asked about still");
    assert_eq!(known.said.len(), 1);
    assert_eq!(approve::list(&store).await.unwrap().len(), 500);
}

/// What a gate needs and is not there is said before anything is touched, unless the gate may go on without it.
#[tokio::test]
async fn a_gate_that_could_never_open_is_known_before() {
    let site = Site::start(2).await;
    let gates = "[[gate]]\nname = \"smoke\"\nkind = \"test\"\nafter = \"canary\"\ntest = \"smoke\"\non = \"web-000\"\n\
                 [[gate]]\nname = \"reach\"\nkind = \"probe\"\nafter = \"canary\"\n\
                 [[gate.reach]]\ntcp = \"$address:80\"\nfrom = [\"web-001\", \"web-9\"]\n";
    site.apply(&format!("{FILE}{gates}")).await;
    let said: Vec<String> = site.plan("1.0").await.failed.into_iter().map(|failed| failed.what).collect();
    assert_eq!(
        said,
        [
            "gate smoke runs test smoke, and shop@1.0 has no such [[test]]; it has none",
            "gate reach looks from web-9, and there is no such host. See: longshore host list"
        ]
    );
    let (_, message) = refusal(site.begin(What::Wish(wish("1.0")), &[("runner", "never mind")]).await);
    assert!(message.contains("runner"), "{message}");
    let gates = gates.replace("kind = \"test\"", "kind = \"test\"\non_inconclusive = \"continue\"");
    site.apply(&format!("{FILE}{}", gates.replace(", \"web-9\"", ""))).await;
    assert_eq!(site.plan("1.0").await.failed, []);
}

/// A host of no environment that is lent the release for a test is asked for what holding it takes.
#[tokio::test]
async fn a_plan_asks_whoever_runs_a_test() {
    let site = Site::start(1).await;
    let mut runner = HandAgent::new("ta7", &[]);
    runner.host.labels = [("env".to_owned(), "ci".to_owned())].into();
    let why = "secret api_token: this host has no credential api-token".to_owned();
    runner.refuses = Some(why.clone());
    runner.enrol(&site.planner.store).await;
    let gate = "[[gate]]\nname = \"smoke\"\nkind = \"test\"\nafter = \"canary\"\ntest = \"smoke\"\non = \"ta7\"\n\
                on_inconclusive = \"continue\"\n";
    site.apply(&format!("{FILE}{gate}")).await;
    let said = |plan: crate::plan::Plan| {
        let said = |failed: crate::plan::Failed| {
            assert_eq!(failed.check, Check::Runner);
            (failed.what, failed.hosts.into_iter().map(|fault| fault.what).collect::<Vec<_>>())
        };
        plan.failed.into_iter().map(said).collect::<Vec<_>>()
    };
    let away = "gate smoke runs its test on ta7, which did not answer. See: longshore host show ta7";
    assert_eq!(said(site.plan("1.0").await), [(away.to_owned(), Vec::<String>::new())]);
    tokio::spawn(runner.clone().live_with(site.planner.fleet.clone()));
    site.connected(2).await;
    let lacks = "gate smoke runs its test on ta7, which would not take shop@1.0";
    assert_eq!(said(site.plan("1.0").await), [(lacks.to_owned(), vec![why])]);
    site.apply(&format!("{FILE}{gate}on_no_data = \"continue\"\n")).await;
    assert_eq!(said(site.plan("1.0").await), []);
}

/// Before anything begins every balancer is asked whether it could do what it will be told.
#[tokio::test]
async fn a_plan_asks_the_balancers() {
    let site = Site::start(2).await;
    let mut lb = HandAgent::new("lb", &[]);
    lb.host.labels = [("role".to_owned(), "lb".to_owned())].into();
    lb.enrol(&site.planner.store).await;
    site.apply(&format!(
        "{FILE}overrides = [\"traffic\"]\n[traffic]\ndriver = \"haproxy\"\nbackend = \"shop\"\nbalancers = \"role=lb\"\n"
    ))
    .await;
    let failed = |plan: crate::plan::Plan| {
        let told = |failed: &crate::plan::Failed| {
            (failed.check, failed.hosts[0].host.to_string(), failed.hosts[0].what.clone())
        };
        plan.failed.iter().map(told).collect::<Vec<_>>()
    };
    let away = failed(site.plan("1.0").await);
    assert_eq!(away.len(), 1);
    assert!(
        away[0].0 == Check::Traffic && away[0].1 == "lb" && away[0].2.contains("did not answer"),
        "{away:?}"
    );

    tokio::spawn(lb.clone().live_with(site.planner.fleet.clone()));
    site.connected(3).await;
    assert_eq!(failed(site.plan("1.0").await), []);
    let stopped = "HAProxy at /s cannot be asked: is it running?".to_owned();
    lb.misdirects.lock().unwrap().push(stopped.clone());
    assert_eq!(failed(site.plan("1.0").await), [(Check::Traffic, "lb".to_owned(), stopped)]);
    let refused = refusal(site.begin(What::Wish(wish("1.0")), &[]).await);
    assert_eq!(refused.0, Code::R04);
    assert!(refused.1.contains("lb: HAProxy at /s cannot be asked: is it running?"), "{}", refused.1);
    let done =
        site.begin(What::Wish(wish("1.0")), &[("traffic", "it is started in a minute")]).await.unwrap();
    assert_eq!(done, Outcome::Succeeded);
}
