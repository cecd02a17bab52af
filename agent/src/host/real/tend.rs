//! Looking after apps whose supervisor may die: systemd does this for its units, nobody but us for our own.

use std::{convert::Infallible, time::Duration};

use longshore_common::report::Failure;

use super::RealHost;

/// Between two looks: an app whose supervisor was killed is down for about so long.
const LOOK: Duration = Duration::from_secs(5);
/// Between two tries where one failed; doubled up to this.
const PAUSE_MOST: Duration = Duration::from_secs(300);

impl RealHost {
    /// Starts again what was not to end. Never returns.
    pub async fn tend(self) -> Infallible {
        let mut pause = LOOK;
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.restore_all().await {
                Ok(()) => LOOK,
                Err(failure) => {
                    tracing::error!("an app could not be started again: {}", failure.message);
                    (pause * 2).min(PAUSE_MOST)
                }
            };
        }
    }

    /// Every app is tried; the first failure is told.
    async fn restore_all(&self) -> Result<(), Failure> {
        let mut result = Ok(());
        for app in self.layout.list_apps()? {
            result = result.and(self.restore(&app).await);
        }
        result
    }
}
