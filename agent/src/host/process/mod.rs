//! The process driver: runs apps without systemd, for containers and for many agents on one machine.
//!
//! Each app has a supervisor, a process of its own (`shim`). This is the agent's side of it: it starts the supervisor
//! where none is, tells it what to run, and asks how it goes. In `run` lies also which slot the app was last told to
//! run, so that after a boot of the machine it can be started again.

pub mod log;
pub mod protocol;
pub mod shim;
mod tend;

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, SystemTime},
};

use longshore_common::{
    code::Code,
    durable::{create_dir_durable, remove_durable, write_atomic},
    ids::AppName,
    report::{Failure, StepName},
    slot::Slot,
    time::Millis,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{UnixStream, unix::pipe},
    process::Command,
    sync::RwLock,
    time::timeout,
};

use self::protocol::{Answer, Ask, Entry, Service, Trouble};
use super::{
    fault,
    launch::LaunchSpec,
    layout::{Layout, Part},
    reexec::{Helper, SelfExec},
    systemd::{Bus, transient},
    unit::UnitStatus,
};

/// From its start until a supervisor answers; it has next to nothing to do.
const READY_DEADLINE: Duration = Duration::from_secs(20);
/// For a question that a living supervisor answers at once.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct ProcessDriver {
    me: SelfExec,
    layout: Layout,
    lives: Lives,
    /// Where systemd runs this machine, a supervisor is a unit of its own: our limits, and a network that we may not
    /// have, are not for apps.
    units: Option<Bus>,
    /// Held for reading by whoever starts or stops an app, so that nobody takes a supervisor that is just coming or
    /// going for one that died.
    moving: Arc<RwLock<()>>,
    part: Part,
}

/// How long supervisors, and with them apps, live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lives {
    /// Until they are stopped, whatever happens to the agent.
    #[default]
    Outlive,
    /// No longer than the agent.
    WithAgent,
}

impl ProcessDriver {
    pub fn new(me: SelfExec, layout: Layout) -> Self {
        Self { me, layout, lives: Lives::default(), units: None, moving: Arc::default(), part: Part::Whole }
    }

    /// The same for another of the app's processes.
    pub fn on(&self, part: Part) -> Self {
        Self { part, ..self.clone() }
    }

    pub fn in_units(self, units: Option<Bus>) -> Self {
        Self { units, ..self }
    }

    pub fn with_lives(self, lives: Lives) -> Self {
        Self { lives, ..self }
    }

    /// Runs this instead of what runs. With the same sockets no connection is refused in between.
    pub async fn start(&self, app: &AppName, service: Service, within: Duration) -> Result<(), Failure> {
        let _moving = self.moving.read().await;
        self.start_as_told(app, service, within).await
    }

    async fn start_as_told(&self, app: &AppName, service: Service, within: Duration) -> Result<(), Failure> {
        let slot = service.slot.clone();
        create_dir_durable(&self.layout.run(app, self.part), 0o700).map_err(fault::disk(StepName::Start))?;
        write_atomic(&self.marker(app), slot.as_str().as_bytes(), 0o600)
            .map_err(fault::disk(StepName::Start))?;
        if self.connect(app).await?.is_none() {
            self.spawn_supervisor(app).await?;
        }
        let ask = Ask::Start(Box::new(service));
        match self.ask(app, &ask, within, StepName::Start).await? {
            Some(Answer::Done) => Ok(()),
            Some(Answer::Trouble(Trouble::Program(why))) => {
                Err(fault::version(Code::U01, StepName::Start, format!("slot {slot} did not start: {why}")))
            }
            Some(Answer::Trouble(Trouble::Host(why))) => Err(fault::host(Code::U01, StepName::Start, why)),
            Some(Answer::Status(_) | Answer::Line(_)) | None => {
                Err(fault::host(Code::X01, StepName::Start, "the app's supervisor ended unexpectedly"))
            }
        }
    }

    /// Stops the app and its supervisor, for good. That nothing runs is not an error.
    pub async fn stop(&self, app: &AppName, within: Duration) -> Result<(), Failure> {
        let _moving = self.moving.read().await;
        remove_durable(&self.marker(app)).map_err(fault::disk(StepName::Stop))?;
        match self.ask(app, &Ask::Stop, within, StepName::Stop).await? {
            Some(Answer::Done) | None => Ok(()),
            Some(Answer::Trouble(Trouble::Program(why) | Trouble::Host(why))) => {
                Err(fault::host(Code::U01, StepName::Stop, why))
            }
            Some(Answer::Status(_) | Answer::Line(_)) => {
                Err(fault::host(Code::X01, StepName::Stop, "the app's supervisor spoke out of turn"))
            }
        }
    }

    /// None: there is no supervisor, or it was told nothing yet.
    pub async fn status(&self, app: &AppName) -> Result<Option<UnitStatus>, Failure> {
        match self.ask(app, &Ask::Status, ANSWER_DEADLINE, StepName::Check).await? {
            Some(Answer::Status(status)) => Ok(status),
            Some(Answer::Done | Answer::Trouble(_) | Answer::Line(_)) | None => Ok(None),
        }
    }

    /// The slot that the app was last told to run and has not been told to stop.
    pub fn wanted(&self, app: &AppName) -> Option<Slot> {
        let text = std::fs::read_to_string(self.marker(app)).ok()?;
        text.parse().ok()
    }

    /// The last lines, oldest first.
    pub fn tail(&self, app: &AppName, count: usize) -> io::Result<Vec<Entry>> {
        log::tail(&self.layout.run(app, self.part).join("app.log"), count)
    }

    /// The last lines since the app was last told to run, oldest first, and none of what ran before: that is stopped only
    /// then, and talks until it has ended.
    pub fn tail_of_present(&self, app: &AppName, count: usize) -> io::Result<Vec<Entry>> {
        let told = std::fs::metadata(self.marker(app)).and_then(|marker| marker.modified());
        let told = told.ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let since = told.map_or(Millis::MIN, |at| at.as_millis() as Millis);
        let wanted = self.wanted(app);
        let is_of_it = |slot: Option<&str>| {
            slot.zip(wanted.as_ref()).is_none_or(|(slot, wanted)| slot == wanted.as_str())
        };
        let log = self.layout.run(app, self.part).join("app.log");
        log::tail_of(&log, count, |entry, slot| entry.time_ms >= since && is_of_it(slot))
    }

    /// Calls `each` for every further line, until the supervisor ends or this is dropped.
    pub async fn follow(&self, app: &AppName, mut each: impl FnMut(Entry)) -> Result<(), Failure> {
        let fail = fault::io(StepName::Check, "follow the app's log");
        let Some(mut stream) = self.connect(app).await? else { return Ok(()) };
        protocol::write(&mut stream, &Ask::Follow).await.map_err(&fail)?;
        while let Ok(Answer::Line(entry)) = protocol::read(&mut stream).await {
            each(entry);
        }
        Ok(())
    }

    fn marker(&self, app: &AppName) -> PathBuf {
        self.layout.run(app, self.part).join("slot")
    }

    /// None: nobody is there to ask, or it ended before it answered.
    async fn ask(
        &self,
        app: &AppName,
        ask: &Ask,
        within: Duration,
        step: StepName,
    ) -> Result<Option<Answer>, Failure> {
        let Some(mut stream) = self.connect(app).await? else { return Ok(None) };
        let talk = async {
            protocol::write(&mut stream, ask).await?;
            protocol::read(&mut stream).await
        };
        match timeout(within, talk).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(e)) if e.kind() == io::ErrorKind::InvalidData => {
                Err(fault::io(step, "understand the app's supervisor")(e))
            }
            Ok(Err(_)) => Ok(None),
            Err(_) => {
                let words = format!("the app's supervisor did not answer within {} s", within.as_secs());
                Err(fault::host(Code::U01, step, words))
            }
        }
    }

    async fn connect(&self, app: &AppName) -> Result<Option<UnixStream>, Failure> {
        let fail = fault::io(StepName::Check, "reach the app's supervisor");
        let door = match Door::of(&self.layout.run(app, self.part)) {
            Ok(door) => door,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fail(e)),
        };
        match UnixStream::connect(door.path()).await {
            Ok(stream) => Ok(Some(stream)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(e) => Err(fail(e)),
        }
    }

    async fn spawn_supervisor(&self, app: &AppName) -> Result<(), Failure> {
        let fail = fault::io(StepName::Start, "start the app's supervisor");
        let run = self.layout.run(app, self.part);
        let errors = File::create(run.join("shim.err")).map_err(&fail)?;
        let (read, write) = io::pipe().map_err(&fail)?;
        match &self.units {
            Some(bus) if self.lives == Lives::Outlive => {
                self.spawn_unit(bus, app, &run, write.into(), errors.into()).await?;
            }
            Some(_) | None => {
                // Our child only until we end: it makes a session of its own, and nothing ties it to us.
                let mut command = Command::from(self.me.command(Helper::Shim));
                command.arg(&run).args((self.lives == Lives::WithAgent).then_some(shim::WITH_AGENT));
                command.env_clear().stdin(Stdio::null()).stdout(OwnedFd::from(write)).stderr(errors);
                drop(command.kill_on_drop(false).spawn().map_err(&fail)?);
            }
        }
        let mut word = String::new();
        let mut said = BufReader::new(pipe::Receiver::from_owned_fd(read.into()).map_err(&fail)?);
        let read = timeout(READY_DEADLINE, said.read_line(&mut word)).await;
        match read {
            Ok(Ok(_)) if word.trim_end() == shim::READY => Ok(()),
            Ok(Ok(_)) => Err(fault::host(
                Code::U01,
                StepName::Start,
                format!("the app's supervisor did not start: {}", word.trim_end()),
            )),
            Ok(Err(e)) => Err(fail(e)),
            Err(_) => Err(fail(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn spawn_unit(
        &self,
        bus: &Bus,
        app: &AppName,
        run: &Path,
        out: OwnedFd,
        err: OwnedFd,
    ) -> Result<(), Failure> {
        let failed = |why: String| fault::host(Code::U01, StepName::Start, why);
        let mut exec =
            self.me.words(Helper::Shim).map_err(fault::io(StepName::Start, "find this program"))?;
        exec.push(run.display().to_string());
        let spec = LaunchSpec::of(&exec, Path::new("/"), None).map_err(|fault| failed(fault.to_string()))?;
        let name = format!("longshore-shim.{app}{}.service", self.part.suffix());
        let unit = transient::Unit::of_app(name, &format!("supervisor of {app}"));
        transient::start(bus, &unit, &spec, out, err).await.map_err(|e| failed(e.to_string()))
    }
}

/// The supervisor's socket. Its path may be longer than a socket address can be, so it is reached through a
/// descriptor of its folder.
pub(crate) struct Door(File);

impl Door {
    /// The folder's own name, as this process holds it.
    fn entry(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    fn of(folder: &Path) -> io::Result<Self> {
        File::open(folder).map(Self)
    }

    fn path(&self) -> PathBuf {
        self.entry().join("shim.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Stream;

    /// What ran before is stopped only when it is said what is to run now, and what it says of its end is no word of that.
    #[test]
    fn the_last_words_of_the_slot_before_are_not_told() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path()).unwrap();
        let app: AppName = "shop".parse().unwrap();
        layout.make_app(&app).unwrap();
        let driver = ProcessDriver::new(SelfExec::same(), layout.clone());
        let run = layout.run(&app, Part::Whole);
        create_dir_durable(&run, 0o700).unwrap();
        let [old, new] = ["1.0-00000001", "1.1-00000002"].map(|slot| slot.parse::<Slot>().unwrap());
        write_atomic(&driver.marker(&app), new.as_str().as_bytes(), 0o600).unwrap();
        let mut log = log::Appender::open(run.join("app.log")).unwrap();
        let (before, after) = (1, 9_999_999_999_999);
        for (time_ms, slot, text) in [
            (before, &new, "up, some time ago"),
            (after, &new, "cannot open the database"),
            (after, &old, "I drain"),
            (after, &old, "bye"),
        ] {
            log.append(&Entry { time_ms, stream: Stream::Stdout, text: text.to_owned() }, slot).unwrap();
        }
        let told = driver.tail_of_present(&app, 2).unwrap();
        let texts: Vec<&str> = told.iter().map(|entry| entry.text.as_str()).collect();
        assert_eq!(texts, ["cannot open the database"]);
    }
}
