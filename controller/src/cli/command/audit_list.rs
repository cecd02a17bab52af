//! `audit list`: the entries that are wanted, each call with its end beside its beginning.

use std::collections::BTreeMap;

use longshore_common::time::Millis;
use longshore_proto::v1 as pb;
use tokio::time::Instant;

use super::{Desk, access::page};
use crate::{
    audit::{Chained, What},
    cli::{
        client::Client,
        failure::Failure,
        view::access::{Entries, Entry},
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

pub(super) async fn list(
    desk: &Desk,
    client: &Client,
    wanted: &Wanted,
    most: usize,
    follow: bool,
    by: Instant,
) -> Result<(), Failure> {
    let mut sorted = Sorted::new(wanted);
    let request = pb::AuditRequest { from: 0, follow: false };
    let mut pages = client.answer(by, client.access().audit(request)).await?;
    let mut next = 0;
    while let Some(page) = page(client, &mut pages, by).await? {
        for entry in page.lines.iter().filter_map(|line| Chained::parse(line)) {
            next = entry.i + 1;
            sorted.add(entry);
        }
        sorted.keep(most);
    }
    let entries = Entries { entries: sorted.newest(most) };
    if !follow {
        return desk.output.print(&entries);
    }
    for entry in entries.entries {
        desk.output.print_one_of_many(&entry)?;
    }
    let request = pb::AuditRequest { from: next, follow: true };
    let mut pages = client.answer(by, client.access().audit(request)).await?;
    while let Some(page) = pages.message().await.map_err(|status| client.explain(status))? {
        for entry in page.lines.iter().filter_map(|line| Chained::parse(line)) {
            for told in follow_on(&mut sorted, entry) {
                desk.output.print_one_of_many(&told)?;
            }
        }
    }
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
