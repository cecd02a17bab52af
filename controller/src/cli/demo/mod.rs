//! `longshore demo`: the whole job on this machine, with real processes, real TLS and a real small app, under one
//! temporary folder. What a newcomer sees first.
//!
//! `story` is what happens, `world` the processes and how they end, `stage` how it is told. `role` are the parts that
//! this executable plays when it is started again: the controller, the agents, the app.

mod fleet;
mod goods;
pub mod role;
mod shop;
mod stage;
mod story;
mod summary;
mod traffic;
mod world;

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use super::{args::DemoArgs, command::Desk, exit::Exit, failure::Failure};
use stage::Stage;
use summary::{Summary, farewell, tour};
use world::{Afterwards, World};

pub async fn run(desk: &Desk, args: DemoArgs) -> Result<Exit, Failure> {
    let DemoArgs { keep, plain, timeout } = args;
    let stage = Stage::new(&desk.output, desk.surroundings.live && !plain);
    let mut world = World::new()?;
    let folder = world.folder.clone();
    let shown = tokio::select! {
        shown = show(&stage, &mut world) => shown,
        stopped = stopped() => Err(stopped),
        () = tokio::time::sleep(timeout.0) => {
            let late = format!("the demo is not over after {timeout}");
            Err(Failure::new(Exit::TimedOut, late).next("a slow machine? Allow it longer with --timeout"))
        }
    };
    let ended = match shown {
        Ok(summary) => finish(desk, &stage, &world, summary, keep).await,
        Err(failure) => Err(failure),
    };
    let afterwards = match &ended {
        Err(failure) if failure.exit != Exit::Interrupted => Afterwards::Keep,
        Ok(_) | Err(_) => Afterwards::Remove,
    };
    let trouble = world.end(afterwards).await;
    for line in &trouble {
        stage.say(&[format!("  could not clean up: {line}")])?;
    }
    ended.map_err(|failure| told(failure, afterwards, &folder))
}

async fn show(stage: &Stage, world: &mut World) -> Result<Summary, Failure> {
    stage.title(
        "Longshore, all of it, on this machine",
        &format!(
            "A controller, five hosts and a small web shop as real processes, talking real TLS on 127.0.0.1. Nothing \
             is installed, nothing needs root, and everything lies in {}.",
            world.folder.display()
        ),
    )?;
    story::tell(stage, world).await
}

/// The summary; with `--keep` also the tour, and then a wait until somebody has seen enough.
async fn finish(
    desk: &Desk,
    stage: &Stage,
    world: &World,
    summary: Summary,
    keep: bool,
) -> Result<Exit, Failure> {
    desk.output.print(&summary)?;
    let (program, page) = (program(), stage.page());
    if keep {
        let shop = format!("http://{}/", world.address(&world.hosts[0]));
        stage.say(&tour(&program, &world.folder, &shop, &page))?;
        stopped().await;
        stage.blank()?;
    } else {
        stage.say(&farewell(&program, &page))?;
    }
    if summary.requests.failed > 0 {
        let first = summary.requests.first_failure.unwrap_or_default();
        let message =
            format!("{} requests failed, and none should have; the first: {first}", summary.requests.failed);
        return Err(Failure::new(Exit::Failed, message));
    }
    Ok(Exit::Done)
}

fn told(failure: Failure, afterwards: Afterwards, folder: &Path) -> Failure {
    let failure = Failure { message: format!("demo: {}", failure.message), ..failure };
    match afterwards {
        Afterwards::Remove => failure,
        Afterwards::Keep => failure
            .next(format!("everything is stopped; logs are in {}/logs", folder.display()))
            .next(format!("when you have looked: rm -r {}", folder.display())),
    }
}

/// Ctrl-C, or what a terminal and a service manager send.
async fn stopped() -> Failure {
    let interrupted = Failure::new(Exit::Interrupted, "interrupted; everything is stopped and removed");
    let (Ok(mut terminate), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return Failure::new(Exit::Failed, "signals cannot be heard");
    };
    tokio::select! {
        heard = tokio::signal::ctrl_c() => match heard {
            Ok(()) => interrupted,
            Err(error) => Failure::new(Exit::Failed, format!("signals cannot be heard: {error}")),
        },
        _ = terminate.recv() => interrupted,
        _ = hangup.recv() => interrupted,
    }
}

/// How the reader may start this program again.
fn program() -> String {
    let Ok(ours) = std::env::current_exe() else { return "longshore".to_owned() };
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("longshore") == ours));
    let here = std::env::current_dir().ok().and_then(|here| ours.strip_prefix(here).ok().map(Path::to_owned));
    match here {
        _ if on_path => "longshore".to_owned(),
        Some(below) => below.display().to_string(),
        None => ours.display().to_string(),
    }
}
