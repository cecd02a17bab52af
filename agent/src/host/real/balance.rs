//! Balancing other hosts: what the assignment says is told to HAProxy or nginx of this host, and kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    time::Duration,
};

use longshore_common::{
    code::Code,
    durable::{create_dir_durable, write_atomic},
    ids::{AppName, HostName},
    loopback::on_own_loopback,
    report::{Failure, StepName},
    time::{Clock, Millis, SystemClock},
    traffic::{Directed, Directions, Director, Looked, Server},
};
use tokio::time::{Instant, sleep};

use super::{
    RealHost,
    told::{Told, with_gone},
};
use crate::{
    config::Runner,
    host::{
        Sink,
        direct::{haproxy::Haproxy, loses_its_traffic, nginx::Nginx},
        fault,
    },
    plan::Balance,
};

/// While whoever directs traffic cannot be asked, it is tried for so long, so often.
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at connections that are to end.
const LOOK: Duration = Duration::from_millis(250);

/// How waiting for connections to end went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Emptied {
    Whole,
    /// The balancer shows something else than it was told: it was started again.
    Forgotten,
}

impl RealHost {
    /// Until traffic goes as it should, and connections to servers that get no more have ended or had their time.
    pub(super) async fn direct(
        &self,
        app: &AppName,
        directions: &Directions,
        sink: &Sink,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut heard = begun;
        let drain = Duration::from_millis(directions.drain.as_ms().max(0).unsigned_abs());
        sink.progress(0, 0, self.asked_of(directions));
        loop {
            let result = match self.try_direct(app, directions).await {
                Ok((serve, gone)) => {
                    heard = Instant::now();
                    let told = self.keep_directions(app, directions, &serve, gone)?;
                    self.empty(&told, sink).await
                }
                Err(refused) => Err(refused),
            };
            match result {
                Ok(Emptied::Whole) => return Ok(()),
                // What was drained gets connections again: it is told at once.
                Ok(Emptied::Forgotten) if begun.elapsed() < PATIENCE + drain => {
                    sink.progress(
                        0,
                        0,
                        format!("{} forgot what it was told, and is told again", directions.director),
                    );
                }
                Ok(Emptied::Forgotten) => {
                    let words = format!(
                        "{} shows something else whenever it was told: does somebody else direct {}?",
                        directions.director, directions.backend
                    );
                    return Err(fault::host(Code::L01, StepName::Traffic, words));
                }
                // One that is started again while connections end has forgotten all of it.
                Err(failure)
                    if heard.elapsed() < PATIENCE
                        && begun.elapsed() < PATIENCE + drain
                        && failure.code == Code::L01.to_string() =>
                {
                    sink.progress(0, 0, failure.message);
                    sleep(AGAIN).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// For whoever asks what is waited for.
    fn asked_of(&self, directions: &Directions) -> String {
        match directions.director {
            Director::Haproxy => format!("waits for HAProxy at {}", self.directors.haproxy.display()),
            Director::Nginx | Director::Socket => format!("waits for {}", directions.director),
        }
    }

    /// Who gets connections now, as far as that decides who was taken out by whom; and who is there still, was named
    /// before, and is named no more.
    async fn try_direct(
        &self,
        app: &AppName,
        directions: &Directions,
    ) -> Result<(BTreeSet<HostName>, BTreeSet<HostName>), Failure> {
        match directions.director {
            Director::Haproxy => {
                let farm = self.farm(directions);
                let before = self.told(app)?;
                let left_out = before.as_ref().map(|told| told.left_out_by(directions)).unwrap_or_default();
                let gone = farm.known(left_out).await?;
                let servers = with_gone(directions, gone.clone());
                let ours = self.claim(app, before, directions, &servers).await?;
                Ok((farm.direct(&servers, &ours).await?, gone))
            }
            // Its file says all that it knows, and is ours.
            Director::Nginx => {
                self.upstream(directions).direct(&directions.servers).await?;
                Ok(Default::default())
            }
            Director::Socket => {
                let words = "sockets of our own share out nothing between hosts";
                Err(fault::host(Code::V01, StepName::Traffic, words))
            }
        }
    }

    /// Writes down what HAProxy will take out, before it does.
    async fn claim(
        &self,
        app: &AppName,
        before: Option<Told>,
        directions: &Directions,
        servers: &[Server],
    ) -> Result<BTreeSet<HostName>, Failure> {
        let mut ours = before.as_ref().map(|told| told.ours.clone()).unwrap_or_default();
        let takes = self.farm(directions).takes(servers, &ours).await?;
        if !takes.is_subset(&ours) {
            ours.extend(takes);
            let mut told = before.unwrap_or_else(|| Told {
                directions: directions.clone(),
                idle: BTreeMap::new(),
                ours: BTreeSet::new(),
                gone: BTreeSet::new(),
            });
            told.ours = ours.clone();
            self.write_told(app, &told)?;
        }
        Ok(ours)
    }

    fn keep_directions(
        &self,
        app: &AppName,
        directions: &Directions,
        serve: &BTreeSet<HostName>,
        gone: BTreeSet<HostName>,
    ) -> Result<Told, Failure> {
        let (before, mut ours) = self.told(app)?.map(|told| (told.idle, told.ours)).unwrap_or_default();
        ours.retain(|name| !serve.contains(name));
        let now = SystemClock.now_ms();
        let servers = with_gone(directions, gone.clone());
        let idle = servers.into_iter().filter(|server| server.weight == 0).map(|server| server.name);
        let idle = idle.map(|name| (name.clone(), before.get(&name).copied().unwrap_or(now)));
        let told = Told { directions: directions.clone(), idle: idle.collect(), ours, gone };
        self.write_told(app, &told)?;
        Ok(told)
    }

    fn write_told(&self, app: &AppName, told: &Told) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(told).expect("plain words and numbers");
        create_dir_durable(&self.layout.app(app), 0o755).map_err(fault::disk(StepName::Traffic))?;
        write_atomic(&self.layout.directions(app), &bytes, 0o600).map_err(fault::disk(StepName::Traffic))
    }

    /// None: it was never told anything, or what was kept cannot be read, and then it is told anew.
    fn told(&self, app: &AppName) -> Result<Option<Told>, Failure> {
        let path = self.layout.directions(app);
        match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fault::io(StepName::Check, &format!("read {}", path.display()))(e)),
        }
    }

    async fn empty(&self, told: &Told, sink: &Sink) -> Result<Emptied, Failure> {
        let drain = told.directions.drain.as_ms();
        for (name, since) in &told.idle {
            let begun = Instant::now();
            // No longer than all of it, also where the clock was set back since.
            let due = (since + drain - SystemClock.now_ms()).clamp(0, drain);
            loop {
                let left = due - begun.elapsed().as_millis() as Millis;
                let active = match told.directions.director {
                    Director::Haproxy => {
                        let farm = self.farm(&told.directions);
                        if !self.shows(&farm, told).await? {
                            return Ok(Emptied::Forgotten);
                        }
                        Some(farm.active_on(name.as_str()).await?)
                    }
                    Director::Nginx | Director::Socket => None, // it does not say
                };
                if active == Some(0) || left <= 0 {
                    break;
                }
                sink.progress(0, 0, draining(name, active, left / 1000));
                sleep(LOOK.min(Duration::from_millis(left.unsigned_abs()))).await;
            }
            if told.directions.director == Director::Haproxy && told.ours.contains(name) {
                self.farm(&told.directions).let_go_of(name.as_str()).await?;
            }
        }
        Ok(Emptied::Whole)
    }

    /// Also of who is gone, as long as the backend has it.
    async fn shows(&self, farm: &Haproxy<'_>, told: &Told) -> Result<bool, Failure> {
        let gone = farm.known(told.gone.clone()).await?;
        farm.shows(&with_gone(&told.directions, gone), &told.ours).await
    }

    /// What was told last, and whether it is so, but for what somebody else took out.
    pub(super) async fn balance(&self, app: &AppName) -> Result<Option<Balance>, Failure> {
        let Some(told) = self.told(app)? else { return Ok(None) };
        let directions = &told.directions;
        let shown = match directions.director {
            Director::Haproxy => {
                let farm = self.farm(directions).glanced_at();
                self.shows(&farm, &told).await.unwrap_or(false)
            }
            Director::Nginx => self.upstream(directions).shows(&directions.servers),
            Director::Socket => false,
        };
        Ok(Some(Balance { told: told.directions, shown }))
    }

    /// Whether whoever directs traffic here could be told this of the app; asks it once, and changes nothing.
    pub(super) async fn look_at_director(&self, app: &AppName, asked: Directed) -> Looked {
        let (directions, ours, left_out) = match asked {
            Directed::Hosts(directions) => {
                let told = self.told_of(&directions);
                let goes = |(of, told): &(AppName, Told)| match directions.director {
                    // Nothing is said of hosts that were named for another app: they keep what they get.
                    Director::Haproxy if of != app => BTreeSet::new(),
                    // An upstream file is written whole, whoever was in it.
                    Director::Haproxy | Director::Nginx | Director::Socket => told.left_out_by(&directions),
                };
                let left_out: BTreeSet<HostName> = told.iter().flat_map(goes).collect();
                let ours = told.into_iter().flat_map(|(_, told)| told.ours).collect();
                (directions, Some(ours), left_out)
            }
            Directed::Sides(mut directions) => {
                for server in &mut directions.servers {
                    let home = |address: &String| self.loopback.map(|own| on_own_loopback(address, own));
                    server.address = server.address.as_ref().map(|a| home(a).unwrap_or_else(|| a.clone()));
                }
                (directions, None, BTreeSet::new())
            }
        };
        match directions.director {
            Director::Haproxy => {
                let farm = self.farm(&directions).glanced_at();
                farm.look(&directions.servers, ours.as_ref(), &left_out).await
            }
            Director::Nginx => {
                let mut looked = self.upstream(&directions).look().await;
                looked.notes.extend(loses_its_traffic("nginx", &directions.backend, &left_out));
                looked
            }
            Director::Socket => Looked::default(),
        }
    }

    /// What was said of this backend, for whichever app.
    fn told_of(&self, directions: &Directions) -> Vec<(AppName, Told)> {
        let Ok(apps) = fs::read_dir(self.layout.apps()) else { return vec![] };
        let names = apps.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<AppName>().ok());
        let told = names.filter_map(|app| self.told(&app).ok().flatten().map(|told| (app, told)));
        told.filter(|(_, told)| told.is_of(directions)).collect()
    }

    fn farm<'a>(&'a self, directions: &'a Directions) -> Haproxy<'a> {
        Haproxy::new(&self.directors.haproxy, &directions.backend)
    }

    fn upstream<'a>(&'a self, directions: &'a Directions) -> Nginx<'a> {
        let bus = (self.runner == Runner::Systemd).then(|| self.units.bus());
        Nginx { directors: &self.directors, upstream: &directions.backend, bus }
    }
}

/// What is known of a server that gets no new connections; `None`: not how many are open there, if any.
fn draining(name: &HostName, active: Option<u64>, seconds_left: Millis) -> String {
    match active {
        Some(1) => format!("{name} drains: 1 connection, {seconds_left} s left"),
        Some(active) => format!("{name} drains: {active} connections, {seconds_left} s left"),
        None => format!("{name} gets no new connections; {seconds_left} s left for those it may have"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_says_what_is_known_of_it() {
        let name = "web-1".parse().unwrap();
        assert_eq!(draining(&name, Some(1), 4), "web-1 drains: 1 connection, 4 s left");
        assert_eq!(draining(&name, Some(2), 4), "web-1 drains: 2 connections, 4 s left");
        let unknown = "web-1 gets no new connections; 4 s left for those it may have";
        assert_eq!(draining(&name, None, 4), unknown, "nginx does not say");
    }
}
