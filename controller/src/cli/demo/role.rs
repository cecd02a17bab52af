//! The parts that this same executable plays when the demo starts it again. They are no commands: their names begin
//! with `__`, no help names them, and outside of a demo they are of no use.

use std::{ffi::OsString, process::ExitCode};

use super::shop;

/// The app that the demo deploys: `bin/shop __demo-shop`.
pub const SHOP: &str = "__demo-shop";

/// Plays the part that the arguments ask for; None when they ask for none.
pub fn play(args: &[OsString]) -> Option<ExitCode> {
    let rest = args.get(1..)?;
    if let Some(exit) = longshore_agent::host::reexec::run_helper(rest) {
        return Some(exit);
    }
    match rest.first()?.to_str()? {
        SHOP => Some(shop::main()),
        _ => None,
    }
}
