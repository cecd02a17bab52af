//! Hosts that a rollout left unwell, in the plan of the next.

use std::sync::atomic::Ordering;

use super::*;

/// Within the budget the release stays there, and whoever plans the next is told to what that host would go back.
#[tokio::test]
async fn a_host_that_was_left_unwell_is_told_in_the_next_plan() {
    let site = Site::start(3).await;
    let watched = "watch = \"2s\"\nfailure_budget = 1\nwave_failure_budget = 1\n[plan]";
    site.apply(&FILE.replace("[plan]", watched)).await;
    site.agents[2].unwell.store(true, Ordering::SeqCst);
    assert_eq!(site.begin(What::Wish(wish("1.0")), &[]).await.unwrap(), Outcome::Succeeded);
    let plan = site.plan("1.1").await;
    let notes = |agent: &HandAgent| {
        let host = plan.hosts.iter().find(|host| host.id == agent.host.id);
        host.expect("it is of the plan").notes.join("; ")
    };
    let rollout = site.planner.engine.records().await.unwrap().remove(0).header.id.short();
    let found = format!("1.0 was found unwell there after its switch by rollout {rollout}: LS-B01");
    let told = notes(&site.agents[2]);
    assert!(told.contains(&found) && told.contains("status 500"), "{told}");
    assert!(!notes(&site.agents[1]).contains("unwell"), "{}", notes(&site.agents[1]));
    let lost = "1 host to health: 1.0 was found unwell there after its switch: web-002";
    assert!(plan.back.lost.iter().any(|line| line == lost), "{:?}", plan.back.lost);
}
