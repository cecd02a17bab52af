//! The words of the command line.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};
use longshore_common::{
    ids::{AppName, EnvName, HostName},
    label::check_label,
    slot::Slot,
    time::Span,
};

use crate::{
    config::{Config, Processes as Division, Runner},
    helper::AGENT_USER,
};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 the agent or controller cannot be reached, 4 refused, 5 timed out while \
waiting, 6 nothing to do";

/// Makes this host run what the controller says it should.
#[derive(Clone, Debug, Parser)]
#[command(name = "longshore-agent", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Args {
    /// The folder below which everything of the agent lies
    #[arg(long, global = true, default_value = "/", value_name = "DIR", value_parser = absolute)]
    pub root: PathBuf,
    /// The configuration [default: etc/longshore/agent.toml below the root]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to print
    #[arg(short, long, global = true, default_value = "table", value_name = "FORMAT")]
    pub output: Output,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Exchange a join token for an identity
    #[command(after_help = "\
Examples:
  longshore-agent enroll --server deploy.example:7443 --token-file -
                                  # paste the token, end with Ctrl-D
  longshore-agent enroll --server 10.0.0.2:7443 --token-file /run/token --label role=web
  longshore-agent enroll --server 10.0.0.2:7443 --token lsj1.…
                                  # the token does not stay in the process list")]
    Enroll(Enroll),
    /// Run the agent, in the foreground
    #[command(after_help = "\
Examples:
  longshore-agent run
  longshore-agent --root /tmp/host-1 run --log debug")]
    Run(Run),
    /// What runs here, what is in progress, and how the connection stands
    #[command(after_help = "Examples:\n  longshore-agent status\n  longshore-agent status -o json")]
    Status,
    /// What happened here, latest first
    #[command(after_help = "Examples:\n  longshore-agent history\n  longshore-agent history shop -n 5")]
    History(History),
    /// The last lines that an app wrote
    #[command(after_help = "Examples:\n  longshore-agent logs shop\n  longshore-agent logs shop -n 20 -f")]
    Logs(Logs),
    /// Deploy a release from an offline bundle: no controller and no network are needed
    #[command(after_help = "\
Examples:
  longshore-agent deploy --bundle shop-1.4.2.lsb
  longshore-agent deploy --bundle ./shop-1.4.2/             # a folder that longshore release export --folder wrote
  longshore-agent deploy --bundle shop-1.4.2.lsb --env production --env-values values.toml
  ssh web-3 sudo longshore-agent deploy --bundle - < shop-1.4.2.lsb")]
    Deploy(Deploy),
    /// How this host knows what may run on it
    #[command(subcommand, arg_required_else_help = true)]
    Trust(Trust),
    /// Take no new work, until `unhold`
    #[command(after_help = "Examples:\n  longshore-agent hold \"disk swap\"")]
    Hold(Hold),
    /// Whether one process does everything here or two do, and to change that; run it as root
    #[command(after_help = "\
Examples:
  longshore-agent processes             # says how it is
  sudo longshore-agent processes two && sudo systemctl enable --now longshore-helper.socket
  sudo longshore-agent processes one    # the helper and the agent have to be stopped")]
    Processes(Processes),
    /// Take new work again
    #[command(after_help = "Examples:\n  longshore-agent unhold")]
    Unhold,
    /// Go back to the last good slot of an app, or to the one named; needs no controller
    #[command(after_help = "\
Examples:
  longshore-agent revert shop
  longshore-agent revert shop 1.4.1-9c2e4d8f --timeout 2m")]
    Revert(Revert),
}

#[derive(Clone, Debug, Subcommand)]
pub enum Trust {
    /// What this host pins, what it has verified, and every time that the glass was broken
    #[command(
        after_help = "Examples:\n  longshore-agent trust status\n  longshore-agent trust status -o json"
    )]
    Status,
    /// Mend damaged trust state, or what was verified by a clock that was ahead
    #[command(after_help = "Examples:\n  sudo longshore-agent trust recover shop")]
    Recover {
        /// As the error named it
        app: AppName,
    },
    /// Pin another root: only when the organisation's keys were lost
    #[command(
        after_help = "Examples:\n  sudo longshore-agent trust reset --pin 77ab… --i-am-on web-3\n  sudo longshore-agent trust reset --pin new-root.json --i-am-on web-3"
    )]
    Reset {
        /// The new root's SHA-256, or its file
        #[arg(long, value_name = "SHA256|FILE")]
        pin: String,
        /// The name of this host, so that it is this one that is meant
        #[arg(long, value_name = "HOSTNAME")]
        i_am_on: String,
    },
}

#[derive(Clone, Debug, clap::Args)]
pub struct Enroll {
    /// The controller's enrolment port, as `longshore token create` printed it
    #[arg(long, value_name = "HOST:PORT")]
    pub server: String,
    /// The join token
    #[arg(long, required_unless_present = "token_file", conflicts_with = "token_file")]
    pub token: Option<String>,
    /// A file with the join token; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What the host is to be called [default: its own name]
    #[arg(long)]
    pub name: Option<HostName>,
    /// A label of the host; as often as needed
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Replace the identity that this host has
    #[arg(long)]
    pub again: bool,
    /// What runs services here [default: systemd where it is there]
    #[arg(long, value_parser = runner)]
    pub driver: Option<Runner>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    /// error, warn, info, debug or trace
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub log: tracing::Level,
}

#[derive(Clone, Debug, clap::Args)]
pub struct History {
    /// Only of this app
    pub app: Option<AppName>,
    /// Rows
    #[arg(short = 'n', long, default_value_t = 50)]
    pub limit: u32,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Logs {
    pub app: AppName,
    /// Lines from before
    #[arg(short = 'n', long, default_value_t = 100)]
    pub lines: u32,
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Hold {
    /// Shown to everybody who wonders
    pub reason: String,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Processes {
    /// one or two
    #[arg(value_parser = division)]
    pub wanted: Option<Division>,
    /// The user that the agent runs as, when there are two
    #[arg(long, default_value = AGENT_USER, value_name = "NAME")]
    pub user: String,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Deploy {
    /// What `longshore release export` wrote: a file, a folder, or `-` for standard input
    #[arg(long, value_name = "FILE|DIR")]
    pub bundle: PathBuf,
    /// The environment that it is for [default: that of the app's last assignment here]
    #[arg(long, value_name = "NAME")]
    pub env: Option<EnvName>,
    /// A TOML file with [values] and [secrets] for the config templates [default: those of the last assignment]
    #[arg(long, value_name = "FILE")]
    pub env_values: Option<PathBuf>,
    /// Although this host is held
    #[arg(long)]
    pub despite_hold: bool,
    /// Although what only says that the signed list is current has expired; this is reported forever after
    #[arg(long)]
    pub stale: bool,
    /// Stop waiting after this; the deployment goes on
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub timeout: Option<Duration>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Revert {
    pub app: AppName,
    /// One of those that `status` lists
    pub slot: Option<Slot>,
    /// Stop waiting after this; the revert goes on
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub timeout: Option<Duration>,
}

impl Args {
    pub fn config_file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| Config::file_below(&self.root))
    }

    /// The one agent that the unit in `deploy/` starts.
    pub fn is_of_this_machine(&self) -> bool {
        self.root == Path::new("/")
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    check_label(key, value).map_err(|bad| bad.message)?;
    Ok((key.to_owned(), value.to_owned()))
}

fn runner(text: &str) -> Result<Runner, String> {
    let known = [Runner::Systemd, Runner::Process];
    known
        .into_iter()
        .find(|runner| runner.as_str() == text)
        .ok_or_else(|| "write systemd or process".to_owned())
}

fn division(text: &str) -> Result<Division, String> {
    let known = [Division::One, Division::Two];
    known.into_iter().find(|known| known.as_str() == text).ok_or_else(|| "write one or two".to_owned())
}

/// A root that was typed relative to where the admin stands.
fn absolute(text: &str) -> Result<PathBuf, String> {
    std::path::absolute(text).map_err(|error| error.to_string())
}

fn span(text: &str) -> Result<Duration, String> {
    text.parse::<Span>().map(|span| span.0).map_err(|bad| bad.message)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_words_fit_together() {
        Args::command().debug_assert();
    }

    /// Everything of the agent lies below it, also for who asks from another folder.
    #[test]
    fn a_relative_root_is_where_the_admin_stands() {
        let args = Args::try_parse_from(["longshore-agent", "--root", "h1", "status"]).unwrap();
        assert_eq!(args.root, std::env::current_dir().unwrap().join("h1"));
        assert!(!args.is_of_this_machine());
        assert!(Args::try_parse_from(["longshore-agent", "status"]).unwrap().is_of_this_machine());
    }

    /// `--root` is of every command; a word of the same name in one of them would be the end of the program.
    #[test]
    fn another_root_is_pinned_below_any_folder() {
        let line = "longshore-agent --root /h1 trust reset --pin 77ab --i-am-on web-3";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        assert_eq!(args.root, PathBuf::from("/h1"));
        assert!(matches!(args.command, Command::Trust(Trust::Reset { pin, .. }) if pin == "77ab"));
    }

    #[test]
    fn bad_words_are_explained() {
        let parse = |line: &str| Args::try_parse_from(line.split(' ')).unwrap_err().to_string();
        assert!(parse("longshore-agent revert Shop").contains("use 1-63 of a-z"));
        assert!(parse("longshore-agent enroll --server a:1 --token x --label role").contains("KEY=VALUE"));
        assert!(parse("longshore-agent enroll --server a:1").contains("--token"));
    }
}
