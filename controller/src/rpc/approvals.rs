//! The `Approvals` service.

use std::sync::Arc;

use longshore_common::{
    ids::EnvName,
    time::{Clock, Millis},
    wire::parse,
};
use longshore_proto::v1::{self as pb, approvals_server::Approvals};
use tonic::{Request, Response, Status};

use super::{about::About, admitted_about, invalid, operator, refuse};
use crate::{
    approval::{Answer, Approval, Rule, Standing},
    environments::approve::{self, Asked, Said},
    identity::Door,
    notify::{Happening, Kind, outbox},
    prepare,
    store::{Key, SharedStore},
    trouble::Trouble,
};

pub struct ApprovalsService {
    pub store: SharedStore,
    pub clock: Arc<dyn Clock>,
    pub door: Door,
}

impl ApprovalsService {
    async fn rows(&self, env: Option<&EnvName>, all: bool) -> Result<pb::ListApprovalsReply, Trouble> {
        let now = self.clock.now_ms();
        let mut known = approve::list(&self.store).await?;
        known.sort_by_key(|asked| std::cmp::Reverse(asked.asked_ms));
        let mut reply = pb::ListApprovalsReply::default();
        for asked in known.into_iter().filter(|asked| env.is_none_or(|env| asked.env == *env)) {
            let row = row(&self.store, &asked, now).await?;
            if all || row.state == "pending" {
                reply.plans.push(row);
            } else {
                *reply.left_out.entry(row.state).or_default() += 1;
            }
        }
        Ok(reply)
    }
}

/// How a plan stands with those who are asked.
pub(super) async fn row(store: &SharedStore, asked: &Asked, now: Millis) -> Result<pb::ApprovalRow, Trouble> {
    // An environment that was removed asks nobody any more.
    let rule = match store.get(&Key::env(&asked.env)).await? {
        Some(_) => asked.rule(store).await?,
        None => Rule::default(),
    };
    // One that was started has seen the world change by that.
    if asked.used {
        return Ok(encoded(asked, &rule, now));
    }
    let stale = prepare::stale(store, asked).await?.join("; ");
    let withdrawn = prepare::withdrawn(store, &asked.app, &asked.version).await?.unwrap_or_default();
    Ok(pb::ApprovalRow { stale, withdrawn, ..encoded(asked, &rule, now) })
}

fn encoded(asked: &Asked, rule: &Rule, now: Millis) -> pb::ApprovalRow {
    let (state, lacking, until) = match asked.standing(rule, now) {
        _ if asked.used => ("used", String::new(), None),
        Standing::NotNeeded => ("approved", String::new(), None),
        Standing::Approved { until } => ("approved", String::new(), until),
        Standing::Denied(_) => ("denied", String::new(), None),
        Standing::Pending(lacking) => ("pending", lacking.to_string(), None),
    };
    let words = asked.said.iter().map(|word| pb::ApprovalWord {
        by: word.by.to_string(),
        answer: match word.answer {
            Answer::Approved => "approved".to_owned(),
            Answer::Denied => "denied".to_owned(),
        },
        reason: word.reason.clone(),
        at_ms: word.at,
    });
    pb::ApprovalRow {
        plan: asked.plan.hex(),
        app: asked.app.to_string(),
        version: asked.version.to_string(),
        env: asked.env.to_string(),
        author: asked.author.to_string(),
        asked_ms: asked.asked_ms,
        state: state.to_owned(),
        lacking,
        until_ms: until.unwrap_or_default(),
        asked: rule.asked_of(&asked.author, "the author"),
        words: words.collect(),
        stale: String::new(),
        unchanged: false,
        withdrawn: String::new(),
    }
}

/// How a plan stands after somebody's word, for those who are told of that word.
fn stands(row: &pb::ApprovalRow) -> String {
    let short: String = row.plan.chars().take(8).collect();
    let denied = row.words.iter().filter(|word| word.answer == "denied").map(|word| word.by.as_str());
    match row.state.as_str() {
        _ if !row.stale.is_empty() => format!("The plan can no longer start as it is: {}.", row.stale),
        "approved" => format!("The plan may start: longshore rollout start {short}"),
        "denied" => {
            let by = denied.collect::<Vec<_>>().join(" and ");
            format!("The plan may not start until {by} approves it.")
        }
        "pending" => format!("The plan is not approved yet: {}.", row.lacking),
        _ => String::new(),
    }
}

#[tonic::async_trait]
impl Approvals for ApprovalsService {
    async fn list(
        &self,
        request: Request<pb::ListApprovalsRequest>,
    ) -> Result<Response<pb::ListApprovalsReply>, Status> {
        operator(&self.door, &request).await?;
        let pb::ListApprovalsRequest { env, all } = request.into_inner();
        let env: Option<EnvName> = match env.as_str() {
            "" => None,
            env => Some(parse("env", env).map_err(invalid)?),
        };
        Ok(Response::new(self.rows(env.as_ref(), all).await.map_err(refuse)?))
    }

    async fn say(&self, request: Request<pb::SayRequest>) -> Result<Response<pb::ApprovalRow>, Status> {
        let found = approve::find(&self.store, &request.get_ref().plan).await;
        let asked = match &found {
            Ok(plan) => approve::get(&self.store, plan).await.map_err(refuse)?.map(|(asked, _)| asked),
            Err(_) => None,
        };
        let about = asked.map(|asked| About::moving(&asked.app, &asked.version, &asked.env));
        let admission = admitted_about(&self.door, &request, about).await?;
        let by = admission.name().clone();
        let pb::SayRequest { plan: _, deny, reason } = request.into_inner();
        let plan = found.map_err(refuse)?;
        let now = self.clock.now_ms();
        let (answer, kind, verb) = match deny {
            true => (Answer::Denied, Kind::Denied, "denied"),
            false => (Answer::Approved, Kind::Approved, "approved"),
        };
        let word = Approval { by: by.clone(), at: now, answer, reason: reason.clone() };
        let Said { asked, before } = approve::say(&self.store, &plan, word).await.map_err(refuse)?;
        if before {
            let row = row(&self.store, &asked, now).await.map_err(refuse)?;
            return Ok(Response::new(pb::ApprovalRow { unchanged: true, ..row }));
        }
        let Asked { app, version, env, .. } = &asked;
        let subject = format!("{by} {verb} {app}@{version} for {env}");
        let row = row(&self.store, &asked, now).await;
        let happening =
            Happening::of_env(kind, env, subject).of(app, version).planned(&plan).by(&by).because(&reason);
        let text = row.as_ref().map(stands).unwrap_or_default();
        let happening = Happening { text, ..happening };
        if let Err(trouble) = outbox::tell(&self.store, &happening, now).await {
            tracing::error!(trouble = %longshore_common::chain::Chain(&trouble), "nobody was told");
        }
        Ok(Response::new(row.map_err(refuse)?))
    }
}
