//! `rollout …`.

use longshore_common::time::Span;
use longshore_proto::v1::{self as pb, steer_request::Act};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Desk, deadline, hollow, plan, rollout_approve, watch, watch_back};
use crate::cli::{
    args::{PaceArgs, RollbackArgs, RolloutCommand, StartArgs, release_name},
    client::Client,
    exit::Exit,
    failure::Failure,
    output::{Page, View},
    style::Ink,
    view::{
        rollout::{Asked, Explanation, Rollout, RolloutList},
        short,
    },
};

/// A rollout may bake for hours between waves.
const WAIT: Span = Span::secs(86_400);
const ANSWER: Span = Span::secs(30);
/// Every host is asked twice, each time within what its environment allows.
const PLANNING: Span = Span::secs(150);

pub async fn run(desk: &Desk, command: RolloutCommand) -> Result<Exit, Failure> {
    match command {
        RolloutCommand::Start(args) => start(desk, args).await,
        RolloutCommand::Rollback(args) => rollback(desk, args).await,
        RolloutCommand::Watch { rollout, timeout } => {
            let client = desk.client().await?;
            watch(desk, &client, rollout, deadline(timeout)).await
        }
        RolloutCommand::List { app, env, active, limit, waiting } => {
            let client = desk.client().await?;
            let asked = match (active, app.is_some() || env.is_some()) {
                (true, _) => Asked::UnderWay,
                (false, true) => Asked::Narrowed,
                (false, false) => Asked::All,
            };
            let request = pb::ListRolloutsRequest {
                app: app.unwrap_or_default(),
                env: env.unwrap_or_default(),
                active_only: active,
                limit,
            };
            let reply = client.answer(deadline(waiting.timeout), client.rollouts().list(request)).await?;
            desk.output.print(&RolloutList::from(reply).asked(asked))?;
            Ok(Exit::Done)
        }
        RolloutCommand::Show(which) => {
            let client = desk.client().await?;
            let request = pb::ShowRolloutRequest { rollout: which.rollout };
            let reply =
                client.answer(deadline(which.waiting.timeout), client.rollouts().show(request)).await?;
            desk.output.print(&Rollout::from(reply))?;
            Ok(Exit::Done)
        }
        RolloutCommand::Explain(which) => {
            let client = desk.client().await?;
            let request = pb::ShowRolloutRequest { rollout: which.rollout };
            let reply =
                client.answer(deadline(which.waiting.timeout), client.rollouts().explain(request)).await?;
            desk.output.print(&Explanation::new(reply).ok_or_else(|| hollow("rollout"))?)?;
            Ok(Exit::Done)
        }
        RolloutCommand::Approve { plan, deny, reason, waiting } => {
            let request = pb::SayRequest { plan, deny, reason: reason.unwrap_or_default() };
            rollout_approve::say(desk, request, waiting.timeout).await
        }
        RolloutCommand::Approvals { env, all, waiting } => {
            let request = pb::ListApprovalsRequest { env: env.unwrap_or_default(), all };
            rollout_approve::list(desk, request, waiting.timeout).await
        }
        RolloutCommand::Pause(acting) => steer(desk, acting.into(), Act::Pause(pb::Nothing {})).await,
        RolloutCommand::Resume(acting) => steer(desk, acting.into(), Act::Resume(pb::Nothing {})).await,
        RolloutCommand::Promote { acting, full } => {
            let act = if full { Act::PromoteFully(pb::Nothing {}) } else { Act::Promote(pb::Nothing {}) };
            steer(desk, acting.into(), act).await
        }
        RolloutCommand::Open { rollout, gate, deny, reason, waiting } => {
            let client = desk.client().await?;
            let reason = reason.unwrap_or_default();
            let request = pb::OpenGateRequest { rollout, gate, denied: deny, reason };
            let by = deadline(waiting.timeout);
            let reply = client.answer(by, client.rollouts().open_gate(request)).await?;
            desk.output.print(&Steered::from(reply))?;
            Ok(Exit::Done)
        }
        RolloutCommand::Abort(acting) => steer(desk, acting.into(), Act::Abort(pb::Nothing {})).await,
        RolloutCommand::Pace { rollout, pace, reason, waiting } => {
            let steering = Steering { rollout, reason, timeout: waiting.timeout };
            let now = now_paced(&pace);
            let PaceArgs { wave, max_unavailable, bake, hold } = pace;
            let ms = |span: Span| span.as_ms() as u64;
            let act = Act::Pace(pb::Pace {
                wave: wave.map(|wave| wave.to_string()),
                max_unavailable: max_unavailable.map(|most| most.to_string()),
                bake_ms: bake.map(ms),
                hold_ms: hold.map(ms),
            });
            let steered = ask_to_steer(&desk.client().await?, steering, act).await?;
            let exit = steered.exit();
            desk.output.print(&Paced { steered, now })?;
            Ok(exit)
        }
        RolloutCommand::Retry { rollout, hosts, reason, waiting } => {
            let steering = Steering { rollout, reason, timeout: waiting.timeout };
            steer(desk, steering, Act::Retry(pb::RetryHosts { hosts })).await
        }
        RolloutCommand::Exclude { rollout, hosts, reason, waiting } => {
            let steering = Steering { rollout, reason, timeout: waiting.timeout };
            steer(desk, steering, Act::Exclude(pb::ExcludeHosts { hosts })).await
        }
    }
}

/// A plan that was made before, or one that is made now and shown before it is started.
async fn start(desk: &Desk, args: StartArgs) -> Result<Exit, Failure> {
    let StartArgs { what, to, overrides, at, wait, reason, timeout } = args;
    let reason = reason.unwrap_or_default();
    let by = deadline(timeout.unwrap_or(if wait { WAIT } else { PLANNING }));
    let plan = match (what.contains('@'), to) {
        (true, Some(env)) => {
            let release = release_name(&what).map_err(Failure::usage)?;
            let client = desk.client().await?;
            let made = plan::make(&client, release, env, by).await?;
            desk.output.remark(&made.brief(&desk.output.fresh()))?;
            made.plan.digest.hex()
        }
        (true, None) => {
            return Err(Failure::usage(format!("say where: longshore rollout start {what} --to ENV")));
        }
        (false, Some(_)) => {
            return Err(Failure::usage("a plan knows its environment: leave out --to, or name APP@VERSION"));
        }
        (false, None) => what,
    };
    let overrides = overrides.into_iter().map(|name| pb::Override { name, reason: reason.clone() }).collect();
    let request_id = Uuid::new_v4().to_string();
    let at = at.unwrap_or_default();
    let request = pb::StartRolloutRequest { plan, overrides, request_id, reason, at, ..Default::default() };
    begin(desk, request, wait, by).await
}

async fn rollback(desk: &Desk, args: RollbackArgs) -> Result<Exit, Failure> {
    let RollbackArgs { what, to, wait, reason, timeout } = args;
    let Some(env) = to else {
        let steering = Steering { rollout: what, reason, timeout: timeout.unwrap_or(ANSWER) };
        let act = Act::Rollback(pb::Nothing {});
        if !wait {
            return steer(desk, steering, act).await;
        }
        let by = deadline(timeout.unwrap_or(WAIT));
        let client = desk.client().await?;
        let Steered { rollout, .. } = ask_to_steer(&client, steering, act).await?;
        return watch_back(desk, &client, rollout.id, by).await;
    };
    let (app, version) = what.split_once('@').unwrap_or((&what, ""));
    let request = pb::StartRolloutRequest {
        app: app.to_owned(),
        version: version.to_owned(),
        env,
        request_id: Uuid::new_v4().to_string(),
        reason: reason.unwrap_or_default(),
        rollback: true,
        ..pb::StartRolloutRequest::default()
    };
    begin(desk, request, wait, deadline(timeout.unwrap_or(if wait { WAIT } else { ANSWER }))).await
}

/// The request has an id, so asking again after a broken connection cannot start a second rollout.
async fn begin(
    desk: &Desk,
    request: pb::StartRolloutRequest,
    wait: bool,
    by: Instant,
) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let asked = request.overrides.clone();
    let goes_back = request.rollback.then(|| request.reason.clone());
    let reply = match client.answer(by, client.rollouts().start(request.clone())).await {
        Err(failure) if failure.exit == Exit::Unreachable => {
            client.answer(by, client.rollouts().start(request)).await?
        }
        reply => reply?,
    };
    let rollout = Rollout::from(reply);
    desk.output.remark(&needless(&asked, &rollout))?;
    if let Some(reason) = goes_back {
        desk.output.remark(&[whereto(&rollout, &reason)])?;
    }
    if wait && !rollout.is_over() {
        return watch(desk, &client, rollout.id, by).await;
    }
    let exit = rollout.exit();
    desk.output.print(&Started(rollout))?;
    Ok(exit)
}

/// Where it goes back to, which who typed it may not have said, and what was passed over.
fn whereto(rollout: &Rollout, given: &str) -> String {
    let Rollout { id, app, env, version, .. } = rollout;
    let goes = match (rollout.other_before(), &rollout.from_version) {
        (Some(from), _) => format!("{env} goes from {from} back to {app}@{version}"),
        (None, None) => format!("{env} goes back to {app}@{version}"),
        (None, Some(_)) => {
            format!(
                "{env} stays at {app}@{version} and goes back to other settings of it, by rollout {}",
                short(id)
            )
        }
    };
    let more = rollout.reason.as_deref().filter(|reason| *reason != given);
    let more = more.map(|reason| format!(": {reason}")).unwrap_or_default();
    longshore_common::text::visible(&format!("{goes}{more}"))
}

/// Overrides that nothing stood in the way of: whoever gave one should know that it was not used.
fn needless(asked: &[pb::Override], rollout: &Rollout) -> Vec<String> {
    let used = |name: &str| rollout.overrides.iter().any(|given| given.name == name);
    let asked = asked.iter().filter(|given| !used(&given.name));
    let line = |given: &pb::Override| {
        let name = longshore_common::text::visible(&given.name);
        format!("--override {name} was not needed, and is not kept: the precondition holds")
    };
    asked.map(line).collect()
}

/// Which rollout, why, and how long to wait for the answer.
struct Steering {
    rollout: String,
    reason: Option<String>,
    timeout: Span,
}

impl From<crate::cli::args::Acting> for Steering {
    fn from(acting: crate::cli::args::Acting) -> Self {
        Self { rollout: acting.rollout, reason: acting.reason, timeout: acting.waiting.timeout }
    }
}

async fn steer(desk: &Desk, steering: Steering, act: Act) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let steered = ask_to_steer(&client, steering, act).await?;
    let exit = steered.exit();
    desk.output.print(&steered)?;
    Ok(exit)
}

async fn ask_to_steer(client: &Client, steering: Steering, act: Act) -> Result<Steered, Failure> {
    let Steering { rollout, reason, timeout } = steering;
    let request = pb::SteerRequest { rollout, reason: reason.unwrap_or_default(), act: Some(act) };
    client.answer(deadline(timeout), client.rollouts().steer(request)).await.map(Steered::from)
}

/// A rollout that has just begun, in a line for people; the same JSON as any rollout.
#[derive(Clone, Debug, serde::Serialize)]
struct Started(Rollout);

impl View for Started {
    const SCHEMA: &'static str = Rollout::SCHEMA;

    fn lines(&self, page: &Page) -> Vec<String> {
        let Started(rollout) = self;
        let id = short(&rollout.id);
        match &rollout.outcome_reason {
            Some(reason) => vec![longshore_common::text::visible(&format!("{}: {reason}", rollout.state()))],
            None => {
                let waits = rollout
                    .holds
                    .iter()
                    .filter(|hold| matches!(hold.kind.as_str(), "closed" | "not-started"));
                let waits = waits.map(|hold| {
                    let until = hold.until.filter(|_| hold.kind != "closed"); // it says so itself
                    let until =
                        until.map(|at| format!(" (until {})", at.clock_or_date(&page.zone, page.now)));
                    let until = until.unwrap_or_default();
                    longshore_common::text::visible(&format!("It waits: {}{until}", hold.what))
                });
                let begun = match rollout.holds.iter().any(|hold| hold.kind == "not-started") {
                    true => "is made, and has not begun",
                    false => "is started",
                };
                std::iter::once(page.style.paint(Ink::Good, &format!("Rollout {id} {begun}.")))
                    .chain(waits)
                    .chain([format!("Follow it: longshore rollout watch {id}")])
                    .collect()
            }
        }
    }
}

/// A rollout after an operator acted on it; the same JSON as any rollout.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(transparent)]
struct Steered {
    rollout: Rollout,
    /// It was so before.
    #[serde(skip)]
    unchanged: bool,
}

impl From<pb::Rollout> for Steered {
    fn from(reply: pb::Rollout) -> Self {
        Self { unchanged: reply.unchanged, rollout: reply.into() }
    }
}

impl Steered {
    fn exit(&self) -> Exit {
        if self.unchanged { Exit::NothingToDo } else { Exit::Done }
    }
}

impl View for Steered {
    const SCHEMA: &'static str = Rollout::SCHEMA;

    fn lines(&self, page: &Page) -> Vec<String> {
        let Steered { rollout, unchanged } = self;
        let state = page.style.paint(rollout.standing().ink(), rollout.state());
        let (id, visible) = (short(&rollout.id), longshore_common::text::visible);
        let what = visible(&format!("{}@{} to {}", rollout.app, rollout.version, rollout.env));
        let before = unchanged.then(|| "It was so before: nothing is changed by this.".to_owned());
        let now = match &rollout.outcome_reason {
            Some(reason) => format!("Rollout {id} ({what}): {state}. {}", visible(reason)),
            None if rollout.state() == "paused" => {
                format!(
                    "Rollout {id} ({what}): {state}, and begins nothing before: longshore rollout resume {id}"
                )
            }
            None => format!("Rollout {id} ({what}): {state}. Follow it: longshore rollout watch {id}"),
        };
        before.into_iter().chain([now]).collect()
    }
}

/// What its pace is from now on; the same JSON as any rollout.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(transparent)]
struct Paced {
    steered: Steered,
    #[serde(skip)]
    now: String,
}

impl View for Paced {
    const SCHEMA: &'static str = Rollout::SCHEMA;

    fn lines(&self, page: &Page) -> Vec<String> {
        std::iter::once(format!("From now on: {}.", self.now)).chain(self.steered.lines(page)).collect()
    }
}

/// `waves of 50%, a bake of 5m`
fn now_paced(pace: &PaceArgs) -> String {
    let PaceArgs { wave, max_unavailable, bake, hold } = pace;
    let said = [
        wave.map(|wave| format!("waves of {wave}")),
        max_unavailable.map(|most| format!("at most {most} down at once")),
        bake.map(|bake| format!("a bake of {bake}")),
        hold.map(|hold| format!("each step of traffic watched for {hold}")),
    ];
    said.into_iter().flatten().collect::<Vec<String>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::moment::Moment;

    #[test]
    fn whoever_steers_is_told_what_was_steered_and_what_comes_next() {
        let rollout = |phase: &str| pb::Rollout {
            id: "01a2b3c4-0000-7000-8000-000000000000".into(),
            app: "shop".into(),
            version: "1.6".into(),
            env: "production".into(),
            phase: phase.into(),
            ..pb::Rollout::default()
        };
        let lines = |phase: &str| Steered::from(rollout(phase)).lines(&Page::plain(Moment(0)));
        let again = Steered::from(pb::Rollout { unchanged: true, ..rollout("rolling-back") });
        assert_eq!(again.exit(), Exit::NothingToDo);
        assert_eq!(again.lines(&Page::plain(Moment(0)))[0], "It was so before: nothing is changed by this.");
        let id = short("01a2b3c4-0000-7000-8000-000000000000");
        let what = format!("Rollout {id} (shop@1.6 to production)");
        assert_eq!(lines("staging"), [format!("{what}: staging. Follow it: longshore rollout watch {id}")]);
        // What is to be tried again, or left out, is so only when it goes on.
        assert_eq!(
            lines("paused"),
            [format!("{what}: paused, and begins nothing before: longshore rollout resume {id}")]
        );
    }

    /// What begins in a quarter of a minute does not begin at a minute that has begun.
    #[test]
    fn whoever_has_it_begin_soon_is_told_the_second() {
        let hold = pb::HoldRow { kind: "not-started".into(), what: "later".into(), ..pb::HoldRow::default() };
        let rollout = pb::Rollout {
            id: "01a2b3c4-0000-7000-8000-000000000000".into(),
            holds: vec![pb::HoldRow { until_ms: 1_015_000, ..hold }],
            ..pb::Rollout::default()
        };
        let lines = Started(rollout.into()).lines(&Page::plain(Moment(1_000_000)));
        assert_eq!(lines[1], "It waits: later (until 00:16:55 UTC)");
    }

    /// Where only the settings were other ones, no version is said to go back to itself.
    #[test]
    fn whoever_goes_back_is_told_where() {
        let said = |from: &str| {
            let rollout = pb::Rollout {
                id: "01a2b3c4-0000-7000-8000-000000000000".into(),
                app: "shop".into(),
                version: "1.1".into(),
                env: "production".into(),
                from_version: from.into(),
                reason: "too slow; passed over: 1.2 is not here any more".into(),
                ..pb::Rollout::default()
            };
            whereto(&Rollout::from(rollout), "too slow")
        };
        let more = ": too slow; passed over: 1.2 is not here any more";
        let id = short("01a2b3c4-0000-7000-8000-000000000000");
        assert_eq!(said("1.3"), format!("production goes from 1.3 back to shop@1.1{more}"));
        assert_eq!(
            said("1.1"),
            format!(
                "production stays at shop@1.1 and goes back to other settings of it, by rollout {id}{more}"
            )
        );
        assert_eq!(said(""), format!("production goes back to shop@1.1{more}"));
    }

    #[test]
    fn whoever_changes_the_pace_is_told_the_new_one() {
        let bake = Some(Span::secs(300));
        let pace = PaceArgs { wave: Some("50%".parse().unwrap()), max_unavailable: None, bake, hold: None };
        let now = now_paced(&pace);
        assert_eq!(now, "waves of 50%, a bake of 5m");
        let rollout =
            pb::Rollout { id: "01a2b3c4-0000-7000-8000-000000000000".into(), ..pb::Rollout::default() };
        let paced = Paced { steered: rollout.into(), now };
        assert_eq!(paced.lines(&Page::plain(Moment(0)))[0], "From now on: waves of 50%, a bake of 5m.");
    }
}
