//! Reasons to end that the agent does not give: a signal, a folder that was deleted, a parent that has died.

use std::{convert::Infallible, io, time::Duration};

use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    time::interval,
};

use super::{Door, supervisor::Order};

/// Between two looks at the folder. A supervisor that nobody can reach costs little for so long.
const LOOK: Duration = Duration::from_secs(2);

/// From here on this process is asked to end when the one that started it has ended.
pub(super) fn with_parent() -> io::Result<()> {
    Ok(set_parent_process_death_signal(Some(Signal::TERM))?)
}

/// Orders the stop when it is due, as often as it takes. Listens to signals from the call on.
pub(super) fn when_due(
    door: &Door,
    orders: mpsc::Sender<Order>,
) -> io::Result<impl Future<Output = Infallible> + use<>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let folder = door.entry();
    Ok(async move {
        let mut looks = interval(LOOK);
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = looks.tick() => match std::fs::read_link(&folder) {
                    // What the kernel says of an open folder that has no name any more.
                    Ok(path) if path.as_os_str().as_encoded_bytes().ends_with(b" (deleted)") => {}
                    Ok(_) | Err(_) => continue,
                },
            }
            let (reply, stopped) = oneshot::channel();
            if orders.send(Order::Stop(reply)).await.is_ok() {
                // Another order may have come in between; then it is due again.
                let _ = stopped.await;
            }
        }
    })
}
