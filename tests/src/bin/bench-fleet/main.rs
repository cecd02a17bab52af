//! `cargo run --release -p longshore-tests --bin bench-fleet [HOSTS [ROUNDS [WORK…]]]`, as root, by hand. It measures
//! the programs of that build; others with `LONGSHORE_BIN_DIR=target/dist` in its environment. With words for pieces of
//! work (first, unchanged, small, back, restart, idle, …) it measures nothing else. What is short is done several times a
//! round.
//!
//! Raises real hosts and does the same work on them with Longshore and with a plain script (ssh, curl, tar), side by
//! side in one run: ratios inside a run mean something, seconds of two runs do not. Prints a table, and all it measured
//! as JSON to `bench-fleet.json` in the present folder.

mod figures;
mod ours;
mod script;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use figures::{Availability, Figures, Row};
use longshore_tests::bench::artifact::{self, Content};
use longshore_tests::bench::poller::{Poller, Seen};
use longshore_tests::fleet::{Fleet, Heartbeat};
use longshore_tests::lab::{Kind, Lab};
use longshore_tests::programs::program;
use longshore_tests::{Result, Within, run};
use ours::{Cost, Socket};
use script::Script;

/// How long an idle agent is watched.
const IDLE: Duration = Duration::from_secs(60);
/// Before that: within 20 s of its start an agent brings its signed documents up to date, then once an hour, which is
/// work and not idleness.
const SETTLE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// Until all that was written is on the disk.
const WRITTEN: Duration = Duration::from_secs(120);
/// How often what is short is done in a round.
const AGAIN: usize = 4;

fn main() -> ExitCode {
    match measure() {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<Figures> {
    let number = |place: usize, default| {
        std::env::args().nth(place).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (hosts, rounds) = (number(1, 20), number(2, 3));
    let only = std::env::args().skip(3).map(|word| Row::of(&word)).collect::<Result<Vec<_>>>()?;
    let lab = Lab::of(Kind::Bench, hosts)?;
    let fleet = Fleet::raise_with(&lab, Heartbeat::AsShipped)?;
    fleet.apply_environment(ours::ENVIRONMENT)?;
    let script = Script::prepare(&lab)?;
    let bench = Bench { lab: &lab, fleet: &fleet, script: &script, only };
    let mut figures = Figures::new(hosts, program("longshore-agent")?);
    let told = bench.run(u64::try_from(rounds).expect("a few rounds"), &mut figures);
    told.within(|| format!("--- controller\n{}", fleet.controller_log()))?;
    figures.save()?;
    Ok(figures)
}

struct Bench<'a> {
    lab: &'a Lab,
    fleet: &'a Fleet<'a>,
    script: &'a Script<'a>,
    /// Nothing: everything.
    only: Vec<Row>,
}

impl Bench<'_> {
    fn run(&self, rounds: u64, figures: &mut Figures) -> Result<()> {
        eprintln!("first releases");
        let small = self.release(Socket::Held, "0.9.0", None)?;
        ours::deploy(self.fleet, Socket::Held, "0.9.0")?;
        self.script.publish("0.9.0", &small.join("dist"))?;
        self.script.deploy("0.9.0")?;
        if self.wants(Row::Idle) {
            self.idle(figures)?;
        }
        for round in 1..=rounds {
            eprintln!("round {round}");
            self.round(round, figures)?;
        }
        if !self.only.is_empty() {
            return Ok(());
        }
        eprintln!("with clients");
        for socket in [Socket::Held, Socket::Bound] {
            self.with_clients(rounds + 1, socket, figures)?;
        }
        let costs = self.lab.together(Cost::of_agent)?;
        figures.peak_kib = costs.iter().map(|cost| cost.rss_peak_kib).collect();
        Ok(())
    }

    /// The same five pieces of work with either tool, on content that no host has seen.
    fn round(&self, round: u64, figures: &mut Figures) -> Result<()> {
        let versions = [format!("{round}.0.0"), format!("{round}.0.1")];
        for (edition, version) in (0..).zip(&versions) {
            let folder = self.release(Socket::Held, version, Some(Content { family: round, edition }))?;
            // The folder stays: ext4 passes over each inode that was freed in the last minutes when it looks for one, so
            // that removing thousands of files here makes making thousands there cost half as much again.
            figures.archive_bytes = self.script.publish(version, &folder.join("dist"))?;
        }
        let [first, second] = &versions;
        let held = Socket::Held;
        self.beside(figures, Row::Ask, || ours::ask_all(self.fleet), || self.script.ask())?;
        self.beside(
            figures,
            Row::First,
            || ours::deploy(self.fleet, held, first),
            || self.script.deploy(first),
        )?;
        let unchanged = || ours::deploy_unchanged(self.fleet, held, first);
        self.beside(figures, Row::Unchanged, unchanged, || self.script.deploy(first))?;
        self.beside(
            figures,
            Row::Small,
            || ours::deploy(self.fleet, held, second),
            || self.script.deploy(second),
        )?;
        self.back(figures, first, second)?;
        let restart = |unit: &'static str| {
            move || self.lab.together(|host| host.exec(["systemctl", "restart", unit])?.success()).map(drop)
        };
        self.beside(figures, Row::Restart, restart("longshore-held"), restart("app"))
    }

    /// From the second release to the first, and forward again in between.
    fn back(&self, figures: &mut Figures, first: &str, second: &str) -> Result<()> {
        for time in 0..if self.wants(Row::Back) { AGAIN } else { 0 } {
            if time > 0 {
                ours::deploy(self.fleet, Socket::Held, second)?;
                self.script.deploy(second)?;
            }
            let back = || ours::roll_back(self.fleet, Socket::Held);
            self.once(figures, Row::Back, &back, &|| self.script.deploy(first))?;
        }
        Ok(())
    }

    fn wants(&self, row: Row) -> bool {
        self.only.is_empty() || self.only.contains(&row)
    }

    fn beside(
        &self,
        figures: &mut Figures,
        row: Row,
        ours: impl Fn() -> Result<()>,
        theirs: impl Fn() -> Result<()>,
    ) -> Result<()> {
        if !self.wants(row) {
            // What comes later builds on these.
            return if matches!(row, Row::First | Row::Small) {
                ours().and_then(|()| theirs())
            } else {
                Ok(())
            };
        }
        let times = if row.is_short() { AGAIN } else { 1 };
        (0..times).try_for_each(|_| self.once(figures, row, &ours, &theirs))
    }

    fn once(
        &self,
        figures: &mut Figures,
        row: Row,
        ours: &impl Fn() -> Result<()>,
        theirs: &impl Fn() -> Result<()>,
    ) -> Result<()> {
        let ours = self.timed(ours).within(|| format!("{row:?}, ours"))?;
        let theirs = self.timed(theirs).within(|| format!("{row:?}, the script"))?;
        eprintln!(
            "  {row:?}: {:.3} s, {} B a host; script {:.3} s, {} B",
            ours.0, ours.1, theirs.0, theirs.1
        );
        figures.add(row, ours, theirs);
        Ok(())
    }

    /// Seconds of wall time, and bytes over the wire of the host that moved most.
    ///
    /// What was written before is on the disk before the clock runs: the script leaves gigabytes to the kernel, which
    /// would write them while the next one is timed.
    fn timed(&self, work: impl Fn() -> Result<()>) -> Result<(f64, u64)> {
        run(&mut Command::new("sync"), WRITTEN)?.success()?;
        let counters = || self.lab.together(|host| host.traffic());
        let before = counters()?;
        let begun = Instant::now();
        work()?;
        let seconds = begun.elapsed().as_secs_f64();
        let moved = counters()?;
        let moved = moved
            .iter()
            .zip(&before)
            .map(|(now, then)| (now.received - then.received) + (now.sent - then.sent));
        Ok((seconds, moved.max().unwrap_or_default()))
    }

    fn idle(&self, figures: &mut Figures) -> Result<()> {
        eprintln!("idle for {IDLE:?}, after {SETTLE:?}");
        std::thread::sleep(SETTLE); // for as long as there is something to do, by the agent's own clock
        let before = self.lab.together(Cost::of_agent)?;
        std::thread::sleep(IDLE); // the measurement is of this time
        let after = self.lab.together(Cost::of_agent)?;
        figures.idle_pss_kib = after.iter().map(|cost| cost.pss_kib).collect();
        let spent = before.iter().zip(&after).map(|(then, now)| now.cpu_us - then.cpu_us);
        figures.idle_us_a_second = spent.map(|micros| micros as f64 / IDLE.as_secs_f64()).collect();
        Ok(())
    }

    /// Two deployments and a rollback while a client asks every host every 10 ms over new connections.
    fn with_clients(&self, family: u64, socket: Socket, figures: &mut Figures) -> Result<()> {
        let versions = ["9.0.0", "9.0.1", "9.0.2"];
        self.release(socket, versions[0], None)?;
        for (edition, version) in (0..).zip(&versions[1..]) {
            self.release(socket, version, Some(Content { family, edition }))?;
        }
        ours::deploy(self.fleet, socket, versions[0])?;
        let works: [(&str, &dyn Fn() -> Result<()>); 3] = [
            ("first deploy", &|| ours::deploy(self.fleet, socket, versions[1])),
            ("2 % change", &|| ours::deploy(self.fleet, socket, versions[2])),
            ("rollback", &|| ours::roll_back(self.fleet, socket)),
        ];
        for (name, work) in works {
            let clients: Vec<_> =
                self.lab.hosts().iter().map(|host| Poller::start(host.ip(), socket.port(), POLL)).collect();
            let worked = work();
            let seen: Vec<Seen> = clients.into_iter().map(Poller::stop).collect();
            worked?;
            let availability = Availability::of(socket.app(), name, &seen);
            eprintln!("  {availability}");
            figures.availability.push(availability);
        }
        Ok(())
    }

    /// Makes and publishes one release of an app; gives the folder that it was published from.
    fn release(&self, socket: Socket, version: &str, content: Option<Content>) -> Result<PathBuf> {
        let folder = self.lab.folder().join("bench").join(format!("{}-{version}", socket.app()));
        let (dist, app) = (folder.join("dist"), program("bench-app")?);
        match content {
            Some(content) => artifact::write(&dist, content, version, &app)?,
            None => artifact::write_program(&dist, version, &app)?,
        }
        ours::publish(self.fleet, &folder, socket, version)?;
        Ok(folder)
    }
}
