//! What the app uses and how it fares on the hosts that run the release, as their agents count: no Prometheus needed.

use std::{collections::BTreeMap, time::Duration};

use longshore_common::{
    ids::HostName,
    text::{bytes, bytes_beside},
};

use super::{Conclusion, Scene, check::AppLimits};
use crate::{
    fleet::{
        Asked,
        words::{Answer, Question, Usage},
    },
    rollout::Verdict,
};

const ANSWER: Duration = Duration::from_secs(5);
/// Hosts that are asked; of more, the first are.
const HOSTS: usize = 500;
/// Answers in a row by which it does not run, before it is down and not just on its way up again.
const DOWN: u32 = 2;
/// Answers in a row without its log, before there is none and not just none in time.
const UNREAD: u32 = 2;

/// A host's counters at the beginning, and what was added up since.
struct Track {
    first: Usage,
    last: Usage,
    /// When it was asked what it answered first, from the beginning of the look: of the time before nobody knows.
    from: Duration,
    /// Over processes that came and went.
    cpu_ms: u64,
    restarts: u32,
    /// Answers in a row, the last among them, by which it does not run.
    down: u32,
    /// Answers in a row, the last among them, without its log.
    unread: u32,
}

pub async fn look(limits: &AppLimits, scene: &Scene) -> Conclusion {
    if scene.changed.is_empty() {
        return Conclusion::new(Verdict::NoData, "no host runs the release");
    }
    let mut tracks: BTreeMap<HostName, Track> = BTreeMap::new();
    let begun = tokio::time::Instant::now();
    let mut silent: Vec<String>;
    loop {
        silent = vec![];
        let asked_at = begun.elapsed();
        let asked = scene.changed.iter().take(HOSTS).map(|host| async move {
            // Lines of a log have the host's own time.
            let offset = scene.fleet.presence().connected(&host.id).map_or(0, |known| known.clock_offset_ms);
            let question = Question::Usage { app: scene.app.clone(), since_ms: scene.since + offset };
            (&host.name, scene.fleet.ask(host.id, question, ANSWER.min(scene.left())).await)
        });
        for (name, asked) in futures_util::future::join_all(asked).await {
            match asked {
                Asked::Answered { answer: Answer::Usage(usage), .. } => {
                    note(&mut tracks, name, usage, asked_at)
                }
                Asked::Answered { answer: Answer::Error(why), .. } => silent.push(format!("{name}: {why}")),
                Asked::Answered { .. } => silent.push(format!("{name} answered another question")),
                Asked::Silent => silent.push(format!("{name} does not answer")),
            }
        }
        let passed = begun.elapsed();
        let lines = lines(&tracks, passed, &silent);
        // Lines count from the gate's beginning, also where another controller began it.
        let logged = passed.max(since_begun(scene));
        if let Some(broken) = tracks.iter().find_map(|(name, track)| track.breaks(limits, name, logged)) {
            return Conclusion::new(Verdict::Fail, broken).with(lines);
        }
        scene.tell(lines.first().cloned().unwrap_or_default());
        let down = tracks.iter().filter_map(|(name, track)| Some((track.down, track.is_down(name)?)));
        let down = down.max_by_key(|(answers, _)| *answers);
        if let Some((answers, down)) = &down
            && *answers >= DOWN
            && passed >= limits.window.0
        {
            return Conclusion::new(Verdict::Fail, down).with(lines);
        }
        let all_seen = tracks.values().all(|track| track.was_seen_for(limits.window.0, passed));
        if all_seen
            && down.is_none()
            && silent.is_empty()
            && let Some((verdict, mut note)) = settled(&tracks, limits, passed)
        {
            let more = scene.changed.len().saturating_sub(HOSTS);
            if more > 0 && verdict == Verdict::Pass {
                note += &format!("; {more} more run the release and were not asked");
            }
            return Conclusion::new(verdict, note).with(lines);
        }
        if !scene.pause(limits.every.0).await {
            let unread = tracks.iter().find_map(|(name, track)| track.lacks(limits, name));
            let nothing = tracks.is_empty() || unread.is_some();
            let verdict = if nothing { Verdict::NoData } else { Verdict::Inconclusive };
            let down = down.map(|(_, down)| down);
            let why = unread.or_else(|| silent.first().cloned()).or(down);
            let why = why.unwrap_or_else(|| "the window was not over in time".to_owned());
            return Conclusion::new(verdict, why).with(lines);
        }
    }
}

/// Of hosts that were all seen for the window, and run the app. What was not measured does not pass; `None`: it is asked
/// once more.
fn settled(
    tracks: &BTreeMap<HostName, Track>,
    limits: &AppLimits,
    passed: Duration,
) -> Option<(Verdict, String)> {
    if let Some(broken) = tracks.iter().find_map(|(name, track)| track.too_busy(limits, name, passed)) {
        return Some((Verdict::Fail, broken));
    }
    let lacking = tracks.iter().filter_map(|(name, track)| Some((track.unread, track.lacks(limits, name)?)));
    match lacking.max_by_key(|(answers, _)| *answers) {
        Some((answers, why)) => (answers >= UNREAD).then_some((Verdict::NoData, why)),
        None => {
            let hosts = if tracks.len() == 1 { "host" } else { "hosts" };
            let note = format!("{} {hosts} within bounds for {}", tracks.len(), limits.window);
            Some((Verdict::Pass, note))
        }
    }
}

/// By the clock: a gate that another controller began is older than this look.
fn since_begun(scene: &Scene) -> Duration {
    Duration::from_millis((scene.clock.now_ms() - scene.since).max(0).unsigned_abs())
}

fn note(tracks: &mut BTreeMap<HostName, Track>, name: &HostName, usage: Usage, asked_at: Duration) {
    match tracks.get_mut(name) {
        None => {
            let (down, unread) = (u32::from(!usage.running), u32::from(usage.log_unread.is_some()));
            let (first, last) = (usage.clone(), usage);
            let track = Track { first, last, from: asked_at, cpu_ms: 0, restarts: 0, down, unread };
            tracks.insert(name.clone(), track);
        }
        Some(track) => {
            // Counters begin anew with every process.
            let same = usage.main_pid == track.last.main_pid && usage.cpu_ms >= track.last.cpu_ms;
            track.cpu_ms += if same { usage.cpu_ms - track.last.cpu_ms } else { usage.cpu_ms };
            let counted = usage.restarts.saturating_sub(track.last.restarts);
            let another = u32::from(usage.main_pid != track.last.main_pid && usage.main_pid != 0);
            track.restarts += counted.max(another);
            track.down = if usage.running { 0 } else { track.down + 1 };
            track.unread = if usage.log_unread.is_some() { track.unread + 1 } else { 0 };
            track.last = usage;
        }
    }
}

impl Track {
    /// By its last answer.
    fn is_down(&self, name: &HostName) -> Option<String> {
        (self.down > 0).then(|| format!("{name}: the app does not run"))
    }

    /// What is to be bounded, and was not measured when it was asked last.
    fn lacks(&self, limits: &AppLimits, name: &HostName) -> Option<String> {
        limits.errors_per_minute?;
        let why = self.last.log_unread.as_ref()?;
        Some(format!("{name}: its errors are not known: {why}"))
    }

    fn was_seen_for(&self, window: Duration, passed: Duration) -> bool {
        passed.saturating_sub(self.from) >= window
    }

    /// What may never be passed. `logged`: for how long lines of the log are counted.
    fn breaks(&self, limits: &AppLimits, name: &HostName, logged: Duration) -> Option<String> {
        if let Some(most) = limits.restarts
            && self.restarts > most
        {
            let times =
                if self.restarts == 1 { "once".to_owned() } else { format!("{} times", self.restarts) };
            return Some(format!("{name} restarted {times}; at most {most}"));
        }
        if let Some(most) = limits.memory_bytes
            && self.last.memory_bytes > most
        {
            let [used, most] = [self.last.memory_bytes, most].map(|count| bytes_beside(most, count));
            return Some(format!("{name} uses {used}; at most {most}"));
        }
        let most = limits.errors_per_minute?;
        // Within the first minute the whole minute's share is there to be used.
        let allowed = f64::from(most) * (logged.as_secs_f64() / 60.0).max(1.0);
        let errors = self.last.error_lines;
        (f64::from(errors) > allowed).then(|| {
            let within = logged.as_secs().max(1);
            format!("{name} logged {errors} errors within {within}s; at most {most} a minute")
        })
    }

    /// What counts over the whole window.
    fn too_busy(&self, limits: &AppLimits, name: &HostName, passed: Duration) -> Option<String> {
        let most = limits.cpu_percent?;
        let busy = self.cpu_percent(passed);
        (busy > f64::from(most)).then(|| format!("{name} took {busy:.0}% of a core; at most {most}%"))
    }

    fn cpu_percent(&self, passed: Duration) -> f64 {
        self.cpu_ms as f64 / passed.saturating_sub(self.from).as_millis().max(1) as f64 * 100.0
    }
}

fn lines(tracks: &BTreeMap<HostName, Track>, passed: Duration, silent: &[String]) -> Vec<String> {
    let of_track = |(name, track): (&HostName, &Track)| {
        let up = if track.last.running { "" } else { ", not running" };
        let before = if track.first.restarts > 0 {
            format!(" ({} before)", track.first.restarts)
        } else {
            String::new()
        };
        format!(
            "{name}: {}{before}, {}, {:.0}% of a core, {}{up}",
            counted(track.restarts, "restart"),
            match &track.last.log_unread {
                None => counted(track.last.error_lines, "error line"),
                Some(_) => "error lines not known".to_owned(),
            },
            track.cpu_percent(passed),
            bytes(track.last.memory_bytes),
        )
    };
    tracks.iter().map(of_track).chain(silent.iter().cloned()).collect()
}

fn counted(number: u32, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use longshore_common::time::Span;

    use super::*;

    fn usage(main_pid: u64, restarts: u32, cpu_ms: u64, error_lines: u32) -> Usage {
        let log_unread = None;
        Usage { running: true, restarts, cpu_ms, memory_bytes: 10 << 20, error_lines, log_unread, main_pid }
    }

    fn track(usages: &[Usage]) -> Track {
        let (mut tracks, name) = (BTreeMap::new(), "web-1".parse().unwrap());
        for one in usages {
            note(&mut tracks, &name, one.clone(), Duration::ZERO);
        }
        tracks.remove(&name).unwrap()
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn counters_go_on_over_restarts() {
        let seen =
            track(&[usage(1, 0, 500, 0), usage(1, 0, 900, 0), usage(2, 1, 100, 0), usage(2, 1, 300, 0)]);
        assert_eq!((seen.cpu_ms, seen.restarts), (400 + 100 + 200, 1));
        let told_anew = track(&[usage(1, 3, 0, 0), usage(9, 0, 0, 0)]);
        assert_eq!(told_anew.restarts, 1, "another process is a restart, whoever counts");
    }

    #[test]
    fn each_bound_is_named_when_it_is_passed() {
        let limits = AppLimits {
            window: Span::secs(60),
            every: Span::secs(5),
            restarts: Some(0),
            errors_per_minute: Some(10),
            cpu_percent: Some(50),
            memory_bytes: Some(64 << 20),
        };
        let name: HostName = "web-1".parse().unwrap();
        let broken = |usages: &[Usage]| {
            let track = track(usages);
            track.breaks(&limits, &name, MINUTE).or_else(|| track.too_busy(&limits, &name, MINUTE))
        };
        let first = usage(1, 0, 0, 0);
        assert_eq!(broken(&[first.clone(), usage(1, 0, 1000, 10)]), None);
        assert_eq!(broken(&[first.clone(), usage(2, 1, 0, 0)]).unwrap(), "web-1 restarted once; at most 0");
        assert_eq!(
            broken(&[first.clone(), usage(1, 0, 0, 11)]).unwrap(),
            "web-1 logged 11 errors within 60s; at most 10 a minute"
        );
        assert_eq!(
            broken(&[first.clone(), usage(1, 0, 45_000, 0)]).unwrap(),
            "web-1 took 75% of a core; at most 50%"
        );
        let fat = Usage { memory_bytes: 100 << 20, ..first.clone() };
        assert_eq!(broken(&[first, fat]).unwrap(), "web-1 uses 100.0 MiB; at most 64.0 MiB");
    }

    /// A journal that keeps nothing has no error lines to show either.
    #[test]
    fn a_log_that_cannot_be_read_does_not_pass() {
        let unread = || {
            let log_unread = Some("the app's log cannot be read: No journal files were found.".to_owned());
            Usage { log_unread, ..usage(1, 0, 0, 0) }
        };
        let none = AppLimits {
            window: Span::secs(60),
            every: Span::secs(5),
            restarts: Some(0),
            errors_per_minute: None,
            cpu_percent: None,
            memory_bytes: None,
        };
        let ten = AppLimits { errors_per_minute: Some(10), ..none.clone() };
        let after = |usages: &[Usage], limits: &AppLimits| {
            let tracks = BTreeMap::from([("web-1".parse().unwrap(), track(usages))]);
            settled(&tracks, limits, MINUTE)
        };
        let passed = Some((Verdict::Pass, "1 host within bounds for 1m".to_owned()));
        assert_eq!(after(&[usage(1, 0, 0, 0)], &ten), passed);
        assert_eq!(after(&[unread()], &ten), None, "it may only have taken too long: once more");
        let (verdict, note) = after(&[unread(), unread()], &ten).unwrap();
        assert_eq!(
            (verdict, note.as_str()),
            (
                Verdict::NoData,
                "web-1: its errors are not known: the app's log cannot be read: No journal files were found."
            )
        );
        assert_eq!(after(&[unread(), unread(), usage(1, 0, 0, 0)], &ten), passed);
        assert_eq!(after(&[unread(), unread()], &none), passed, "nobody asked for its errors");
        let tracks = BTreeMap::from([("web-1".parse().unwrap(), track(&[unread()]))]);
        let shown = lines(&tracks, MINUTE, &[]).remove(0);
        assert_eq!(shown, "web-1: 0 restarts, error lines not known, 0% of a core, 10.5 MB");
    }

    /// What does not run breaks no bound: it takes nothing, logs nothing and is not started again.
    #[test]
    fn what_does_not_run_is_down() {
        let name: HostName = "web-1".parse().unwrap();
        let gone = || Usage { running: false, ..usage(0, 0, 0, 0) };
        let seen = track(&[usage(1, 0, 0, 0), gone()]);
        assert_eq!((seen.down, seen.is_down(&name).unwrap().as_str()), (1, "web-1: the app does not run"));
        assert_eq!(track(&[gone(), gone()]).down, DOWN);
        let back = track(&[usage(1, 0, 0, 0), gone(), usage(2, 0, 0, 0)]);
        assert_eq!((back.down, back.is_down(&name), back.restarts), (0, None, 1));
    }

    /// A host that answers for the first time when the window is nearly over was not looked at within it.
    #[test]
    fn a_host_counts_from_its_first_answer() {
        let (mut tracks, name) = (BTreeMap::new(), "web-1".parse().unwrap());
        note(&mut tracks, &name, usage(1, 0, 0, 0), MINUTE);
        note(&mut tracks, &name, usage(1, 0, 3_000, 0), MINUTE + Duration::from_secs(5));
        let track = &tracks[&name];
        assert!(!track.was_seen_for(MINUTE, MINUTE + Duration::from_secs(5)));
        assert!(track.was_seen_for(MINUTE, 2 * MINUTE));
        assert_eq!(track.cpu_percent(2 * MINUTE), 5.0, "of the time in which it answered");
    }
}
