//! Windows, freezes, locks, schedules, promotion and approvals, with hosts that obey.

use longshore_common::{
    code::Code,
    digest::{PlanDigest, ReleaseDigest},
    time::Millis,
};

use super::{
    super::{
        permit::{Wanted, permit},
        records::Overridden,
    },
    turn::{HOURS, NEARLY_AN_HOUR, after, later, reason},
    *,
};
use crate::{
    access,
    approval::{Answer, Approval},
    environments::{
        approve::{self, Asked},
        freeze::{self, Frozen},
        lock::{self, Force, Locked, Scope},
    },
    notify::{Kind, outbox},
};

pub(super) fn env() -> longshore_common::ids::EnvName {
    "production".parse().unwrap()
}

pub(super) fn now() -> Millis {
    SystemClock.now_ms()
}

pub(super) fn frozen(until_ms: Option<Millis>) -> Frozen {
    Frozen {
        by: "eve".parse().unwrap(),
        reason: "stock-taking".to_owned(),
        at_ms: now(),
        from_ms: now(),
        until_ms,
        rollback: None,
    }
}

async fn apply(store: &SharedStore, more: &str) -> Result<(), crate::trouble::Trouble> {
    let file = format!("{FILE}{more}");
    environments::apply(store, &testing::tell(), "production.toml", &file, &"alice".parse().unwrap(), now())
        .await
        .map(|_| ())
}

pub(super) async fn fleet(count: usize) -> (Vec<HandAgent>, SharedStore, Controller) {
    let agents = fleet_of(count, &[]);
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    (agents, store, controller)
}

impl Controller {
    pub(super) async fn holds(&self, id: RolloutId, kind: &str) -> String {
        for _ in 0..PATIENCE.as_millis() / 5 {
            let view = self.engine.view(&id).await.unwrap();
            if let Some(hold) = view.holds.iter().find(|hold| hold.kind.as_str() == kind) {
                return format!("{} [{}]", hold.what, hold.command.as_deref().unwrap_or("-"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never holds for {kind}");
    }

    async fn refused(&self, request: StartRequest) -> (Code, String) {
        let refused = self.engine.start(request).await.unwrap_err().coded();
        (refused.code, refused.message)
    }
}

#[tokio::test]
async fn a_frozen_environment_is_left_alone_until_it_is_lifted() {
    let (agents, store, controller) = fleet(2).await;
    freeze::freeze(&store, &env(), frozen(None), now()).await.unwrap();
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    let hold = controller.holds(id, "closed").await;
    assert_eq!(
        hold,
        "production is closed: frozen by eve: stock-taking (until somebody ends it) [longshore env unfreeze production]"
    );
    assert!(agents.iter().all(|agent| agent.runs("shop").is_none()));
    let again = freeze::freeze(&store, &env(), frozen(None), now()).await.unwrap_err().coded();
    assert_eq!(again.code, Code::W01);
    freeze::unfreeze(&store, &env(), now()).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    everywhere(&agents, "1.0");
}

/// What nobody uses any more can be taken away, what is used cannot; and nothing of it is left for a new one of its name.
#[tokio::test]
async fn an_environment_goes_when_nobody_uses_it() {
    let (agents, store, controller) = fleet(1).await;
    let remove =
        async || environments::remove::remove(&store, &env()).await.map_err(|trouble| trouble.coded());
    let refused = remove().await.unwrap_err();
    assert!(refused.code == Code::R01 && refused.message.contains("has hosts: web-000"), "{refused}");
    let first = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(first).await, Outcome::Succeeded);
    let by = "alice".parse().unwrap();
    let nobody = FILE.replace("env=prod", "env=retired");
    environments::apply(&store, &testing::tell(), "production.toml", &nobody, &by, now()).await.unwrap();
    let after = "[environment]\nname = \"other\"\nselector = \"env=other\"\n[[promotion.after]]\nenv = \"production\"\n";
    environments::apply(&store, &testing::tell(), "other.toml", after, &by, now()).await.unwrap();
    let refused = remove().await.unwrap_err();
    assert!(refused.message.contains("environment other demands"), "{refused}");
    environments::remove::remove(&store, &"other".parse().unwrap()).await.unwrap();
    freeze::freeze(&store, &env(), frozen(None), now()).await.unwrap();
    remove().await.unwrap();
    assert_eq!(remove().await.unwrap_err().code, Code::N01);
    everywhere(&agents, "1.0");
    apply(&store, "").await.unwrap();
    assert_eq!(live(&store).await, None);
    assert!(freeze::get(&store, &env()).await.unwrap().is_none(), "the freeze went with it");
    controller.stop.cancel();
}

/// It opens by itself, when the calendar says so.
#[tokio::test]
async fn a_freeze_ends_when_its_time_is_over() {
    let (agents, store, controller) = fleet(1).await;
    freeze::freeze(&store, &env(), frozen(Some(now() + 3_600_000)), now()).await.unwrap();
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    controller.holds(id, "closed").await;
    let controller = after(controller, &store, NEARLY_AN_HOUR, &agents).await;
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    everywhere(&agents, "1.0");
}

/// A file that is applied while a rollout is under way counts at once, and across a restart.
#[tokio::test]
async fn a_window_that_is_applied_closes_at_once_and_a_restart_changes_nothing() {
    let (agents, store, controller) = fleet(1).await;
    let never =
        "[calendar]\n[[calendar.window]]\nname = \"far\"\nfrom = \"2091-01-01\"\nto = \"2091-01-02\"\n";
    let refused = apply(&store, never).await.unwrap_err().to_string();
    assert!(refused.contains("calendar: it never opens in the next year"), "{refused}");
    let later =
        "[calendar]\n[[calendar.freeze]]\nname = \"now\"\nfrom = \"2020-01-01\"\nto = \"2099-01-01\"\n";
    assert!(apply(&store, later).await.is_err(), "frozen for good");
    freeze::freeze(&store, &env(), frozen(None), now()).await.unwrap();
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    controller.holds(id, "closed").await;
    controller.stop.cancel();
    let second = Controller::start(store.clone()).await;
    second.connect(&agents);
    second.holds(id, "closed").await;
    assert!(agents[0].runs("shop").is_none());
    freeze::unfreeze(&store, &env(), now()).await.unwrap();
    assert_eq!(second.done(id).await, Outcome::Succeeded);
}

/// Scenario 98.
#[tokio::test]
async fn a_lock_says_who_when_and_why_and_frees_when_released() {
    let (_agents, store, controller) = fleet(1).await;
    let scope = Scope { env: env(), app: Some("shop".parse().unwrap()) };
    let by = "eve".parse().unwrap();
    let locked = Locked { by, reason: "moving the database".to_owned(), since_ms: now() };
    lock::lock(&store, &scope, locked.clone()).await.unwrap();
    assert!(lock::lock(&store, &scope, locked).await.is_err(), "twice");
    let (code, message) = controller.refused(request(Some("1.0"))).await;
    assert_eq!(code, Code::W01);
    for part in [
        "shop in production is locked by eve",
        "moving the database",
        "longshore env unlock production --app shop",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    let alice = "alice".parse().unwrap();
    assert!(lock::unlock(&store, &scope, &alice, Force::Own).await.is_err(), "it is eve's");
    lock::unlock(&store, &scope, &alice, Force::Anybodys).await.unwrap();
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
}

/// Scenario 93: future, past, none, and not what is not ready.
#[tokio::test]
async fn a_rollout_begins_when_it_was_told_to() {
    let (agents, store, controller) = fleet(1).await;
    let at = |at: &str| StartRequest { at: at.to_owned(), ..request(Some("1.0")) };
    let (code, message) = controller.refused(at("2020-01-01 00:00")).await;
    assert_eq!(code, Code::V01);
    assert!(message.contains("is past"), "{message}");
    assert_eq!(controller.refused(at("soon")).await.0, Code::V01);

    let soon = controller.engine.start(at("+300ms")).await.unwrap();
    assert_eq!(controller.done(soon).await, Outcome::Succeeded);

    let late = controller.engine.start(later("1.1", "+1h")).await.unwrap();
    let hold = controller.holds(late, "not-started").await;
    assert!(hold.starts_with("it was made to begin later"), "{hold}");
    withdraw(&store, "1.1").await;
    let controller = after(controller, &store, HOURS, &agents).await;
    assert_eq!(controller.done(late).await, Outcome::Aborted);
    let why = reason(&controller, late).await;
    assert!(why.contains("bob withdrew the release"), "{why}");
    everywhere(&agents, "1.0");
}

async fn withdraw(store: &SharedStore, version: &str) {
    let (app, version) = ("shop".parse().unwrap(), version.parse().unwrap());
    let (release, _) = crate::bundle::load(&**store, &app, &version).await.unwrap().unwrap();
    let withdrawn =
        Some(crate::bundle::Withdrawal { by: "bob".into(), reason: "loses orders".into(), at_ms: 0 });
    let key = Key::release(&app, &version);
    let value = record::encode(&key, &Release { withdrawn, ..release }).unwrap();
    store.commit(Txn::new().put(key, value)).await.unwrap();
}

/// Scenarios 18 and 19 with windows: what waits for one is not late.
#[tokio::test]
async fn a_release_comes_to_production_by_way_of_staging() {
    let (agents, store, controller) = fleet(1).await;
    let staging = FILE.replace("production", "staging");
    let alice = "alice".parse().unwrap();
    let after = |lived: &str| {
        format!(
            "[promotion]\norder = \"production\"\n[[promotion.after]]\nenv = \"staging\"\nlived = \"{lived}\"\n"
        )
    };
    let early = apply(&store, &after("0s")).await.unwrap_err().coded();
    assert_eq!(early.code, Code::N01, "the file is sound: {early}");
    assert!(early.message.contains("there is no environment staging"), "{early}");
    environments::apply(&store, &testing::tell(), "staging.toml", &staging, &alice, 0).await.unwrap();
    apply(&store, &after("0s")).await.unwrap();
    let circle = format!("{staging}[[promotion.after]]\nenv = \"production\"\n");
    let circle = environments::apply(&store, &testing::tell(), "staging.toml", &circle, &alice, 0)
        .await
        .unwrap_err()
        .to_string();
    assert!(circle.contains("it goes in a circle: staging after production after staging"), "{circle}");

    let (code, message) = controller.refused(request(Some("1.0"))).await;
    assert_eq!(code, Code::W03);
    assert!(message.contains("no rollout of this release has succeeded in staging"), "{message}");
    let there = StartRequest { env: "staging".parse().unwrap(), ..request(Some("1.0")) };
    let id = controller.engine.start(there).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    apply(&store, &after("1h")).await.unwrap();
    let (_, message) = controller.refused(request(Some("1.0"))).await;
    assert!(message.contains("1h are asked for; it still is, so wait until"), "{message}");
    apply(&store, &after("0s")).await.unwrap();
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert!(matches!(controller.done(id).await, Outcome::Succeeded | Outcome::NothingToDo));
    everywhere(&agents, "1.0");
}

/// Scenario 91.
#[tokio::test]
async fn a_plan_starts_when_others_agree_to_it() {
    let (_agents, store, controller) = fleet(1).await;
    apply(&store, "[approval]\ncount = 1\nexpires = \"1h\"\n").await.unwrap();
    let (code, message) = controller.refused(request(Some("1.0"))).await;
    assert_eq!(code, Code::W02);
    assert!(message.contains("longshore plan APP@VERSION --to production"), "{message}");
    let plan = PlanDigest::of(b"a plan");
    let asked = Asked {
        plan,
        app: "shop".parse().unwrap(),
        version: "1.0".parse().unwrap(),
        env: env(),
        author: "alice".parse().unwrap(),
        asked_ms: now(),
        said: vec![],
        used: false,
    };
    approve::ask(&store, asked.clone()).await.unwrap();
    let latest = approve::find(&store, "latest").await.unwrap_err().coded();
    let newest = format!("the newest is {} (shop@1.0 to {})", plan.short(), env());
    assert!(latest.code == Code::V01 && latest.message.contains(&newest), "{latest}");
    let (environment, _) = environments::load(&store, &env()).await.unwrap();
    let (app, starter) = ("shop".parse().unwrap(), "alice".parse().unwrap());
    let wanted = Wanted {
        environment: &environment,
        app: &app,
        release: ReleaseDigest([1; 32]),
        back: false,
        plan: Some(&plan),
        by: &starter,
        overrides: &[],
        at: now(),
    };
    let refused = async || permit(&store, &wanted, &[], now()).await.expect_err("refused").coded().message;
    assert!(refused().await.contains("lacks 1 more"));
    let word =
        |by: &str, answer| Approval { by: by.parse().unwrap(), at: now(), answer, reason: "no".to_owned() };
    let own = approve::say(&store, &plan, word("alice", Answer::Approved)).await.unwrap_err().coded();
    assert_eq!(own.code, Code::W02);
    assert!(own.message.contains("whoever made the plan cannot approve it"), "{own}");
    approve::say(&store, &plan, word("bob", Answer::Denied)).await.unwrap();
    assert!(refused().await.contains("was denied by bob: no"));
    approve::say(&store, &plan, word("bob", Answer::Approved)).await.unwrap();
    let bob = "bob".parse().unwrap();
    let rights = |grants: access::Grants| {
        access::change(&store, &bob, move |user| {
            user.grants = grants.clone();
            Ok(())
        })
    };
    let elsewhere = access::Grants(vec!["approver:@staging".parse().unwrap()]);
    rights(elsewhere).await.unwrap();
    assert!(refused().await.contains("lacks 1 more"), "bob may no longer approve here");
    let message = approve::say(&store, &plan, word("bob", Answer::Approved)).await.unwrap_err().to_string();
    assert!(message.contains("bob may not approve this"), "{message}");
    rights(access::Grants(vec!["approver:shop@production".parse().unwrap()])).await.unwrap();
    let later = Wanted { at: now() + 25 * 3_600_000, ..wanted };
    let late = permit(&store, &later, &[], now()).await.expect_err("refused").coded().message;
    assert!(
        late.contains(" is approved until ") && late.contains("and the rollout is to begin at "),
        "{late}"
    );
    assert!(!late.contains("lacks") && !late.contains("expired"), "nobody's has expired yet: {late}");
    let by_bob = Wanted { by: &bob, ..wanted };
    let own = permit(&store, &by_bob, &[], now()).await.expect_err("refused").coded();
    assert_eq!(own.code, Code::W02);
    for part in [
        "without bob, plan",
        "lacks 1 more. Others who may approve: carl, dora;",
        "Others who may start it: alice, carl, dora;",
    ] {
        assert!(own.message.contains(part), "{part}\nis not in\n{own}");
    }
    let permitted = permit(&store, &wanted, &[], now()).await.unwrap();
    // An approval is used once, with the commit that starts the rollout; the same plan has to be approved anew.
    store.commit(Txn { guards: permitted.guards, writes: permitted.writes }).await.unwrap();
    assert!(refused().await.contains("were used up by the rollout that it started"));
    approve::ask(&store, asked).await.unwrap();
    assert!(refused().await.contains("lacks 1 more"));
}

/// An approval of a role of operators, and a group of it that has to be among those who agree.
#[tokio::test]
async fn roles_of_operators_are_asked() {
    let (_agents, store, _controller) = fleet(1).await;
    let unknown = apply(&store, "[approval]\nby = [\"role:boss\"]\n").await.unwrap_err().to_string();
    assert!(unknown.contains("there is no role \"boss\" in [roles], and operators have viewer"), "{unknown}");
    let unknown = apply(&store, "[approval]\nroles = { boss = 1 }\n").await.unwrap_err().to_string();
    assert!(unknown.contains("approval.roles.boss: there is no role \"boss\""), "{unknown}");
    apply(&store, "[approval]\nby = [\"role:approver\"]\nroles = { host-admin = 1 }\n").await.unwrap();
    let asked = Asked {
        plan: PlanDigest::of(b"a plan"),
        app: "shop".parse().unwrap(),
        version: "1.0".parse().unwrap(),
        env: env(),
        author: "alice".parse().unwrap(),
        asked_ms: now(),
        said: vec![],
        used: false,
    };
    let rule = asked.rule(&store).await.unwrap();
    let everybody = "alice, bob, carl, dora";
    assert_eq!(rule.asked(), format!("approver ({everybody}), at least 1 of host-admin ({everybody})"));
    let viewers = access::Grants(vec!["viewer".parse().unwrap(), "approver".parse().unwrap()]);
    for name in ["bob", "carl"] {
        let (name, grants) = (name.parse().unwrap(), viewers.clone());
        let change = access::change(&store, &name, move |user| {
            user.grants = grants.clone();
            Ok(())
        });
        change.await.unwrap();
    }
    let rule = asked.rule(&store).await.unwrap();
    assert_eq!(rule.asked(), "approver (alice, bob, carl, dora), at least 1 of host-admin (alice, dora)");
}

/// Scenario 33: an abort, another try, and its good end are told in the order in which they came, once each.
#[tokio::test]
async fn what_happened_is_told_in_its_order() {
    let (_agents, store, controller) = fleet(2).await;
    apply(&store, "[[stakeholders.tell]]\nname = \"mail\"\nemail = [\"a@example.org\"]\n").await.unwrap();
    freeze::freeze(&store, &env(), frozen(None), now()).await.unwrap();
    let first = controller.engine.start(request(Some("1.0"))).await.unwrap();
    controller.holds(first, "closed").await;
    controller.engine.steer(first, Event::Abort { by: "alice".into() }).await.unwrap();
    assert_eq!(controller.done(first).await, Outcome::Aborted);
    freeze::unfreeze(&store, &env(), now()).await.unwrap();
    let second = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(second).await, Outcome::Succeeded);
    let told = outbox::list(&store).await.unwrap();
    let told = told.iter().map(|(notice, _)| {
        let payload: serde_json::Value = serde_json::from_str(&notice.payload).unwrap();
        (notice.kind, payload["rollout"].as_str().unwrap_or_default().to_owned())
    });
    let told: Vec<(Kind, String)> = told.collect();
    let (first, second) = (&first.to_string(), &second.to_string());
    let wanted =
        [(Kind::Started, first), (Kind::Aborted, first), (Kind::Started, second), (Kind::Succeeded, second)];
    assert_eq!(told, wanted.map(|(kind, id)| (kind, id.clone())));
}

/// What the environment lets an operator override is not asked for again when the rollout begins.
#[tokio::test]
async fn what_is_overridden_is_not_in_the_way() {
    let (_agents, store, _controller) = fleet(1).await;
    let locked = Locked { by: "bob".parse().unwrap(), reason: "looking".to_owned(), since_ms: now() };
    lock::lock(&store, &Scope { env: env(), app: None }, locked).await.unwrap();
    let (environment, _) = environments::load(&store, &env()).await.unwrap();
    let (app, release) = ("shop".parse().unwrap(), ReleaseDigest([1; 32]));
    let by = "alice".parse().unwrap();
    let overrides =
        [Overridden { check: crate::plan::Check::Locked, reason: "bob is on holiday".to_owned() }];
    let mut wanted = Wanted {
        environment: &environment,
        app: &app,
        release,
        back: false,
        plan: None,
        by: &by,
        overrides: &[],
        at: now(),
    };
    let refused = permit(&store, &wanted, &[], now()).await.unwrap_err().coded();
    assert_eq!(refused.code, Code::W01);
    wanted.overrides = &overrides;
    permit(&store, &wanted, &[], now()).await.unwrap();
}

/// What a rollout does is told with the very commit that does it, once.
#[tokio::test]
async fn a_rollout_is_told_of() {
    let agents = fleet_of(1, &["1.2"]);
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    apply(&store, "[[stakeholders.tell]]\nname = \"mail\"\nemail = [\"a@example.org\"]\n").await.unwrap();
    let mut last = String::new();
    for (version, outcome) in [("1.0", Outcome::Succeeded), ("1.2", Outcome::RolledBack)] {
        let id = controller.engine.start(request(Some(version))).await.unwrap();
        assert_eq!(controller.done(id).await, outcome);
        last = id.to_string();
    }
    let told = outbox::list(&store).await.unwrap();
    let kinds: Vec<Kind> = told.iter().map(|(notice, _)| notice.kind).collect();
    assert_eq!(
        kinds,
        [Kind::Started, Kind::Succeeded, Kind::Started, Kind::RolledBack],
        "its host went back by itself"
    );
    assert_eq!(told[1].0.subject, "shop@1.0 to production has succeeded");
    let look = format!("\nLook: longshore rollout explain {last}");
    let (started, back) = (&told[2].0.text, &told[3].0.text);
    assert!(started.contains("\nstarted by: ") && started.ends_with(&look), "{started}");
    assert!(back.contains("\nfirst failure: ") && back.ends_with(&look), "{back}");
}
