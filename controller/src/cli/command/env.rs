//! `env apply | list | show | remove`.

use longshore_common::strict::FILE_BYTES;
use longshore_proto::v1 as pb;

use super::{Desk, deadline, env_policy, hollow, lint::read_text};
use crate::cli::{
    args::EnvCommand,
    exit::Exit,
    failure::Failure,
    view::{
        env::{Applied, Environment, EnvironmentList, EnvironmentRemoved},
        secret::Settings,
    },
};

pub async fn run(desk: &Desk, command: EnvCommand) -> Result<Exit, Failure> {
    match command {
        EnvCommand::Apply { file, waiting } => {
            // The file first: what is wrong with it needs no controller to be found out.
            let text = read_text(&file, FILE_BYTES)?;
            let client = desk.client().await?;
            let file_name = file.display().to_string();
            let request = pb::ApplyEnvironmentRequest { file: text, file_name };
            let reply =
                client.answer(deadline(waiting.timeout), client.environments().apply(request)).await?;
            let environment: Environment = reply.environment.ok_or_else(|| hollow("environment"))?.into();
            let applied = Applied { environment, changed: reply.changed, warnings: reply.warnings };
            desk.output.print(&applied)?;
            Ok(if applied.changed { Exit::Done } else { Exit::NothingToDo })
        }
        EnvCommand::Remove { env, waiting } => {
            let client = desk.client().await?;
            let request = pb::RemoveEnvironmentRequest { env: env.clone() };
            client.answer(deadline(waiting.timeout), client.environments().remove(request)).await?;
            desk.output.print(&EnvironmentRemoved { environment: env })?;
            Ok(Exit::Done)
        }
        EnvCommand::List { waiting } => {
            let client = desk.client().await?;
            let request = pb::ListEnvironmentsRequest {};
            let reply = client.answer(deadline(waiting.timeout), client.environments().list(request)).await?;
            desk.output.print(&EnvironmentList::from(reply))?;
            Ok(Exit::Done)
        }
        EnvCommand::Show { env, app: Some(app), host, waiting } => {
            let client = desk.client().await?;
            let request = pb::ShowSettingsRequest { env, app, host: host.unwrap_or_default() };
            let reply = client.answer(deadline(waiting.timeout), client.settings().show(request)).await?;
            desk.output.print(&Settings::from(reply))?;
            Ok(Exit::Done)
        }
        EnvCommand::Calendar { env, at, openings, waiting } => {
            let request = pb::ShowCalendarRequest { env, at: at.unwrap_or_default(), openings };
            env_policy::calendar(desk, request, waiting.timeout).await
        }
        EnvCommand::Freeze { env, reason, from, until, no_rollback, waiting } => {
            let (from, until) = (from.unwrap_or_default(), until.unwrap_or_default());
            let request = pb::FreezeRequest { env, reason, from, until, no_rollback };
            env_policy::freeze(desk, request, waiting.timeout).await
        }
        EnvCommand::Unfreeze { env, reason, waiting } => {
            let request = pb::UnfreezeRequest { env, reason: reason.unwrap_or_default() };
            env_policy::unfreeze(desk, request, waiting.timeout).await
        }
        EnvCommand::Lock { env, app, reason, waiting } => {
            let request = pb::LockRequest { env, app: app.unwrap_or_default(), reason };
            env_policy::lock(desk, request, waiting.timeout).await
        }
        EnvCommand::Unlock { env, app, force, waiting } => {
            let request = pb::UnlockRequest { env, app: app.unwrap_or_default(), force };
            env_policy::unlock(desk, request, waiting.timeout).await
        }
        EnvCommand::Show { env, app: None, host: _, waiting } => {
            let client = desk.client().await?;
            let request = pb::ShowEnvironmentRequest { env };
            let reply = client.answer(deadline(waiting.timeout), client.environments().show(request)).await?;
            desk.output.print(&Environment::from(reply))?;
            Ok(Exit::Done)
        }
    }
}
