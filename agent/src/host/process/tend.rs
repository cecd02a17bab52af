//! Supervisors that died although nobody stopped them: their apps are started again.

use std::time::Duration;

use longshore_common::{
    ids::AppName,
    report::{Failure, StepName},
    slot::Slot,
};

use super::{
    ProcessDriver,
    protocol::{Ask, Service},
};

impl ProcessDriver {
    /// Starts the app's supervisor again with the slot that it was last told to run, if it is gone. `order` says what
    /// that means, and how long it may take. None: all is well, or something else is on its way.
    pub async fn restore(
        &self,
        app: &AppName,
        order: impl AsyncFnOnce(&Slot) -> Result<(Service, Duration), Failure>,
    ) -> Result<Option<Slot>, Failure> {
        let Ok(_nobody_moves) = self.moving.try_write() else { return Ok(None) };
        let Some(slot) = self.wanted(app) else { return Ok(None) };
        if self.connect(app).await?.is_some() {
            return Ok(None);
        }
        tracing::warn!(%app, %slot, "its supervisor is gone; starting it again");
        let (service, within) = order(&slot).await?;
        let started = self.start_as_told(app, service, within).await;
        if started.is_err() {
            // A supervisor that runs nothing would pass for all being well at the next look. Why it runs nothing is what
            // is to be told.
            let _ = self.ask(app, &Ask::Stop, within, StepName::Stop).await;
        }
        started.map(|()| Some(slot))
    }
}
