//! Whether what an operator asks of a rollout is so already. It is asked of the rollout all the same: in the meantime it may
//! have become another.

use longshore_common::ids::RolloutId;

use super::{Engine, records};
use crate::{
    rollout::{Event, Rollout},
    trouble::Trouble,
};

impl Engine {
    /// The rollout becomes the same with it as without. Not so where it is refused.
    pub async fn changes_nothing(&self, id: &RolloutId, event: &Event) -> Result<bool, Trouble> {
        let Some(loaded) = records::load(&self.inner.store, id).await? else { return Ok(false) };
        let now = self.now();
        let after = |event: Event| -> Option<Rollout> {
            let transition = self.inner.looks.step(&loaded.rollout, event, now, None).ok()?;
            Some(transition.next)
        };
        Ok(after(event.clone()).is_some_and(|acted| after(Event::Tick) == Some(acted)))
    }
}
