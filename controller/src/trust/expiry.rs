//! Says in the log, ahead of time, that a root or a list runs out: only operators can renew those.

use std::collections::BTreeMap;

use longshore_common::{
    time::Millis,
    trust::{DUE_MS, Part, SOON_MS, URGENT_MS, roughly},
};

use super::Standing;

/// What was said already, by repository and document: each step once.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeMap<(String, Part), usize>);

impl Said {
    /// What has to be said now and was not yet.
    pub(super) fn news(&mut self, standings: &[Standing], now: Millis) -> Vec<String> {
        let mut news = vec![];
        for standing in standings {
            let Some(held) = &standing.held else { continue };
            let lasting = held.expiries().into_iter().filter(|(part, _)| part.is_lasting());
            for (part, at) in lasting {
                let left = at - now;
                let step = [SOON_MS, DUE_MS, URGENT_MS, 0].iter().filter(|limit| left <= **limit).count();
                let said = self.0.insert((standing.app.clone(), part), step).unwrap_or(0);
                if step > said {
                    let app = &standing.app;
                    let when = match left {
                        left if left > 0 => format!("expires in {}", roughly(left)),
                        left => format!("expired {} ago: new releases are refused", roughly(-left)),
                    };
                    news.push(format!("{part}.json of {app} {when}: {}", part.remedy(app)));
                }
            }
        }
        news
    }
}
