//! An environment's file: which hosts, how carefully, and the values that config templates are rendered with.
//!
//! ```toml
//! [environment]
//! name     = "production"
//! selector = "env=prod"
//!
//! [rollout]
//! canary          = 1
//! wave            = "25%"
//! max_unavailable = "10%"
//! bake            = "30s"
//! failure_budget  = 1
//!
//! [values]
//! workers = 4
//!
//! [apps.shop.values]
//! workers = 8
//! ```

use std::collections::BTreeMap;

use longshore_common::{
    ids::{AppName, EnvName},
    label::Selector,
    slot::Values,
    strict::{File, Guard, Problems, Read, Scalar, Table},
    text::visible,
};

use crate::rollout::{Allowance, HeldHosts, OnSpent, Promotion, Share, Spec, UnknownHosts};

/// Good releases on a host's disk, the live one included, unless the file says otherwise.
const KEEP_SLOTS: u32 = 3;
/// Bytes of all keys and values that one app gets; an assignment carries them, and has to fit a record.
pub const VALUES_BYTES: usize = 8 * 1024;
const KEY_BYTES: usize = 128;

/// What a file says, all of it valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    pub name: EnvName,
    pub selector: Selector,
    pub keep_slots: u32,
    pub spec: Spec,
    values: Values,
    apps: BTreeMap<AppName, Values>,
}

impl Environment {
    /// `name` is for messages only.
    pub fn parse(name: &str, text: &str) -> Result<Self, Problems> {
        File::new(name, text).read(read)
    }

    /// The environment's values, with those of the app over them.
    pub fn values_for(&self, app: &AppName) -> Values {
        let mut values = self.values.clone();
        if let Some(own) = self.apps.get(app) {
            values.extend(own.clone());
        }
        values
    }
}

fn read(root: &Table<'_>) -> Option<Environment> {
    let environment = root.table("environment");
    let name = environment.required("name");
    let selector = environment.required("selector");
    let keep_slots = environment.or("keep_slots", KEEP_SLOTS);
    if !(2..=20).contains(&keep_slots) {
        environment.problem_at(
            "keep_slots",
            "environment.keep_slots: must be 2 to 20: the live release and a way back",
        );
    }
    let spec = strategy(&root.table("rollout"));
    let values = root.texts("values");
    check_values(root, "values", &values, &Values::new());
    let apps = apps(root, &values);
    Some(Environment { name: name?, selector: selector?, keep_slots, spec, values, apps })
}

fn apps(root: &Table<'_>, values: &Values) -> BTreeMap<AppName, Values> {
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

fn check_values(table: &Table<'_>, key: &str, own: &Values, below: &Values) {
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

/// Keys are named as the strategy's fields, except that a budget is written `failure_budget` and may be a count or a
/// percentage, with `failure_budget_percent` where both hold.
fn strategy(table: &Guard<'_>) -> Spec {
    let default = Spec::default();
    let spec = Spec {
        canary: table.or("canary", default.canary),
        canary_hosts: table.optional("canary_hosts"),
        wave: table.or("wave", default.wave),
        max_unavailable: table.or("max_unavailable", default.max_unavailable),
        wave_budget: allowance(
            table,
            "wave_failure_budget",
            "wave_failure_budget_percent",
            default.wave_budget,
        ),
        budget: allowance(table, "failure_budget", "failure_budget_percent", default.budget),
        enough: percent(table, "enough", default.enough),
        attempts: small(table, "attempts", default.attempts),
        canary_bake: table.or("canary_bake", table.or("bake", default.canary_bake)),
        bake: table.or("bake", default.bake),
        promotion: word(table, "promotion", default.promotion, &PROMOTION),
        progress_deadline: table.or("progress_deadline", default.progress_deadline),
        stage_deadline: table.or("stage_deadline", default.stage_deadline),
        rollback_deadline: table.or("rollback_deadline", default.rollback_deadline),
        stage_ahead: table.or("stage_ahead", default.stage_ahead),
        unknown: word(table, "unknown", default.unknown, &UNKNOWN),
        held: word(table, "held", default.held, &HELD),
        auto_rollback: table.or("auto_rollback", default.auto_rollback),
        on_spent: word(table, "on_spent", default.on_spent, &ON_SPENT),
    };
    for (field, what) in spec.problems() {
        let key = match field {
            "wave_budget.percent" => "wave_failure_budget_percent",
            "budget.percent" => "failure_budget_percent",
            field => field,
        };
        table.problem_at(key, format!("rollout.{key} {what}"));
    }
    spec
}

const PROMOTION: [(&str, Promotion); 3] =
    [("auto", Promotion::Auto), ("canary", Promotion::Canary), ("every-wave", Promotion::EveryWave)];
const UNKNOWN: [(&str, UnknownHosts); 3] =
    [("count", UnknownHosts::Count), ("wait", UnknownHosts::Wait), ("skip", UnknownHosts::Skip)];
const HELD: [(&str, HeldHosts); 2] = [("wait", HeldHosts::Wait), ("skip", HeldHosts::Skip)];
const ON_SPENT: [(&str, OnSpent); 2] = [("rollback", OnSpent::Rollback), ("pause", OnSpent::Pause)];

fn word<T: Copy>(table: &Table<'_>, key: &str, default: T, words: &[(&str, T)]) -> T {
    let Some(given) = table.optional::<String>(key) else { return default };
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == given) {
        return *value;
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    table.problem_at(key, format!("rollout.{key}: \"{}\" is none of {}", visible(&given), known.join(", ")));
    default
}

fn allowance(table: &Table<'_>, key: &str, percent_key: &str, default: Allowance) -> Allowance {
    let (amount, percent) = (table.optional::<Share>(key), table.optional::<u16>(percent_key));
    // What is over 255 is over 100 as well, and `Spec::problems` says so.
    let percent = percent.map(|percent| u8::try_from(percent).unwrap_or(u8::MAX));
    match (amount, percent) {
        (None, None) => default,
        (None, percent) => Allowance { count: None, percent },
        (Some(Share::Count(count)), percent) => Allowance { count: Some(count), percent },
        (Some(Share::Percent(percent)), None) => Allowance { count: None, percent: Some(percent) },
        (Some(Share::Percent(_)), Some(percent)) => {
            table.problem_at(percent_key, format!("rollout.{percent_key}: {key} is a percentage already"));
            Allowance { count: None, percent: Some(percent) }
        }
    }
}

/// `80` or `"80%"`.
fn percent(table: &Table<'_>, key: &str, default: u8) -> u8 {
    let Some(Scalar(text)) = table.optional(key) else { return default };
    text.strip_suffix('%').unwrap_or(&text).parse().unwrap_or_else(|_| {
        table.problem_at(
            key,
            format!("rollout.{key}: \"{}\" is not a percentage: write \"80%\"", visible(&text)),
        );
        default
    })
}

fn small(table: &Table<'_>, key: &str, default: u8) -> u8 {
    // What is over 255 is over every limit, and `Spec::problems` says so.
    table.optional::<u16>(key).map_or(default, |number| u8::try_from(number).unwrap_or(u8::MAX))
}

impl Read for Share {
    const EXPECTED: &'static str = "a count of hosts, 3, or a percentage, \"25%\"";
    fn read(value: &toml::de::DeValue<'_>) -> Result<Self, Option<String>> {
        let Scalar(text) = Scalar::read(value)?;
        text.parse().map_err(|error: longshore_common::code::Coded| Some(error.message))
    }
}

#[cfg(test)]
mod tests {
    use longshore_common::time::Span;

    use super::*;

    const EXAMPLE: &str = r#"
[environment]
name = "production"
selector = "env=prod"

[rollout]
canary = 1
wave = "25%"
max_unavailable = "10%"
bake = "30s"
failure_budget = "1"
wave_failure_budget = "50%"
enough = "80%"
promotion = "canary"

[values]
workers = 4
greeting = "ahoy"

[apps.shop.values]
workers = 8
"#;

    #[test]
    fn a_sound_file_says_what_it_says() {
        let env = Environment::parse("production.toml", EXAMPLE).unwrap();
        assert_eq!(env.spec.wave, Share::Percent(25));
        assert_eq!(env.spec.budget, Allowance::count(1));
        assert_eq!(env.spec.wave_budget, Allowance::percent(50));
        assert_eq!((env.spec.enough, env.spec.canary_bake), (80, Span::secs(30)));
        let shop = env.values_for(&"shop".parse().unwrap());
        assert_eq!((shop["workers"].as_str(), shop["greeting"].as_str()), ("8", "ahoy"));
        assert_eq!(env.values_for(&"other".parse().unwrap())["workers"], "4");
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let text = "[environment]\nname = \"P\"\n[rollout]\ncanray = 1\nwave = \"0%\"\npromotion = \"never\"\nenough = 0\nfailure_budget_percent = 101\nunknown = 3\n[values]\n\"a b\" = 1\n[apps.\"X\".values]\n";
        let problems = Environment::parse("p.toml", text).unwrap_err().to_string();
        for part in [
            "p.toml:1:1: [environment] needs the key \"selector\"",
            "p.toml:2:8: environment.name: environment name \"P\" is invalid",
            "p.toml:4:1: unknown key \"canray\" in [rollout]; did you mean \"canary\"?",
            "p.toml:5:8: rollout.wave must be at least 1 host or 1%",
            "p.toml:6:13: rollout.promotion: \"never\" is none of auto, canary, every-wave",
            "p.toml:7:10: rollout.enough must be 1 to 100 percent, not 0",
            "p.toml:8:26: rollout.failure_budget_percent must be 0 to 100",
            "p.toml:9:11: rollout.unknown: expected text in quotes, found integer",
            "p.toml:10:1: values: key \"a b\" is invalid",
            "apps: app name \"X\" is invalid",
        ] {
            assert!(problems.contains(part), "{part}\nis not in\n{problems}");
        }
    }
}
