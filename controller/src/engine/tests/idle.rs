//! What an operator asks of a rollout for the second time.

use super::{fleet_of, gates::waits_for, newcomers::site, request};
use crate::rollout::{Event, HoldKind};

#[tokio::test]
async fn what_is_so_already_changes_nothing() {
    let agents = fleet_of(3, &[]);
    let (_store, controller) = site("[rollout]\nwatch = \"1h\"", &agents).await;
    let id = controller.engine.start(request(Some("1.0"))).await.unwrap();
    waits_for(&controller, id, HoldKind::Watching).await;
    let changes_nothing = async |event: &Event| controller.engine.changes_nothing(&id, event).await.unwrap();
    let exclude = Event::Exclude([agents[2].host.id].into());
    assert!(!changes_nothing(&exclude).await);
    controller.engine.steer(id, exclude.clone()).await.unwrap();
    assert!(changes_nothing(&exclude).await, "it is excluded");
    let another = Event::Exclude([agents[1].host.id].into());
    assert!(!changes_nothing(&another).await);
    assert!(!changes_nothing(&Event::Resume).await, "it is refused");
    controller.stop.cancel();
}
