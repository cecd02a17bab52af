//! `notify list | retry | test`.

use longshore_proto::v1 as pb;

use super::{Desk, deadline};
use crate::cli::{args::NotifyCommand, exit::Exit, failure::Failure, view::notice::NoticeList};

pub async fn run(desk: &Desk, command: NotifyCommand) -> Result<Exit, Failure> {
    let client = desk.client().await?;
    let (reply, of_test) = match command {
        NotifyCommand::List { dead, waiting } => {
            let request = pb::ListNoticesRequest { dead };
            (client.answer(deadline(waiting.timeout), client.notices().list(request)).await?, false)
        }
        NotifyCommand::Retry { notices, waiting } => {
            let request = pb::RetryNoticesRequest { ids: notices };
            (client.answer(deadline(waiting.timeout), client.notices().retry(request)).await?, false)
        }
        NotifyCommand::Test { env, to, waiting } => {
            let request = pb::TestNoticeRequest { env, teller: to.unwrap_or_default() };
            (client.answer(deadline(waiting.timeout), client.notices().test(request)).await?, true)
        }
    };
    let list = NoticeList::from(reply);
    desk.output.print(&list)?;
    let unreached = of_test && list.notices.iter().any(|notice| notice.state != "told");
    Ok(if unreached { Exit::Failed } else { Exit::Done })
}
