//! `notify list | retry | test`.

use longshore_proto::v1 as pb;

use super::{Desk, deadline};
use crate::cli::{args::NotifyCommand, exit::Exit, failure::Failure, view::notice::NoticeList};

pub async fn run(desk: &Desk, command: NotifyCommand) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let of_dead = matches!(command, NotifyCommand::List { dead: true, .. } | NotifyCommand::Retry { .. });
    let (reply, wanted) = match command {
        NotifyCommand::List { dead, waiting } => {
            let request = pb::ListNoticesRequest { dead };
            (client.answer(deadline(waiting.timeout), client.notices().list(request)).await?, None)
        }
        NotifyCommand::Retry { notices, waiting } => {
            let request = pb::RetryNoticesRequest { ids: notices };
            (
                client.answer(deadline(waiting.timeout), client.notices().retry(request)).await?,
                Some("waiting"),
            )
        }
        NotifyCommand::Test { env, to, waiting } => {
            let request = pb::TestNoticeRequest { env, teller: to.unwrap_or_default() };
            (client.answer(deadline(waiting.timeout), client.notices().test(request)).await?, Some("told"))
        }
    };
    let list = NoticeList { of_dead, ..NoticeList::from(reply) };
    desk.output.print(&list)?;
    let all = wanted.is_none_or(|wanted| list.notices.iter().all(|notice| notice.state == wanted));
    Ok(if all { Exit::Done } else { Exit::Failed })
}
