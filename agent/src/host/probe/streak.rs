//! How a probe stands: pure, with time as an argument.

use std::time::Duration;

use longshore_common::manifest::Probe;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Healthy,
    /// Neither yet.
    Waiting,
    /// Its deadline has passed.
    Unhealthy,
}

/// The attempts of one probe so far. All times count from the beginning of the probing.
#[derive(Clone, Debug)]
pub struct Streak {
    healthy_for: Duration,
    deadline: Duration,
    attempts: u32,
    succeeded: u32,
    /// The first success since the last failure.
    since: Option<Duration>,
    last_error: Option<String>,
    error_is_new: bool,
}

impl Streak {
    pub fn of(probe: &Probe) -> Self {
        Self {
            healthy_for: probe.healthy_for.0,
            deadline: probe.deadline.0,
            attempts: 0,
            succeeded: 0,
            since: None,
            last_error: None,
            error_is_new: false,
        }
    }

    /// After an attempt that ended `at`.
    pub fn note(&mut self, at: Duration, result: Result<(), String>) -> Standing {
        self.attempts += 1;
        match result {
            Ok(()) => {
                self.succeeded += 1;
                self.since.get_or_insert(at);
            }
            Err(error) => {
                self.error_is_new = self.since.is_some() || self.last_error.as_ref() != Some(&error);
                self.since = None;
                self.last_error = Some(error);
            }
        }
        self.standing(at)
    }

    /// What is probed was replaced: earlier successes were another's.
    pub fn begin_anew(&mut self) {
        self.since = None;
    }

    pub fn standing(&self, at: Duration) -> Standing {
        match self.since {
            Some(since) if at.saturating_sub(since) >= self.healthy_for => Standing::Healthy,
            _ if at >= self.deadline => Standing::Unhealthy,
            _ => Standing::Waiting,
        }
    }

    /// When the next verdict can fall, if nothing changes.
    pub fn verdict_at(&self) -> Duration {
        self.since.map_or(self.deadline, |since| self.deadline.min(since + self.healthy_for))
    }

    pub fn healthy_since(&self, at: Duration) -> Duration {
        self.since.map_or(Duration::ZERO, |since| at.saturating_sub(since))
    }

    /// The last error differs from the one before it, or came after a success.
    pub fn error_is_new(&self) -> bool {
        self.error_is_new
    }

    /// `3 of 12 attempts succeeded, last error: …`
    pub fn words(&self) -> String {
        let error = self.last_error.as_deref().unwrap_or("none, but the successes were too few");
        format!("{} of {} attempts succeeded; last error: {error}", self.succeeded, self.attempts)
    }
}

#[cfg(test)]
mod tests {
    use longshore_common::{manifest::Check, time::Span};

    use super::*;

    fn streak() -> Streak {
        Streak::of(&Probe {
            name: "http".into(),
            check: Check::Tcp { address: "127.0.0.1:1".into() },
            interval: Span::secs(1),
            timeout: Span::secs(1),
            healthy_for: Span::secs(3),
            deadline: Span::secs(10),
        })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Scenario 89: healthy, then unhealthy inside the window, is not healthy.
    #[test]
    fn a_break_begins_the_window_anew() {
        let mut streak = streak();
        assert_eq!(streak.note(at(0), Ok(())), Standing::Waiting);
        assert_eq!(streak.note(at(2), Err("refused".into())), Standing::Waiting);
        assert_eq!(streak.note(at(3), Ok(())), Standing::Waiting);
        assert_eq!(streak.note(at(5), Ok(())), Standing::Waiting);
        assert_eq!(streak.note(at(6), Ok(())), Standing::Healthy);
        streak.begin_anew();
        assert_eq!(streak.standing(at(6)), Standing::Waiting);
    }

    #[test]
    fn the_deadline_ends_it_with_the_last_error() {
        let mut streak = streak();
        for second in 0..9 {
            let result = if second % 2 == 0 { Ok(()) } else { Err("503".into()) };
            assert_eq!(streak.note(at(second), result), Standing::Waiting);
        }
        assert_eq!(streak.note(at(10), Err("503".into())), Standing::Unhealthy);
        assert_eq!(streak.words(), "5 of 10 attempts succeeded; last error: 503");
    }

    #[test]
    fn health_that_is_complete_at_the_deadline_counts() {
        let mut streak = streak();
        assert_eq!(streak.note(at(7), Ok(())), Standing::Waiting);
        assert_eq!(streak.verdict_at(), at(10));
        assert_eq!(streak.note(at(10), Ok(())), Standing::Healthy);
    }
}
