//! Approvals as the store keeps them: what was asked, by whom, and what people said. How that stands is decided in
//! `crate::approval`.

use longshore_common::{
    code::{Code, Coded},
    digest::PlanDigest,
    ids::{AppName, EnvName, OperatorName, Version},
    time::{Millis, Span},
};
use serde::{Deserialize, Serialize};

use super::{freeze::REASON_BYTES, load};
use crate::{
    access::{self, Permission, Role},
    approval::{Answer, Approval, People, Rule, Standing, admit, counts, standing, standing_for},
    config::Environment,
    engine::records,
    notify::{Happening, Kind, outbox},
    store::{Key, Prefix, Revision, SharedStore, Txn, record},
    trouble::Trouble,
};

/// What people said of one plan and is kept, the newest.
const SAID: usize = 32;
/// Plans that wait; of more the oldest goes that was used, then one of which nobody has spoken.
const ASKED: usize = 500;
/// People that a refusal names.
const NAMED: usize = 5;
/// New attempts when two people speak at once.
const ATTEMPTS: u32 = 8;

/// Under `approvals/<plan>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub plan: PlanDigest,
    pub app: AppName,
    pub version: Version,
    pub env: EnvName,
    /// Who made the plan, the first of those who made this very one.
    pub author: OperatorName,
    pub asked_ms: Millis,
    /// In the order in which it was said; at most `SAID`, denials before approvals.
    pub said: Vec<Approval>,
    /// A rollout was started by it.
    #[serde(default)]
    pub used: bool,
}

impl Asked {
    /// By a rule with people in it.
    pub fn standing(&self, rule: &Rule, now: Millis) -> Standing {
        standing(rule, &self.said, &self.author, now)
    }

    /// The same, when `starter` is to start it.
    pub fn standing_for(&self, starter: &OperatorName, rule: &Rule, now: Millis) -> Standing {
        standing_for(rule, &self.said, &self.author, starter, now)
    }

    /// Whether this one's approval is among those that count.
    fn counts(&self, who: &OperatorName, rule: &Rule, now: Millis) -> bool {
        counts(rule, &self.said, &self.author, who, now)
    }

    /// Whether that very word was their last one and still counts; one without a reason says no other.
    fn holds(&self, word: &Approval, rule: &Rule) -> bool {
        let same = |said: &Approval| {
            said.answer == word.answer && (word.reason.is_empty() || said.reason == word.reason)
        };
        let last = self.said.iter().rfind(|said| said.by == word.by && rule.is_theirs(said));
        last.is_some_and(same) && (word.answer == Answer::Denied || self.counts(&word.by, rule, word.at))
    }

    /// Beyond those that are kept. A denial stays while there is an approval that can go in its place: it stops the plan.
    fn forget_oldest(&mut self) {
        while self.said.len() > SAID {
            let approval = self.said.iter().position(|said| said.answer == Answer::Approved);
            self.said.remove(approval.unwrap_or(0));
        }
    }

    /// What the environment asks for, with those who are to be asked now.
    pub async fn rule(&self, store: &SharedStore) -> Result<Rule, Trouble> {
        let (environment, _) = load(store, &self.env).await?;
        Ok(environment.approval.among(&people(store, &self.app, &self.env).await?))
    }
}

/// Who may approve the app in the environment, and who has which role there, now. A locked operator is nobody.
pub async fn people(store: &SharedStore, app: &AppName, env: &EnvName) -> Result<People, Trouble> {
    let scope = access::Scope::Both(app.clone(), env.clone());
    let mut people = People::default();
    for user in access::list(store).await?.into_iter().filter(|user| user.locked.is_none()) {
        for role in Role::ALL.into_iter().filter(|role| user.grants.hold(*role, &scope)) {
            people.holding.entry(role.to_string()).or_default().insert(user.name.clone());
        }
        people.since.insert(user.name.clone(), user.created_ms);
        if user.grants.allow(Permission::Approve, &scope) {
            people.approvers.insert(user.name);
        }
    }
    Ok(people)
}

/// Asks for approvals of a plan. One that is asked about already stays as it is; one that was used up is asked about anew.
pub async fn ask(store: &SharedStore, asked: Asked) -> Result<(), Trouble> {
    let key = Key::approvals(&asked.plan);
    let (before, read) = get(store, &asked.plan).await?.unzip();
    if before.is_some_and(|before| !before.used) {
        return Ok(());
    }
    let mut known = list(store).await?;
    known.sort_by_key(|known| (!known.used, !known.said.is_empty(), known.asked_ms));
    let mut txn = Txn::new().as_read(key.clone(), read).put(key.clone(), record::encode(&key, &asked)?);
    known.retain(|known| known.plan != asked.plan);
    for old in known.iter().take((known.len() + 1).saturating_sub(ASKED).min(16)) {
        txn = txn.delete(Key::approvals(&old.plan));
    }
    txn.writes.extend(outbox::writes_of(store, &asked.env, &[needed(&asked)], asked.asked_ms).await?);
    match store.commit(txn).await.map_err(Trouble::from) {
        Err(trouble) if trouble.is_conflict() => Ok(()), // somebody made the same plan at the same time
        result => result.map(|_| ()),
    }
}

fn needed(asked: &Asked) -> Happening {
    let Asked { app, version, env, author, plan, .. } = asked;
    let subject = format!("{app}@{version} to {env} waits for approval");
    Happening::of_env(Kind::ApprovalNeeded, env, subject).of(app, version).planned(plan).by(author)
}

pub async fn get(store: &SharedStore, plan: &PlanDigest) -> Result<Option<(Asked, Revision)>, Trouble> {
    records::get(store, &Key::approvals(plan)).await
}

/// Every plan that was asked about, and is kept.
pub async fn list(store: &SharedStore) -> Result<Vec<Asked>, Trouble> {
    let listing = store.list(&Prefix::approvals()).await?;
    listing.entries.iter().map(|entry| record::decode_entry(entry).map_err(Trouble::from)).collect()
}

/// The plan that a text means: its digest, or the beginning of it.
pub async fn find(store: &SharedStore, text: &str) -> Result<PlanDigest, Trouble> {
    let known = list(store).await?;
    if text == "latest" {
        return Err(not_by_its_place(&known));
    }
    let mut found = known.iter().filter(|asked| {
        let hex = asked.plan.hex();
        text.len() >= 4 && hex.starts_with(&text.to_ascii_lowercase())
    });
    match (found.next(), found.next()) {
        (Some(asked), None) => Ok(asked.plan),
        (Some(_), Some(_)) => {
            Err(Trouble::refused(Code::V01, "more than one plan is meant; give more of its digest"))
        }
        (None, _) => {
            let shown = longshore_common::text::visible(text);
            let message =
                format!("no plan \"{shown}\" waits for approvals. See: longshore rollout approvals");
            Err(Trouble::refused(Code::N01, message))
        }
    }
}

/// Whoever agrees has looked at one plan, and the latest may be another one by now.
fn not_by_its_place(known: &[Asked]) -> Trouble {
    let newest = known.iter().filter(|asked| !asked.used).max_by_key(|asked| asked.asked_ms);
    let newest = newest.map_or_else(
        || "none waits".to_owned(),
        |asked| {
            let Asked { plan, app, version, env, .. } = asked;
            format!("the newest is {} ({app}@{version} to {env})", plan.short())
        },
    );
    let message = format!(
        "name the plan that you looked at by its digest, as \"latest\" may be another one by now: {newest}. \
         See: longshore rollout approvals"
    );
    Trouble::refused(Code::V01, message)
}

/// How a plan stands when somebody has spoken.
#[derive(Clone, Debug)]
pub struct Said {
    pub asked: Asked,
    /// They had said it before, and it still counts: nothing was changed, and there is nothing to tell.
    pub before: bool,
}

/// Keeps what somebody says of a plan. Refused when their word is not asked for.
pub async fn say(store: &SharedStore, plan: &PlanDigest, word: Approval) -> Result<Said, Trouble> {
    if word.reason.len() > REASON_BYTES {
        let message = format!("the reason has {} bytes; at most {REASON_BYTES} are kept", word.reason.len());
        return Err(Trouble::refused(Code::V01, message));
    }
    let key = Key::approvals(plan);
    for attempt in 0.. {
        let (mut asked, revision) = get(store, plan).await?.ok_or_else(|| {
            Coded::new(Code::N01, "no such plan waits for approvals. See: longshore rollout approvals")
        })?;
        let rule = asked.rule(store).await?;
        admit(&rule, &asked.author, &word.by)
            .map_err(|why| Coded::new(Code::W02, format!("{} may not approve this: {why}", word.by)))?;
        if asked.used {
            let Asked { app, version, env, .. } = &asked;
            let message = format!(
                "the approvals of plan {} were used up by the rollout that it started (longshore plan list says which), and no \
                 word changes that one: to stop it, longshore rollout abort. To start the plan again, have it approved anew: \
                 longshore plan {app}@{version} --to {env}",
                plan.short()
            );
            return Err(Trouble::refused(Code::R01, message));
        }
        if asked.holds(&word, &rule) {
            return Ok(Said { asked, before: true });
        }
        asked.said.retain(|said| said.by != word.by);
        asked.said.push(word.clone());
        asked.forget_oldest();
        let txn = Txn::new().unchanged(key.clone(), revision).put(key.clone(), record::encode(&key, &asked)?);
        match store.commit(txn).await.map_err(Trouble::from) {
            Err(trouble) if trouble.is_conflict() && attempt < ATTEMPTS => {}
            result => {
                result?;
                tracing::info!(%plan, by = %word.by, answer = ?word.answer, "said of a plan");
                return Ok(Said { asked, before: false });
            }
        }
    }
    unreachable!("the last attempt returns")
}

/// Refused unless `by` may start the plan at `at`, which is `now` or later. Returns what its record has to be like when it
/// does.
pub async fn permit(
    store: &SharedStore,
    environment: &Environment,
    app: &AppName,
    plan: Option<&PlanDigest>,
    by: &OperatorName,
    at: Millis,
    now: Millis,
) -> Result<Option<(Asked, Revision)>, Trouble> {
    let Environment { name: env, approval: rule, calendar, .. } = environment;
    if rule.asks_nobody() {
        return Ok(None);
    }
    let refuse = |message: String| Err(Trouble::refused(Code::W02, message));
    let rule = &rule.among(&people(store, app, env).await?);
    let needs = needs(rule);
    let Some(plan) = plan else {
        return refuse(format!(
            "{env} needs {needs}, and approvals are for a plan. Make one: longshore plan APP@VERSION --to {env}"
        ));
    };
    let short = plan.short();
    let Some((asked, revision)) = get(store, plan).await? else {
        return refuse(format!(
            "{env} needs {needs}, and nobody was asked about plan {short}. Plan it again"
        ));
    };
    if asked.used {
        let Asked { app, version, .. } = &asked;
        return refuse(format!(
            "the approvals of plan {short} were used up by the rollout that it started. To start it again, have it \
             approved anew: longshore plan {app}@{version} --to {env}"
        ));
    }
    match asked.standing_for(by, rule, now) {
        // Enough agree; only too long before.
        Standing::Approved { until: Some(until) } if until <= at => {
            let (until, at) = (calendar.say_moment(until), calendar.say_moment(at));
            refuse(format!(
                "plan {short} is approved until {until}, and the rollout is to begin at {at}. Begin it before, or have \
                 the plan approved again less than that before it begins: {env} needs {needs}"
            ))
        }
        Standing::NotNeeded | Standing::Approved { .. } => Ok(Some((asked, revision))),
        Standing::Denied(by) => {
            let because = if by.reason.is_empty() { String::new() } else { format!(": {}", by.reason) };
            refuse(format!("plan {short} was denied by {}{because}", by.by))
        }
        Standing::Pending(lacking) if asked.counts(by, rule, now) => {
            let others = others(store, &asked, by, rule, now).await?;
            refuse(format!(
                "{env} needs {needs}, and whoever starts a plan is none of those who approve it: without {by}, plan \
                 {short} {lacking}. {others}"
            ))
        }
        Standing::Pending(lacking) => refuse(format!(
            "{env} needs {needs}; plan {short} {lacking}. They type: longshore rollout approve {short}"
        )),
    }
}

/// What people have yet to say before `by` may start the plan, in words; none: nothing.
pub async fn lacking(
    store: &SharedStore,
    environment: &Environment,
    app: &AppName,
    plan: &PlanDigest,
    by: &OperatorName,
    now: Millis,
) -> Result<Option<String>, Trouble> {
    match permit(store, environment, app, Some(plan), by, now, now).await {
        Ok(_) => Ok(None),
        Err(Trouble::Refused(refused)) if refused.code == Code::W02 => Ok(Some(refused.message)),
        Err(trouble) => Err(trouble),
    }
}

/// Who could approve or start it in place of `by`, in words.
async fn others(
    store: &SharedStore,
    asked: &Asked,
    by: &OperatorName,
    rule: &Rule,
    now: Millis,
) -> Result<String, Trouble> {
    let short = asked.plan.short();
    let scope = access::Scope::Both(asked.app.clone(), asked.env.clone());
    let may_approve =
        rule.approvers.iter().flatten().filter(|who| {
            *who != by && admit(rule, &asked.author, who).is_ok() && !asked.counts(who, rule, now)
        });
    let may_start = access::list(store).await?.into_iter().filter(|user| {
        let may = user.locked.is_none() && user.grants.allow(Permission::Deploy, &scope);
        may && asked.standing_for(&user.name, rule, now).may_start()
    });
    let mut told = match named(may_approve.map(ToString::to_string).collect()) {
        None => "Nobody else may approve it".to_owned(),
        Some(names) => {
            format!("Others who may approve: {names}; they type: longshore rollout approve {short}")
        }
    };
    if let Some(names) = named(may_start.map(|user| user.name.to_string()).collect()) {
        told.push_str(&format!(
            "\nOthers who may start it: {names}; they type: longshore rollout start {short}"
        ));
    }
    Ok(told)
}

/// `ann, bob and 3 more`; none of nobody.
fn named(mut names: Vec<String>) -> Option<String> {
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let shown = names.join(", ");
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(shown),
        (false, more) => Some(format!("{shown} and {more} more")),
    }
}

/// `2 approvals by ann, at least 1 of sre (sam, sue), each good for 24h`.
pub fn needs(rule: &Rule) -> String {
    let approvals = if rule.count == 1 { "approval" } else { "approvals" };
    let good = rule.expires.map(|span: Span| format!(", each good for {span}")).unwrap_or_default();
    format!("{} {approvals} by {}{good}", rule.count, rule.asked())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(by: &str, answer: Answer) -> Approval {
        Approval { by: by.parse().unwrap(), at: 0, answer, reason: String::new() }
    }

    fn asked(said: Vec<Approval>) -> Asked {
        Asked {
            plan: PlanDigest([1; 32]),
            app: "shop".parse().unwrap(),
            version: "2".parse().unwrap(),
            env: "prod".parse().unwrap(),
            author: "ada".parse().unwrap(),
            asked_ms: 0,
            said,
            used: false,
        }
    }

    /// Of whoever had that name before and was removed nothing stops the plan any more: what is said now has to.
    #[test]
    fn a_denial_is_not_inherited_with_the_name_of_who_was_removed() {
        let asked = asked(vec![word("cat", Answer::Denied)]);
        let said = Approval { at: 7, ..word("cat", Answer::Denied) };
        let since =
            |since| Rule { count: 1, since: [("cat".parse().unwrap(), since)].into(), ..Rule::default() };
        assert!(asked.holds(&said, &since(0)), "she says it again");
        assert!(!asked.holds(&said, &since(5)), "another has her name since");
    }

    /// However many people say yes after it.
    #[test]
    fn a_denial_is_not_pushed_out_by_approvals() {
        let mut asked = asked(vec![word("cat", Answer::Denied)]);
        for number in 0..2 * SAID {
            asked.said.push(word(&format!("bob{number}"), Answer::Approved));
            asked.forget_oldest();
        }
        assert_eq!(asked.said.len(), SAID);
        let rule = Rule { count: 1, ..Rule::default() };
        assert!(matches!(asked.standing(&rule, 1), Standing::Denied(by) if by.by.as_str() == "cat"));
        assert_eq!(asked.said.last().unwrap().by.as_str(), format!("bob{}", 2 * SAID - 1));
    }
}
