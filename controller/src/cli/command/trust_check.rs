//! `trust check`: what hosts themselves have verified.

use std::time::Duration;

use longshore_common::{ids::HostId, time::Span, trust::FLEET};
use longshore_proto::v1 as pb;

use super::{Desk, deadline};
use crate::cli::{client::Client, exit::Exit, failure::Failure, signing, view::trust_check::TrustCheck};

/// For the way there and back, beyond what hosts are given.
const SLACK: Duration = Duration::from_secs(10);

pub async fn run(
    desk: &Desk,
    selector: String,
    host: Option<String>,
    timeout: Span,
) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let selector = match host {
        Some(host) if host.parse::<HostId>().is_ok() => format!("id={host}"),
        Some(host) => format!("name={host}"),
        None => selector,
    };
    let by = deadline(Span(timeout.0 + SLACK));
    let status = client.answer(by, client.trust().status(pb::TrustStatusRequest {})).await?;
    let fleet = status.repositories.iter().find(|repository| repository.app == FLEET);
    let newest = fleet.and_then(|fleet| {
        let list = longshore_common::trust::author::read_catalog(FLEET, &fleet.targets).ok()?;
        Some(list.version)
    });
    let root = signing::fleet_root(&client, by).await?;
    let replies = ask(&client, selector.clone(), timeout).await?;
    if replies.is_empty() {
        return Err(Failure::coded(
            longshore_common::code::Code::N01,
            format!("no host fits \"{}\"", longshore_common::text::visible(&selector)),
        )
        .next("longshore host list"));
    }
    let check = TrustCheck::new(replies, newest, root, desk.ring()?.1.pin()?);
    desk.output.print(&check)?;
    Ok(if check.warnings.is_empty() { Exit::Done } else { Exit::Failed })
}

/// One answer for each host that fits, by name.
pub async fn ask(
    client: &Client,
    selector: String,
    timeout: Span,
) -> Result<Vec<pb::CheckTrustReply>, Failure> {
    let by = deadline(Span(timeout.0 + SLACK));
    let deadline_ms = u32::try_from(timeout.0.as_millis()).unwrap_or(u32::MAX);
    let request = pb::CheckTrustRequest { selector, deadline_ms };
    let mut replies = client.answer(by, client.trust().check(request)).await?;
    let mut all = vec![];
    loop {
        let next = tokio::time::timeout_at(by, replies.message()).await;
        match next.map_err(|_| client.too_late())?.map_err(|status| client.explain(status))? {
            Some(reply) => all.push(reply),
            None => break,
        }
    }
    all.sort_by(|a, b| (&a.name, &a.host).cmp(&(&b.name, &b.host)));
    Ok(all)
}
