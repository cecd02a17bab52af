//! What a rollout does to load balancers and groups: who directs the traffic, what happens on them host by host, and how
//! that goes back.

use longshore_common::{
    ids::HostName,
    time::Span,
    traffic::{BackendName, Director, Side},
};
use serde::{Deserialize, Serialize};

use super::{
    size::{hosts, some_of},
    world::World,
};
use crate::rollout::{Behind, Member, Routing};

/// Hosts that a sentence names.
const NAMED: usize = 6;

/// How the traffic moves, where the environment says who directs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub director: Director,
    pub backend: BackendName,
    /// Load balancers on hosts of their own, by name. Empty: each host directs the traffic of its own two sides.
    pub balancers: Vec<HostName>,
    /// How long connections may take to end before what serves them is changed.
    pub drain: Span,
    /// Percent, one after the other, before the whole.
    pub steps: Vec<u8>,
    /// How long each of them is watched.
    pub hold: Span,
    /// `None`: hosts are drained and join one after the other, or sides change on each host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<GroupPlan>,
    /// The release has no sides, and hosts direct the traffic of theirs: it has all of it at once on each, and of the
    /// steps only the time is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
    /// Hosts on which what runs has no sides, where the release has: it has all of the traffic at once there, of the steps
    /// only the time is kept, and nothing is kept warm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<HostName>,
    /// What happens, in order; one sentence each.
    pub what: Vec<String>,
    /// The same of the way back.
    pub back: Vec<String>,
}

/// Who directs the traffic, and the group that gets the release, with whether the traffic moves to it.
#[derive(Debug, Serialize)]
pub struct Bound<'a> {
    pub balancers: &'a [HostName],
    pub gets: Option<(Side, bool)>,
}

/// Two groups of hosts and the switch between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlan {
    pub blue: Vec<HostName>,
    pub green: Vec<HostName>,
    /// The group that gets the release.
    pub gets: Side,
    /// The traffic moves to it; otherwise it has it already.
    pub moves: bool,
    /// How long the other group is left as it is after that.
    pub warm: Span,
}

impl GroupPlan {
    /// The group that keeps what it has.
    pub fn other(&self) -> &[HostName] {
        match self.gets {
            Side::Blue => &self.green,
            Side::Green => &self.blue,
        }
    }
}

impl Traffic {
    /// From one group of hosts to the other.
    pub fn moves(&self) -> bool {
        self.groups.as_ref().is_some_and(|groups| groups.moves)
    }

    /// What of it is binding beyond the environment's file.
    pub(super) fn binding(&self) -> Bound<'_> {
        let gets = self.groups.as_ref().map(|groups| (groups.gets, groups.moves));
        Bound { balancers: &self.balancers, gets }
    }
}

/// `None`: the environment says nothing of traffic.
pub(super) fn traffic(world: &World, members: &[Member]) -> Option<Traffic> {
    let routing = world.spec.traffic.as_ref()?;
    let behind = world.behind.as_ref();
    let balancers: Vec<HostName> = behind
        .map(|behind| behind.balancers.iter().map(|(_, name)| name.clone()).collect())
        .unwrap_or_default();
    let groups = groups(routing, behind, members);
    let has_sides = world.release.manifest.service.sides.is_some();
    let replaces = groups.is_none() && balancers.is_empty() && !has_sides;
    let taking: Vec<&Member> = members.iter().filter(|member| member.excluded.is_none()).collect();
    let replaced: Vec<HostName> = match groups.is_none() && balancers.is_empty() && has_sides {
        true => taking.iter().filter(|member| runs_plain(world, member)).map(|m| m.name.clone()).collect(),
        false => vec![],
    };
    let (what, back) = match (&groups, balancers.is_empty()) {
        (Some(groups), _) => switched(routing, &balancers, groups),
        (None, false) => drained(routing, &balancers),
        (None, true) if replaces => in_its_place(world, routing),
        (None, true) if !replaced.is_empty() && replaced.len() == taking.len() => over_plain(routing),
        (None, true) => sides(routing, &replaced),
    };
    let beside = !balancers.is_empty() && has_sides;
    let held =
        "on each host a process of ours moves its public sockets to the release beside what runs there";
    let alone = (groups.is_none() && !balancers.is_empty()).then(|| alone(members)).flatten();
    let what = what.into_iter().chain(beside.then(|| held.to_owned())).chain(alone).collect();
    Some(Traffic {
        director: routing.director,
        backend: routing.backend.clone(),
        balancers,
        drain: routing.drain,
        steps: routing.steps.clone(),
        hold: routing.hold,
        groups,
        replaces,
        replaced,
        what,
        back,
    })
}

/// What runs there has no sides; of what nobody knows any more nothing is said.
fn runs_plain(world: &World, member: &Member) -> bool {
    let runs = member.previous.as_ref().and_then(|previous| world.known.get(&previous.version));
    runs.is_some_and(|release| release.manifest.service.sides.is_none())
}

fn groups(routing: &Routing, behind: Option<&Behind>, members: &[Member]) -> Option<GroupPlan> {
    let warm = routing.balancers.as_ref()?.groups.as_ref()?.warm;
    let (gets, has) = behind?.side?;
    let of = |side: Side| {
        let mut names: Vec<HostName> =
            members.iter().filter(|m| m.group == Some(side)).map(|m| m.name.clone()).collect();
        names.sort();
        names
    };
    Some(GroupPlan { blue: of(Side::Blue), green: of(Side::Green), gets, moves: !has, warm })
}

/// `10%, 50%`
fn steps(routing: &Routing) -> String {
    let steps: Vec<String> = routing.steps.iter().map(|share| format!("{share}%")).collect();
    steps.join(", ")
}

/// `10%, 50%, each watched for 1m, and then 100%`: how long the whole is watched is not of the steps.
fn shares(routing: &Routing) -> String {
    let each = if routing.steps.len() > 1 { "each " } else { "" };
    match routing.steps.is_empty() {
        true => "100% at once".to_owned(),
        false => format!("{}, {each}watched for {}, and then 100%", steps(routing), routing.hold),
    }
}

/// `None`: there are no steps.
fn time_alone(routing: &Routing) -> Option<String> {
    let (steps, hold) = (steps(routing), routing.hold);
    let said =
        format!("of the steps ({steps}) only the time is kept: the first wave is watched for {hold} each");
    (!routing.steps.is_empty()).then_some(said)
}

fn named(names: &[HostName]) -> String {
    some_of(names.iter().map(HostName::as_str), NAMED)
}

fn directs(routing: &Routing, balancers: &[HostName]) -> String {
    let many = if balancers.len() == 1 { "directs" } else { "direct" };
    format!("{} {many} the traffic: backend {} of {}", named(balancers), routing.backend, routing.director)
}

fn drained(routing: &Routing, balancers: &[HostName]) -> (Vec<String>, Vec<String>) {
    let drain = routing.drain;
    let mut what = vec![
        directs(routing, balancers),
        format!(
            "each host is drained there before it is changed: no new connections, and up to {drain} for those it has"
        ),
    ];
    what.push(match routing.steps.is_empty() {
        true => "when it is healthy it joins again, and only then is it done".to_owned(),
        false => format!(
            "when it is healthy it joins again; of what it had, a host of the first wave gets {}",
            shares(routing)
        ),
    });
    let back = vec![
        "hosts that run the release are drained there, go back, and join again when they are healthy"
            .to_owned(),
        "one that has gone back by itself joins at once".to_owned(),
    ];
    (what, back)
}

/// Where one host has all of the traffic, there is nobody to answer in the meantime.
fn alone(members: &[Member]) -> Option<String> {
    let has_traffic = |member: &&Member| member.previous.is_some() && !member.foreign && !member.drained;
    let mut serving = members.iter().filter(has_traffic);
    let others_come = members.iter().any(|member| member.excluded.is_none() && !has_traffic(&member));
    match (serving.next(), serving.next()) {
        (Some(only), None) if only.excluded.is_none() && !others_come => {
            Some(format!("{} alone has traffic there: nobody answers while it is changed", only.name))
        }
        _ => None,
    }
}

fn switched(routing: &Routing, balancers: &[HostName], groups: &GroupPlan) -> (Vec<String>, Vec<String>) {
    let gets = groups.gets;
    let (new, old) = match gets {
        Side::Blue => (&groups.blue, &groups.green),
        Side::Green => (&groups.green, &groups.blue),
    };
    let other = gets.other();
    if !groups.moves {
        let what = vec![
            directs(routing, balancers),
            format!("{gets} ({}) has the traffic and keeps it: it only gets what it lacks", named(new)),
            format!("{other} ({}) keeps what it has, and gets no traffic", named(old)),
        ];
        return (what, vec![format!("hosts of {gets} go back; the traffic stays where it is")]);
    }
    let what = vec![
        directs(routing, balancers),
        format!("{gets} ({}) has no traffic and gets the release", named(new)),
        format!("{other} ({}) has the traffic and keeps what it has", named(old)),
        format!("then the traffic moves from {other} to {gets}: {}", shares(routing)),
        format!("for {} after that {other} is left as it is, as an instant way back", groups.warm),
    ];
    let back = vec![
        format!("the traffic moves back to {other} at once, before any host is changed"),
        format!("then, with no connection left on them, {} of {gets} go back", hosts(new.len())),
    ];
    (what, back)
}

/// Who moves traffic on a host.
fn mover(routing: &Routing) -> String {
    match routing.director {
        Director::Socket => "a process of ours".to_owned(),
        director => format!("its own {director} (backend {})", routing.backend),
    }
}

fn sides(routing: &Routing, replaced: &[HostName]) -> (Vec<String>, Vec<String>) {
    let on_each = mover(routing);
    let mut what = vec![format!(
        "on each host {on_each} moves the traffic to the release when it is healthy beside what runs there"
    )];
    if !routing.steps.is_empty() {
        what.push(format!("a host of the first wave gives it {}", shares(routing)));
    }
    what.push(format!("connections to what ran have up to {} to end before it is stopped", routing.drain));
    let mut back =
        vec!["on each host the traffic moves back to what is still warm there, at once".to_owned()];
    if !replaced.is_empty() {
        let names = named(replaced);
        what.push(format!(
            "on {names} what runs has no sides: the release has all of the traffic at once there, and what ran is stopped"
        ));
        back.push(format!("on {names} nothing is kept warm: what ran is started again in its place"));
    }
    (what, back)
}

/// What runs has no sides: nothing is shared out with it, and it is stopped as soon as the release is healthy.
fn over_plain(routing: &Routing) -> (Vec<String>, Vec<String>) {
    let on_each = mover(routing);
    let all = format!(
        "on each host what runs has no sides: {on_each} gives the release all of the traffic when it is healthy beside it, and \
         what ran is stopped"
    );
    let what = std::iter::once(all).chain(time_alone(routing)).collect();
    let back = vec!["on each host nothing is kept warm: what ran is started again in its place".to_owned()];
    (what, back)
}

/// The release has no sides between which traffic could be moved: it takes the place of what runs.
fn in_its_place(world: &World, routing: &Routing) -> (Vec<String>, Vec<String>) {
    let version = &world.target.version;
    let mut what = vec![format!(
        "{version} runs without sides: on each host it takes the place of what runs there, with all of its traffic"
    )];
    if routing.director != Director::Socket {
        let (director, backend) = (routing.director, &routing.backend);
        what.push(format!("the host's own {director} (backend {backend}) is told nothing of it"));
    }
    what.extend(time_alone(routing));
    let live = world.live.as_ref().and_then(|live| world.known.get(&live.version));
    if let Some(live) = live.filter(|live| live.manifest.service.sides.is_some()) {
        let live = &live.manifest.version;
        what.push(format!("when it is healthy, {live} is stopped on the sides on which it runs"));
    }
    let back = vec!["on each host what ran is put back in its place, as in any rollout".to_owned()];
    (what, back)
}
