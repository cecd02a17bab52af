//! What people are told of.

use clap::Subcommand;

use super::Waiting;

#[derive(Debug, Subcommand)]
pub enum NotifyCommand {
    /// What is still to be told, and what could not be
    #[command(after_help = "Examples:\n  longshore notify list\n  longshore notify list --dead")]
    List {
        /// Only what could not be told, and is not tried any more
        #[arg(long)]
        dead: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Try again what could not be told
    #[command(after_help = "Examples:\n  longshore notify retry\n  longshore notify retry 3c5f0a9b72d1")]
    Retry {
        /// Ids, or beginnings or ends of them; none: all that are dead
        notices: Vec<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Tell everybody of an environment that this is a test, and say who was reached
    #[command(
        after_help = "Examples:\n  longshore notify test production\n  longshore notify test production --to \"team chat\""
    )]
    Test {
        /// Its name
        env: String,
        /// Only this [[stakeholders.tell]] of its file
        #[arg(long, value_name = "NAME")]
        to: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
}
