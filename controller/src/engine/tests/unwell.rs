//! What a rollout finds out about a host after its switch.

use std::{collections::HashMap, sync::atomic::Ordering};

use longshore_common::ids::HostId;

use super::{
    Controller, FILE, fleet_of,
    gates::waits_for,
    request,
    turn::{HOURS, after},
    world,
};
use crate::{
    engine::unwell,
    environments,
    rollout::{HoldKind, Outcome},
    store::SharedStore,
    testing,
};

/// Within the budget it stays as it is, and its own word is that it is healthy.
#[tokio::test]
async fn a_host_that_was_found_unwell_after_its_switch_is_told_as_that() {
    let agents = fleet_of(3, &[]);
    let store: SharedStore = world(&agents).await;
    let file = format!("{FILE}watch = \"2s\"\nfailure_budget = 1\nwave_failure_budget = 1\n");
    let by = "alice".parse().unwrap();
    environments::apply(&store, &testing::tell(), "production.toml", &file, &by, 1).await.unwrap();
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    waits_for(&controller, id, HoldKind::Watching).await;
    let view = controller.engine.view(&id).await.unwrap();
    let of_last_wave = |host: &HostId| view.rollout.hosts[host].wave == 1;
    let (ill, well) = {
        let mut last = agents.iter().filter(|agent| of_last_wave(&agent.host.id));
        (last.next().expect("it has two"), last.next().expect("it has two"))
    };
    ill.unwell.store(true, Ordering::SeqCst);
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    let apps = ill.hello().apps;
    assert_eq!(apps[0].verdict, "healthy");
    let found = unwell::found(&store, &ill.host.id, &apps).await.unwrap();
    let [found] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((found.app.as_str(), found.rollout), ("shop", id));
    assert_eq!(found.why, "LS-B01 it was healthy and is no more: status 500");
    let found = unwell::found(&store, &well.host.id, &well.hello().apps).await.unwrap();
    assert!(found.is_empty(), "{found:?}");
    // A list of them all says the same of each, and nothing of whom it does not ask about.
    let all: HashMap<HostId, _> = agents.iter().map(|agent| (agent.host.id, agent.hello().apps)).collect();
    let among = unwell::found_among(&store, &all).await.unwrap();
    let alone = unwell::found(&store, &ill.host.id, &apps).await.unwrap();
    assert_eq!(among, HashMap::from([(ill.host.id, alone)]));
    let others = HashMap::from([(well.host.id, well.hello().apps)]);
    assert!(unwell::found_among(&store, &others).await.unwrap().is_empty());

    // What it is assigned later says nothing of that.
    ill.unwell.store(false, Ordering::SeqCst);
    let later = controller.engine.start(request(Some("1.1"))).await.unwrap();
    assert_eq!(controller.done(later).await, Outcome::Succeeded);
    let found = unwell::found(&store, &ill.host.id, &ill.hello().apps).await.unwrap();
    assert!(found.is_empty(), "{found:?}");
    controller.stop.cancel();
}

/// It fell ill while nobody looked, and its time was over long before the controller was back.
#[tokio::test]
async fn hosts_are_looked_at_once_more_however_long_the_controller_was_down() {
    let bake = FILE.replace("canary_bake = \"0s\"", "canary_bake = \"1h\"");
    let watch = format!("{FILE}watch = \"1h\"\n");
    for (file, kind) in [(bake, HoldKind::Baking), (watch, HoldKind::Watching)] {
        let agents = fleet_of(1, &[]);
        let store: SharedStore = world(&agents).await;
        let controller = Controller::start(store.clone()).await;
        controller.connect(&agents);
        let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
        assert_eq!(controller.done(id).await, Outcome::Succeeded);
        let by = "alice".parse().unwrap();
        environments::apply(&store, &testing::tell(), "production.toml", &file, &by, 1).await.unwrap();
        let id = controller.engine.start(request(Some("1.1"))).await.unwrap();
        waits_for(&controller, id, kind).await;
        controller.engine.stopped().await;
        agents[0].unwell.store(true, Ordering::SeqCst);
        let controller = after(controller, &store, HOURS, &agents).await;
        assert_eq!(controller.done(id).await, Outcome::RolledBack, "{}", kind.as_str());
        assert_eq!(agents[0].runs("shop").as_deref(), Some("1.0"));
        controller.stop.cancel();
    }
}
