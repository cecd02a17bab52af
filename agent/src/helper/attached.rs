//! The connection of the agent that is attached: everything that happens, and the errands.

use std::time::Duration;

use tokio::{
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::broadcast::error::RecvError,
};

use super::{
    serve::{Served, ended, said},
    words::Say,
};
use crate::{host::lean, run::Works};

/// Between two looks at which apps there are, when nothing happens; whatever does is a reason to look.
const LOOK: Duration = Duration::from_secs(30);

/// Until it ends, or another takes its place.
pub async fn attached<W: Works>(served: &Served<W>, from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let works = &served.works;
    // Before the snapshot, so that nothing is missed.
    let (mut told, mut outbox, mut hold) = (works.watch(), works.watch_outbox(), works.watch_hold());
    let mut errands = served.courier.attach();
    outbox.mark_changed();
    let mut apps = works.apps();
    let mut snapshot = served.snapshot.clone();
    (snapshot.apps, snapshot.hold) = (apps.clone(), hold.borrow_and_update().clone());
    if !said(&mut to, &Say::Snapshot(Box::new(snapshot))).await {
        return;
    }
    let mut sent = 0;
    let mut look = tokio::time::interval(LOOK);
    let mut gone = std::pin::pin!(ended(from));
    loop {
        let words = tokio::select! {
            () = &mut gone => return,
            happened = told.recv() => match happened {
                Ok(told) => vec![Say::Told(told)],
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
            Ok(()) = outbox.changed() => {
                let reports = works.outbox_after(sent);
                sent = reports.last().map_or(sent, |(seq, _)| *seq);
                let report = |(seq, report)| Say::Report { seq, report: Box::new(report) };
                reports.into_iter().map(report).collect()
            },
            Ok(()) = hold.changed() => vec![Say::Hold { hold: hold.borrow_and_update().clone() }],
            errand = errands.recv() => match errand {
                Some((ticket, errand)) => vec![Say::Errand { ticket, errand }],
                None => return, // another agent is attached now
            },
            _ = look.tick() => vec![],
        };
        lean::stirred();
        // An app is known before anything is told of it.
        let now = works.apps();
        if now != apps {
            apps.clone_from(&now);
            if !said(&mut to, &Say::Apps { apps: now }).await {
                return;
            }
        }
        for word in words {
            if !said(&mut to, &word).await {
                return;
            }
        }
    }
}
