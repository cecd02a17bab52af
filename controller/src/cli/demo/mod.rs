//! `longshore demo`: the whole job on this machine, with real processes, real TLS and a real small app, under one
//! temporary folder. What a newcomer sees first.
//!
//! `story` is what happens, `world` the processes and how they end, `stage` how it is told. `role` are the parts that
//! this executable plays when it is started again: the controller, the agents, the app. `tour` is what `--tour` shows
//! instead: the same fleet, and what comes before a release may touch it.

mod fleet;
mod goods;
pub mod role;
#[cfg(test)]
mod samples;
mod shop;
mod stage;
mod story;
mod summary;
mod tour;
mod traffic;
mod world;

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use super::{args::DemoArgs, command::Desk, exit::Exit, failure::Failure};
#[cfg(test)]
pub use samples::samples;
use stage::Stage;
use summary::{farewell, look_around, starting, starting_approved};
use tour::Reader;
use traffic::Tally;
use world::{Afterwards, World};

pub async fn run(desk: &Desk, args: DemoArgs) -> Result<Exit, Failure> {
    let DemoArgs { tour, yes, keep, plain, timeout } = args;
    let stage = Stage::new(&desk.output, desk.surroundings.live && !plain);
    let reader = if tour && !yes && stage.is_live() { Reader::find()? } else { Reader::Nobody };
    let waits = reader.is_there();
    let mut world = World::new()?;
    let folder = world.folder.clone();
    let late = async {
        match waits {
            true => std::future::pending().await, // people read as long as they like
            false => tokio::time::sleep(timeout.0).await,
        }
    };
    let shown = tokio::select! {
        shown = show(desk, &stage, &mut world, tour.then_some(reader)) => shown,
        stopped = stopped() => Err(stopped),
        () = late => {
            let late = format!("the demo is not over after {timeout}");
            Err(Failure::new(Exit::TimedOut, late).next("a slow machine? Allow it longer with --timeout"))
        }
    };
    let ended = match shown {
        Ok(requests) if keep => {
            let (program, page) = (program(), stage.page());
            let shop = format!("http://{}/", world.address(&world.hosts[0]));
            let starting = if tour { starting_approved(&program, &folder) } else { starting(&program) };
            finish(&stage, requests, &look_around(&program, &folder, &shop, &starting, &page), Until::Stopped)
                .await
        }
        Ok(requests) => finish(&stage, requests, &farewell(&program(), &stage.page()), Until::Told).await,
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

/// The demo, or with somebody to read it the tour, and the summary. What customers saw.
async fn show(desk: &Desk, stage: &Stage, world: &mut World, tour: Option<Reader>) -> Result<Tally, Failure> {
    let title = match tour {
        None => "Longshore, all of it, on this machine",
        Some(_) => "A tour: know before you touch",
    };
    stage.title(
        title,
        &format!(
            "A controller, five hosts and a small web shop as real processes, talking real TLS on 127.0.0.1. Nothing \
             is installed, nothing needs root, and everything lies in {}.",
            world.folder.display()
        ),
    )?;
    match tour {
        None => {
            let summary = story::tell(stage, world).await?;
            desk.output.print(&summary)?;
            Ok(summary.requests)
        }
        Some(reader) => {
            let summary = tour::tell(stage, world, reader).await?;
            desk.output.print(&summary)?;
            Ok(summary.requests)
        }
    }
}

/// How long the fleet stays when the story is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Told,
    /// Somebody looks around.
    Stopped,
}

/// The last lines, and whether all went as it should.
async fn finish(stage: &Stage, requests: Tally, lines: &[String], until: Until) -> Result<Exit, Failure> {
    stage.say(lines)?;
    if until == Until::Stopped {
        stopped().await;
        stage.blank()?;
    }
    if requests.failed > 0 {
        let first = requests.first_failure.unwrap_or_default();
        let message =
            format!("{} requests failed, and none should have; the first: {first}", requests.failed);
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
