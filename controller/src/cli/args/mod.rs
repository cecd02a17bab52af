//! What may be typed. Every command that is named here works; every one has an example.

mod access;
mod fleet;
mod notify;
mod plan;
mod rollout;
mod secret;
mod trust;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use longshore_common::time::Span;

pub use access::{AuditCommand, ProposalCommand, UserCommand};
pub use fleet::{
    ContextCommand, EnvCommand, ExportArgs, HostCommand, LabelChange, LogsArgs, PublishArgs, ReleaseCommand,
    ReleaseName, TokenCommand, release_name,
};
pub use notify::NotifyCommand;
pub use plan::{PlanArgs, PlanCommand};
pub use rollout::{Acting, PaceArgs, RollbackArgs, RolloutCommand, StartArgs};
pub use secret::SecretCommand;
pub use trust::{AppCommand, FleetCommand, KeyCommand, Revoked, SignArgs, TrustCommand};

use super::{exit::Exit, output::Format};

#[derive(Debug, Parser)]
#[command(
    name = "longshore",
    version,
    about = "Moves releases to fleets of hosts, wave by wave, and undoes what does not stay healthy",
    after_help = exit_codes(),
    after_long_help = format!("{}\n\n{}", exit_codes(), FIRST_STEPS),
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Command {
    /// A context's name, or the folder of an operator's certificate (a path with a `/`)
    #[arg(long, global = true, env = "LONGSHORE_CONTEXT", value_name = "NAME|DIR", hide_env_values = true, help_heading = EVERYWHERE)]
    pub context: Option<String>,

    /// Print a table for people or JSON for programs (shapes: docs/cli-json.md)
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true, help_heading = EVERYWHERE,
        value_name = "table|json"
    )]
    pub output: Format,

    #[command(subcommand)]
    pub noun: Noun,
}

#[derive(Debug, Subcommand)]
pub enum Noun {
    /// Show the whole job on this machine: a controller, five hosts, three releases; nothing is installed
    #[command(
        after_help = "Examples:\n  longshore demo\n  longshore demo --tour    plan, approval, canary, gate and rollback, command by command\n  \
                      longshore demo --keep    leave it running to look around"
    )]
    Demo(DemoArgs),
    /// Which controller to talk to, and as whom
    #[command(subcommand, arg_required_else_help = true)]
    Context(ContextCommand),
    /// Ask the controller how it stands
    #[command(after_help = "Example:\n  longshore status -o json")]
    Status(Waiting),
    /// Make the organisation's key: from then on hosts run only what is signed
    #[command(
        after_help = "Example:\n  longshore init        # once, on the operator's machine; keep a copy of the key that it makes"
    )]
    Init(Waiting),
    /// Apps: what runs where, and who signs their releases
    #[command(subcommand, arg_required_else_help = true)]
    App(AppCommand),
    /// Signing keys on this machine
    #[command(subcommand, arg_required_else_help = true)]
    Key(KeyCommand),
    /// What is signed and how long it holds
    #[command(subcommand, arg_required_else_help = true)]
    Trust(TrustCommand),
    /// What holds for every host, by the organisation's key: a freeze, revoked releases
    #[command(subcommand, arg_required_else_help = true)]
    Fleet(FleetCommand),
    /// Join tokens, by which hosts enrol
    #[command(subcommand, arg_required_else_help = true)]
    Token(TokenCommand),
    /// Hosts of the fleet
    #[command(subcommand, arg_required_else_help = true)]
    Host(HostCommand),
    /// Releases: an app's files and how it runs, immutable
    #[command(subcommand, arg_required_else_help = true)]
    Release(ReleaseCommand),
    /// Environments: sets of hosts with a policy
    #[command(subcommand, arg_required_else_help = true)]
    Env(EnvCommand),
    /// Secrets that only the hosts they are for can open
    #[command(subcommand, arg_required_else_help = true)]
    Secret(SecretCommand),
    /// What a rollout would do to every host, asked of the hosts now; nothing is changed
    #[command(
        after_help = "Examples:\n  longshore plan shop@1.4.2 --to production\n  longshore plan show latest --hosts\n  longshore rollout start 1a2b3c4d       start the plan of that digest"
    )]
    Plan(PlanArgs),
    /// What people are told of, by mail and webhook
    #[command(subcommand, arg_required_else_help = true)]
    Notify(NotifyCommand),
    /// Rollouts: moving an environment to a release
    #[command(subcommand, arg_required_else_help = true)]
    Rollout(RolloutCommand),
    /// The last lines of an app's log, from the hosts themselves
    #[command(
        after_help = "Examples:\n  longshore logs shop\n  longshore logs shop --host web-3 -n 500\n  longshore logs shop -f"
    )]
    Logs(LogsArgs),
    /// What two people decide, and waits for the second
    #[command(subcommand, arg_required_else_help = true)]
    Proposal(ProposalCommand),
    /// Operators and what they may do
    #[command(subcommand, arg_required_else_help = true)]
    User(UserCommand),
    /// The record of who did what
    #[command(subcommand, arg_required_else_help = true)]
    Audit(AuditCommand),
    /// Who you are to the controller, and what you may do
    #[command(after_help = "Example:\n  longshore whoami")]
    Whoami(Waiting),
    /// Make a new key and get a new certificate for it, while the present one is good
    #[command(
        after_help = "Examples:\n  longshore login\n  longshore login --ttl 12h\n  longshore --context prod login"
    )]
    Login {
        /// How long the certificate is good for [default: as long as whoever added you allowed]
        #[arg(long, value_name = "TIME")]
        ttl: Option<Span>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Check longshore.toml and environment files without a controller
    #[command(
        after_help = "Examples:\n  longshore lint longshore.toml\n  longshore lint environments/*.toml"
    )]
    Lint {
        /// Files to check, `-` for standard input [default: longshore.toml]
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print a completion script
    #[command(
        after_help = "Examples:\n  longshore completions bash > /etc/bash_completion.d/longshore\n  longshore completions zsh > ~/.zfunc/_longshore"
    )]
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// How long a command that asks something waits for its answer.
#[derive(Clone, Copy, Debug, Args)]
pub struct Waiting {
    /// Give up after this long
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub timeout: Span,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// A walk through plan, approval, canary, gate and rollback: each command that an operator would type, and what it
    /// prints. At a terminal Enter goes on
    #[arg(long)]
    pub tour: bool,
    /// Go on without being asked to; as it is in a pipe
    #[arg(long, requires = "tour")]
    pub yes: bool,
    /// Leave everything running at the end; says how to stop it
    #[arg(long)]
    pub keep: bool,
    /// Lines instead of a moving picture, also on a terminal
    #[arg(long)]
    pub plain: bool,
    /// Give up, and clean up, after this long; a tour that waits for somebody waits on
    #[arg(long, value_name = "TIME", default_value = "3m")]
    pub timeout: Span,
}

fn exit_codes() -> String {
    let rows = Exit::ALL.map(|exit| format!("  {:<4} {}", exit.number(), exit.meaning()));
    format!("Exit codes:\n{}", rows.join("\n"))
}

/// Heads the options that every command takes.
const EVERYWHERE: &str = "Options of every command";

const FIRST_STEPS: &str = "First steps:
  longshore demo                                         see it work, nothing installed
  longshore context add prod --from ./operator           what longshore-controller init wrote
  longshore token create                                 prints the command that enrols a host
  longshore env apply production.toml                    which hosts, and how carefully
  longshore release publish                              beside the app's longshore.toml
  longshore plan shop@1.4.2 --to production              what would happen, and what stands in the way
  longshore rollout start shop@1.4.2 --to production --wait";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Command::command().debug_assert();
    }

    #[test]
    fn every_exit_code_is_in_the_help() {
        let help = Command::command().render_long_help().to_string();
        for exit in Exit::ALL {
            assert!(help.contains(&format!("{:<4} {}", exit.number(), exit.meaning())), "{exit:?}");
        }
    }

    #[test]
    fn every_command_that_does_something_has_an_example() {
        fn leaves(command: &clap::Command, path: &str, bare: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            let mut any = false;
            for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
                leaves(sub, &path, bare);
                any = true;
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if !any && !help.contains("longshore ") {
                bare.push(path);
            }
        }
        let mut bare = vec![];
        leaves(&Command::command(), "", &mut bare);
        assert!(bare.is_empty(), "no example in the help of {bare:?}");
    }
}
