//! `env apply | list | show`.

use longshore_common::strict::FILE_BYTES;
use longshore_proto::v1 as pb;

use super::{Desk, deadline, hollow, lint::read_text};
use crate::cli::{
    args::EnvCommand,
    exit::Exit,
    failure::Failure,
    view::{
        env::{Applied, Environment, EnvironmentList},
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
            let applied = Applied { environment, changed: reply.changed };
            desk.output.print(&applied)?;
            Ok(if applied.changed { Exit::Done } else { Exit::NothingToDo })
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
        EnvCommand::Show { env, app: None, host: _, waiting } => {
            let client = desk.client().await?;
            let request = pb::ShowEnvironmentRequest { env };
            let reply = client.answer(deadline(waiting.timeout), client.environments().show(request)).await?;
            desk.output.print(&Environment::from(reply))?;
            Ok(Exit::Done)
        }
    }
}
