//! What each request of an operator touches, and how the audit log names it. A request that has no entry here does
//! not compile: somebody has to think about it.

use longshore_common::{
    ids::{AppName, EnvName},
    trust::FLEET,
};
use longshore_proto::v1 as pb;
use tonic::Streaming;

use super::detail;
use crate::access::Scope;

/// A request of an operator.
pub(super) trait Act {
    fn scope(&self) -> Scope;
    /// Names and ids, never a secret. Cut to size by the log.
    fn target(&self) -> String {
        String::new()
    }
}

/// Names that nothing can have cover nothing narrower than everything: the handler refuses them anyway.
fn app(name: &str) -> Scope {
    name.parse::<AppName>().map_or(Scope::Fleet, Scope::App)
}

fn env(name: &str) -> Scope {
    name.parse::<EnvName>().map_or(Scope::Fleet, Scope::Env)
}

/// The organisation's own documents are everybody's.
fn repository(name: &str) -> Scope {
    if name == FLEET { Scope::Fleet } else { app(name) }
}

/// Of one app in an environment, or of all.
fn locked(app: &str, name: &str) -> Scope {
    if app.is_empty() { env(name) } else { both(app, name) }
}

fn both(app: &str, env: &str) -> Scope {
    match (app.parse::<AppName>(), env.parse::<EnvName>()) {
        (Ok(app), Ok(env)) => Scope::Both(app, env),
        _ => Scope::Fleet,
    }
}

macro_rules! act {
    ($($request:ty => |$this:ident| $scope:expr, $target:expr;)*) => {
        $(impl Act for $request {
            fn scope(&self) -> Scope {
                let $this = self;
                let _: &Self = $this; // what some scopes need nothing of
                $scope
            }
            fn target(&self) -> String {
                let $this = self;
                let _: &Self = $this;
                $target
            }
        })*
    };
}

act! {
    pb::StatusRequest => |r| Scope::Any, String::new();
    pb::CreateTokenRequest => |r| Scope::Fleet, detail::token(r);
    pb::ListTokensRequest => |r| Scope::Any, String::new();
    pb::RevokeTokenRequest => |r| Scope::Fleet, format!("join token {}", r.id);
    pb::ListHostsRequest => |r| Scope::Any, String::new();
    pb::ShowHostRequest => |r| Scope::Any, format!("host {}", r.host);
    pb::DrainHostRequest => |r| Scope::Fleet, because(detail::drain(r), &r.reason);
    pb::LabelHostRequest => |r| Scope::Fleet, format!("host {}: set {:?}, unset {:?}", r.host, r.set, r.unset);
    pb::AdmitHostRequest => |r| Scope::Fleet, format!("host {}, key {:?}", r.host, r.key);
    pb::RemoveHostRequest => |r| Scope::Fleet, format!("host {}", r.host);
    pb::PingRequest => |r| Scope::Any, String::new();
    pb::LogsRequest => |r| app(&r.app), format!("logs of {}", r.app);
    // The release that it is for is named when it is published.
    pb::MissingRequest => |r| Scope::Any, "which blobs are missing".to_owned();
    Streaming<pb::UploadPiece> => |r| Scope::Any, "blobs".to_owned();
    pb::PublishRequest => |r| Scope::Any, format!("publish ({})", detail::content(&r.manifest));
    pb::ListReleasesRequest => |r| Scope::Any, String::new();
    pb::ShowReleaseRequest => |r| app(&r.app), format!("{}@{}", r.app, r.version);
    pb::AttestationRequest => |r| app(&r.app), format!("what is attested of {}@{}", r.app, r.version);
    pb::WithdrawReleaseRequest => |r| app(&r.app), because(format!("{}@{}", r.app, r.version), &r.reason);
    // The file names its environment; the handler looks.
    pb::ApplyEnvironmentRequest => |r| Scope::Any, detail::file(&r.file_name, &r.file);
    pb::ListEnvironmentsRequest => |r| Scope::Any, String::new();
    pb::ShowEnvironmentRequest => |r| Scope::Any, String::new();
    pb::RemoveEnvironmentRequest => |r| env(&r.env), format!("environment {}: remove", r.env);
    // A plan knows its app and environment; the handler looks. The way back is by none, whatever else the request says.
    pb::StartRolloutRequest => |r| if by_plan(r) { Scope::Any } else { both(&r.app, &r.env) }, started(r);
    pb::ShowCalendarRequest => |r| Scope::Any, String::new();
    pb::FreezeRequest => |r| env(&r.env), because(detail::freeze(r), &r.reason);
    pb::UnfreezeRequest => |r| env(&r.env), because(format!("unfreeze {}", r.env), &r.reason);
    pb::LockRequest => |r| locked(&r.app, &r.env), because(format!("lock {}", place(&r.app, &r.env)), &r.reason);
    pb::UnlockRequest => |r| locked(&r.app, &r.env), format!("unlock {}", place(&r.app, &r.env));
    pb::ListApprovalsRequest => |r| Scope::Any, String::new();
    // The plan knows its app and environment; the handler looks.
    pb::SayRequest => |r| Scope::Any, because(format!("{} plan {}", if r.deny { "deny" } else { "approve" }, r.plan), &r.reason);
    pb::ListNoticesRequest => |r| Scope::Any, String::new();
    pb::RetryNoticesRequest => |r| Scope::Fleet, format!("notices {}", r.ids.join(", "));
    pb::TestNoticeRequest => |r| env(&r.env), format!("a test notice to {} {}", r.env, r.teller);
    pb::MakePlanRequest => |r| Scope::Any, format!("{}@{} to {}", r.app, r.version, r.env);
    pb::ListPlansRequest => |r| Scope::Any, String::new();
    pb::ShowPlanRequest => |r| Scope::Any, String::new();
    pb::ShowSettingsRequest => |r| both(&r.app, &r.env), String::new();
    pb::RecipientsRequest => |r| Scope::Any, String::new();
    // The pieces say which, for whom and in which words; the handler takes them in and looks.
    Streaming<pb::SealPiece> => |r| Scope::Any, "a sealed secret".to_owned();
    pb::CheckSecretsRequest => |r| Scope::Any, String::new();
    pb::TrustStatusRequest => |r| Scope::Any, String::new();
    pb::CheckTrustRequest => |r| Scope::Any, "what hosts trust".to_owned();
    pb::GetTrustRequest => |r| Scope::Any, String::new();
    // What they change is known only beside what is held; the handler looks.
    pb::SubmitTrustRequest => |r| repository(&r.app), format!("signed documents of {}", r.app);
    pb::DropTrustRequest => |r| repository(&r.app), because(dropped(r), &r.reason);
    pb::ListRolloutsRequest => |r| Scope::Any, String::new();
    pb::ShowRolloutRequest => |r| Scope::Any, String::new();
    // The rollout knows its app and environment; the handler looks.
    pb::SteerRequest => |r| Scope::Any, steered(r);
    pb::OpenGateRequest => |r| Scope::Any, opened(r);
    pb::WhoAmIRequest => |r| Scope::Any, String::new();
    pb::LoginRequest => |r| Scope::Any, "a new certificate".to_owned();
    pb::AddUserRequest => |r| Scope::Fleet, detail::user(r);
    pb::ListUsersRequest => |r| Scope::Any, String::new();
    pb::ChangeUserRequest => |r| Scope::Fleet, changed(r);
    pb::RemoveUserRequest => |r| Scope::Fleet, format!("operator {}", r.name);
    pb::ProposalsRequest => |r| Scope::Any, String::new();
    pb::ConfirmRequest => |r| Scope::Any, format!("proposal {}", r.id);
    pb::AuditRequest => |r| Scope::Any, "the audit log".to_owned();
    pb::WitnessesRequest => |r| Scope::Any, "what hosts keep of the audit log".to_owned();
}

fn dropped(request: &pb::DropTrustRequest) -> String {
    let pb::DropTrustRequest { app, id, reason: _ } = request;
    match id.as_str() {
        "" => format!("drop what was overtaken of what waits for signatures of {app}"),
        id => format!("drop {id} of what waits for signatures of {app}"),
    }
}

/// Whether a plan says what is started.
pub(super) fn by_plan(request: &pb::StartRolloutRequest) -> bool {
    !request.plan.is_empty() && !request.rollback
}

fn started(request: &pb::StartRolloutRequest) -> String {
    let pb::StartRolloutRequest { app, version, env, rollback, reason, at, .. } = request;
    let at = if at.is_empty() { String::new() } else { format!(" at {at}") };
    let spite = format!("{at}{}", in_spite_of(request));
    if by_plan(request) {
        return because(format!("start plan {}{spite}", request.plan), reason);
    }
    let what = match (*rollback, version.is_empty()) {
        (true, true) => format!("{app} back to what was live before, in {env}{at}"),
        (true, false) => format!("back to {app}@{version} in {env}{at}"),
        (false, _) => format!("{app}@{version} to {env}{spite}"),
    };
    because(what, reason)
}

/// ` in spite of disk, ports`, with the reason of each that is not the one of the whole.
fn in_spite_of(request: &pb::StartRolloutRequest) -> String {
    let named: Vec<String> = request
        .overrides
        .iter()
        .map(|pb::Override { name, reason }| match *reason == request.reason {
            true => name.clone(),
            false => format!("{name} ({reason})"),
        })
        .collect();
    if named.is_empty() { String::new() } else { format!(" in spite of {}", named.join(", ")) }
}

/// What was done, and why, where somebody said so.
fn because(what: String, reason: &str) -> String {
    if reason.is_empty() { what } else { format!("{what}: {reason}") }
}

/// `production`, or `shop in production`
fn place(app: &str, env: &str) -> String {
    if app.is_empty() { env.to_owned() } else { format!("{app} in {env}") }
}

fn steered(request: &pb::SteerRequest) -> String {
    use pb::steer_request::Act as Steer;
    let act = match &request.act {
        Some(Steer::Pause(_)) => "pause".to_owned(),
        Some(Steer::Resume(_)) => "resume".to_owned(),
        Some(Steer::Promote(_)) => "promote".to_owned(),
        Some(Steer::PromoteFully(_)) => "promote fully".to_owned(),
        Some(Steer::Abort(_)) => "abort".to_owned(),
        Some(Steer::Retry(retry)) => format!("retry{}", detail::hosts(&retry.hosts)),
        Some(Steer::Rollback(_)) => "rollback".to_owned(),
        Some(Steer::Pace(pace)) => format!("pace{}", detail::pace(pace)),
        Some(Steer::Exclude(exclude)) => format!("exclude{}", detail::hosts(&exclude.hosts)),
        None => "nothing".to_owned(),
    };
    because(format!("{act} rollout {}", request.rollout), &request.reason)
}

fn opened(request: &pb::OpenGateRequest) -> String {
    let pb::OpenGateRequest { rollout, gate, denied, reason } = request;
    let verb = if *denied { "deny" } else { "approve" };
    because(format!("{verb} gate {gate} of rollout {rollout}"), reason)
}

fn changed(request: &pb::ChangeUserRequest) -> String {
    use pb::change_user_request::Act as Change;
    let act = match &request.act {
        Some(Change::Grant(grant)) => format!("grant {grant}"),
        Some(Change::Revoke(grant)) => format!("revoke {grant}"),
        Some(Change::Lock(reason)) => format!("lock: {reason}"),
        Some(Change::Unlock(_)) => "unlock".to_owned(),
        None => "nothing".to_owned(),
    };
    format!("operator {}: {act}", request.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the audit log says was done reads well with a reason and without.
    #[test]
    fn what_was_done_is_said_with_its_reason_if_there_is_one() {
        let start = |plan: &str, version: &str, rollback, reason: &str| {
            started(&pb::StartRolloutRequest {
                app: "shop".into(),
                env: "production".into(),
                plan: plan.into(),
                version: version.into(),
                rollback,
                reason: reason.into(),
                ..pb::StartRolloutRequest::default()
            })
        };
        assert_eq!(start("1a2b3c4d", "", false, ""), "start plan 1a2b3c4d");
        let given = |name: &str, reason: &str| pb::Override { name: name.into(), reason: reason.into() };
        let overridden = started(&pb::StartRolloutRequest {
            plan: "1a2b3c4d".into(),
            reason: "ticket 7".into(),
            overrides: vec![given("disk", "ticket 7"), given("clock", "the log goes at noon")],
            ..pb::StartRolloutRequest::default()
        });
        assert_eq!(
            overridden,
            "start plan 1a2b3c4d in spite of disk, clock (the log goes at noon): ticket 7"
        );
        assert_eq!(start("", "1.1", false, "ticket 7"), "shop@1.1 to production: ticket 7");
        assert_eq!(start("", "1.0", true, ""), "back to shop@1.0 in production");
        assert_eq!(
            start("", "", true, "too loud"),
            "shop back to what was live before, in production: too loud"
        );
        // A plan's name lends the way back neither its words nor its scope.
        let back = pb::StartRolloutRequest {
            app: "shop".into(),
            env: "prod".into(),
            rollback: true,
            ..Default::default()
        };
        let named = pb::StartRolloutRequest { plan: "1a2b3c4d".into(), ..back.clone() };
        assert_eq!((named.scope(), named.target()), (back.scope(), back.target()));
        assert_eq!(back.scope(), both("shop", "prod"));
        assert_eq!((place("", "prod").as_str(), place("shop", "prod").as_str()), ("prod", "shop in prod"));
    }
}
