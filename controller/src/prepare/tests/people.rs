//! Who has to agree to a plan, asked and held to it (scenario 91).

use super::*;
use crate::{
    access,
    approval::{Answer, Approval},
    environments::approve,
};

/// The file with somebody who has to agree.
fn asking() -> String {
    format!("{FILE}[approval]\ncount = 1\n")
}

impl Site {
    async fn people(&self, names: &[&str]) {
        for name in names {
            let user = access::User::new(name.parse().unwrap(), access::Grants::all(), "test", 0);
            access::create(&self.planner.store, &user).await.unwrap();
        }
    }

    async fn approve(&self, plan: &crate::plan::Plan, by: &str) -> Result<(), Trouble> {
        let word = Approval {
            by: by.parse().unwrap(),
            at: self.planner.now(),
            answer: Answer::Approved,
            reason: String::new(),
        };
        approve::say(&self.planner.store, &plan.digest, word).await.map(|_| ())
    }

    /// Whose plan those who are asked take it for; none: nobody is asked.
    async fn author(&self, plan: &crate::plan::Plan) -> Option<String> {
        let asked = approve::get(&self.planner.store, &plan.digest).await.unwrap();
        asked.map(|(asked, _)| asked.author.to_string())
    }
}

/// Scenario 91: what comes in the place of a stale plan is asked about at once, as the plan of whoever would have started
/// that one, and stays theirs when others look at it.
#[tokio::test]
async fn a_plan_in_the_place_of_a_stale_one_is_that_of_whoever_started_it() {
    let site = Site::start(2).await;
    site.people(&["alice", "bob", "carl"]).await;
    site.apply(&asking()).await;
    let old = site.plan("1.0").await;
    assert_eq!(site.author(&old).await.as_deref(), Some("alice"));
    site.apply(&asking().replace("canary = 1", "canary = 2")).await;
    assert_eq!(refusal(site.begin(What::Plan(old.digest.hex()), &[]).await).0, Code::R03);
    let new = site.planner.find("latest").await.unwrap();
    assert_eq!((new.made_by.as_str(), site.author(&new).await.as_deref()), ("bob", Some("bob")));
    assert_eq!(site.plan("1.0").await.digest, new.digest, "alice looks");
    assert_eq!(site.author(&new).await.as_deref(), Some("bob"));
    let (code, message) = refusal(site.approve(&new, "bob").await);
    assert_eq!(code, Code::W02);
    assert!(message.contains("whoever made the plan cannot approve it"), "{message}");
    site.approve(&new, "carl").await.unwrap();
    assert_eq!(site.begin(What::Plan(new.digest.hex()), &[]).await.unwrap(), Outcome::Succeeded);
}

/// Scenario 91: that somebody else has only looked first makes nobody two people.
#[tokio::test]
async fn nobody_approves_and_starts_alone() {
    let site = Site::start(1).await;
    site.people(&["alice", "bob", "carl"]).await;
    site.apply(&asking()).await;
    let plan = site.plan("1.0").await;
    site.approve(&plan, "bob").await.unwrap();
    let (code, message) = refusal(site.begin(What::Plan(plan.digest.hex()), &[]).await);
    assert_eq!(code, Code::W02);
    for part in [
        "whoever starts a plan is none of those who approve it: without bob, plan",
        "lacks 1 more. Others who may approve: carl;",
        "Others who may start it: alice, carl;",
    ] {
        assert!(message.contains(part), "{part}\nis not in\n{message}");
    }
    site.approve(&plan, "carl").await.unwrap();
    assert_eq!(site.begin(What::Plan(plan.digest.hex()), &[]).await.unwrap(), Outcome::Succeeded);
}

/// Nobody is asked about what could not start however many agree, until it can and somebody would start it.
#[tokio::test]
async fn people_are_asked_about_what_waits_for_them_alone() {
    let site = Site::start(1).await;
    site.people(&["alice", "bob", "carl"]).await;
    site.apply(&asking()).await;
    *site.agents[0].lacks.lock().unwrap() = vec!["openssl".into()];
    let unfit = site.plan("1.0").await;
    assert_eq!((unfit.failed.len(), site.author(&unfit).await), (1, None));
    assert_eq!(refusal(site.begin(What::Plan(unfit.digest.hex()), &[]).await).0, Code::R04);
    assert_eq!(site.author(&unfit).await, None);
    let (_, message) = refusal(site.begin(What::Plan(unfit.digest.hex()), &[]).await);
    assert!(
        message.contains("Besides: production needs 1 approval by "),
        "nothing is found out later: {message}"
    );
    site.agents[0].lacks.lock().unwrap().clear();
    let (code, message) = refusal(site.begin(What::Plan(unfit.digest.hex()), &[]).await);
    assert!(code == Code::W02 && message.contains("lacks 1 more"), "{message}");
    assert_eq!(site.author(&unfit).await.as_deref(), Some("alice"), "it is hers, and bob would start it");
    site.approve(&unfit, "carl").await.unwrap();
    assert_eq!(site.begin(What::Plan(unfit.digest.hex()), &[]).await.unwrap(), Outcome::Succeeded);
    let again = site.plan("1.0").await;
    assert!(again.is_nothing_to_do());
    assert_eq!(site.author(&again).await, None);
}

/// Said twice is said once: nobody is told of it again, until it no longer counts.
#[tokio::test]
async fn one_who_repeats_themselves_changes_nothing() {
    let site = Site::start(1).await;
    site.people(&["alice", "bob", "carl"]).await;
    site.apply(&asking()).await;
    let plan = site.plan("1.0").await;
    let said = async |answer, reason: &str, at| {
        let word = Approval { by: "bob".parse().unwrap(), at, answer, reason: reason.to_owned() };
        approve::say(&site.planner.store, &plan.digest, word).await.unwrap().before
    };
    let now = site.planner.now();
    assert!(!said(Answer::Approved, "read it", now).await);
    assert!(said(Answer::Approved, "read it", now).await);
    assert!(said(Answer::Approved, "", now).await);
    assert!(!said(Answer::Approved, "read it again", now).await);
    assert!(!said(Answer::Approved, "", now + 25 * 3_600_000).await, "it had expired");
    assert!(!said(Answer::Denied, "", now + 25 * 3_600_000).await);
    assert!(said(Answer::Denied, "", now + 25 * 3_600_000).await);
}

/// Known before anything is touched, and not when the canary has waited for a day.
#[tokio::test]
async fn a_gate_that_too_few_can_open_is_found_beforehand() {
    let site = Site::start(1).await;
    site.people(&["alice"]).await;
    let gate = |asks: &str| {
        format!("{FILE}[[gate]]\nname = \"go\"\nkind = \"approval\"\nafter = \"canary\"\n{asks}")
    };
    let failed = async |asks: &str| {
        site.apply(&gate(asks)).await;
        let failed = site.plan("1.0").await.failed.into_iter();
        failed.map(|failed| format!("{}: {}", failed.check, failed.what)).collect::<Vec<_>>()
    };
    let see = "See: longshore user list";
    assert_eq!(
        failed("").await,
        [format!(
            "approvers: gate go wants 1 approval by any approver but whoever started it, and nobody could give one if \
             alice starts it. {see}"
        )]
    );
    let viewer = access::Grants(vec![access::Grant::everywhere(access::Role::Viewer)]);
    let dora = access::User::new("dora".parse().unwrap(), viewer, "test", 0);
    access::create(&site.planner.store, &dora).await.unwrap();
    let of_role = failed("by = [\"role:ci\", \"dora\"]\n").await;
    assert!(of_role.len() == 1 && of_role[0].contains("and nobody could give one if alice"), "{of_role:?}");
    assert_eq!(failed("by = [\"dora\"]\n").await.len(), 1);
    let (code, message) = refusal(site.begin(What::Wish(wish("1.0")), &[]).await);
    assert!(code == Code::R04 && message.contains("gate go wants"), "{message}");
    site.people(&["bob"]).await;
    let two = failed("count = 2\n").await;
    assert!(two.len() == 1 && two[0].contains("and only bob could if alice starts it"), "{two:?}");
    assert!(failed("").await.is_empty(), "bob can");
    assert!(failed("count = 2\non_no_data = \"continue\"\n").await.is_empty(), "it goes on without");
}

/// Known when the plan is made, and not when it could start but for a word that nobody can give.
#[tokio::test]
async fn a_plan_that_too_few_can_approve_says_so() {
    let site = Site::start(1).await;
    let deployer = access::Grants(vec![access::Grant::everywhere(access::Role::Deployer)]);
    let alice = access::User::new("alice".parse().unwrap(), deployer, "test", 0);
    access::create(&site.planner.store, &alice).await.unwrap();
    let failed = async |asks: &str| {
        site.apply(&format!("{FILE}{asks}")).await;
        let failed = site.plan("1.0").await.failed.into_iter();
        failed.map(|failed| format!("{}: {}", failed.check, failed.what)).collect::<Vec<_>>()
    };
    let one = "[approval]\ncount = 1\n";
    let nobody = failed(one).await;
    assert_eq!(nobody.len(), 1, "{nobody:?}");
    for part in [
        "approvers: production needs 1 approval by any approver but the author",
        "and nobody could give one if alice makes the plan",
        "longshore user list",
    ] {
        assert!(nobody[0].contains(part), "{part}\nis not in\n{nobody:?}");
    }
    let plan = site.plan("1.0").await;
    assert_eq!(
        site.author(&plan).await.as_deref(),
        Some("alice"),
        "whoever gets the role may agree to this one"
    );

    site.people(&["bob"]).await;
    assert_eq!(failed(one).await, [""; 0], "bob can");
    let two = failed("[approval]\ncount = 2\n").await;
    assert!(two.len() == 1 && two[0].contains("and only bob could if alice makes the plan"), "{two:?}");
    let of_role =
        failed("[roles]\nsre = [\"alice\", \"dora\"]\n[approval]\ncount = 1\nroles = { sre = 1 }\n").await;
    assert!(
        of_role.len() == 1 && of_role[0].contains(", too few of sre if alice makes the plan"),
        "{of_role:?}"
    );
    // Who starts a plan is not who made it: that there are enough is judged by its author.
    assert_eq!(failed(one).await, [""; 0]);
    let plan = site.plan("1.0").await;
    site.approve(&plan, "bob").await.unwrap();
    let (code, message) = refusal(site.begin(What::Plan(plan.digest.hex()), &[]).await);
    assert!(code == Code::W02 && message.contains("Others who may start it: alice"), "{message}");
}

/// The same plan stays that of whoever made it first, also in what it says of who can agree to it.
#[tokio::test]
async fn whoever_makes_the_same_plan_again_is_told_of_its_author() {
    let site = Site::start(2).await;
    let deployer = access::Grants(vec![access::Grant::everywhere(access::Role::Deployer)]);
    let alice = access::User::new("alice".parse().unwrap(), deployer, "test", 0);
    access::create(&site.planner.store, &alice).await.unwrap();
    site.people(&["bob"]).await; // who alone may approve
    site.apply(&asking()).await;
    let as_bob = async || site.planner.make(&wish("1.0"), &"bob".parse().unwrap()).await.unwrap();
    let hers = site.plan("1.0").await;
    assert_eq!(hers.failed, []);
    let again = as_bob().await;
    assert_eq!((again.digest, again.made_by.as_str()), (hers.digest, "alice"));
    assert_eq!(again.failed, [], "bob can approve what is hers");

    // Another plan is his from the beginning, and is so for her as well.
    site.apply(&asking().replace("canary = 1", "canary = 2")).await;
    let his = as_bob().await;
    let again = site.plan("1.0").await;
    assert_eq!((again.digest, again.made_by.as_str()), (his.digest, "bob"));
    for plan in [his, again] {
        let said: Vec<&str> = plan.failed.iter().map(|failed| failed.what.as_str()).collect();
        assert!(
            said.len() == 1
                && said[0].contains("nobody could give one if bob makes the plan. It stays bob's, whoever"),
            "{said:?}"
        );
    }
}
