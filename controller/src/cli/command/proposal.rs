//! `proposal …`.

use longshore_proto::v1 as pb;

use super::{Desk, deadline};
use crate::cli::{
    args::ProposalCommand,
    exit::Exit,
    failure::Failure,
    view::proposal::{Proposal, ProposalList},
};

pub async fn run(desk: &Desk, command: ProposalCommand) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let mut access = client.access();
    match command {
        ProposalCommand::List { waiting } => {
            let reply =
                client.answer(deadline(waiting.timeout), access.proposals(pb::ProposalsRequest {})).await?;
            desk.output.print(&ProposalList::from(reply))?;
        }
        ProposalCommand::Confirm { id, waiting } => {
            let reply = client.answer(deadline(waiting.timeout), access.confirm(pb::ConfirmRequest { id }));
            desk.output.print(&Proposal::from(reply.await?))?;
        }
    }
    Ok(Exit::Done)
}
