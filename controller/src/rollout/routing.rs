//! How an environment's traffic is directed while a rollout moves it, and in what steps the first wave gets its share.

use longshore_common::{
    ids::AppName,
    label::Selector,
    manifest::Service,
    time::Span,
    traffic::{BackendName, Director, Traffic},
};
use serde::{Deserialize, Serialize};

use super::{
    draft::Draft,
    host::{HostProgress, HostState},
    model::{Header, Rollout},
};

/// Each host directs the traffic of its own two sides, or balancers direct that of all hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    pub director: Director,
    pub backend: BackendName,
    /// How long connections may take to end before what serves them is stopped.
    pub drain: Span,
    /// Percent of a host's traffic that the release gets one after the other, in the first wave, before it gets all of
    /// it; always rising, each 1 to 99.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<u8>,
    /// How long each step is watched.
    pub hold: Span,
    /// `None`: each host directs the traffic of its own two sides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancers: Option<Balancers>,
    /// The release has no sides: on each host it takes the place of what runs there, with all of the traffic at once. Of
    /// the steps only the time is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
}

/// Hosts of the fleet that share the traffic out among the environment's hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balancers {
    pub hosts: Selector,
    /// Where the app listens on each host; `None`: only the balancers know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `None`: hosts are drained one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Groups>,
}

/// Two groups of the environment's hosts, one of which has the traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Groups {
    pub blue: Selector,
    pub green: Selector,
    /// How long the group that had the traffic is left as it is, as an instant way back.
    pub warm: Span,
}

/// Steps that an environment may say.
pub const TRAFFIC_STEPS_MAX: usize = 20;

impl Routing {
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = vec![];
        if let Some(odd) = self.steps.iter().find(|share| !(1..=99).contains(*share)) {
            found.push((
                "steps",
                format!("must be 1% to 99%, not {odd}%: the last step, 100%, comes by itself"),
            ));
        }
        if let Some(pair) = self.steps.windows(2).find(|pair| pair[0] >= pair[1]) {
            found.push(("steps", format!("must rise: {}% comes before {}%", pair[0], pair[1])));
        }
        if self.steps.len() > TRAFFIC_STEPS_MAX {
            found.push(("steps", format!("are {}; at most {TRAFFIC_STEPS_MAX}", self.steps.len())));
        }
        if self.drain > Span::secs(3600) {
            found.push(("drain", format!("is {}; at most 1h", self.drain)));
        }
        let balancers = self.balancers.as_ref();
        if balancers.is_some() && self.director == Director::Socket {
            let what = "is \"socket\": balancers are HAProxy or nginx; sockets of our own share out nothing between hosts";
            found.push(("driver", what.to_owned()));
        }
        if self.director == Director::Nginx && balancers.is_some_and(|balancers| balancers.port.is_none()) {
            let what = "is missing: nginx has to be told where the app listens on each host";
            found.push(("port", what.to_owned()));
        }
        found
    }

    /// All of it moves at once, and what had it is not kept warm: nobody wants that back.
    pub(super) fn for_the_way_back(mut self) -> Self {
        self.steps.clear();
        if let Some(groups) = self.balancers.as_mut().and_then(|balancers| balancers.groups.as_mut()) {
            groups.warm = Span::secs(0);
        }
        self
    }

    /// Why nobody would move the traffic of an app with two sides on a host; `None`: somebody does, or it has none.
    pub fn unmoved(&self, app: &AppName, service: &Service) -> Option<String> {
        let alone = service.sides.is_some() && service.sockets.is_empty();
        (alone && self.balancers.is_some()).then(|| {
            format!(
                "{app} runs beside itself on a host (service.sides) and has no service.sockets, and traffic.balancers \
                 direct traffic between hosts only: nobody would move it from one side to the other. Give the app the \
                 public sockets that we hold for it, or take the sides away, for hosts are drained before they are changed"
            )
        })
    }

    pub(super) fn for_share(&self, share: u8) -> Traffic {
        Traffic { director: self.director, backend: self.backend.clone(), share, drain: self.drain }
    }
}

/// Of a host that was asked before shares were kept, or of an environment without traffic.
pub(super) fn whole() -> u8 {
    100
}

pub(super) fn is_whole(share: &u8) -> bool {
    *share == 100
}

impl Header {
    /// Shares of this wave that come before the whole.
    fn steps_of(&self, wave: u32) -> &[u8] {
        match &self.spec.traffic {
            Some(routing) if wave == 0 => &routing.steps,
            Some(_) | None => &[],
        }
    }

    /// Shares that a group gets one after the other when all of it is good, the whole included.
    fn steps_of_group(&self) -> Vec<u8> {
        let steps = self.spec.traffic.as_ref().map_or(&[][..], |routing| &routing.steps);
        steps.iter().copied().chain([100]).collect()
    }
}

impl Rollout {
    /// Percent of its traffic that a host of this wave gives the release now.
    pub fn share_of(&self, wave: u32) -> u8 {
        if let Some((balancing, _)) = self.header.groups() {
            let begun = self.header.traffic_step.checked_sub(1);
            let step = begun.and_then(|step| self.header.steps_of_group().get(step as usize).copied());
            return step.unwrap_or(balancing.share);
        }
        self.header.steps_of(wave).get(self.header.traffic_step as usize).copied().unwrap_or(100)
    }

    /// Every host of this wave gives it all of its traffic at once, whatever the steps say.
    pub(super) fn replaces(&self, wave: u32) -> bool {
        let mut hosts = self.hosts.values().filter(|host| host.wave == wave && !host.is_out()).peekable();
        let none_has_sides = hosts.peek().is_some() && hosts.all(|host| host.replaces);
        self.spec().traffic.as_ref().is_some_and(|routing| routing.replaces || none_has_sides)
    }

    /// Percent of the traffic that a bake of this wave watches; `None`: nobody shares any out.
    pub(super) fn share_watched(&self, wave: u32) -> Option<u8> {
        self.spec().traffic.as_ref()?;
        Some(self.header.groups().map_or_else(|| self.share_of(wave), |(balancing, _)| balancing.share))
    }

    /// The share that comes after the present one; `None`: it has the whole.
    pub fn next_share(&self, wave: u32) -> Option<u8> {
        if let Some((balancing, _)) = self.header.groups() {
            let comes = balancing.moves && self.is_last(wave);
            let step = self.header.traffic_step as usize;
            return comes.then(|| self.header.steps_of_group().get(step).copied()).flatten();
        }
        let steps = self.header.steps_of(wave);
        let next = self.header.traffic_step as usize + 1;
        (next <= steps.len()).then(|| steps.get(next).copied().unwrap_or(100))
    }
}

impl Draft {
    /// The wave gets its next share, if it has not the whole; whether it does. A share that nobody of it could get is
    /// passed over.
    pub fn shift_more(&mut self, wave: u32) -> bool {
        if self.rollout.header.balancing.is_some() {
            return self.shift_balanced(wave);
        }
        let good = |host: &HostProgress| matches!(host.state, HostState::Healthy | HostState::Unchanged);
        while self.rollout.next_share(wave).is_some() {
            self.rollout.header.traffic_step = match self.is_full() {
                true => self.rollout.header.steps_of(wave).len() as u32,
                false => self.rollout.header.traffic_step + 1,
            };
            let (share, now) = (self.rollout.share_of(wave), self.now);
            let hosts = self.pick(|host| host.wave == wave && good(host) && host.share < share);
            if hosts.is_empty() {
                continue;
            }
            for id in hosts {
                // Its slot is there; it is asked as any staged host is.
                self.change(id, |host| host.enter(HostState::Staged, now));
            }
            self.enter_switching(wave);
            return true;
        }
        false
    }

    /// Where balancers share it out, it is given when the environment is open: the wave switches once more.
    fn shift_balanced(&mut self, wave: u32) -> bool {
        let Some(next) = self.rollout.next_share(wave) else { return false };
        let side = self.rollout.header.groups().map(|(_, side)| side);
        let last = match side {
            Some(_) => self.rollout.header.steps_of_group().len(),
            None => self.rollout.header.steps_of(wave).len(),
        };
        let good = |host: &HostProgress| matches!(host.state, HostState::Healthy | HostState::Unchanged);
        let gets = |host: &HostProgress| match side {
            Some(side) => host.group == Some(side),
            None => host.wave == wave && host.share < next,
        };
        if !self.rollout.hosts.values().any(|host| good(host) && gets(host)) {
            if side.is_none() {
                self.rollout.header.traffic_step = last as u32; // who comes late gets the whole
            }
            return false;
        }
        self.rollout.header.traffic_step = match self.is_full() {
            true => last as u32,
            false => self.rollout.header.traffic_step + 1,
        };
        self.enter_switching(wave);
        true
    }
}
