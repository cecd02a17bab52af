//! Hosts that say what cannot be.

use longshore_common::{code::Code, ids::Generation};

use super::*;
use crate::fleet::words::ToAgent;

/// One host that holds an assignment which nobody gave is served nothing; the numbers of the others are what they were.
#[tokio::test]
async fn a_number_that_nobody_gave_is_no_number_to_go_on_from() {
    let agents = fleet_of(2, &[]);
    let store: SharedStore = world(&agents).await;
    let controller = Controller::start(store.clone()).await;
    controller.connect(&agents);
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    assert_eq!(controller.done(id).await, Outcome::Succeeded);
    controller.stop.cancel();

    agents[0].pretend("shop", Generation::new((1 << 48) - 2, 0));
    let controller = Controller::start(store.clone()).await;
    let session = agents[0].clone().live_with(controller.fleet.clone());
    let last = tokio::time::timeout(PATIENCE, session).await.expect("it is ended");
    let Some(ToAgent::Farewell(why)) = last else { panic!("{last:?}") };
    assert_eq!(why.code, Code::O03);
    assert!(why.message.contains("web-000 says that it holds assignment 281474976710654.0 of shop"), "{why}");
    let (given, _) = records::get::<u64>(&store, &Key::counter(records::SEQUENCE)).await.unwrap().unwrap();
    assert_eq!(given, 1);
}
