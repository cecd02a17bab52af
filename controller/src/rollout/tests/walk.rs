//! Random transcripts: anything may happen at any time, most of it good.

use std::collections::BTreeSet;

use super::transcript::Play;

/// A small generator of numbers (SplitMix64), so that a seed is all there is to say about a run.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end - 1`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// What a host may do, the usual more often.
const OF_HOSTS: [&str; 27] = [
    "good",
    "good",
    "good",
    "good",
    "good",
    "good",
    "good",
    "good",
    "good",
    "good",
    "failed",
    "reverted",
    "full",
    "unfit",
    "inconsistent",
    "refuses",
    "unchanged",
    "silent",
    "silent",
    "back",
    "back",
    "held",
    "unheld",
    "left",
    "failed@1",
    "healthy@2",
    "joins",
];

/// What an operator may do.
const OF_OPERATORS: [&str; 20] = [
    "pause",
    "resume",
    "resume",
    "promote",
    "promote",
    "promote seen",
    "promote full",
    "retry",
    "retry",
    "start",
    "abort",
    "rollback",
    "supersede",
    "retry of",
    "exclude of",
    "closed",
    "closed-finishing",
    "closed-both",
    "open",
    "open",
];

/// What a gate may come to, the good more often; on the gates of the strategies, present or not.
const OF_GATES: [&str; 12] = [
    "gate early pass",
    "gate early fail",
    "gate errors pass",
    "gate errors pass",
    "gate errors pass",
    "gate errors fail",
    "gate errors inconclusive",
    "gate errors no-data",
    "gate smoke pass",
    "gate smoke fail",
    "gate smoke no-data",
    "gate errors@1 fail",
];

/// Numbers below this make every line there is.
pub(super) const KINDS: usize = 100;

/// One line: of 100 kinds, 66 are of hosts, 18 of time, 8 of gates, 8 of operators.
pub(super) fn line(kind: usize, host: usize, amount: usize, names: &[String]) -> String {
    let name = &names[host % names.len()];
    match kind {
        0..66 => format!("{name} {}", OF_HOSTS[amount % OF_HOSTS.len()]),
        66..74 => OF_GATES[amount % OF_GATES.len()].to_owned(),
        74..92 => format!("+{}s", [1, 5, 10, 30, 60, 300][amount % 6]),
        _ => match OF_OPERATORS[amount % OF_OPERATORS.len()].split_once(' ') {
            Some(("promote", _)) | None => OF_OPERATORS[amount % OF_OPERATORS.len()].to_owned(),
            Some((verb, _)) => {
                let known = |name: &&String| !name.starts_with("lb") && !name.starts_with('n');
                let hosts: Vec<&String> = names.iter().filter(known).collect();
                format!("{verb} {}", hosts[host % hosts.len()])
            }
        },
    }
}

/// Every line there is.
pub(super) fn all_lines(names: &[String]) -> BTreeSet<String> {
    let amounts = 0..OF_HOSTS.len();
    let all =
        [0, 66, 74, KINDS - 1].into_iter().flat_map(|kind| amounts.clone().map(move |amount| (kind, amount)));
    // No walk has these, so that walks stay as they are.
    let others = ["pace max_unavailable=2", "withdrawn"].map(str::to_owned);
    let rare = ["drained", "undrained", "forbidden", "halted"];
    let rare = names.iter().flat_map(|name| rare.map(|what| format!("{name} {what}")));
    all.flat_map(|(kind, amount)| (0..names.len()).map(move |host| line(kind, host, amount, names)))
        .chain(others)
        .chain(rare)
        .collect()
}

pub(super) fn random_line(dice: &mut Dice, names: &[String]) -> String {
    line(dice.below(KINDS), dice.below(names.len()), dice.below(1 << 20), names)
}

pub(super) fn names(play: &Play) -> Vec<String> {
    let hosts = play.rollout.hosts.values().map(|host| host.name.to_string());
    let late = play.late.iter().map(|member| member.name.to_string());
    // A balancer is a host as any other, and may do what they do.
    let balancers = play.rollout.balancers().map(|(_, balancer)| balancer.name.to_string());
    hosts.chain(late).chain(balancers).collect()
}

/// Strategies that differ where the phases do.
pub(super) const STRATEGIES: [&str; 16] = [
    "canary=1 wave=2 promotion=every-wave unknown=wait max_unavailable=1 rollback_deadline=30s",
    "canary=2 promotion=canary unknown=count bake=5s canary_bake=5s stage_ahead=1 wave_budget.count=0 budget.count=1",
    "max_unavailable=1 unknown=wait held=wait bake=30s budget.count=2 progress_deadline=60s",
    "canary=1 wave=2 bake=10s canary_bake=30s max_unavailable=1 stage_ahead=1",
    "wave=50% max_unavailable=2 budget.count=1 unknown=count on_spent=pause attempts=2",
    "canary=1 promotion=every-wave wave=1 unknown=skip held=wait bake=5s",
    "auto_rollback=false progress_deadline=30s stage_deadline=60s max_unavailable=1",
    "wave=2 bake=60s rollback_deadline=30s held=wait budget.count=1",
    "canary=2 enough=50 wave=2 progress_deadline=60s unknown=wait stage_ahead=3 budget.percent=50",
    "canary=1 wave=2 bake=10s canary_bake=30s watch=60s gate=early:before gate=errors:every-wave:beside:watch:promotable gate=smoke:canary:test:promotable:deadline=20s",
    "canary=1 wave=2 promotion=canary gate=errors:last-wave:fail=pause:watch gate=smoke:every-wave:approval:no-data=continue budget.count=1 watch=30s",
    "max_unavailable=1 unknown=wait bake=5s watch=30s auto_rollback=false gate=early:before:promotable gate=errors:every-wave:beside:promotable attempts=2",
    "unknown=skip held=skip budget.count=9 wave_budget.count=9 watch=10m gate=smoke:canary:watch",
    "unknown=skip held=skip budget.count=2 wave_budget.count=2 watch=10m gate=errors:last-wave:watch:fail=pause:promotable",
    BALANCED[0],
    BALANCED[1],
];

/// Hosts behind a balancer: drained one after the other, and two groups.
pub(super) const BALANCED: [&str; 2] = [
    "canary=1 wave=2 max_unavailable=1 unknown=skip bake=5s canary_bake=5s progress_deadline=60s rollback_deadline=30s \
     traffic.director=haproxy traffic.backend=shop traffic.drain=5s traffic.hold=10s traffic.steps=50+80 balancers=",
    "bake=5s progress_deadline=60s rollback_deadline=30s budget.count=1 gate=errors:last-wave:watch:promotable \
     traffic.director=haproxy traffic.backend=shop traffic.drain=5s traffic.hold=10s traffic.steps=50+80 \
     balancers=groups.blue=\"b\"+groups.green=\"g\"+groups.warm=\"20s\"",
];

/// Fleets of few hosts that differ in what they begin with.
pub(super) const FLEETS: [&str; 4] =
    ["a b c d", "a:new b:2 c:silent d", "a:2 b:sick c:held d:new e", "a b c n1:new:late n2:late"];

/// A fleet and its strategy, and what happens to it.
pub(super) type Walk = (&'static str, &'static [&'static str]);

/// Steps that chance rarely comes upon.
pub(super) const RARE: [Walk; 1] = [
    // A gate that nobody may go past still lies ahead of a bake.
    ("a b c | canary=1 canary_bake=1m gate=errors:last-wave", &["start", "a good", "a good", "promote full"]),
];
