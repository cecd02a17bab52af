//! `logs APP`: lines as hosts send them.

use longshore_common::time::Span;
use longshore_proto::v1 as pb;
use tokio_stream::StreamExt;

use super::{Desk, deadline};
use crate::cli::{args::LogsArgs, exit::Exit, failure::Failure, view::log::LogLine};

const READ: Span = Span::secs(30);
const FOLLOW: Span = Span::millis(Span::MAX_MS);

pub async fn run(desk: &Desk, args: LogsArgs) -> Result<Exit, Failure> {
    let LogsArgs { app, host, lines, follow, timeout } = args;
    let by = deadline(timeout.unwrap_or(if follow { FOLLOW } else { READ }));
    let client = desk.client().await?;
    let request = pb::LogsRequest { app, host: host.unwrap_or_default(), lines, follow };
    let mut stream = client.answer(by, client.hosts().logs(request)).await?;
    let mut unread = 0;
    loop {
        match tokio::time::timeout_at(by, stream.next()).await {
            Ok(Some(Ok(message))) => {
                let line = LogLine::from(message);
                unread += usize::from(line.error.is_some());
                desk.output.print_one_of_many(&line)?;
            }
            Ok(Some(Err(status))) => return Err(client.explain(status)),
            Ok(None) => break,
            Err(_) if follow => return Ok(Exit::TimedOut),
            Err(_) => return Err(client.too_late()),
        }
    }
    Ok(if unread > 0 { Exit::Failed } else { Exit::Done })
}
