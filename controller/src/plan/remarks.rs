//! What does not stop a plan and is worth knowing before one agrees to it.

use longshore_common::report::DRAINED;

use super::{Change, Part, Standing, balancers, make::Judged, size, world::World};
use crate::rollout::{Scope, UnknownHosts};

/// Hosts that a sentence names.
const NAMED: usize = 8;

pub(super) fn remarks(world: &World, judged: &[Judged]) -> Vec<String> {
    let mut told = vec![];
    told.extend(unknown(world, judged));
    told.extend(about(
        judged,
        |judged| matches!(judged.plan.standing, Standing::Unasked { .. }),
        "connected and could not be asked; what needs a look was not checked there",
    ));
    let is_drain = |held: &String| held.starts_with(DRAINED);
    let held = |judged: &Judged| judged.held.as_ref().is_some_and(|held| !is_drain(held));
    told.extend(about(judged, held, "held by somebody there"));
    let drained = |judged: &Judged| judged.held.as_ref().is_some_and(is_drain);
    told.extend(about(judged, drained, "drained by an operator"));
    let skipped = |judged: &Judged| matches!(judged.plan.part, Part::Skipped { .. });
    told.extend(about(judged, |judged| skipped(judged) && judged.is_other, "in the other group"));
    told.extend(about(judged, |judged| skipped(judged) && !judged.is_other, "left out"));
    if let Some(label) = &world.spec.spread {
        let lacks =
            |judged: &Judged| judged.plan.domain.is_none() && matches!(judged.plan.part, Part::Wave { .. });
        told.extend(about(
            judged,
            lacks,
            &format!("without the label {label}: a domain of their own, moved last"),
        ));
    }
    let unchanged = judged.iter().filter(|judged| judged.plan.change == Change::Unchanged).count();
    if unchanged > 0 {
        let so = if unchanged == 1 { "runs it already and is" } else { "run it already and are" };
        told.push(format!("{} {so} left alone", size::hosts(unchanged)));
    }
    told.extend(balancers::remarks(world));
    told.extend(unused_settings(world));
    if let Some(live) = &world.live
        && !world.known.contains_key(&live.version)
    {
        told.push(format!(
            "{} is live and no longer published here: what changes cannot be said",
            live.version
        ));
    }
    told
}

/// A name or a label may be misspelt, and nobody would miss it.
fn unused_settings(world: &World) -> Option<String> {
    let snapshot = world.snapshots.get(world.target.snapshot.as_ref()?)?;
    let nobody = |number: &u16| world.hosts.iter().all(|host| !host.member.layers.contains(number));
    let layers = (0..).zip(&snapshot.layers).filter(|(number, _)| nobody(number));
    let unused: Vec<String> = layers
        .filter(|(_, layer)| matches!(layer.scope, Scope::Hosts(_) | Scope::Host(_)))
        .map(|(_, layer)| layer.scope.to_string())
        .collect();
    let env = &world.env;
    (!unused.is_empty()).then(|| {
        let unused = size::some_of(unused.iter().map(String::as_str), NAMED);
        format!("values and secrets that nobody gets, as no host of {env} is meant by them: {unused}")
    })
}

fn unknown(world: &World, judged: &[Judged]) -> Option<String> {
    let is = |judged: &Judged| judged.plan.standing == Standing::Unknown;
    let one = judged.iter().filter(|judged| is(judged)).count() == 1;
    let then = match (world.spec.unknown, one) {
        (UnknownHosts::Count, true) => "it did not answer; it counts as a failure",
        (UnknownHosts::Count, false) => "they did not answer; each counts as a failure",
        (UnknownHosts::Wait, true) => "it did not answer; its wave waits for it",
        (UnknownHosts::Wait, false) => "they did not answer; their waves wait for them",
        (UnknownHosts::Skip, true) => "it did not answer; the rollout goes on without it until it is back",
        (UnknownHosts::Skip, false) => {
            "they did not answer; the rollout goes on without them until they are back"
        }
    };
    about(judged, is, &format!("unknown, as {then}"))
}

fn about(judged: &[Judged], is: impl Fn(&Judged) -> bool, what: &str) -> Option<String> {
    let names: Vec<&str> =
        judged.iter().filter(|judged| is(judged)).map(|judged| judged.plan.name.as_str()).collect();
    let (count, verb) = (names.len(), if names.len() == 1 { "is" } else { "are" });
    (count > 0)
        .then(|| format!("{} {verb} {what}: {}", size::hosts(count), size::some_of(names.into_iter(), NAMED)))
}
