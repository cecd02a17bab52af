//! What was verified last with a clock that was ahead. Until this host's clock is past that moment nothing new is taken:
//! which of the two was right cannot be told from here, and by an earlier clock what has expired would hold again. The
//! host's admin can tell, and says so; no version and no floor goes back with it.

use longshore_common::{
    code::{Code, Coded},
    time::Millis,
    trust::{CLOCK_BACK_MS, Held, roughly},
};

use super::{Gate, Repository};

impl Gate {
    /// Refuses to judge what is held by a clock that is behind what it was verified by.
    pub(super) fn not_ahead(&self, app: &str, held: &Held) -> Result<(), Coded> {
        let now = self.now_ms();
        if !is_ahead(held, now) {
            return Ok(());
        }
        let (at, by) = (minute(held.latest_ms), roughly(held.latest_ms - now));
        let message = format!(
            "{app} was verified here last at {at}, {by} ahead of this host's clock; nothing new is taken, what runs goes \
             on. If the clock is wrong now: set it (timedatectl). If it is right and was ahead then, on this host: \
             longshore-agent trust recover {app}"
        );
        Err(Coded::new(Code::T04, message))
    }

    /// Which of them that concerns, and what the first has to say of it.
    pub(super) fn ahead(&self, all: &[Repository]) -> (Vec<String>, Option<Coded>) {
        let refused = all.iter().filter_map(|(app, held)| {
            let held = held.as_ref().ok()?.as_ref()?;
            Some((app.clone(), self.not_ahead(app, held).err()?))
        });
        let (apps, whys): (Vec<_>, Vec<_>) = refused.unzip();
        (apps, whys.into_iter().next())
    }

    /// This host's admin says that its clock is right now: everything that was verified later than that counts as
    /// verified now. Not before the controller said last, signed, that it is current: a clock that says so is behind.
    /// `None`: there is nothing of that kind.
    pub(super) fn set_time_anew(&self, by: &str) -> Result<Option<String>, Coded> {
        let now = self.now_ms();
        let mut ahead = vec![];
        for (app, held) in self.repositories()? {
            if let Ok(Some(held)) = held
                && is_ahead(&held, now)
            {
                ahead.push((app, held));
            }
        }
        let Some(latest) = ahead.iter().map(|(_, held)| held.latest_ms).max() else { return Ok(None) };
        for (app, held) in &ahead {
            let said = held.said_current_ms();
            if now < said - CLOCK_BACK_MS {
                let message = format!(
                    "the controller signed at {} that {app} is current, {} after what this host's clock says: the clock \
                     is behind. Set it (timedatectl); nothing was changed",
                    minute(said),
                    roughly(said - now)
                );
                return Err(Coded::new(Code::T04, message));
            }
        }
        let names: Vec<&str> = ahead.iter().map(|(app, _)| app.as_str()).collect();
        let (names, from, to) = (names.join(", "), minute(latest), minute(now));
        let what =
            format!("time of the last verification of {names} set from {from} to {to}: the clock was ahead");
        self.note_break(&what, by)?;
        for (app, held) in ahead {
            let latest_ms = now.max(held.said_current_ms());
            self.state(&app).persist(&Held { latest_ms, ..held })?;
        }
        Ok(Some(what))
    }
}

fn is_ahead(held: &Held, now_ms: Millis) -> bool {
    now_ms < held.latest_ms - CLOCK_BACK_MS
}

fn minute(at_ms: Millis) -> String {
    jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default().strftime("%Y-%m-%dT%H:%MZ").to_string()
}
