//! `env calendar | freeze | unfreeze | lock | unlock`.

use longshore_common::time::Span;
use longshore_proto::v1 as pb;

use super::{Desk, deadline};
use crate::cli::{
    exit::Exit,
    failure::Failure,
    view::policy::{Calendar, Frozen, Locked, Unlocked},
};

pub async fn calendar(desk: &Desk, request: pb::ShowCalendarRequest, timeout: Span) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let reply = client.answer(deadline(timeout), client.calendars().show(request)).await?;
    desk.output.print(&Calendar::from(reply))?;
    Ok(Exit::Done)
}

pub async fn freeze(desk: &Desk, request: pb::FreezeRequest, timeout: Span) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let reply = client.answer(deadline(timeout), client.calendars().freeze(request)).await?;
    desk.output.print(&Frozen { frozen: true, calendar: reply.into() })?;
    Ok(Exit::Done)
}

pub async fn unfreeze(desk: &Desk, request: pb::UnfreezeRequest, timeout: Span) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let reply = client.answer(deadline(timeout), client.calendars().unfreeze(request)).await?;
    desk.output.print(&Frozen { frozen: false, calendar: reply.into() })?;
    Ok(Exit::Done)
}

pub async fn lock(desk: &Desk, request: pb::LockRequest, timeout: Span) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let reply = client.answer(deadline(timeout), client.calendars().lock(request)).await?;
    desk.output.print(&Locked(reply.into()))?;
    Ok(Exit::Done)
}

pub async fn unlock(desk: &Desk, request: pb::UnlockRequest, timeout: Span) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let reply = client.answer(deadline(timeout), client.calendars().unlock(request)).await?;
    desk.output.print(&Unlocked(reply.into()))?;
    Ok(Exit::Done)
}
