//! `[rollout]`: how carefully hosts are moved.

use longshore_common::{
    strict::{Guard, Read, Scalar, Table},
    text::visible,
};

use super::words::word;
use crate::rollout::{Allowance, HeldHosts, OnSpent, Promotion, Share, Spec, UnknownHosts};

/// Keys are named as the strategy's fields, except that a budget is written `failure_budget` and may be a count or a
/// percentage, with `failure_budget_percent` where both hold.
pub(super) fn strategy(table: &Guard<'_>) -> Spec {
    let default = Spec::default();
    let spec = Spec {
        canary: table.or("canary", default.canary),
        canary_hosts: table.optional("canary_hosts"),
        steps: table.list("steps"),
        wave: table.or("wave", default.wave),
        spread: table.optional("spread"),
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
        promotion: word(table, "rollout", "promotion", default.promotion, &PROMOTION),
        watch: table.or("watch", default.watch),
        gates: vec![],
        traffic: None,
        progress_deadline: table.or("progress_deadline", default.progress_deadline),
        stage_deadline: table.or("stage_deadline", default.stage_deadline),
        rollback_deadline: table.or("rollback_deadline", default.rollback_deadline),
        stage_ahead: table.or("stage_ahead", default.stage_ahead),
        unknown: word(table, "rollout", "unknown", default.unknown, &UNKNOWN),
        held: word(table, "rollout", "held", default.held, &HELD),
        auto_rollback: table.or("auto_rollback", default.auto_rollback),
        on_spent: word(table, "rollout", "on_spent", default.on_spent, &ON_SPENT),
    };
    if spec.canary == Share::Percent(0) {
        table.problem_at(
            "canary",
            "rollout.canary: 0% of the hosts is no canary; where there is to be none, write 0".to_owned(),
        );
    }
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
    use crate::config::Environment;

    fn read(canary: &str) -> Result<Environment, String> {
        let file = format!("[environment]\nname = \"a\"\nselector = \"a=b\"\n[rollout]\ncanary = {canary}\n");
        Environment::parse("a.toml", &file).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_canary_of_no_percent_is_a_slip() {
        assert!(read("0").is_ok() && read("\"1%\"").is_ok());
        let why = read("\"0%\"").unwrap_err();
        assert!(why.contains("a.toml:5:") && why.contains("0% of the hosts is no canary"), "{why}");
    }
}
