//! Contexts, as `context list` prints them.

use longshore_common::text::visible;
use serde::Serialize;

use crate::cli::{
    output::{Page, View},
    style::Ink,
    table::{Cell, Table},
};

#[derive(Clone, Debug, Serialize)]
pub struct ContextList {
    pub contexts: Vec<ContextRow>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ContextRow {
    pub name: String,
    pub address: String,
    /// The one that commands use when none is named.
    pub current: bool,
}

impl View for ContextList {
    const SCHEMA: &'static str = "longshore.cli.context-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.contexts.is_empty() {
            return vec!["No contexts. Add one: longshore context add NAME --from DIR".to_owned()];
        }
        let mut table = Table::new(["", "CONTEXT", "CONTROLLER"]);
        for row in &self.contexts {
            table.row([
                Cell::new(Ink::Good, if row.current { "*" } else { " " }),
                visible(&row.name).into(),
                visible(&row.address).into(),
            ]);
        }
        table.lines(page.style)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct ContextChosen {
    pub name: String,
    pub address: String,
    pub current: bool,
}

impl View for ContextChosen {
    const SCHEMA: &'static str = "longshore.cli.context/1";

    fn lines(&self, _page: &Page) -> Vec<String> {
        let (name, address) = (visible(&self.name), visible(&self.address));
        match self.current {
            true => vec![format!("Context {name} ({address}) is in use. Try it: longshore status")],
            false => {
                vec![format!("Context {name} ({address}) is added. Use it: longshore context use {name}")]
            }
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct ContextRemoved {
    pub name: String,
}

impl View for ContextRemoved {
    const SCHEMA: &'static str = "longshore.cli.context-removed/1";

    fn lines(&self, _page: &Page) -> Vec<String> {
        vec![format!("Context {} and its key are gone from this machine", visible(&self.name))]
    }
}
