//! What an environment's policy demands of a plan, on a screen: windows, freezes and locks; where the release has to have
//! proved itself; who has to agree.

use super::{approval::Word, plan::PlanView, plan_lines::paragraph};
use crate::{
    cli::{moment::count, output::Page, style::Ink},
    plan::{Approval, Demanded},
};

/// One paragraph each; none where the environment demands nothing.
pub(super) fn policy(view: &PlanView, page: &Page) -> Vec<String> {
    let plan = &view.plan;
    let calendar = plan.calendar.iter().map(|note| {
        let ink = if note.closed { Ink::Warn } else { Ink::Plain };
        (ink, note.what.clone())
    });
    let promotion = plan.promotion.iter().map(demanded);
    let approval = plan.approval.iter().map(|approval| (Ink::Warn, asked(approval)));
    let words = view.approval.iter().flat_map(|approval| {
        let used_up = approval.state == "used";
        approval.words.iter().map(move |word| said(word, used_up, page))
    });
    calendar
        .chain(promotion)
        .chain(approval)
        .chain(words)
        .flat_map(|(ink, text)| paragraph(&text, ink, page))
        .collect()
}

/// `after staging, live there for 24h, gates smoke: met`
fn demanded(demanded: &Demanded) -> (Ink, String) {
    let Demanded { env, lived, gates, lacking, due_ms: _ } = demanded;
    let lived = if lived.0.is_zero() { String::new() } else { format!(", live there for {lived}") };
    let gates = match gates.len() {
        0 => String::new(),
        1 => format!(", with gate {}", gates[0]),
        _ => format!(", with gates {}", gates.join(", ")),
    };
    match lacking {
        None => (Ink::Good, format!("after {env}{lived}{gates}: met")),
        Some(lacking) => (Ink::Bad, format!("after {env}{lived}{gates}: not met: {lacking}")),
    }
}

fn asked(approval: &Approval) -> String {
    let Approval { count: needed, by, expires_after } = approval;
    let good_for = expires_after.map(|span| format!(", good for {span}")).unwrap_or_default();
    let others = match by.contains("but the author") {
        true => " and whoever starts it",
        false => ", not by the plan's author, nor by whoever starts it",
    };
    format!("{} by {by}{others}{good_for}", count(*needed as usize, "approval"))
}

/// `bob approved it: read the diff (6s ago)`
fn said(word: &Word, used_up: bool, page: &Page) -> (Ink, String) {
    let ago = word.at.map(|at| format!(" ({})", at.relative(page.now))).unwrap_or_default();
    let told = format!("{}{ago}", word.told());
    match (used_up, word.answer.as_str()) {
        (true, _) => (Ink::Faint, format!("{told}, which the rollout that it started has used up")),
        (false, "approved") => (Ink::Good, told),
        (false, _) => (Ink::Bad, told),
    }
}
