//! What happens in the demo, chapter by chapter.

use std::{path::PathBuf, sync::Arc, time::Duration};

use longshore_common::durable::create_dir_durable;
use longshore_proto::v1 as pb;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    fleet::{ANSWER, make_keys, raise_controller, raise_hosts},
    goods::{Release, environment, write_release},
    stage::Stage,
    summary::{Act, Summary},
    traffic::{Tally, Traffic},
    world::{World, failed},
};
use crate::cli::{
    client::Client,
    command::{Followed, Footer, Show, Viewer, follow, publish_shown},
    exit::Exit,
    failure::Failure,
    line::Line,
    moment::{bytes, count},
    output::Page,
    paint::tracker::Tracker,
    publish::Options,
    style::Ink,
    view::{
        release::Published,
        rollout::{HostRow, Rollout},
    },
};

/// For one rollout; each takes some ten seconds.
const ROLLOUT: Duration = Duration::from_secs(300);
/// For the reason why it is not over.
const WORDS: Duration = Duration::from_secs(5);
/// For the canary's failure to be seen by customers if it is ever going to be.
const LINGER: Duration = Duration::from_millis(500);

/// Everything, up to the summary. What was started stays in `world`.
pub async fn tell(stage: &Stage, world: &mut World) -> Result<Summary, Failure> {
    let began = Instant::now();
    let client = a_fleet(stage, world).await?;
    let first = the_first_release(stage, world, &client).await?;
    let customers =
        Traffic::start(world.hosts.iter().map(|host| (host.name.clone(), world.address(host))).collect());
    let footer = counter(&customers);
    let better = a_better_one(stage, world, &client, footer.clone()).await?;
    let broken = a_broken_one(stage, world, &client, footer).await?;
    tokio::time::sleep(LINGER).await;
    let requests = customers.stop().await;
    Ok(Summary {
        hosts: world.hosts.len(),
        rollouts: vec![first, better, broken],
        requests,
        took_ms: began.elapsed().as_millis() as i64,
        folder: world.folder.display().to_string(),
    })
}

async fn a_fleet(stage: &Stage, world: &mut World) -> Result<Client, Failure> {
    stage.chapter(
        1,
        "A controller and five hosts",
        "Hosts join with a token that also names the controller's CA, make their own keys, and get short-lived \
         certificates. Then they hold one connection out; nothing listens on a host.",
    )?;
    raise(stage, world, "demo").await
}

/// A controller whose first operator is `operator`, keys, five hosts and an environment, each with a line that says so.
pub async fn raise(stage: &Stage, world: &mut World, operator: &str) -> Result<Client, Failure> {
    let raised = raise_controller(world, operator);
    let (client, addresses) =
        stage.step("controller", |(_, addresses): &(Client, _)| started(addresses), raised).await?;
    let made = |(): &()| {
        "the organisation's and the shop's; hosts pin the first, the controller has none".to_owned()
    };
    stage.step("two keys", made, make_keys(world, &client)).await?;
    let names = format!("harbour-1 to harbour-{} enrolled, connected over mutual TLS", world.hosts.len());
    stage.step("five hosts", |()| names.clone(), raise_hosts(world, &client, addresses)).await?;
    let apply =
        pb::ApplyEnvironmentRequest { file: environment().to_owned(), file_name: "harbour.toml".to_owned() };
    let applied = async { client.answer(Instant::now() + ANSWER, client.environments().apply(apply)).await };
    stage
        .step(
            "environment",
            |_| "harbour: one canary, then two at a time, no failure tolerated".to_owned(),
            applied,
        )
        .await?;
    Ok(client)
}

fn started(addresses: &super::fleet::Addresses) -> String {
    format!("on {}, with a CA of its own, state in sled", addresses.main)
}

async fn the_first_release(stage: &Stage, world: &mut World, client: &Client) -> Result<Act, Failure> {
    stage.chapter(
        2,
        "shop 1.0, the first release",
        "A folder and one longshore.toml. Files are named by their digest and travel compressed in blocks; each host \
         verifies every byte, unpacks beside what runs, switches one link, starts, and probes.",
    )?;
    let published = publish(stage, world, client, Release::First).await?;
    stage.blank()?;
    let act = roll(stage.viewer(None), world, client, &published).await?;
    expect(&act, "succeeded")?;
    Ok(act)
}

async fn a_better_one(
    stage: &Stage,
    world: &mut World,
    client: &Client,
    footer: Footer,
) -> Result<Act, Failure> {
    stage.chapter(
        3,
        "shop 1.1, by canary, while customers are inside",
        "Only files that no host has are sent. One host goes first and is watched; its socket is held open across \
         the restart and the old process finishes its requests, so nobody is turned away.",
    )?;
    let published = publish(stage, world, client, Release::Better).await?;
    stage.blank()?;
    let act = roll(stage.viewer(Some(footer)), world, client, &published).await?;
    expect(&act, "succeeded")?;
    Ok(act)
}

async fn a_broken_one(
    stage: &Stage,
    world: &mut World,
    client: &Client,
    footer: Footer,
) -> Result<Act, Failure> {
    stage.chapter(
        4,
        "shop 1.2, which is broken",
        "It starts, it serves pages, but a trial order fails: somebody set a price to nothing. The canary's probe sees \
         it, the canary goes back to 1.1 by itself, and no other host ever switches.",
    )?;
    let published = publish(stage, world, client, Release::Broken).await?;
    stage.blank()?;
    let act = roll(stage.viewer(Some(footer)), world, client, &published).await?;
    expect(&act, "rolled-back")?;
    Ok(act)
}

pub async fn publish(
    stage: &Stage,
    world: &mut World,
    client: &Client,
    release: Release,
) -> Result<Published, Failure> {
    let sources = world.folder.join("shop");
    create_dir_durable(&sources, 0o755).map_err(|error| failed(&error))?;
    let port = world.port;
    let write = move || write_release(&sources, release, port);
    let told = |published: &Published| {
        let new =
            format!("{} of {} new", published.new_blobs, count(published.release.files as usize, "file"));
        format!("shop@{}: {}, {new}", release.version(), bytes(published.release.bytes))
    };
    let work = async {
        let folder: PathBuf = tokio::task::spawn_blocking(write)
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        let options = Options { file: folder, version: None, attestations: Default::default() };
        let show = Show { page: stage.page(), live: false };
        publish_shown(client, options, show, Some(&world.ring)).await
    };
    stage.step("published", told, work).await
}

pub async fn roll(
    viewer: Viewer,
    world: &mut World,
    client: &Client,
    published: &Published,
) -> Result<Act, Failure> {
    let began = Instant::now();
    let by = began + ROLLOUT;
    let request = pb::StartRolloutRequest {
        app: published.release.app.clone(),
        version: published.release.version.clone(),
        env: "harbour".to_owned(),
        request_id: Uuid::new_v4().to_string(),
        reason: "the demo".to_owned(),
        rollback: false,
        ..pb::StartRolloutRequest::default()
    };
    let rollout = client.answer(by, client.rollouts().start(request)).await?;
    let followed = follow(viewer, client, rollout.id.clone(), by).await?;
    if let Some(failure) = world.fallen() {
        return Err(failure);
    }
    let Followed::Over(tracker) = followed else { return Err(late(client, rollout.id).await) };
    Ok(act(&tracker, published, began.elapsed().as_millis() as i64))
}

/// A rollout that is not over in time, with what it waits for.
async fn late(client: &Client, rollout: String) -> Failure {
    let late = format!("the rollout is not over after {} s", ROLLOUT.as_secs());
    let mut rollouts = client.rollouts();
    let ask = rollouts.explain(pb::ShowRolloutRequest { rollout });
    match client.answer(Instant::now() + WORDS, ask).await {
        Ok(reply) => {
            let waits = reply
                .holds
                .into_iter()
                .map(|hold| format!("it waits: {}", longshore_common::text::visible(&hold.what)));
            waits.fold(Failure::new(Exit::TimedOut, late), Failure::next)
        }
        Err(why) => {
            Failure::new(Exit::TimedOut, late).next(format!("why it waits is not known: {}", why.message))
        }
    }
}

fn act(tracker: &Tracker, published: &Published, took_ms: i64) -> Act {
    let Rollout { outcome, outcome_reason, hosts, waves, version, .. } = &tracker.rollout;
    let touched =
        |host: &&HostRow| !matches!(host.state.as_str(), "waiting" | "staged" | "excluded" | "left");
    Act {
        version: version.clone(),
        outcome: outcome.clone().unwrap_or_default(),
        reason: outcome_reason.clone().unwrap_or_default(),
        took_ms,
        waves: waves.len(),
        hosts_touched: hosts.iter().filter(touched).count(),
        files: published.release.files,
        files_new: published.new_blobs,
        bytes_per_host: sent(tracker, published),
    }
}

/// Agents count what they unpack; of a whole artifact the controller knows what it has on the wire.
fn sent(tracker: &Tracker, published: &Published) -> u64 {
    match tracker.fetched.values().copied().max().unwrap_or_default() {
        whole if whole >= published.release.bytes => published.release.wire_bytes,
        part => part,
    }
}

pub fn expect(act: &Act, outcome: &str) -> Result<(), Failure> {
    if act.outcome == outcome {
        return Ok(());
    }
    let Act { version, outcome: other, reason, .. } = act;
    Err(Failure::new(
        Exit::Failed,
        format!("shop {version}: expected {outcome}, but it is {other}: {reason}"),
    ))
}

/// A line beneath the picture: what customers see meanwhile.
fn counter(customers: &Traffic) -> Footer {
    let read = customers.reader();
    Arc::new(move |page: &Page| vec![String::new(), counter_line(&read(), page)])
}

pub fn counter_line(tally: &Tally, page: &Page) -> String {
    let ink = if tally.failed == 0 { Ink::Good } else { Ink::Bad };
    Line::indented(2)
        .then(Ink::Strong, "customers")
        .to_column(13)
        .then(Ink::Plain, format!("{} requests answered, ", tally.served))
        .then(ink, format!("{} failed", tally.failed))
        .paint(page.style, page.columns)
}
