//! `longshore demo --tour`: before a release touches a host. What a newcomer is walked through: a policy, a plan, its
//! approval by somebody else, a canary, a gate that measures and stops a release, the way back, and the record of it all.
//!
//! Everything that follows a prompt is typed into this very program as an operator would, and what is shown is what it
//! prints. `chapters` is what happens, `typed` runs a command, `reader` waits for whoever reads, `summary` is the end.

mod chapters;
mod reader;
mod summary;
mod typed;

use tokio::time::Instant;

use super::{goods::Release, stage::Stage, story, traffic::Traffic, world::World};
use crate::cli::failure::Failure;

use chapters::Tour;
pub use reader::Reader;
pub use summary::{Ended, Summary};
#[cfg(test)]
pub use typed::Typed;
use typed::Typist;

/// Makes plans and releases, and is the first operator.
const AUTHOR: &str = "ann";
/// May approve in the harbour, and nothing else.
const APPROVER: &str = "bob";

/// Everything, up to the summary. What was started stays in `world`.
pub async fn tell(stage: &Stage, world: &mut World, reader: Reader) -> Result<Summary, Failure> {
    let began = Instant::now();
    stage.tell(&format!(
        "Two people work here: {AUTHOR} releases, {APPROVER} approves. What follows a prompt is the command that they \
         type, and what it prints. First, a fleet that already runs shop 1.0:"
    ))?;
    stage.blank()?;
    let client = story::raise(stage, world, AUTHOR).await?;
    let published = story::publish(stage, world, &client, Release::First).await?;
    let on_hosts = |(): &()| "on five hosts, wave by wave".to_owned();
    let rolled = async {
        let act = story::roll(stage.silent(), world, &client, &published).await?;
        story::expect(&act, "succeeded")
    };
    stage.step("rolled out", on_hosts, rolled).await?;
    let customers =
        Traffic::start(world.hosts.iter().map(|host| (host.name.clone(), world.address(host))).collect());
    let typist = Typist::new(stage, world, reader)?;
    let mut tour = Tour { stage, world, client: &client, customers: &customers, typist };
    let ended = match tour.walk().await {
        Ok(()) => Ended::AtTheEnd,
        Err(failure) if typed::is_leaving(&failure) => Ended::Early,
        Err(failure) => return Err(failure),
    };
    let commands = tour.typist.typed;
    let requests = customers.stop().await;
    Ok(Summary { ended, commands, requests, took_ms: began.elapsed().as_millis() as i64 })
}
