//! The parts of a plan on a screen, each a few lines, indented by two.

use longshore_common::text::visible;

use super::plan_lines::paragraph;
use crate::{
    cli::{
        moment::{bytes, count},
        output::Page,
        style::{Ink, clip, width, wrap},
        table::{Cell, Facts, Table},
    },
    plan::{BackTo, Change, Failed, FileChange, Gate, HostPlan, Opens, Part, Plan, Standing},
};

/// Up to so many hosts each has a line; of more, those that stand out.
const EACH_HOST: usize = 24;
/// Hosts that stand out and have a line, and hosts of a precondition.
const STANDING_OUT: usize = 24;
const FAULTS: usize = 8;
/// Differences that are shown without being asked for.
const CHANGES: usize = 30;
const TEMPLATE_LINES: usize = 24;

fn indented(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| format!("  {line}")).collect()
}

fn more(left: usize, what: &str) -> Option<String> {
    (left > 0).then(|| format!("  … and {} more", count(left, what)))
}

pub(super) fn failed(plan: &Plan, page: &Page) -> Vec<String> {
    plan.failed.iter().flat_map(|failed| one_failed(failed, page)).collect()
}

fn one_failed(failed: &Failed, page: &Page) -> Vec<String> {
    let may = if failed.may_override { " (the environment allows to override it)" } else { "" };
    let text = visible(&format!("{}: {}{may}", failed.check, failed.what));
    let mut lines = paragraph(&text, Ink::Bad, page);
    let mut table = Facts::default();
    let told = &failed.hosts[..failed.hosts.len().min(FAULTS)];
    let names = told.iter().map(|fault| width(fault.host.as_str())).max().unwrap_or(0);
    for fault in told {
        // Its end is the way out: it is never cut off.
        let lines = wrap(&visible(&fault.what), page.columns.saturating_sub(names + 8).max(24));
        let heads = std::iter::once(fault.host.as_str()).chain(std::iter::repeat(""));
        for (host, line) in heads.zip(lines) {
            table.add(&format!("      {}", visible(host)), line);
        }
    }
    lines.extend(table.lines(page.style));
    lines.extend(more(failed.hosts.len().saturating_sub(FAULTS), "host").map(|line| format!("    {line}")));
    lines
}

pub(super) fn waves(plan: &Plan, page: &Page) -> Vec<String> {
    let fetch = |wave: u32| {
        let of = plan.hosts.iter().filter(|host| host.part == Part::Wave { wave });
        of.map(|host| host.fetch.wire_bytes).sum::<u64>()
    };
    let mut table = Table::new(["WAVE", "HOSTS", "SHARE", "SO FAR", "DOMAIN", "BAKE", "FETCH", "WHICH"]);
    for wave in &plan.waves {
        let names: Vec<&str> = plan
            .hosts
            .iter()
            .filter(|host| host.part == Part::Wave { wave: wave.number })
            .map(|host| host.name.as_str())
            .collect();
        table.row([
            (wave.number + 1).to_string().into(),
            wave.blast.hosts.to_string().into(),
            format!("{}%", wave.blast.percent).into(),
            format!("{}%", wave.blast.percent_so_far).into(),
            visible(&wave.domains.join(" ")).into(),
            wave.bake.to_string().into(),
            bytes(fetch(wave.number)).into(),
            visible(&which(&names, page.columns.saturating_sub(60).max(24))).into(),
        ]);
    }
    if plan.spread.is_none() {
        table.drop_column("DOMAIN");
    }
    indented(table.lines_within(page.style, page.columns.saturating_sub(2)))
}

/// Every name where there is room; else the first few and the last.
fn which(names: &[&str], columns: usize) -> String {
    let all = names.join(" ");
    let Some(last) = names.last().filter(|_| width(&all) > columns) else { return all };
    let room = columns.saturating_sub(width(last) + 3);
    let mut shown = String::new();
    for name in names {
        if width(&shown) + width(name) + 1 > room {
            break;
        }
        shown.push_str(name);
        shown.push(' ');
    }
    format!("{shown}… {last}")
}

pub(super) fn hosts(plan: &Plan, all: bool, page: &Page) -> Vec<String> {
    let stands_out = |host: &&HostPlan| !host.notes.is_empty() || host.standing != Standing::Asked;
    let few = all || plan.hosts.len() <= EACH_HOST;
    let wanted: Vec<&HostPlan> = plan.hosts.iter().filter(|host| few || stands_out(host)).collect();
    let shown = if few { wanted.len() } else { wanted.len().min(STANDING_OUT) };
    if shown == 0 {
        return vec![format!(
            "  every one answered and fits; one by one: longshore plan show {} --hosts",
            plan.digest.short()
        )];
    }
    let mut table = Table::new(["HOST", "WAVE", "CHANGE", "FROM", "FETCH", "NOTE"]);
    for host in &wanted[..shown] {
        table.row([
            visible(host.name.as_str()).into(),
            match host.part {
                Part::Wave { wave } => (wave + 1).to_string().into(),
                Part::Skipped { .. } => "-".into(),
            },
            change(host),
            host.from.as_ref().map(|from| visible(from.version.as_ref())).unwrap_or_default().into(),
            if host.fetch.wire_bytes == 0 { "".into() } else { bytes(host.fetch.wire_bytes).into() },
            Cell::new(Ink::Warn, visible(&host.notes.join("; "))),
        ]);
    }
    let mut lines = indented(table.lines_within(page.style, page.columns.saturating_sub(2)));
    lines.extend(more(wanted.len() - shown, "host that stands out"));
    if !few {
        lines.push(format!("  one by one: longshore plan show {} --hosts", plan.digest.short()));
    }
    lines
}

fn change(host: &HostPlan) -> Cell {
    match host.change {
        Change::Install => Cell::new(Ink::Good, "install"),
        Change::Update => Cell::new(Ink::Good, "update"),
        Change::Settings => Cell::new(Ink::Good, "settings"),
        Change::Unchanged => Cell::new(Ink::Faint, "none"),
        Change::Skipped => Cell::new(Ink::Warn, "left out"),
    }
}

pub(super) fn changes(plan: &Plan, page: &Page) -> Vec<String> {
    let Some(live) = &plan.live else {
        return vec![format!("  nothing of {} was live: all of it is new", plan.app)];
    };
    let mut lines = vec![];
    let files = &plan.files;
    let parts = [
        (files.added, "new"),
        (files.changed, "changed"),
        (files.removed, "removed"),
        (files.same, "the same"),
    ];
    let parts = parts.iter().filter(|(files, _)| *files > 0).map(|(files, word)| format!("{files} {word}"));
    let parts: Vec<String> = parts.collect();
    if !parts.is_empty() {
        lines.push(format!("  files since {}: {}", visible(live.version.as_ref()), parts.join(", ")));
    }
    lines.extend(paths(files, page));
    for changed in plan.changes.iter().take(CHANGES) {
        let side = |side: &Option<String>| short_digests(&visible(side.as_deref().unwrap_or("nothing")));
        let text = match (&changed.from, &changed.to) {
            (None, None) => visible(&changed.path),
            (from, to) => format!("{}: {} -> {}", visible(&changed.path), side(from), side(to)),
        };
        lines.push(format!("  {}", clip(&text, page.columns.saturating_sub(2))));
    }
    lines.extend(more(plan.changes.len().saturating_sub(CHANGES), "difference"));
    for template in &plan.files.templates {
        lines.push(format!("  {}", page.style.paint(Ink::Strong, &visible(&template.path))));
        if template.lines.is_empty() {
            lines.push("    differs in more than can be shown".to_owned());
        }
        for line in template.lines.iter().take(TEMPLATE_LINES) {
            let ink = match line.as_bytes().first() {
                Some(b'+') => Ink::Good,
                Some(b'-') => Ink::Bad,
                Some(b'@') => Ink::Faint,
                _ => Ink::Plain,
            };
            let shown = clip(&visible(line), page.columns.saturating_sub(4));
            lines.push(format!("    {}", page.style.paint(ink, &shown)));
        }
        lines.extend(more(template.lines.len().saturating_sub(TEMPLATE_LINES), "line"));
    }
    if lines.is_empty() {
        lines.push(format!("  none: it is what {} was", visible(live.version.as_ref())));
    }
    lines
}

/// What is new, changed and removed by name, a line each.
fn paths(files: &FileChange, page: &Page) -> Vec<String> {
    let kinds = [
        ("new", &files.paths.added, files.added),
        ("changed", &files.paths.changed, files.changed),
        ("removed", &files.paths.removed, files.removed),
    ];
    let mut lines = vec![];
    for (kind, named, count) in kinds.into_iter().filter(|(_, named, _)| !named.is_empty()) {
        let line = |path: &String| clip(&visible(path), page.columns.saturating_sub(13));
        lines.extend(named.iter().map(|path| format!("    {kind:<7}  {}", line(path))));
        let left = (count as usize).saturating_sub(named.len());
        lines.extend((left > 0).then(|| format!("    {kind:<7}  … and {left} more")));
    }
    lines
}

/// Digests of 64 digits leave no room for what else a line says: their first 8 tell them apart.
fn short_digests(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_ascii_hexdigit());
    let short = words.map(|word| {
        let digits = word.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        match digits.len() {
            DIGEST_DIGITS => format!("{}…{}", &digits[..8], &word[DIGEST_DIGITS..]),
            _ => word.to_owned(),
        }
    });
    short.collect()
}

/// Of a SHA-256 or BLAKE3 in hex.
const DIGEST_DIGITS: usize = 64;

pub(super) fn gates(plan: &Plan, page: &Page) -> Vec<String> {
    let mut table = Table::new(["WHEN", "GATE", "OPENS", "WHAT"]);
    for gate in &plan.gates {
        let opens = match &gate.opens {
            Opens::Time => "by itself".to_owned(),
            Opens::Check => "when it passes".to_owned(),
            Opens::People(who) => who.clone(),
        };
        table.row([
            when(gate, plan.waves.len()).into(),
            visible(&gate.name).into(),
            visible(&opens).into(),
            visible(&gate.what).into(),
        ]);
    }
    if plan.gates.is_empty() {
        return vec![];
    }
    indented(table.lines_within(page.style, page.columns.saturating_sub(2)))
}

/// `before wave 1`, `after wave 1`, `after waves 2-5`, `after every wave`.
fn when(gate: &Gate, waves: usize) -> String {
    match &gate.after[..] {
        [] => "before wave 1".to_owned(),
        all if all.len() == waves && waves > 1 => "after every wave".to_owned(),
        [one] => format!("after wave {}", one + 1),
        [first, .., last] if (last - first) as usize + 1 == gate.after.len() => {
            format!("after waves {}-{}", first + 1, last + 1)
        }
        some => {
            let numbers: Vec<String> = some.iter().map(|wave| (wave + 1).to_string()).collect();
            format!("after waves {}", numbers.join(" "))
        }
    }
}

pub(super) fn back(plan: &Plan, page: &Page) -> Vec<String> {
    let mut lines = vec![];
    let (refused, possible): (Vec<&BackTo>, Vec<&BackTo>) =
        plan.back.to.iter().partition(|group| group.refused.is_some());
    for group in possible {
        let hosts = count(group.hosts as usize, "host");
        let text = match &group.version {
            None => format!("  to nothing on {hosts}: the app is removed"),
            Some(version) => {
                let unknown =
                    if group.unknown == 0 { String::new() } else { format!(", {} unknown", group.unknown) };
                // The release stays, and only its settings were other ones.
                let settings = if *version == plan.to.version { " with the settings of before" } else { "" };
                format!(
                    "  to {version}{settings} on {hosts}, unpacked there still on {}{unknown}",
                    group.in_slot
                )
            }
        };
        lines.push(visible(&text));
    }
    for group in refused {
        let (Some(version), Some(why)) = (&group.version, &group.refused) else { continue };
        let (hosts, keep) =
            (count(group.hosts as usize, "host"), if group.hosts == 1 { "it" } else { "they" });
        let text =
            format!("to {version} on {hosts}: no way back: it {why}; {keep} would keep {}", plan.to.version);
        let wrapped = wrap(&visible(&text), page.columns.saturating_sub(4).max(20)).into_iter().enumerate();
        lines.extend(wrapped.map(|(at, line)| {
            let lead = if at == 0 { "  " } else { "    " };
            format!("{lead}{}", page.style.paint(Ink::Warn, &line))
        }));
    }
    if !plan.back.lost.is_empty() {
        lines.push("  It would not bring back:".to_owned());
        lines.extend(plan.back.lost.iter().flat_map(|lost| indented(paragraph(lost, Ink::Plain, page))));
    }
    lines
}
