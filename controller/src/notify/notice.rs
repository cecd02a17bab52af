//! One thing that happened, and one notice for each receiver of it.

use std::fmt;

use jiff::Timestamp;
use longshore_common::{
    digest::PlanDigest,
    ids::{AppName, EnvName, HostName, OperatorName, RolloutId, Version},
    report::StepName,
    text::visible,
    time::Millis,
    wire::cut,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Address, Kind, Stakeholders, body};

/// Of the JSON that webhooks get.
const SCHEMA: &str = "longshore.notice/1";
const SUBJECT_BYTES: usize = 256;
pub(super) const FACT_BYTES: usize = 512;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    pub kind: Kind,
    pub env: EnvName,
    /// One sentence.
    pub subject: String,
    /// More of it; may be empty.
    pub text: String,
    pub app: Option<AppName>,
    pub version: Option<Version>,
    /// What was live before.
    pub from_version: Option<Version>,
    pub rollout: Option<RolloutId>,
    pub plan: Option<PlanDigest>,
    pub by: Option<String>,
    pub reason: Option<String>,
    pub failure: Option<FirstFailure>,
    /// Gates of the rollout that wait for people from now on.
    pub gates: Vec<AskingGate>,
}

/// A gate that people open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskingGate {
    pub name: String,
    /// How many have to approve, and who may, in words; empty: that could not be found out.
    pub asked: String,
}

/// The failure of a host that is told of before all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstFailure {
    pub host: HostName,
    pub code: String,
    pub step: StepName,
    pub message: String,
    /// Hosts that failed besides.
    pub others: usize,
}

impl Happening {
    pub fn of_env(kind: Kind, env: &EnvName, subject: String) -> Self {
        let (env, text) = (env.clone(), String::new());
        let (app, version, from_version, failure) = (None, None, None, None);
        let (rollout, plan, by, reason, gates) = (None, None, None, None, vec![]);
        Self {
            kind,
            env,
            subject,
            text,
            app,
            version,
            from_version,
            rollout,
            plan,
            by,
            reason,
            failure,
            gates,
        }
    }

    pub fn of(self, app: &AppName, version: &Version) -> Self {
        Self { app: Some(app.clone()), version: Some(version.clone()), ..self }
    }

    pub fn planned(self, plan: &PlanDigest) -> Self {
        Self { plan: Some(*plan), ..self }
    }

    pub fn by(self, by: &OperatorName) -> Self {
        Self { by: Some(by.to_string()), ..self }
    }

    pub fn because(self, reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()), ..self }
    }

    /// One for each receiver that wants to hear of it.
    pub fn notices(&self, stakeholders: &Stakeholders, now: Millis) -> Vec<Notice> {
        let mut notices = vec![];
        for teller in stakeholders.tell.iter().filter(|teller| teller.wants(self.kind)) {
            for address in teller.address.each() {
                let person = stakeholders.person(&address);
                notices.push(Notice { person, ..self.notice(&teller.name, &address, now) });
            }
        }
        notices
    }

    pub fn notice(&self, teller: &str, address: &Address, now: Millis) -> Notice {
        let id = Uuid::now_v7();
        Notice {
            id,
            kind: self.kind,
            env: self.env.clone(),
            teller: teller.to_owned(),
            address: address.clone(),
            person: None,
            subject: cut(&visible(&self.subject), SUBJECT_BYTES),
            text: body::text(self),
            payload: self.payload(&id, now),
            made_ms: now,
            attempts: 0,
            next_ms: now,
            error: String::new(),
            dead: false,
        }
    }

    /// The body of a webhook.
    fn payload(&self, id: &Uuid, now: Millis) -> String {
        #[derive(Serialize)]
        struct Payload<'a> {
            schema: &'static str,
            id: String,
            kind: &'static str,
            env: &'a str,
            subject: String,
            text: String,
            app: Option<&'a str>,
            version: Option<&'a str>,
            rollout: Option<String>,
            plan: Option<String>,
            by: Option<&'a str>,
            reason: Option<String>,
            time: String,
            from_version: Option<&'a str>,
            failure: Option<Failed<'a>>,
            commands: Vec<String>,
            gates: Vec<&'a str>,
        }
        #[derive(Serialize)]
        struct Failed<'a> {
            host: &'a str,
            code: &'a str,
            step: &'static str,
            message: String,
            others: usize,
        }
        let payload = Payload {
            schema: SCHEMA,
            id: id.to_string(),
            kind: self.kind.as_str(),
            env: self.env.as_str(),
            subject: cut(&self.subject, SUBJECT_BYTES),
            text: body::text(self),
            app: self.app.as_ref().map(AppName::as_str),
            version: self.version.as_ref().map(Version::as_str),
            rollout: self.rollout.map(|id| id.to_string()),
            plan: self.plan.map(|plan| plan.hex()),
            by: self.by.as_deref(),
            reason: self.reason.as_ref().map(|reason| cut(reason, SUBJECT_BYTES)),
            time: Timestamp::from_millisecond(now).unwrap_or_default().to_string(),
            from_version: self.from_version.as_ref().map(Version::as_str),
            failure: self.failure.as_ref().map(|first| Failed {
                host: first.host.as_str(),
                code: &first.code,
                step: first.step.as_str(),
                message: cut(&first.message, FACT_BYTES),
                others: first.others,
            }),
            commands: body::commands(self).into_iter().map(|(_, command)| command).collect(),
            gates: self.gates.iter().map(|gate| gate.name.as_str()).collect(),
        };
        serde_json::to_string(&payload).expect("strings are JSON")
    }
}

/// Something that is to be told to one receiver. Under `notices/<id>`, until it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub id: Uuid,
    pub kind: Kind,
    pub env: EnvName,
    /// Name of the way of telling in the environment's file.
    pub teller: String,
    /// As it was when it happened, or when somebody had it tried again.
    pub address: Address,
    /// Whose address it is, by the name that the environment's file had for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    pub subject: String,
    pub text: String,
    /// JSON: what a webhook gets.
    pub payload: String,
    pub made_ms: Millis,
    pub attempts: u32,
    /// Not to be tried before.
    pub next_ms: Millis,
    /// Of the last attempt; empty before the first.
    pub error: String,
    /// It is not tried any more, until somebody says so.
    pub dead: bool,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Email { to } => f.write_str(&to.join(", ")),
            // The path may be a secret of its own: many chat servers do it so.
            Address::Webhook { url, .. } => {
                let end = url.find("://").map_or(0, |at| at + 3);
                let host = url[end..].find('/').map_or(url.len(), |at| end + at);
                f.write_str(&url[..host])
            }
        }
    }
}
