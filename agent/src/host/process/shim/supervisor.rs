//! What runs, what is being replaced, and when to try again.

use std::{cmp, ops::ControlFlow, sync::Arc, time::Duration};

use rustix::process::{WaitOptions, wait};
use tokio::{
    signal::unix::Signal,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{held::Held, instance::Instance, journal::Journal};
use crate::host::{
    launch::Fault,
    process::protocol::{Service, Trouble},
    reexec::SelfExec,
    tree::{Ended, runner::how},
    unit::{UnitState, UnitStatus},
};

/// Pauses before an app that crashed is started again: this, doubled each time, up to the other.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MOST: Duration = Duration::from_secs(30);
/// An app that ran for so long has not failed to start: the pauses begin anew.
const STEADY: Duration = Duration::from_secs(10);

pub(super) type Reply = oneshot::Sender<Result<(), Trouble>>;

pub enum Order {
    Start(Box<Service>, Reply),
    Stop(Reply),
    Status(oneshot::Sender<Option<UnitStatus>>),
}

pub struct Supervisor {
    me: SelfExec,
    held: Held,
    journal: Arc<Journal>,
    life: Life,
    /// Told to stop and not gone yet.
    retiring: Vec<Retiring>,
    /// What happens when `retiring` is empty.
    then: Option<Then>,
    /// Since the last start that was asked for.
    restarts: u32,
    /// In a row, without a steady run between them.
    crashes: u32,
}

// A shim has one of these; boxing the instance would save nothing.
#[allow(clippy::large_enum_variant)]
enum Life {
    Idle,
    Up(Instance),
    /// It crashed; started again at that time.
    Paused {
        service: Box<Service>,
        last: Ended,
        until: Instant,
    },
    Ended {
        service: Box<Service>,
        last: Ended,
    },
}

struct Retiring {
    instance: Instance,
    kill_at: Instant,
}

enum Then {
    Reply(Reply),
    Launch(Box<Service>, Reply),
    Finish(Reply),
}

impl Supervisor {
    pub fn new(me: SelfExec, journal: Arc<Journal>) -> Self {
        Self {
            me,
            held: Held::default(),
            journal,
            life: Life::Idle,
            retiring: vec![],
            then: None,
            restarts: 0,
            crashes: 0,
        }
    }

    /// Until it was told to stop and the app has ended.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>, mut children: Signal) -> Option<Reply> {
        loop {
            let wake = self.wake_at();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return None,
                },
                _ = children.recv() => self.reap().await,
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.on_time().await,
            }
            if self.retiring.is_empty()
                && let Some(then) = self.then.take()
                && let ControlFlow::Break(reply) = self.go_on(then).await
            {
                return Some(reply);
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            // Whoever asked has hung up if this cannot be sent.
            Order::Status(reply) => drop(reply.send(self.status())),
            Order::Start(service, reply) => {
                self.supersede();
                self.start(service, reply).await;
            }
            Order::Stop(reply) => {
                self.supersede();
                self.retire();
                self.then = Some(Then::Finish(reply));
            }
        }
    }

    /// A later order wins over one that still waits for the old process to end.
    fn supersede(&mut self) {
        if let Some(Then::Reply(reply) | Then::Launch(_, reply) | Then::Finish(reply)) = self.then.take() {
            // Whoever asked has hung up if this cannot be sent.
            let _ = reply.send(Err(Trouble::Host("a later order came in between".into())));
        }
    }

    /// With the same sockets the new one runs before the old one is stopped, so that connections never wait for
    /// more than the new one's first accept; and if it cannot be started, the old one was not touched. Otherwise
    /// the old one may hold what the new one needs, and has to end first; and what is held for it is let go of, whether
    /// it is up or not, for two addresses of one port cannot be held at once.
    async fn start(&mut self, service: Box<Service>, reply: Reply) {
        self.restarts = 0;
        self.crashes = 0;
        if matches!(&self.life, Life::Up(old) if old.service == *service) {
            // Whoever asked has hung up if this cannot be sent.
            let _ = reply.send(Ok(()));
            return;
        }
        if service.sockets.is_empty() || !self.held.is(&service.sockets) {
            self.retire();
            self.then = Some(Then::Launch(service, reply));
            return;
        }
        match self.launch(*service).await {
            Ok(new) => {
                self.retire();
                self.life = Life::Up(new);
                self.then = Some(Then::Reply(reply));
            }
            // Whoever asked has hung up if this cannot be sent.
            Err(trouble) => drop(reply.send(Err(trouble))),
        }
    }

    async fn launch(&mut self, service: Service) -> Result<Instance, Trouble> {
        self.held.add(&service.sockets).map_err(|e| Trouble::Host(e.to_string()))?;
        Instance::launch(&self.me, service, &self.held, &self.journal)
            .await
            .map_err(|Fault(why)| Trouble::Program(why))
    }

    /// What runs is asked to stop; what was to be started again is not.
    fn retire(&mut self) {
        if let Life::Up(instance) = std::mem::replace(&mut self.life, Life::Idle) {
            instance.ask_to_stop();
            let kill_at = Instant::now() + Duration::from_millis(instance.service.grace_ms);
            self.retiring.push(Retiring { instance, kill_at });
        }
    }

    async fn go_on(&mut self, then: Then) -> ControlFlow<Reply> {
        let (reply, result) = match then {
            Then::Reply(reply) => (reply, Ok(())),
            Then::Finish(reply) => return ControlFlow::Break(reply),
            Then::Launch(service, reply) => {
                self.held.keep_only(&service.sockets);
                let launched = self.launch((*service).clone()).await;
                let result = launched.map(|instance| self.life = Life::Up(instance));
                if result.is_err() {
                    let last = Ended::Exit(i32::from(NEVER_RAN));
                    self.life = Life::Ended { service, last };
                }
                (reply, result)
            }
        };
        // Whoever asked has hung up if this cannot be sent.
        let _ = reply.send(result);
        ControlFlow::Continue(())
    }

    /// Reaps whatever has ended, orphans of the app included.
    async fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get() as u32;
            if matches!(&self.life, Life::Up(instance) if instance.pid == pid) {
                self.ended_by_itself(how(status)).await;
            }
        }
        self.let_go().await;
    }

    async fn ended_by_itself(&mut self, last: Ended) {
        let Life::Up(instance) = std::mem::replace(&mut self.life, Life::Idle) else { return };
        let others: Vec<&Instance> = self.retiring.iter().map(|retiring| &retiring.instance).collect();
        instance.kill(&others);
        let service = Box::new(instance.service.clone());
        let ran = instance.since.elapsed();
        instance.drain().await;
        self.life =
            if last.succeeded() { Life::Ended { service, last } } else { self.pause(service, last, ran) };
    }

    fn pause(&mut self, service: Box<Service>, last: Ended, ran: Duration) -> Life {
        self.crashes = if ran >= STEADY { 1 } else { self.crashes + 1 };
        let doubled = PAUSE_FIRST.saturating_mul(1 << cmp::min(self.crashes - 1, 16));
        Life::Paused { service, last, until: Instant::now() + doubled.min(PAUSE_MOST) }
    }

    /// Retiring instances with no process left are gone.
    async fn let_go(&mut self) {
        let mut index = 0;
        while index < self.retiring.len() {
            let others = self.others_than(index);
            if self.retiring[index].instance.members(&others).is_empty() {
                self.retiring.remove(index).instance.drain().await;
            } else {
                index += 1;
            }
        }
    }

    fn others_than(&self, index: usize) -> Vec<&Instance> {
        let live = match &self.life {
            Life::Up(instance) => Some(instance),
            Life::Idle | Life::Paused { .. } | Life::Ended { .. } => None,
        };
        let rest = self.retiring.iter().enumerate().filter(|(n, _)| *n != index);
        rest.map(|(_, retiring)| &retiring.instance).chain(live).collect()
    }

    fn wake_at(&self) -> Option<Instant> {
        let pause = match &self.life {
            Life::Paused { until, .. } => Some(*until),
            Life::Idle | Life::Up(_) | Life::Ended { .. } => None,
        };
        self.retiring.iter().map(|retiring| retiring.kill_at).chain(pause).min()
    }

    async fn on_time(&mut self) {
        let now = Instant::now();
        for index in 0..self.retiring.len() {
            if self.retiring[index].kill_at <= now {
                self.retiring[index].instance.kill(&self.others_than(index));
                // What forks while it is being killed is found by the next look.
                self.retiring[index].kill_at = now + KILL_AGAIN;
            }
        }
        match std::mem::replace(&mut self.life, Life::Idle) {
            Life::Paused { service, last, until } if until <= now => self.start_again(service, last).await,
            other => self.life = other,
        }
        self.let_go().await;
    }

    async fn start_again(&mut self, service: Box<Service>, last: Ended) {
        self.restarts += 1;
        self.life = match self.launch((*service).clone()).await {
            Ok(instance) => Life::Up(instance),
            Err(_) => self.pause(service, last, Duration::ZERO),
        };
    }

    fn status(&self) -> Option<UnitStatus> {
        let (service, state) = match &self.life {
            Life::Idle => {
                let retiring = self.retiring.last()?;
                (&retiring.instance.service, UnitState::Changing)
            }
            Life::Up(instance) => {
                (&instance.service, UnitState::Up { pid: instance.pid, since_ms: instance.since_ms })
            }
            Life::Paused { service, last, .. } => (service.as_ref(), UnitState::Crashing { last: *last }),
            Life::Ended { service, last } => (service.as_ref(), UnitState::Ended { last: *last }),
        };
        Some(UnitStatus { slot: service.slot.clone(), state, restarts: self.restarts })
    }
}

/// As systemd says it when exec failed.
const NEVER_RAN: u8 = 203;
/// Between two looks at a process tree that is being killed.
const KILL_AGAIN: Duration = Duration::from_millis(100);
