//! What systemd is told when it runs the agent; without it, nothing happens here.

use std::time::Duration;

use sd_notify::NotifyState;

/// The agent answers on its socket and tries its controllers.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

pub fn status(line: &str) {
    notify(&[NotifyState::Status(line)]);
}

pub fn alive() {
    if watchdog_interval().is_some() {
        notify(&[NotifyState::Watchdog]);
    }
}

/// How often to say that the agent is alive: half of what systemd waits. None: it does not ask.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 2)
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}
