//! What each command does: ask the controller, turn the answer into a view, print it.

mod access;
mod app;
mod audit_list;
mod context;
mod env;
mod env_policy;
mod export;
mod fleet;
mod fleet_word;
mod lint;
mod lint_across;
mod logs;
mod notify;
mod parcel;
mod plan;
mod proposal;
mod publish;
mod release;
mod rollout;
mod rollout_approve;
mod secret;
mod trust;
mod trust_check;
mod watch;
mod withdraw;

use clap::CommandFactory;
use longshore_common::{
    code::Code,
    time::{Clock as _, Millis, Span, SystemClock, rounded},
};
use tokio::time::Instant;

pub use publish::{Show, publish_shown};
pub use watch::{Followed, Footer, Viewer, follow, watch, watch_back};

use super::{
    args::{Command, Noun},
    client::Client,
    context::{Context, Contexts},
    demo,
    exit::Exit,
    failure::Failure,
    output::{Format, Output},
    signing::KeyRing,
    surroundings::Surroundings,
};

/// The longest before its end that a certificate is said to end.
const FORTNIGHT_MS: Millis = 14 * 86_400_000;

/// What every command works with.
#[derive(Clone, Debug)]
pub struct Desk {
    pub surroundings: Surroundings,
    pub output: Output,
    /// As asked for on the command line or in the environment.
    pub context: Option<String>,
}

impl Desk {
    pub async fn client(&self) -> Result<Client, Failure> {
        let config = self.surroundings.config.as_deref();
        self.connect(&Contexts::choose(config, self.context.as_deref())?).await
    }

    async fn connect(&self, context: &Context) -> Result<Client, Failure> {
        let (lifetime, now) =
            (longshore_common::tls::lifetime(&context.operator.certificate), SystemClock.now_ms());
        if let Some(why) = lifetime.and_then(|(_, until)| is_over(until, now)) {
            return Err(why);
        }
        let soon = lifetime.and_then(|(from, until)| runs_out(from, until, now));
        if let (Some(soon), Format::Table) = (soon, self.output.format) {
            eprintln!("longshore: {soon}");
        }
        Client::connect(context).await
    }

    /// A client, and the keys for its controller that lie here.
    pub async fn signing(&self) -> Result<(Client, KeyRing), Failure> {
        let (context, ring) = self.ring()?;
        Ok((self.connect(&context).await?, ring))
    }

    /// The keys for the chosen controller that lie here.
    pub fn ring(&self) -> Result<(Context, KeyRing), Failure> {
        let config = self.surroundings.config.as_deref();
        let context = Contexts::choose(config, self.context.as_deref())?;
        let (passphrase, agent) = (self.surroundings.passphrase.clone(), self.surroundings.ssh_agent.clone());
        let ring = KeyRing::of(config, &context, passphrase, agent)?;
        Ok((context, ring))
    }

    fn contexts(&self) -> Result<Contexts, Failure> {
        Contexts::load(self.surroundings.config.as_deref())
    }
}

/// An operator's certificate is good for so little longer that it should be said: a fifth of what it was made for, and a
/// fortnight at most.
fn runs_out(from: Millis, until: Millis, now: Millis) -> Option<String> {
    let left = until - now;
    let soon = ((until - from) / 5).min(FORTNIGHT_MS);
    (0..=soon)
        .contains(&left)
        .then(|| format!("your certificate is good for {} more; a new one: longshore login", rounded(left)))
}

/// Why nothing need be asked: no controller lets this certificate in, and in TLS it could not say why.
fn is_over(until: Millis, now: Millis) -> Option<Failure> {
    (now > until).then(|| {
        let ago = rounded(now - until);
        let message = format!("your certificate ran out {ago} ago, by this machine's clock; nothing was asked");
        Failure::coded(Code::C02, message).next(
            "whoever may on the controller's machine: longshore-controller operator; or another admin: longshore user \
             remove, and user add",
        )
    })
}

pub async fn run(command: Command, surroundings: Surroundings) -> Result<Exit, Failure> {
    let output = surroundings.output(command.output);
    let desk = &Desk { surroundings, output, context: command.context };
    match command.noun {
        Noun::Demo(args) => demo::run(desk, args).await,
        Noun::Context(command) => context::run(desk, command),
        Noun::Status(waiting) => fleet::status(desk, waiting.timeout).await,
        Noun::Init(waiting) => trust::init(desk, waiting.timeout).await,
        Noun::App(command) => app::run(desk, command).await,
        Noun::Key(command) => trust::key(desk, command).await,
        Noun::Fleet(command) => fleet_word::run(desk, command).await,
        Noun::Trust(command) => trust::run(desk, command).await,
        Noun::Token(command) => fleet::token(desk, command).await,
        Noun::Host(command) => fleet::host(desk, command).await,
        Noun::Release(command) => release::run(desk, command).await,
        Noun::Env(command) => env::run(desk, command).await,
        Noun::Secret(command) => secret::run(desk, command).await,
        Noun::Plan(args) => plan::run(desk, args).await,
        Noun::Notify(command) => notify::run(desk, command).await,
        Noun::Rollout(command) => rollout::run(desk, command).await,
        Noun::Logs(args) => logs::run(desk, args).await,
        Noun::Proposal(command) => proposal::run(desk, command).await,
        Noun::User(command) => access::user(desk, command).await,
        Noun::Audit(command) => access::audit(desk, command).await,
        Noun::Whoami(waiting) => access::whoami(desk, waiting.timeout).await,
        Noun::Login { ttl, waiting } => access::login(desk, ttl, waiting.timeout).await,
        Noun::Lint { files } => lint::run(desk, &files),
        Noun::Completions { shell } => {
            let mut script = vec![];
            clap_complete::generate(shell, &mut Command::command(), "longshore", &mut script);
            desk.output.say(&[String::from_utf8_lossy(&script).trim_end().to_owned()])?;
            Ok(Exit::Done)
        }
    }
}

/// The moment after which a wait of `timeout` is over.
pub fn deadline(timeout: Span) -> Instant {
    Instant::now() + timeout.0
}

/// An answer that lacks what it must hold.
pub fn hollow(what: &str) -> Failure {
    Failure::coded(Code::X01, format!("the controller's answer holds no {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: Millis = 86_400_000;

    #[test]
    fn that_a_certificate_ends_is_said_before_it_does() {
        let said = |lives: Millis, left: Millis| runs_out(1000, 1000 + lives, 1000 + lives - left).is_some();
        assert!(!said(90 * DAY_MS, 14 * DAY_MS + 1) && said(90 * DAY_MS, 14 * DAY_MS));
        assert!(!said(10 * DAY_MS, 2 * DAY_MS + 1) && said(10 * DAY_MS, 2 * DAY_MS));
        assert!(said(DAY_MS, 0) && !said(DAY_MS, -1), "then it is over");
        let soon = runs_out(0, 90 * DAY_MS, 85 * DAY_MS).unwrap();
        assert_eq!(soon, "your certificate is good for 5d more; a new one: longshore login");
    }

    #[test]
    fn a_certificate_that_has_run_out_asks_nothing() {
        assert!(is_over(DAY_MS, DAY_MS).is_none());
        let over = is_over(DAY_MS, 4 * DAY_MS).unwrap();
        assert_eq!((over.code, over.exit), (Some(Code::C02), Exit::Refused));
        assert_eq!(
            over.message,
            "your certificate ran out 3d ago, by this machine's clock; nothing was asked"
        );
    }
}
