//! What a check may know of its rollout, and how it says what it found.

use std::{path::Path, sync::Arc, time::Duration};

use longshore_common::{
    code::Coded,
    digest::ReleaseDigest,
    ids::{AppName, EnvName, Generation, HostId, HostName, RolloutId, Version},
    regular::{self, Links},
    text::visible,
    time::{Clock, Millis},
    wire::cut,
};
use tokio::time::Instant;

use super::desk::Seen;
use crate::{
    fleet::Fleet,
    http::{Trust, Url},
    rollout::{GateSpec, HostState, Rollout, Run, Stage, Verdict},
};

/// Lines of evidence that a verdict keeps, and bytes of each: together they fit a record.
const LINES: usize = 60;
const LINE_BYTES: usize = 160;
/// A check ends so long before its deadline, so that its own word comes first: a tenth, but not more than this.
const MARGIN_MAX: Duration = Duration::from_secs(2);
/// What the last look has: a tenth of the deadline, but not more than this.
const LAST_LOOK_MAX: Duration = Duration::from_secs(1);
/// A question with less time than this is not asked: that it was not answered would hide what was said before.
const LOOK_MIN: Duration = Duration::from_millis(50);
/// Bytes of a file with a key or a token.
const SECRET_BYTES: usize = 4096;

/// How long to wait before the next look: the last one begins shortly before the time is over.
fn rest(left: Duration, length: Duration, deadline: Duration) -> Option<Duration> {
    let last = LAST_LOOK_MAX.min(deadline / 10);
    (left > last).then(|| length.min(left - last))
}

/// A verdict with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    pub verdict: Verdict,
    /// One sentence.
    pub note: String,
    /// Lines for people, the newest last.
    pub evidence: Vec<String>,
}

impl Conclusion {
    pub fn new(verdict: Verdict, note: impl Into<String>) -> Self {
        Self { verdict, note: cut(&visible(&note.into()), crate::rollout::NOTE_BYTES), evidence: vec![] }
    }

    /// With the last of these lines, cut to size.
    pub fn with(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(lines.into_iter().map(|line| cut(&visible(&line), LINE_BYTES)));
        let excess = self.evidence.len().saturating_sub(LINES);
        self.evidence.drain(..excess);
        self
    }
}

/// A host that a check is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub id: HostId,
    pub name: HostName,
}

/// The rollout at the moment in which a gate is due, and what can be asked.
#[derive(Clone)]
pub struct Scene {
    pub rollout: RolloutId,
    pub app: AppName,
    pub env: EnvName,
    pub version: Version,
    pub release: ReleaseDigest,
    pub from_version: Option<Version>,
    pub gate: GateSpec,
    pub stage: Stage,
    pub number: u32,
    /// Of the rollout's own assignments, below those of any later one.
    pub generation: Generation,
    /// Hosts that run the release because of this rollout.
    pub changed: Vec<Named>,
    /// Hosts that have not been touched: the baseline.
    pub untouched: Vec<Named>,
    pub since: Millis,
    pub until: Instant,
    pub fleet: Fleet,
    pub clock: Arc<dyn Clock>,
    pub seen: Seen,
}

impl Scene {
    pub(super) fn of(
        rollout: &Rollout,
        stage: Stage,
        gate: &GateSpec,
        run: &Run,
        fleet: Fleet,
        clock: Arc<dyn Clock>,
        seen: Seen,
    ) -> Self {
        let header = &rollout.header;
        let pick = |fits: &dyn Fn(&HostState) -> bool| {
            let hosts = rollout.hosts.iter().filter(|(_, host)| fits(&host.state) && host.silent.is_none());
            hosts.map(|(id, host)| Named { id: *id, name: host.name.clone() }).collect::<Vec<_>>()
        };
        let changed = pick(&|state| *state == HostState::Healthy);
        let untouched =
            pick(&|state| matches!(state, HostState::Waiting | HostState::Staging | HostState::Staged));
        let length = if stage == Stage::Watch { gate.deadline.0 } else { left(run.deadline, clock.now_ms()) };
        Self {
            rollout: header.id,
            app: header.app.clone(),
            env: header.env.clone(),
            version: header.target.version.clone(),
            release: header.target.release,
            from_version: header.from_version.clone(),
            gate: gate.clone(),
            stage,
            number: run.number,
            generation: Generation::new(header.sequence, 0),
            changed,
            untouched,
            since: run.since,
            until: Instant::now() + length,
            fleet,
            clock,
            seen,
        }
    }

    /// Time that is left to look, less what it takes to say so.
    pub fn left(&self) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        left.saturating_sub(MARGIN_MAX.min(self.gate.deadline.0 / 10))
    }

    /// Waits for this long, or for as long as leaves time for a last look; false: that was it.
    pub async fn pause(&self, length: Duration) -> bool {
        let Some(rest) = rest(self.left(), length, self.gate.deadline.0) else { return false };
        tokio::time::sleep(rest).await;
        self.left() > LOOK_MIN
    }

    /// What can be seen so far, for whoever asks why it waits.
    pub fn tell(&self, seen: impl Into<String>) {
        self.seen.put(self.rollout, self.number, cut(&visible(&seen.into()), crate::rollout::NOTE_BYTES));
    }

    /// `$app`, `$env`, `$version` and `$rollout` put in.
    pub fn fill(&self, text: &str) -> String {
        let id = self.rollout.to_string();
        [
            ("$app", self.app.as_str()),
            ("$env", self.env.as_str()),
            ("$version", self.version.as_str()),
            ("$rollout", &id),
        ]
        .into_iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// An address with everything put in.
    pub fn url(&self, text: &str) -> Result<Url, Conclusion> {
        let url = self.fill(text).parse::<Url>();
        url.map_err(|error| Conclusion::new(Verdict::NoData, format!("cannot be asked: {error}")))
    }

    pub fn trust(ca: Option<&Path>) -> Result<Arc<Trust>, Conclusion> {
        let trust = match ca {
            None => Ok(Trust::system()),
            Some(file) => Trust::file(file),
        };
        trust.map(Arc::new).map_err(|error: Coded| Conclusion::new(Verdict::NoData, error.message))
    }

    /// `wave 2`, `before the first wave`, `watch`
    pub fn place(&self) -> String {
        match self.stage {
            Stage::Before => "before".to_owned(),
            Stage::After { wave } => format!("wave {}", wave + 1),
            Stage::Watch => "watch".to_owned(),
        }
    }
}

fn left(deadline: Millis, now: Millis) -> Duration {
    Duration::from_millis((deadline - now).max(0).unsigned_abs())
}

/// A key or token out of a file of the controller's machine, without the blanks around it.
pub(super) fn secret(file: &Path) -> Result<Vec<u8>, Conclusion> {
    let shown = visible(&file.display().to_string());
    let bad = |why: String| Conclusion::new(Verdict::NoData, format!("the file {shown}: {why}"));
    let bytes = regular::read(file, SECRET_BYTES, Links::Followed).map_err(|e| bad(e.to_string()))?;
    if bytes.is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    Ok(bytes.trim_ascii().to_vec())
}

/// What a verdict is when nobody has said one until its end.
pub(super) fn unheard(last: Option<String>) -> Conclusion {
    match last {
        None => Conclusion::new(Verdict::NoData, "nothing answered in time"),
        Some(last) => Conclusion::new(Verdict::NoData, format!("no verdict in time; last: {last}")),
    }
}

/// What was heard each time it was asked, what was heard last at the end: the same again and again is one line with how
/// often, also where something else was heard in between.
#[derive(Debug, Default)]
pub(super) struct Heard(Vec<(String, usize)>);

impl Heard {
    pub fn add(&mut self, line: String) {
        let before = self.0.iter().position(|(known, _)| *known == line);
        let times = before.map_or(0, |at| self.0.remove(at).1);
        self.0.push((line, times + 1));
        // More than that is never shown.
        let excess = self.0.len().saturating_sub(LINES);
        self.0.drain(..excess);
    }

    pub fn lines(self) -> impl Iterator<Item = String> {
        self.0.into_iter().map(|(line, times)| match times {
            1 => line,
            times => format!("{line} ({times} times)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks begin after one another, the last of them a second before the end.
    #[test]
    fn the_last_look_is_at_the_deadline_and_not_one_pause_before_it() {
        let s = Duration::from_secs;
        let (mut left, mut looks) = (s(60), vec![]);
        while let Some(pause) = rest(left, s(25), s(60)) {
            left -= pause;
            looks.push(60 - left.as_secs());
        }
        assert_eq!(looks, [25, 50, 59]);
        assert_eq!(rest(s(1), s(25), s(60)), None);
        let short = Duration::from_millis(900);
        assert_eq!(rest(s(4), s(5), s(4)), Some(s(4) - Duration::from_millis(400)));
        assert_eq!(rest(short, s(5), s(9)), None);
    }

    /// A pipe would have a gate wait for ever.
    #[test]
    fn what_is_no_secret_is_named_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), 0o600.into()).unwrap();
        for (name, bytes) in [("large", SECRET_BYTES + 1), ("empty", 0), ("good", 3)] {
            longshore_common::durable::write_atomic(&at(name), &vec![b'x'; bytes], 0o600).unwrap();
        }
        for (name, says) in [
            ("pipe", "it is a FIFO"),
            ("large", "it has 4097 bytes; at most 4096 are read"),
            ("empty", "it is empty"),
        ] {
            let said = secret(&at(name)).unwrap_err();
            let named = format!("the file {}: {says}", at(name).display());
            assert!(said.verdict == Verdict::NoData && said.note.starts_with(&named), "{}", said.note);
        }
        assert_eq!(secret(&at("good")).unwrap(), b"xxx");
    }

    #[test]
    fn what_was_heard_again_and_again_is_one_line() {
        let mut heard = Heard::default();
        for line in ["a is 1", "b is 2", "a is 1", "b is 2", "a is 3"] {
            heard.add(line.to_owned());
        }
        assert_eq!(heard.lines().collect::<Vec<_>>(), ["a is 1 (2 times)", "b is 2 (2 times)", "a is 3"]);
    }
}
