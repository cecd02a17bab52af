//! `[promotion]`: where the environment stands, and where a release has to have succeeded before it comes here.

use longshore_common::{strict::Table, time::Span};

use super::words::word;
use crate::promotion::{Demand, Order};

/// Environments that may be demanded, and gates of each.
const MOST: usize = 16;

const ORDER: [(&str, Option<Order>); 4] = [
    ("development", Some(Order::Development)),
    ("test", Some(Order::Test)),
    ("staging", Some(Order::Staging)),
    ("production", Some(Order::Production)),
];

/// What an environment says of promotion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promotion {
    pub order: Option<Order>,
    /// All of them have to be met.
    pub after: Vec<Demand>,
}

pub(super) fn promotion(root: &Table<'_>) -> Promotion {
    let table = root.table("promotion");
    let order = word(&table, "promotion", "order", None, &ORDER);
    let mut after: Vec<Demand> = vec![];
    for entry in table.tables("after") {
        // Every key is asked for before one that is wrong ends it, so that none is taken for an unknown one.
        let (env, lived) = (entry.required("env"), entry.or("lived", Span::default()));
        let gates: Vec<String> = entry.list("gates");
        let Some(env) = env else { continue };
        if after.iter().any(|demand| demand.env == env) {
            entry.problem_at("env", format!("promotion.after.env: {env} is there already"));
        }
        if gates.len() > MOST {
            entry.problem_at("gates", format!("promotion.after.gates: at most {MOST}"));
        }
        after.push(Demand { env, lived, gates });
    }
    if after.len() > MOST {
        table.problem_at("after", format!("promotion.after: at most {MOST}"));
    }
    Promotion { order, after }
}
