//! The two sides of an app, and its traffic.

use std::time::Duration;

use longshore_common::{
    code::Code,
    durable::remove_durable,
    ids::AppName,
    loopback::on_own_loopback,
    manifest::{Driver, Manifest},
    report::{Failure, StepName},
    slot::Slot,
    time::{Clock, SystemClock},
    traffic::{Director, Side, Traffic},
};
use tokio::time::{Instant, sleep};

use super::RealHost;
use crate::{
    config::Runner,
    host::{
        Sink,
        direct::{Addresses, haproxy::Haproxy, kept::Kept, nginx::Nginx, relay},
        fault,
        launch::{Fault, LaunchSpec},
        layout::Part,
        process::protocol::Service,
        reexec::Helper,
    },
    plan::{Running, Shown, Sides, Split},
};

/// While whoever directs traffic cannot be asked, a shift is tried for so long, so often.
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at connections that are to end.
const LOOK: Duration = Duration::from_millis(250);
/// For what is open when the relay is told to end; and for it to answer when it is started.
const RELAY_GRACE: Duration = Duration::from_secs(2);
/// What the relay's supervisor believes it runs.
const RELAY_SLOT: &str = "relay-00000000";

impl RealHost {
    pub(super) async fn start_side(&self, app: &AppName, slot: &Slot, side: Side) -> Result<(), Failure> {
        let left = self.side(app, side).await?.filter(|running| running.up && running.slot != *slot);
        if left.is_some() {
            self.stop_side(app, side).await?;
        }
        let manifest = self.manifest(app, slot).await?;
        match self.driver_of(&manifest) {
            Driver::Systemd => {
                self.processes
                    .on(Part::Side(side))
                    .stop(app, manifest.service.stop.grace.0 + super::service::SLACK)
                    .await?;
                self.start_unit(slot, &self.on_side(&manifest, side), Part::Side(side)).await
            }
            Driver::Process | Driver::None => {
                // One that crashes would come back beside it, and pass for what is on this side.
                if self.runner == Runner::Systemd {
                    self.units.on(Part::Side(side)).stop(app, manifest.service.stop.grace.0).await?;
                }
                self.start_process(slot, &self.on_side(&manifest, side), Part::Side(side)).await
            }
        }
    }

    /// The release as it is meant on this side of this host.
    pub(super) fn on_side(&self, manifest: &Manifest, side: Side) -> Manifest {
        self.at_home(manifest).on_side(side)
    }

    pub(super) fn sides_at_home(&self, manifest: &mut Manifest) {
        if let (Some(own), Some(sides)) = (self.loopback, &mut manifest.service.sides) {
            sides.blue = on_own_loopback(&sides.blue, own);
            sides.green = on_own_loopback(&sides.green, own);
        }
    }

    /// On which of the app's processes a slot runs.
    pub(super) async fn part_of(&self, app: &AppName, slot: &Slot) -> Result<Part, Failure> {
        for side in Side::BOTH {
            if self.side(app, side).await?.is_some_and(|running| running.slot == *slot) {
                return Ok(Part::Side(side));
            }
        }
        Ok(Part::Whole)
    }

    /// On which of them the live release runs: with two sides the one that is tried, from when it has its first share.
    pub(super) async fn live_part(&self, app: &AppName) -> Result<Part, Failure> {
        match self.layout.live(app)? {
            Some(live) => self.part_of(app, &live).await,
            None => Ok(Part::Whole),
        }
    }

    pub(super) async fn side(&self, app: &AppName, side: Side) -> Result<Option<Running>, Failure> {
        self.running_on(app, Part::Side(side)).await
    }

    /// Waits for the side's connections to end, for as long as they may take, and stops it.
    pub(super) async fn stop_side(&self, app: &AppName, side: Side) -> Result<(), Failure> {
        self.drained(app, side).await;
        let slot = self.side(app, side).await?.map(|running| running.slot);
        let grace = match slot {
            Some(slot) => self.manifest(app, &slot).await.map_or(RELAY_GRACE, |m| m.service.stop.grace.0),
            None => RELAY_GRACE,
        };
        // Before the side: where we are cut off in between, it is still there and stopped again.
        if self.is_last_of_sides(app, side).await? {
            self.let_go_of_sockets(app).await?;
        }
        if self.runner == Runner::Systemd {
            self.units.on(Part::Side(side)).stop(app, grace).await?;
        }
        self.processes.on(Part::Side(side)).stop(app, grace + super::service::SLACK).await
    }

    /// What is live runs without sides, and nothing is left on the other one.
    async fn is_last_of_sides(&self, app: &AppName, side: Side) -> Result<bool, Failure> {
        let Some(live) = self.layout.live(app)? else { return Ok(false) };
        let alone = self.manifest(app, &live).await.is_ok_and(|live| live.service.sides.is_none());
        Ok(alone && self.side(app, side.other()).await?.is_none())
    }

    /// Nobody shares anything out any more: a later release may hold the public sockets itself.
    async fn let_go_of_sockets(&self, app: &AppName) -> Result<(), Failure> {
        self.stop_relay(app).await?;
        let ours = |kept: Kept| kept.traffic.director == Director::Socket;
        if Kept::read(&self.layout, app)?.is_some_and(ours) {
            remove_durable(&self.layout.traffic(app)).map_err(fault::disk(StepName::Traffic))?;
        }
        Ok(())
    }

    /// Whoever cannot be asked has until the time is over.
    async fn drained(&self, app: &AppName, side: Side) {
        let Ok(Some(kept)) = Kept::read(&self.layout, app) else { return };
        let traffic = kept.traffic.clone();
        let since = Duration::from_millis((SystemClock.now_ms() - kept.since_ms).max(0).unsigned_abs());
        let left = traffic.drain.0.saturating_sub(since);
        let begun = Instant::now();
        loop {
            let active = match traffic.director {
                Director::Socket => relay::status(&self.relay_folder(app)).await.map(|s| s.active(side)),
                Director::Haproxy => self.haproxy(&traffic).active(side).await,
                Director::Nginx => Ok(1), // it does not say
            };
            if matches!(active, Ok(0)) || begun.elapsed() >= left {
                break;
            }
            sleep(LOOK).await;
        }
        if traffic.director == Director::Haproxy
            && let Err(failure) = self.let_go(app, kept, side).await
        {
            tracing::warn!(%app, %side, "{}", failure.message);
        }
    }

    /// Written down before it is done, so that it never passes for what somebody else did.
    async fn let_go(&self, app: &AppName, mut kept: Kept, side: Side) -> Result<(), Failure> {
        if kept.ours.insert(side) {
            kept.write(&self.layout, app)?;
        }
        self.haproxy(&kept.traffic).let_go(side).await
    }

    pub(super) async fn shift(
        &self,
        app: &AppName,
        slot: &Slot,
        side: Side,
        traffic: &Traffic,
        sink: &Sink,
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            match self.try_shift(app, slot, side, traffic).await {
                Err(failure) if begun.elapsed() < PATIENCE && failure.code == Code::L01.to_string() => {
                    sink.progress(0, 0, failure.message);
                    sleep(AGAIN).await;
                }
                result => return result,
            }
        }
    }

    async fn try_shift(
        &self,
        app: &AppName,
        slot: &Slot,
        side: Side,
        traffic: &Traffic,
    ) -> Result<(), Failure> {
        let split = Split::of(traffic, side, traffic.share);
        let manifest = self.at_home(&self.manifest(app, slot).await?);
        let addresses = self.addresses(app, &manifest).await?;
        match traffic.director {
            Director::Haproxy => {
                // Cut off half way, either of them may be out by our word.
                if let Some(before) = Kept::read(&self.layout, app)? {
                    Kept { ours: Side::BOTH.into(), ..before }.write(&self.layout, app)?;
                }
                self.haproxy(traffic).split(split.green, &addresses).await?;
            }
            Director::Nginx => self.nginx(traffic).split(split.green, &addresses).await?,
            Director::Socket => self.relay(app, &manifest, split.green, &addresses).await?,
        }
        let before = Kept::read(&self.layout, app)?.filter(|kept| kept.split() == split);
        let since_ms = before.map_or_else(|| SystemClock.now_ms(), |kept| kept.since_ms);
        let ours = Side::BOTH.into_iter().filter(|side| split.share(*side) == 0).collect();
        Kept { traffic: traffic.clone(), green: split.green, since_ms, ours }.write(&self.layout, app)
    }

    /// Starts the relay where none runs, or one with other sockets.
    async fn relay(
        &self,
        app: &AppName,
        manifest: &Manifest,
        green: u8,
        addresses: &Addresses,
    ) -> Result<(), Failure> {
        if manifest.service.sockets.is_empty() {
            let words = "nobody is named who directs traffic ([traffic] of the environment), and service.sockets \
                         of the release names no public socket that could be held for it";
            return Err(fault::version(Code::V01, StepName::Traffic, words));
        }
        let folder = self.relay_folder(app);
        longshore_common::durable::create_dir_durable(&folder, 0o700)
            .map_err(fault::disk(StepName::Traffic))?;
        relay::write(&folder, green, addresses)?;
        let order = self.relay_order(app, manifest)?;
        self.processes.on(Part::Relay).start(app, order, super::service::SLACK).await?;
        let begun = Instant::now();
        loop {
            match relay::load(&folder).await {
                Ok(status) if status.targets.share == green => return Ok(()),
                Err(failure) if begun.elapsed() >= RELAY_GRACE => return Err(failure),
                Ok(_) | Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn relay_order(&self, app: &AppName, manifest: &Manifest) -> Result<Service, Failure> {
        Ok(Service {
            slot: RELAY_SLOT.parse().expect("a slot's name"),
            launch: self.relay_program(&self.relay_folder(app))?,
            sockets: manifest.service.sockets.clone(),
            stop_signal: rustix::process::Signal::TERM.as_raw(),
            grace_ms: RELAY_GRACE.as_millis() as u64,
        })
    }

    fn relay_program(&self, folder: &std::path::Path) -> Result<LaunchSpec, Failure> {
        let text = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
        let command = self.me.command(Helper::Relay);
        let mut exec = vec![text(command.get_program())];
        exec.extend(command.get_args().map(text));
        exec.push(text(folder.as_os_str()));
        let failed = |Fault(why): Fault| fault::host(Code::X01, StepName::Traffic, why);
        LaunchSpec::of(&exec, std::path::Path::new("/"), None).map_err(failed)
    }

    pub(super) fn relay_folder(&self, app: &AppName) -> std::path::PathBuf {
        self.layout.run(app, Part::Relay)
    }

    fn haproxy<'a>(&'a self, traffic: &'a Traffic) -> Haproxy<'a> {
        Haproxy::new(&self.directors.haproxy, &traffic.backend)
    }

    fn nginx<'a>(&'a self, traffic: &'a Traffic) -> Nginx<'a> {
        let bus = (self.runner == Runner::Systemd).then(|| self.units.bus());
        Nginx { directors: &self.directors, upstream: &traffic.backend, bus }
    }

    /// Where each side listens: what was told to run there says so, for it may differ from release to release. Of a side on
    /// which nothing is to run, `manifest` does.
    async fn addresses(&self, app: &AppName, manifest: &Manifest) -> Result<Addresses, Failure> {
        let Addresses { blue, green } = addresses(manifest)?;
        let mut listens = [blue, green];
        for (side, listen) in Side::BOTH.into_iter().zip(&mut listens) {
            let Some(slot) = self.wanted_on(app, Part::Side(side)) else { continue };
            // Of a slot that cannot be read nothing better is known.
            if let Ok(there) = self.manifest(app, &slot).await
                && let Some(sides) = self.at_home(&there).service.sides
            {
                *listen = sides.listen(side).to_owned();
            }
        }
        let [blue, green] = listens;
        Ok(Addresses { blue, green })
    }

    /// Both sides and where traffic goes, looked at afresh.
    pub(super) async fn sides(&self, app: &AppName, current: Option<&Slot>) -> Result<Sides, Failure> {
        let (blue, green) = (self.side(app, Side::Blue).await?, self.side(app, Side::Green).await?);
        if blue.is_none() && green.is_none() {
            return Ok(Sides::default());
        }
        let Some(kept) = Kept::read(&self.layout, app)? else {
            return Ok(Sides { blue, green, ..Sides::default() });
        };
        let slot = current.or(blue.as_ref().or(green.as_ref()).map(|running| &running.slot));
        let manifest = match slot {
            Some(slot) => self.manifest(app, slot).await.ok().map(|manifest| self.at_home(&manifest)),
            None => None,
        };
        let addresses = match &manifest {
            Some(manifest) => self.addresses(app, manifest).await.ok(),
            None => None,
        };
        let green_share = match (kept.traffic.director, addresses) {
            (Director::Socket, _) => {
                relay::status(&self.relay_folder(app)).await.ok().map(|status| status.targets.share)
            }
            (Director::Haproxy, _) => {
                let haproxy = self.haproxy(&kept.traffic).glanced_at();
                haproxy.green_of(kept.green, &kept.ours).await.ok()
            }
            (Director::Nginx, Some(addresses)) => {
                self.nginx(&kept.traffic).says(kept.green, &addresses).then_some(kept.green)
            }
            (Director::Nginx, None) => None,
        };
        // Above 100: no split that anybody asked for. Half and half is one that nobody does by accident.
        let traffic = green_share.map_or(Shown::Unknown, |green| {
            Shown::As(Split { green: if green > 100 { 50 } else { green }, ..kept.split() })
        });
        let warm = manifest.and_then(|m| m.service.sides).map_or(Duration::ZERO, |sides| sides.warm.0);
        let warm_until_ms = kept.since_ms + warm.as_millis() as i64;
        let warm_over = SystemClock.now_ms() >= warm_until_ms;
        let drain = kept.traffic.drain;
        Ok(Sides { blue, green, traffic, warm_over, drain, warm_until_ms })
    }

    /// Holds the public sockets again if nobody does.
    pub(super) async fn restore_relay(&self, app: &AppName) -> Result<(), Failure> {
        let order = async |_: &Slot| {
            let gone = || fault::host(Code::X01, StepName::Traffic, "traffic was never directed");
            let current = self.layout.live(app)?.ok_or_else(gone)?;
            let manifest = self.at_home(&self.manifest(app, &current).await?);
            Ok((self.relay_order(app, &manifest)?, super::service::SLACK))
        };
        self.processes.on(Part::Relay).restore(app, order).await.map(drop)
    }

    pub(super) async fn stop_relay(&self, app: &AppName) -> Result<(), Failure> {
        self.processes.on(Part::Relay).stop(app, super::service::SLACK).await
    }
}

fn addresses(manifest: &Manifest) -> Result<Addresses, Failure> {
    let sides = manifest.service.sides.as_ref().ok_or_else(|| {
        fault::version(Code::X01, StepName::Traffic, format!("{} has no sides", manifest.version))
    })?;
    Ok(Addresses { blue: sides.blue.clone(), green: sides.green.clone() })
}
