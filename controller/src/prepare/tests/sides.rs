//! Releases with sides and without them, one over the other.

use longshore_common::{manifest::Sides, time::Span};

use super::*;

/// Whether a release has sides only its manifest says; a rollout is told it by its plan.
#[tokio::test]
async fn a_rollout_of_a_release_without_sides_knows_it() {
    let site = Site::start(1).await;
    site.apply(&format!("{FILE}[traffic]\ndriver = \"socket\"\nsteps = [\"10%\"]\n")).await;
    assert_eq!(site.begin(What::Wish(wish("1.0")), &[]).await.unwrap(), Outcome::Succeeded);
    let record = site.planner.engine.records().await.unwrap().remove(0);
    assert!(record.header.spec.traffic.is_some_and(|routing| routing.replaces));
}

/// Nor can it share any traffic out with what runs without sides: of each host its plan says so.
#[tokio::test]
async fn a_rollout_over_a_release_without_sides_knows_it() {
    let site = Site::start(1).await;
    let traffic = "[traffic]\ndriver = \"haproxy\"\nbackend = \"shop\"\nsteps = [\"10%\"]\n";
    site.apply(&format!("{FILE}{traffic}")).await;
    assert_eq!(site.begin(What::Wish(wish("1.0")), &[]).await.unwrap(), Outcome::Succeeded);
    let mut manifest = (*setup::release("1.2", Requires::default(), &[]).manifest).clone();
    let side = |port: u16| format!("127.0.0.1:{port}");
    manifest.service.sides = Some(Sides { blue: side(8081), green: side(8082), warm: Span::secs(60) });
    site.publish_as("1.2", &manifest).await;
    let begin = Begin {
        what: What::Wish(wish("1.2")),
        request_id: Uuid::new_v4(),
        by: "bob".parse().unwrap(),
        reason: String::new(),
        at: String::new(),
        overrides: vec![],
    };
    let id = site.planner.begin(begin).await.unwrap();
    let rollout = site.planner.engine.view(&id).await.unwrap().rollout;
    assert!(rollout.hosts.values().all(|host| host.replaces));
}
