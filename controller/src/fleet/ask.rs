//! Questions to live hosts, each answered once, within a deadline, or not at all.

use std::time::Duration;

use longshore_common::ids::HostId;
use tokio::{sync::oneshot, time::Instant};

use super::{
    Fleet,
    session::Command,
    words::{Answer, Question},
};

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

    async fn put(&self, host: HostId, question: Question) -> Option<Answer> {
        let commands = self.presence().commands(&host)?;
        let (answer, receiver) = oneshot::channel();
        commands.send(Command::Ask(question, answer)).await.ok()?;
        receiver.await.ok()
    }
}
