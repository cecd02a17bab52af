//! `context add | use | remove | list`: files only, no controller is asked.

use super::Desk;
use crate::cli::{
    args::ContextCommand,
    exit::Exit,
    failure::Failure,
    view::context::{ContextChosen, ContextList, ContextRemoved, ContextRow},
};

pub fn run(desk: &Desk, command: ContextCommand) -> Result<Exit, Failure> {
    let mut contexts = desk.contexts()?;
    let chosen = |name: String, address: Option<&str>, current| ContextChosen {
        address: address.unwrap_or_default().to_owned(),
        name,
        current,
    };
    match command {
        ContextCommand::Add { name, from, address } => {
            let current = contexts.add(&name, &from, address)?;
            let address = contexts.address(&name).map(str::to_owned);
            desk.output.print(&chosen(name, address.as_deref(), current))?;
        }
        ContextCommand::Use { name } => {
            contexts.use_from_now_on(&name)?;
            let address = contexts.address(&name).map(str::to_owned);
            desk.output.print(&chosen(name, address.as_deref(), true))?;
        }
        ContextCommand::Remove { name } => {
            contexts.remove(&name)?;
            desk.output.print(&ContextRemoved { name })?;
        }
        ContextCommand::List => {
            let rows = contexts.all().map(|(name, address, current)| ContextRow {
                name: name.to_owned(),
                address: address.to_owned(),
                current,
            });
            desk.output.print(&ContextList { contexts: rows.collect() })?;
        }
    }
    Ok(Exit::Done)
}
