//! `[values]` and `[apps.NAME.values]`: what config templates are rendered with.

use std::collections::BTreeMap;

use longshore_common::{ids::AppName, slot::Values, strict::Table, text::visible};

/// Bytes of all keys and values that one app gets; an assignment carries them, and has to fit a record.
pub const VALUES_BYTES: usize = 8 * 1024;
const KEY_BYTES: usize = 128;

pub(super) fn apps(root: &Table<'_>, values: &Values) -> BTreeMap<AppName, Values> {
    let mut apps = BTreeMap::new();
    for (name, table) in root.named_tables("apps") {
        let own = table.texts("values");
        check_values(&table, "values", &own, values);
        match name.parse::<AppName>() {
            Ok(app) => drop(apps.insert(app, own)),
            Err(error) => root.problem_at("apps", format!("apps: {}", error.message)),
        }
    }
    apps
}

pub(super) fn check_values(table: &Table<'_>, key: &str, own: &Values, below: &Values) {
    let all: Values = below.clone().into_iter().chain(own.clone()).collect();
    let bytes: usize = all.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > VALUES_BYTES {
        table.problem_at(
            key,
            format!("values: {bytes} bytes in all; at most {VALUES_BYTES} are sent to a host"),
        );
    }
    for name in own.keys() {
        let sound = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if name.is_empty() || name.len() > KEY_BYTES || !sound {
            let shown = visible(name);
            table.problem_at(
                key,
                format!("values: key \"{shown}\" is invalid: use a-z A-Z 0-9 \"-\" \"_\" \".\""),
            );
        }
    }
}
