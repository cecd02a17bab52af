//! The parts that this same executable plays when the demo starts it again. They are no commands: their names begin
//! with `__`, no help names them, and outside of a demo they are of no use.

use std::{ffi::OsString, path::Path, process::ExitCode};

use longshore_agent::host::reexec::SelfExec;
use longshore_common::chain::Chain;
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::shop;
use crate::{config::Config, daemon};

/// The app that the demo deploys: `bin/shop __demo-shop`.
pub const SHOP: &str = "__demo-shop";
/// The controller: `__demo-controller CONFIG`. Says where it listens on its standard output.
pub const CONTROLLER: &str = "__demo-controller";
/// `longshore-agent`, with its own arguments.
pub const AGENT: &str = "__demo-agent";

/// Plays the part that the arguments ask for; None when they ask for none.
pub fn play(args: &[OsString]) -> Option<ExitCode> {
    let rest = args.get(1..)?;
    if let Some(exit) = longshore_agent::host::reexec::run_helper(rest) {
        return Some(exit);
    }
    let (part, rest) = rest.split_first()?;
    match part.to_str()? {
        SHOP => Some(shop::main()),
        CONTROLLER => Some(with_the_demo(|| {
            controller(Path::new(rest.first().map_or("", |path| path.to_str().unwrap_or_default())))
        })),
        AGENT => Some(with_the_demo(|| agent(&args[1..]))),
        _ => None,
    }
}

/// Ends when the demo does, however that ends.
fn with_the_demo(part: impl FnOnce() -> ExitCode) -> ExitCode {
    match set_parent_process_death_signal(Some(Signal::TERM)) {
        Ok(()) => part(),
        Err(error) => {
            eprintln!("demo: cannot be bound to the demo's life: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `args` begins with the part's name, as a program's arguments do with its own.
fn agent(args: &[OsString]) -> ExitCode {
    longshore_agent::cli::main(args.iter().cloned(), SelfExec::this())
}

fn controller(config: &Path) -> ExitCode {
    let text = match std::fs::read_to_string(config) {
        Ok(text) => text,
        Err(error) => return fail(&error),
    };
    let config = match Config::parse("controller.toml", &text) {
        Ok(config) => config,
        Err(problems) => return fail(&problems),
    };
    daemon::process::start_log();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve(config)),
        Err(error) => fail(&error),
    }
}

async fn serve(config: Config) -> ExitCode {
    let stop = CancellationToken::new();
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => return fail(&error),
    };
    let mut serving = match daemon::serve(config, stop.clone()).await {
        Ok(serving) => serving,
        Err(error) => return fail(&error),
    };
    println!("{} {}", serving.addresses.main, serving.addresses.enrol);
    tokio::select! {
        _ = terminate.recv() => {
            stop.cancel();
            serving.ended().await;
            ExitCode::SUCCESS
        }
        ended = serving.ended() => {
            eprintln!("the controller ended by itself: {ended:?}");
            ExitCode::FAILURE
        }
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{}", Chain(error));
    ExitCode::FAILURE
}
