//! A plan on a screen: whether it may start, what it would do, what stands in the way, and the next command. As readable
//! for three hosts as for five hundred: of many, only those that stand out are listed.

use longshore_common::text::visible;

use super::{
    already::already,
    approval::choose_another,
    plan::{PlanList, PlanView},
    plan_parts::{back, changes, failed, gates, hosts, waves},
    plan_policy::policy,
    short,
};
use crate::{
    cli::{
        moment::{Moment, bytes, coarse, count},
        output::{Page, View},
        style::{Ink, wrap},
        table::{Cell, Facts, Table},
    },
    plan::{Change, Check, GroupPlan, HostPlan, Plan},
};

/// Longer lines are hard to read, however wide the screen.
pub(super) const WIDE: usize = 120;

impl View for PlanView {
    const SCHEMA: &'static str = "longshore.cli.plan/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let page = &Page { columns: page.columns.min(WIDE), ..page.clone() };
        let plan = &self.plan;
        let mut lines = self.head(page);
        lines.extend(summary(plan, page));
        let parts = [
            ("Does not hold", failed(plan, page)),
            ("Policy", policy(self, page)),
            ("Worth knowing", remarks(plan, page)),
            ("Waves", waves(plan, page)),
            ("Hosts", hosts(plan, self.all_hosts, page)),
            ("Changes", changes(plan, page)),
            ("Between waves", gates(plan, page)),
            ("Traffic", traffic(plan, page)),
            ("Way back", back(plan, page)),
        ];
        for (title, part) in parts {
            if !part.is_empty() {
                lines.push(String::new());
                lines.push(page.style.paint(Ink::Strong, title));
                lines.extend(part);
            }
        }
        lines.push(String::new());
        lines.extend(self.next());
        lines
    }
}

impl PlanView {
    /// For whoever starts at once: the head, what stands in the way, and how far it goes.
    pub fn brief(&self, page: &Page) -> Vec<String> {
        let page = &Page { columns: page.columns.min(WIDE), ..page.clone() };
        let mut lines = self.head(page);
        lines.extend(summary(&self.plan, page));
        lines.extend(policy(self, page));
        lines.extend(remarks(&self.plan, page));
        lines
    }

    fn head(&self, page: &Page) -> Vec<String> {
        let plan = &self.plan;
        let from = match &plan.live {
            None => "nothing is live".to_owned(),
            Some(live) if live.version == plan.to.version => {
                let of = |change: Change| plan.hosts.iter().filter(|host| host.change == change).count();
                already(of(Change::Install) + of(Change::Update), of(Change::Settings)).to_owned()
            }
            Some(live) => format!("from {}", live.version),
        };
        let title = visible(&format!("{}@{} to {} ({from})", plan.app, plan.to.version, plan.env));
        let digest = page.style.paint(Ink::Strong, &format!("Plan {}", plan.digest.short()));
        let (ink, standing) = self.standing(page);
        vec![format!("{digest}  {title}"), page.style.paint(ink, &standing)]
    }

    /// Whether it may start: one sentence.
    fn standing(&self, page: &Page) -> (Ink, String) {
        if let Some(since) = self.withdrawn_since() {
            return since;
        }
        match (self.plan.failed.len(), self.plan.is_nothing_to_do()) {
            (0, true) => {
                (Ink::Faint, "Nothing to do: every host that takes part runs it already.".to_owned())
            }
            (0, false) => self.may_start(page),
            (1, _) => (Ink::Bad, self.and_people("It may not start: a precondition does not hold.", page)),
            (failed, _) => {
                let what = format!("It may not start: {failed} preconditions do not hold.");
                (Ink::Bad, self.and_people(&what, page))
            }
        }
    }

    /// It was made before its release was withdrawn.
    fn withdrawn_since(&self) -> Option<(Ink, String)> {
        let why = self.withdrawn.as_ref()?;
        if self.plan.failed.iter().any(|failed| failed.check == Check::Withdrawn) {
            return None; // as it says itself
        }
        let started = self.rollout.as_ref().map(|id| format!("It was started: rollout {}. ", short(id)));
        let started = started.unwrap_or_default();
        Some((Ink::Bad, visible(&format!("{started}It can no longer start: {why}."))))
    }

    /// What is mended still leaves those who are asked.
    fn and_people(&self, what: &str, page: &Page) -> String {
        match &self.approval {
            Some(approval) => format!("{what} {}", approval.besides(page)),
            None if self.plan.approval.is_some() => {
                format!("{what} It has to be approved as well, and nobody was asked yet.")
            }
            None => what.to_owned(),
        }
    }

    fn may_start(&self, page: &Page) -> (Ink, String) {
        let started = self.rollout.as_ref().map(|id| format!("It was started: rollout {}.", short(id)));
        match (&self.approval, started) {
            (Some(approval), started) => approval.verdict(page).unwrap_or_else(|| {
                let started = started.unwrap_or_else(|| "It was started.".to_owned());
                (Ink::Plain, format!("{started} It may start again when it is approved anew."))
            }),
            (None, None) if self.plan.approval.is_some() => {
                (Ink::Warn, "It may start when it is approved, and nobody was asked yet.".to_owned())
            }
            (None, Some(started)) => (Ink::Plain, format!("{started} It may start again.")),
            (None, None) => (Ink::Good, "It may start.".to_owned()),
        }
    }

    /// What to type next.
    fn next(&self) -> Vec<String> {
        let plan = &self.plan;
        let digest = plan.digest.short();
        if self.withdrawn.is_some() {
            return vec![choose_another(plan.app.as_str())];
        }
        let again = format!("longshore plan {}@{} --to {}", plan.app, plan.to.version, plan.env);
        if !plan.failed.is_empty() {
            let mut lines = vec![format!("Mend what does not hold, then plan again: {again}")];
            if plan.failed.iter().all(|failed| failed.may_override) {
                let mut names: Vec<&str> = plan.failed.iter().map(|failed| failed.check.as_str()).collect();
                names.dedup();
                let options: Vec<String> = names.iter().map(|name| format!("--override {name}")).collect();
                lines.push(format!(
                    "Or in spite of it: longshore rollout start {digest} {} --reason \"...\"",
                    options.join(" ")
                ));
            }
            return lines;
        }
        let start = format!("Start it: longshore rollout start {digest}");
        let state = self.approval.as_ref().map(|approval| approval.state.as_str());
        let stale = self.approval.as_ref().is_some_and(|approval| approval.stale.is_some());
        match (plan.is_nothing_to_do(), state) {
            (true, _) => vec![],
            (false, Some(_)) if stale => vec![format!("Plan again: {again}")],
            (false, None) if plan.approval.is_some() => vec![format!("Have it approved: {again}")],
            (false, None | Some("approved")) => vec![start],
            (false, Some("used")) => vec![format!("Have it approved anew: {again}")],
            (false, Some(_)) => vec![format!("Others approve it: longshore rollout approve {digest}"), start],
        }
    }
}

fn summary(plan: &Plan, page: &Page) -> Vec<String> {
    let mut facts = Facts::default();
    facts.add("  hosts", shares(plan));
    facts.add("  waves", format!("{}{}", plan.waves.len(), domains(plan)));
    facts.add(
        "  fetch",
        match plan.fetch.wire_bytes {
            0 => "nothing: hosts hold all of it".to_owned(),
            wire => format!("about {} in all ({} unpacked)", bytes(wire), bytes(plan.fetch.bytes)),
        },
    );
    facts.add("  takes", expected(plan));
    let made = Moment(plan.made_ms);
    facts.add("  made", visible(&format!("{} by {}", made.relative(page.now), plan.made_by)));
    facts.lines(page.style)
}

/// `20: 18 updated, 1 installed, 1 left out`; `4: 2 to update, 2 in the other group`
fn shares(plan: &Plan) -> String {
    let groups = plan.traffic.as_ref().and_then(|traffic| traffic.groups.as_ref());
    let other = groups.map(GroupPlan::other).unwrap_or_default();
    let is = |host: &HostPlan, change: Change| host.change == change;
    let of = |change: Change| plan.hosts.iter().filter(|host| is(host, change)).count();
    let aside =
        plan.hosts.iter().filter(|host| is(host, Change::Skipped) && other.contains(&host.name)).count();
    let counted = [
        (of(Change::Update), "to update"),
        (of(Change::Install), "to install on"),
        (of(Change::Settings), "get other settings"),
        (of(Change::Unchanged), "run it already"),
        (aside, "in the other group"),
        (of(Change::Skipped) - aside, "left out"),
    ];
    let parts = counted.into_iter().filter(|(hosts, _)| *hosts > 0);
    let parts: Vec<String> = parts.map(|(hosts, word)| format!("{hosts} {word}")).collect();
    format!("{}: {}", plan.hosts.len(), parts.join(", "))
}

fn domains(plan: &Plan) -> String {
    let Some(label) = &plan.spread else { return String::new() };
    let mut domains: Vec<&String> = plan.waves.iter().flat_map(|wave| &wave.domains).collect();
    domains.sort();
    domains.dedup();
    visible(&format!(", one {label} at a time, {} in all", domains.len()))
}

fn expected(plan: &Plan) -> String {
    let least = coarse(plan.duration.least.as_ms());
    match (plan.duration.range, plan.duration.learnt_from) {
        (Some((low, high)), learnt) => {
            let (low, high) = (coarse(low.as_ms()), coarse(high.as_ms()));
            let range = if low == high { format!("about {low}") } else { format!("{low} to {high}") };
            format!("{range}, by {} that succeeded", count(learnt as usize, "rollout"))
        }
        (None, _) => {
            let (app, env) = (&plan.app, &plan.env);
            format!("at least {least}; no rollout of {app} in {env} has succeeded yet to learn from")
        }
    }
}

/// What happens on load balancers and between groups, in order, and how that goes back.
fn traffic(plan: &Plan, page: &Page) -> Vec<String> {
    let Some(traffic) = &plan.traffic else { return vec![] };
    let what = traffic.what.iter().cloned();
    let back = traffic.back.iter().map(|back| format!("on the way back: {back}"));
    what.chain(back).flat_map(|sentence| paragraph(&sentence, Ink::Plain, page)).collect()
}

fn remarks(plan: &Plan, page: &Page) -> Vec<String> {
    plan.remarks.iter().flat_map(|remark| paragraph(remark, Ink::Plain, page)).collect()
}

/// `  - text`, wrapped.
pub(super) fn paragraph(text: &str, ink: Ink, page: &Page) -> Vec<String> {
    let lines = wrap(&visible(text), page.columns.saturating_sub(4).max(20));
    let lead = |at: usize| if at == 0 { "  - " } else { "    " };
    lines
        .iter()
        .enumerate()
        .map(|(at, line)| format!("{}{}", lead(at), page.style.paint(ink, line)))
        .collect()
}

impl View for PlanList {
    const SCHEMA: &'static str = "longshore.cli.plan-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.plans.is_empty() {
            return vec!["No plans. Make one: longshore plan APP@VERSION --to ENVIRONMENT".to_owned()];
        }
        let mut table = Table::new(["PLAN", "RELEASE", "TO", "HOSTS", "WAVES", "MADE", "BY", "STANDING"]);
        for plan in &self.plans {
            let standing = match (&plan.rollout, plan.failed.is_empty(), plan.approval.as_deref()) {
                (Some(rollout), ..) => Cell::new(Ink::Plain, format!("started: {}", short(rollout))),
                (None, ..) if plan.withdrawn.is_some() => Cell::new(Ink::Bad, "withdrawn"),
                (None, true, Some("pending")) => Cell::new(Ink::Warn, "waits for approval"),
                (None, true, Some("denied")) => Cell::new(Ink::Bad, "denied"),
                (None, true, _) => Cell::new(Ink::Good, "may start"),
                (None, false, _) => {
                    Cell::new(Ink::Bad, visible(&format!("failed: {}", plan.failed.join(", "))))
                }
            };
            table.row([
                visible(&plan.digest).chars().take(8).collect::<String>().into(),
                visible(&format!("{}@{}", plan.app, plan.version)).into(),
                visible(&plan.env).into(),
                plan.hosts.to_string().into(),
                plan.waves.to_string().into(),
                plan.made_at.relative(page.now).into(),
                visible(&plan.made_by).into(),
                standing,
            ]);
        }
        table.lines_within(page.style, page.columns)
    }
}
