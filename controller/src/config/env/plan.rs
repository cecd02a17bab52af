//! `[plan]`: how hosts are asked before a rollout, and what may be overridden.

use longshore_common::{strict::Guard, text::visible, time::Span};

use crate::plan::{Check, DEADLINE_MAX, PlanPolicy, Unfit};

pub(super) fn read(table: &Guard<'_>) -> PlanPolicy {
    let default = PlanPolicy::default();
    let policy = PlanPolicy {
        deadline: table.or("deadline", default.deadline),
        clock: table.or("clock", default.clock),
        unfit: unfit(table),
        overrides: overrides(table),
    };
    if policy.deadline > DEADLINE_MAX || policy.deadline == Span::default() {
        table.problem_at(
            "deadline",
            format!("plan.deadline: must be longer than 0s and at most {DEADLINE_MAX}"),
        );
    }
    policy
}

fn unfit(table: &Guard<'_>) -> Unfit {
    match table.or("unfit", "refuse".to_owned()).as_str() {
        "refuse" => Unfit::Refuse,
        "skip" => Unfit::Skip,
        other => {
            table.problem_at("unfit", format!("plan.unfit: \"{}\" is none of refuse, skip", visible(other)));
            Unfit::Refuse
        }
    }
}

fn overrides(table: &Guard<'_>) -> Vec<Check> {
    let mut allowed = vec![];
    for name in table.list::<String>("overrides") {
        match Check::parse(&name) {
            Some(check) if check.is_absolute() => {
                table.problem_at("overrides", format!("plan.overrides: \"{check}\" cannot be overridden"));
            }
            Some(check) => allowed.push(check),
            None => {
                let known = Check::ALL.into_iter().filter(|check| !check.is_absolute());
                let known: Vec<&str> = known.map(Check::as_str).collect();
                let shown = visible(&name);
                table.problem_at(
                    "overrides",
                    format!("plan.overrides: \"{shown}\" is none of {}", known.join(", ")),
                );
            }
        }
    }
    allowed
}
