//! `rollout approve | approvals`.

use longshore_common::time::Span;
use longshore_proto::v1 as pb;

use super::{Desk, deadline};
use crate::cli::{
    exit::Exit,
    failure::Failure,
    view::approval::{Approval, ApprovalList},
};

pub async fn say(desk: &Desk, request: pb::SayRequest, timeout: Span) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let reply = client.answer(deadline(timeout), client.approvals().say(request)).await?;
    let before = reply.unchanged;
    if before {
        desk.output.remark(&["You said so before, and it counts: nothing was changed.".to_owned()])?;
    }
    desk.output.print(&Approval::from(reply))?;
    Ok(if before { Exit::NothingToDo } else { Exit::Done })
}

pub async fn list(desk: &Desk, request: pb::ListApprovalsRequest, timeout: Span) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let reply = client.answer(deadline(timeout), client.approvals().list(request)).await?;
    desk.output.print(&ApprovalList::from(reply))?;
    Ok(Exit::Done)
}
