//! `longshore demo`: the whole job on this machine, with real processes, real TLS and a real small app, under one
//! temporary folder. What a newcomer sees first.

mod goods;
pub mod role;
mod shop;
mod stage;
mod summary;
mod traffic;

use super::{args::DemoArgs, command::Desk, exit::Exit, failure::Failure};

pub async fn run(_desk: &Desk, _args: DemoArgs) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Failed, "this part is not written yet"))
}
