//! `audit list`: the entries that are wanted, each call with its end beside its beginning; and which entries
//! of the log cannot be read, for what is wanted may be among them.

use std::collections::BTreeMap;

use longshore_common::time::Millis;
use longshore_proto::v1 as pb;
use tokio::time::Instant;

use super::{Desk, access::page};
use crate::{
    audit::{Chained, What},
    cli::{
        client::Client,
        exit::Exit,
        failure::Failure,
        view::access::{Damaged, Entries, Entry},
    },
};

/// Calls whose end has not been read yet: the longest streams are open for hours, and these are the newest.
const OPEN_MAX: usize = 4096;

/// Which entries are shown.
#[derive(Default)]
pub(super) struct Wanted {
    pub actor: Option<String>,
    pub method: Option<String>,
    pub target: Option<String>,
    pub from_ms: Option<Millis>,
    /// What was refused, at the door or by policy and state.
    pub denied: bool,
}

impl Wanted {
    /// But for how it ended.
    fn fits(&self, entry: &Chained) -> bool {
        // What is told of a host, or by it, is of the host that it names as its actor.
        let (method, targets) = match &entry.what {
            What::Allowed { method, target, .. } | What::Denied { method, target, .. } => {
                (method.as_str(), [target.as_str(), ""])
            }
            What::Event { actor, event, target } => (event.as_str(), [target.as_str(), actor.as_str()]),
            What::Ended { .. } | What::Pruned { .. } | What::Suppressed { .. } => ("", ["", ""]),
        };
        self.actor.as_deref().is_none_or(|actor| entry.what.actor() == actor)
            && self.method.as_deref().is_none_or(|wanted| method.starts_with(wanted))
            && self
                .target
                .as_deref()
                .is_none_or(|wanted| targets.iter().any(|target| target.contains(wanted)))
            && self.from_ms.is_none_or(|from| entry.at_ms >= from)
    }
}

/// What was read and fits, in two heaps.
struct Sorted<'w> {
    wanted: &'w Wanted,
    /// By number.
    shown: BTreeMap<u64, Entry>,
    /// Calls that fit and of whose end nothing is known yet. Of those that were refused only the end tells.
    open: BTreeMap<u64, Entry>,
}

impl<'w> Sorted<'w> {
    fn new(wanted: &'w Wanted) -> Self {
        Self { wanted, shown: BTreeMap::new(), open: BTreeMap::new() }
    }

    fn add(&mut self, entry: Chained) {
        let denied = self.wanted.denied;
        if let What::Ended { of, code, why } = &entry.what {
            if let Some(mut begun) = self.open.remove(of) {
                begun.ended(code.as_deref(), why);
                if !denied || begun.refused {
                    self.shown.insert(*of, begun);
                }
            }
            return;
        }
        if !self.wanted.fits(&entry) {
            return;
        }
        match &entry.what {
            What::Allowed { .. } => drop(self.open.insert(entry.i, Entry::new(entry))),
            What::Denied { .. } | What::Suppressed { .. } => {
                drop(self.shown.insert(entry.i, Entry::new(entry)))
            }
            What::Event { .. } | What::Pruned { .. } if !denied => {
                self.shown.insert(entry.i, Entry::new(entry));
            }
            What::Event { .. } | What::Pruned { .. } | What::Ended { .. } => {}
        }
        if self.open.len() > OPEN_MAX {
            let oldest = self.open.pop_first().filter(|_| !denied);
            self.shown.extend(oldest);
        }
    }

    fn keep(&mut self, most: usize) {
        while self.shown.len() > most {
            self.shown.pop_first();
        }
    }

    /// The newest of them, in their order; what has not ended belongs there unless only refusals do.
    fn newest(&mut self, most: usize) -> Vec<Entry> {
        if !self.wanted.denied {
            self.shown.append(&mut self.open);
        }
        self.keep(most);
        std::mem::take(&mut self.shown).into_values().collect()
    }
}

/// The log line by line: what is an entry in its place, and which numbers are not.
#[derive(Default)]
struct Places {
    /// What the next line should be; not known before the first entry.
    next: Option<u64>,
    /// What the last entry that was out of its place says that it is: after a gap the others follow it.
    said: Option<u64>,
    /// Lines before the first entry.
    before: u64,
    /// The number of the first line, and how many there were.
    first: u64,
    lines: u64,
    /// Entries that are missing, or not what they were; they only grow in number.
    damaged: Vec<u64>,
}

impl Places {
    fn take(&mut self, line: &str) -> Option<Chained> {
        self.lines += 1;
        // Space around it is no part of an entry, and JSON would not mind.
        let Some(entry) = Chained::parse(line).filter(|_| line.trim() == line) else {
            match &mut self.next {
                Some(next) => {
                    self.damaged.push(*next);
                    *next = next.saturating_add(1);
                    self.said = self.said.and_then(|said| said.checked_add(1));
                }
                None => self.before += 1,
            }
            return None;
        };
        let next = self.next.unwrap_or_else(|| {
            self.first = entry.i.saturating_sub(self.before);
            self.damaged.extend(self.first..entry.i);
            entry.i
        });
        let follows = self.said.take().and_then(|said| said.checked_add(1)) == Some(entry.i);
        if entry.i == next || follows {
            self.next = Some(entry.i.saturating_add(1));
            return Some(entry);
        }
        self.damaged.push(next);
        self.next = Some(next.saturating_add(1));
        // One that says it is older must not take the place of another.
        let later = Some(entry).filter(|entry| entry.i > next);
        self.said = later.as_ref().map(|entry| entry.i);
        later
    }

    /// The number to go on with. By lines: that is how the log counts, whatever is in them.
    fn end(&mut self) -> u64 {
        if self.next.is_none() {
            self.damaged.extend(0..self.before);
            self.next = Some(self.before);
        }
        self.first.saturating_add(self.lines)
    }

    fn exit(&self) -> Exit {
        if self.damaged.is_empty() { Exit::Done } else { Exit::Failed }
    }
}

pub(super) async fn list(
    desk: &Desk,
    client: &Client,
    wanted: &Wanted,
    most: usize,
    follow: bool,
    by: Instant,
) -> Result<Exit, Failure> {
    let (mut sorted, mut places) = (Sorted::new(wanted), Places::default());
    let request = pb::AuditRequest { from: 0, follow: false };
    let mut pages = client.answer(by, client.access().audit(request)).await?;
    while let Some(page) = page(client, &mut pages, by).await? {
        for entry in page.lines.iter().filter_map(|line| places.take(line)) {
            sorted.add(entry);
        }
        sorted.keep(most);
    }
    let from = places.end();
    if !follow {
        desk.output.print(&Entries { entries: sorted.newest(most), damaged: places.damaged.clone() })?;
        return Ok(places.exit());
    }
    for entry in sorted.newest(most) {
        desk.output.print_one_of_many(&entry)?;
    }
    let mut told = 0;
    print_damage(desk, &places, &mut told)?;
    let request = pb::AuditRequest { from, follow: true };
    let mut pages = client.answer(by, client.access().audit(request)).await?;
    while let Some(page) = pages.message().await.map_err(|status| client.explain(status))? {
        for line in &page.lines {
            let shown = places.take(line).map(|entry| follow_on(&mut sorted, entry)).unwrap_or_default();
            for entry in shown {
                desk.output.print_one_of_many(&entry)?;
            }
            print_damage(desk, &places, &mut told)?;
        }
    }
    Ok(places.exit())
}

/// Of whoever follows, each once: as many as were told are passed over.
fn print_damage(desk: &Desk, places: &Places, told: &mut usize) -> Result<(), Failure> {
    for number in &places.damaged[*told..] {
        desk.output.print_one_of_many(&Damaged { damaged: *number })?;
    }
    *told = places.damaged.len();
    Ok(())
}

/// Whoever follows sees a call when it begins and again when it ends; one who asks for refusals, when it is refused.
fn follow_on(sorted: &mut Sorted<'_>, entry: Chained) -> Vec<Entry> {
    let shown = !sorted.wanted.denied && sorted.wanted.fits(&entry);
    let now = shown.then(|| Entry::new(entry.clone()));
    sorted.add(entry);
    let ended = std::mem::take(&mut sorted.shown).into_values();
    match sorted.wanted.denied {
        true => ended.collect(),
        false => now.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[What]) -> Vec<Chained> {
        let entry = |(i, what): (u64, &What)| Chained { i, at_ms: 0, prev: [0; 32], what: what.clone() };
        (0..).zip(lines).map(entry).collect()
    }

    fn allowed(target: &str) -> What {
        What::Allowed {
            actor: "ada".into(),
            key: "k".into(),
            method: "Rollouts/Start".into(),
            target: target.into(),
        }
    }

    fn ended(of: u64, code: Option<&str>) -> What {
        What::Ended { of, code: code.map(str::to_owned), why: "locked by bob".into() }
    }

    fn numbers(entries: &[Entry]) -> Vec<(u64, &str)> {
        entries.iter().map(|entry| (entry.i, entry.outcome.as_str())).collect()
    }

    fn lines() -> Vec<Chained> {
        let denied = What::Denied {
            actor: "eve".into(),
            key: "k".into(),
            method: "Rollouts/Start".into(),
            target: "shop@1.1 to prod".into(),
            code: "LS-C02".into(),
            why: "no".into(),
        };
        log(&[
            allowed("shop@1.1 to prod: start plan 1"),
            allowed("shop@1.2 to prod: start plan 2"),
            ended(1, Some("LS-W01")),
            ended(0, None),
            denied,
            allowed("shop@1.1 to prod: abort rollout 3"),
            ended(5, Some("LS-S02")),
            allowed("shop@1.1 to prod: start plan 4"),
        ])
    }

    /// A call that policy or state refuses was let in at the door, and is a refusal all the same; one that failed is none.
    #[test]
    fn refusals_are_those_at_the_door_and_those_by_policy() {
        let wanted = Wanted { denied: true, ..Wanted::default() };
        let mut sorted = Sorted::new(&wanted);
        lines().into_iter().for_each(|entry| sorted.add(entry));
        let shown = sorted.newest(10);
        assert_eq!(numbers(&shown), [(1, "refused LS-W01 locked by bob"), (4, "refused LS-C02")]);
        let mut follows = Sorted::new(&wanted);
        let told: Vec<Entry> = lines().into_iter().flat_map(|entry| follow_on(&mut follows, entry)).collect();
        assert_eq!(numbers(&told), [(1, "refused LS-W01 locked by bob"), (4, "refused LS-C02")]);
    }

    #[test]
    fn a_release_is_found_by_its_name_and_the_newest_are_shown() {
        let wanted = Wanted { target: Some("shop@1.1".into()), ..Wanted::default() };
        let mut sorted = Sorted::new(&wanted);
        lines().into_iter().for_each(|entry| sorted.add(entry));
        let shown = sorted.newest(3);
        assert_eq!(numbers(&shown), [(4, "refused LS-C02"), (5, "LS-S02 locked by bob"), (7, "")]);
    }

    /// Each case: the lines of a log by their numbers, `x` for what cannot be read; which are shown, which
    /// are damaged, and the number to go on with.
    #[test]
    fn what_cannot_be_read_is_named_by_its_number_and_nothing_else_is() {
        for (lines, shown, damaged, end) in [
            ("0 1 2", vec![0, 1, 2], vec![], 3),
            ("", vec![], vec![], 0),
            ("0 x 2 x", vec![0, 2], vec![1, 3], 4),
            ("x 6 7", vec![6, 7], vec![5], 8), // older ones were pruned
            ("x x", vec![], vec![0, 1], 2),
            ("0 1 3 4", vec![0, 1, 3, 4], vec![2], 4), // a line was taken out: the log has four
            ("0 1 3 x 5", vec![0, 1, 3, 5], vec![2, 3], 5),
            ("0 9 2 3", vec![0, 9, 2, 3], vec![1], 4), // one says that it is another
            ("0 1 0 1", vec![0, 1], vec![2, 3], 4),
            ("0 18446744073709551615 2", vec![0, u64::MAX, 2], vec![1], 3),
        ] {
            let mut places = Places::default();
            let line = |word: &str| match word.parse() {
                Ok(i) => Chained { i, at_ms: 0, prev: [0; 32], what: ended(0, None) }.line(),
                Err(_) => "damaged: \u{fffd}".to_owned(),
            };
            let read = lines.split_whitespace().filter_map(|word| places.take(&line(word)));
            assert_eq!(read.map(|entry| entry.i).collect::<Vec<_>>(), shown, "{lines}");
            let exit = if damaged.is_empty() { Exit::Done } else { Exit::Failed };
            assert_eq!((places.end(), places.exit()), (end, exit), "{lines}");
            assert_eq!(places.damaged, damaged, "{lines}");
        }
        let spaced = format!("{} ", Chained { i: 0, at_ms: 0, prev: [0; 32], what: ended(0, None) }.line());
        assert_eq!(Places::default().take(&spaced), None, "as audit verify sees it");
    }

    #[test]
    fn an_entry_is_shown_when_every_filter_has_it() {
        let line = |kind: &str, more: &str| {
            let prev = "0".repeat(64);
            let text = format!(r#"{{"i":1,"at_ms":1000,"prev":"{prev}","kind":"{kind}",{more}}}"#);
            Chained::parse(&text).expect("a line of the log")
        };
        let call = r#""actor":"bob","key":"00","method":"Hosts/Remove","target":"host web-3""#;
        let allowed = line("allowed", call);
        let denied = line("denied", &format!(r#"{call},"code":"LS-C02","why":"no""#));
        let event =
            line("event", r#""actor":"host web-3 (7)","event":"glass broken on the host","target":"root""#);
        let nothing = Wanted::default;
        let shows = |wanted: Wanted| [&allowed, &denied, &event].map(|entry| wanted.fits(entry));
        assert_eq!(shows(nothing()), [true, true, true]);
        assert_eq!(shows(Wanted { actor: Some("bob".into()), ..nothing() }), [true, true, false]);
        assert_eq!(shows(Wanted { method: Some("Hosts".into()), ..nothing() }), [true, true, false]);
        assert_eq!(shows(Wanted { method: Some("Rollouts".into()), ..nothing() }), [false; 3]);
        assert_eq!(shows(Wanted { target: Some("web-3".into()), ..nothing() }), [true, true, true]);
        assert_eq!(shows(Wanted { target: Some("web-4".into()), ..nothing() }), [false; 3]);
        assert_eq!(shows(Wanted { target: Some("bob".into()), ..nothing() }), [false; 3]);
        assert_eq!(shows(Wanted { method: Some("glass".into()), ..nothing() }), [false, false, true]);
        assert_eq!(shows(Wanted { from_ms: Some(1001), ..nothing() }), [false; 3]);
    }
}
