//! How a plan stands with those who are asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use longshore_common::{ids::OperatorName, time::Millis};

use super::{Answer, Approval, Rule};

/// How a plan stands. Only what everybody said last counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody is asked.
    NotNeeded,
    /// Enough approve, until this moment; `None`: for good.
    Approved {
        until: Option<Millis>,
    },
    /// Somebody who is asked denied it.
    Denied(Approval),
    Pending(Lacking),
}

/// What is still lacking; never nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    /// More approvals, of anybody who is asked.
    pub count: u32,
    /// Of these roles so many more.
    pub roles: BTreeMap<String, u32>,
    /// Approvals that counted once and have expired.
    pub expired: Vec<OperatorName>,
    /// They approved, and are none of those who are asked any more: their role was taken, or they were removed.
    pub unasked: Vec<OperatorName>,
}

impl Standing {
    pub fn may_start(&self) -> bool {
        match self {
            Standing::NotNeeded | Standing::Approved { .. } => true,
            Standing::Denied(_) | Standing::Pending(_) => false,
        }
    }
}

/// Why somebody's word is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The author of the plan approves it.
    Author,
    /// Not among those who are asked.
    NotAsked { asked: String },
    /// Nobody is asked.
    NotNeeded,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Author => f.write_str("whoever made the plan cannot approve it: ask another operator"),
            Refusal::NotAsked { asked } => write!(f, "asked are: {asked}"),
            Refusal::NotNeeded => f.write_str("the environment asks for no approval: start the plan"),
        }
    }
}

/// Whether the word of `who` on a plan of `author` is taken.
pub fn admit(rule: &Rule, author: &OperatorName, who: &OperatorName) -> Result<(), Refusal> {
    if rule.asks_nobody() {
        return Err(Refusal::NotNeeded);
    }
    if who == author {
        return Err(Refusal::Author);
    }
    if !rule.knows(who) {
        return Err(Refusal::NotAsked { asked: rule.asked_of(author, "the author") });
    }
    Ok(())
}

/// How a plan of `author` stands at `now`. What those said who are not asked, and the author, does not count: the rule
/// may have changed since they said it.
pub fn standing(rule: &Rule, approvals: &[Approval], author: &OperatorName, now: Millis) -> Standing {
    if rule.asks_nobody() {
        return Standing::NotNeeded;
    }
    let mut last: BTreeMap<&OperatorName, &Approval> = BTreeMap::new();
    let taken = |approval: &&Approval| admit(rule, author, &approval.by).is_ok() && rule.is_theirs(approval);
    for approval in approvals.iter().filter(taken) {
        let known = last.entry(&approval.by).or_insert(approval);
        if known.at <= approval.at {
            *known = approval;
        }
    }
    if let Some(denied) = last.values().find(|approval| approval.answer == Answer::Denied) {
        return Standing::Denied((*denied).clone());
    }
    let heard: BTreeSet<&OperatorName> = last.keys().copied().collect();
    let (good, expired): (Vec<&Approval>, Vec<&Approval>) =
        last.into_values().partition(|approval| rule.end_of(approval).is_none_or(|end| now < end));
    let lacking = rule.lacking(&good);
    if lacking.count == 0 && lacking.roles.is_empty() {
        return Standing::Approved { until: rule.until(good) };
    }
    let expired = expired.into_iter().map(|approval| approval.by.clone()).collect();
    // Whoever has the name of one who was removed may have said something of their own.
    let unasked = approvals.iter().filter(|approval| {
        approval.answer == Answer::Approved && approval.by != *author && !heard.contains(&approval.by)
    });
    let unasked: BTreeSet<&OperatorName> = unasked.map(|approval| &approval.by).collect();
    let unasked = unasked.into_iter().cloned().collect();
    Standing::Pending(Lacking { expired, unasked, ..lacking })
}

/// How it stands when `starter` is to start it: nobody approves and starts alone, so their approval does not count. Their
/// denial does.
pub fn standing_for(
    rule: &Rule,
    approvals: &[Approval],
    author: &OperatorName,
    starter: &OperatorName,
    now: Millis,
) -> Standing {
    if !counts(rule, approvals, author, starter, now) {
        return standing(rule, approvals, author, now);
    }
    let others: Vec<Approval> =
        approvals.iter().filter(|approval| approval.by != *starter).cloned().collect();
    standing(rule, &others, author, now)
}

/// Whether the word of `who` is taken, was an approval last, and has not expired.
pub fn counts(
    rule: &Rule,
    approvals: &[Approval],
    author: &OperatorName,
    who: &OperatorName,
    now: Millis,
) -> bool {
    let last = approvals.iter().filter(|approval| approval.by == *who).max_by_key(|approval| approval.at);
    let good = |approval: &Approval| {
        let lasts = rule.end_of(approval).is_none_or(|end| now < end);
        approval.answer == Answer::Approved && lasts && rule.is_theirs(approval)
    };
    admit(rule, author, who).is_ok() && last.is_some_and(good)
}

/// Who may not approve, whatever the rule says of them.
struct Barred<'a> {
    /// `None`: that is not known yet, and nobody is left out.
    who: Option<&'a OperatorName>,
    /// Such as `the author`.
    called: &'a str,
}

impl Rule {
    /// Who is asked, in words. Somebody who is named and may not approve is said to lack that.
    pub fn asked(&self) -> String {
        self.asked_but("the author")
    }

    /// The same where it is `called` who may not.
    pub fn asked_but(&self, called: &str) -> String {
        self.asked_by(&Barred { who: None, called })
    }

    /// The same, where it is known who that is: they are left out.
    pub fn asked_of(&self, author: &OperatorName, called: &str) -> String {
        self.asked_by(&Barred { who: Some(author), called })
    }

    fn asked_by(&self, barred: &Barred<'_>) -> String {
        let mut asked = self.names(&self.by, barred);
        for (role, members) in &self.by_roles {
            asked.push(self.group(role, members, true, barred));
        }
        for (role, rule) in &self.roles {
            let group = self.group(role, &rule.members, rule.held, barred);
            asked.push(format!("at least {} of {group}", rule.count));
        }
        match (asked.is_empty(), self.by.is_empty()) {
            (false, _) => asked.join(", "),
            (true, true) => format!("any approver but {}", barred.called),
            (true, false) => format!("nobody but {}", barred.called),
        }
    }

    /// `sre (sam, sue)`; of a role of operators that nobody has looked up only its name.
    fn group(&self, role: &str, members: &BTreeSet<OperatorName>, held: bool, barred: &Barred<'_>) -> String {
        let names = self.names(members, barred);
        match (held, &self.approvers) {
            (true, None) => role.to_owned(),
            (true, Some(_)) if members.is_empty() => format!("{role} (nobody has that role)"),
            _ if names.is_empty() => format!("{role} (nobody but {})", barred.called),
            _ => format!("{role} ({})", names.join(", ")),
        }
    }

    fn names(&self, all: &BTreeSet<OperatorName>, barred: &Barred<'_>) -> Vec<String> {
        all.iter().filter(|who| Some(*who) != barred.who).map(|who| self.name(who)).collect()
    }

    fn name(&self, who: &OperatorName) -> String {
        if self.may_approve(who) { who.to_string() } else { format!("{who} (lacks the role approver)") }
    }

    fn end_of(&self, approval: &Approval) -> Option<Millis> {
        self.expires.map(|expires| approval.at.saturating_add(expires.as_ms()))
    }

    fn lacking(&self, good: &[&Approval]) -> Lacking {
        let of_role = |members: &BTreeSet<OperatorName>| {
            good.iter().filter(|approval| members.contains(&approval.by)).count() as u32
        };
        let roles = self.roles.iter().filter_map(|(name, role)| {
            let lack = role.count.saturating_sub(of_role(&role.members));
            (lack > 0).then(|| (name.clone(), lack))
        });
        let count = self.count.saturating_sub(good.len() as u32);
        Lacking { count, roles: roles.collect(), ..Lacking::default() }
    }

    /// Until when enough of them are good: each in its turn, the first to end goes, until too few are left.
    fn until(&self, mut good: Vec<&Approval>) -> Option<Millis> {
        good.sort_by_key(|approval| approval.at);
        for (nth, approval) in good.iter().enumerate() {
            let lacking = self.lacking(&good[nth + 1..]);
            if lacking.count > 0 || !lacking.roles.is_empty() {
                return self.end_of(approval);
            }
        }
        None
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |word: &str| {
            let parts = self.roles.iter().map(|(role, count)| format!("{count} {word} of {role}"));
            parts.collect::<Vec<_>>().join(" and ")
        };
        match self.roles.values().sum::<u32>() {
            0 => write!(f, "lacks {} more", self.count)?,
            // Whoever is of the role is one of those who are lacking anyway.
            of_roles if of_roles >= self.count => write!(f, "lacks {}", of("more"))?,
            _ => write!(f, "lacks {} more, {}", self.count, of("of them"))?,
        }
        for (what, who) in [("expired", &self.expired), ("no longer counted", &self.unasked)] {
            let names: Vec<String> = who.iter().map(ToString::to_string).collect();
            if !names.is_empty() {
                write!(f, "; {what}: {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}
