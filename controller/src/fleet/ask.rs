//! Questions to live hosts, each answered once, within a deadline, or not at all.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt as _, stream};
use longshore_common::ids::HostId;
use tokio::{sync::oneshot, time::Instant};

use super::{
    Fleet,
    session::Command,
    words::{Answer, Question},
};

/// For hosts to say how their apps stand, before they are shown.
const LOOK: Duration = Duration::from_secs(2);
/// Hosts that are asked at the same time.
pub const ASKED_AT_ONCE: usize = 256;

/// How a question ended.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // one at a time, moved once
pub enum Asked {
    Answered {
        answer: Answer,
        took: Duration,
    },
    /// Not connected, or no answer within the deadline.
    Silent,
}

impl Fleet {
    /// The host of this name, if there is exactly one.
    pub async fn by_name(&self, name: &str) -> Option<HostId> {
        super::host::find(&self.inner.store, name).await.ok().map(|host| host.id)
    }

    /// Asks one host. Ends within `deadline` whatever happens. What a pong says of its apps is known of it from then on.
    pub async fn ask(&self, host: HostId, question: Question, deadline: Duration) -> Asked {
        let asked = Instant::now();
        let answer = tokio::time::timeout(deadline, self.put(host, question)).await;
        if let Ok(Some(Answer::Pong { apps, .. })) = &answer {
            self.presence().update(&host, |connected| connected.apps.clone_from(apps));
        }
        match answer {
            Ok(Some(answer)) => Asked::Answered { answer, took: asked.elapsed() },
            Ok(None) | Err(_) => Asked::Silent,
        }
    }

    /// Asks these hosts how their apps stand now. Who answered in time; of the others their last word is known still.
    pub async fn look_at(&self, hosts: Vec<HostId>) -> BTreeSet<HostId> {
        let ask = async |host| match self.ask(host, Question::Ping, LOOK).await {
            Asked::Answered { answer: Answer::Pong { .. }, .. } => Some(host),
            Asked::Answered { .. } | Asked::Silent => None,
        };
        let asked = stream::iter(hosts).map(ask).buffer_unordered(ASKED_AT_ONCE);
        asked.filter_map(std::future::ready).take_until(tokio::time::sleep(LOOK)).collect().await
    }

    async fn put(&self, host: HostId, question: Question) -> Option<Answer> {
        let commands = self.presence().commands(&host)?;
        let (answer, receiver) = oneshot::channel();
        commands.send(Command::Ask(question, answer)).await.ok()?;
        receiver.await.ok()
    }
}
