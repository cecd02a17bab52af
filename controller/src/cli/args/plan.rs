//! Plans.

use clap::{Args, Subcommand};
use longshore_common::time::Span;

use super::{
    Waiting,
    fleet::{ReleaseName, release_name},
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct PlanArgs {
    #[command(subcommand)]
    pub command: Option<PlanCommand>,
    /// Such as shop@1.4.2
    #[arg(value_name = "APP@VERSION", value_parser = release_name, required = true)]
    pub release: Option<ReleaseName>,
    /// The environment
    #[arg(long, value_name = "ENV", required = true)]
    pub to: Option<String>,
    /// Every host with what becomes of it, however many there are
    #[arg(long)]
    pub hosts: bool,
    /// Give up after this long; how long hosts may take to answer is up to the environment
    #[arg(long, value_name = "TIME", default_value = "2m")]
    pub timeout: Span,
}

#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Plans that are kept, newest first
    #[command(after_help = "Examples:\n  longshore plan list\n  longshore plan list --env production")]
    List {
        /// Only of this app
        #[arg(long)]
        app: Option<String>,
        /// Only for this environment
        #[arg(long)]
        env: Option<String>,
        /// At most so many
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: u32,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// One plan, as it was made
    #[command(after_help = "Examples:\n  longshore plan show 1a2b3c4d\n  longshore plan show latest --hosts")]
    Show {
        /// Its digest, the beginning of it, or `latest`
        #[arg(default_value = "latest")]
        plan: String,
        /// Every host with what becomes of it, however many there are
        #[arg(long)]
        hosts: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
}
