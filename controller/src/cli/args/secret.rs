//! `secret …`.

use std::path::PathBuf;

use clap::Subcommand;

use super::Waiting;

#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Encrypt a secret for hosts, each with a key that only it holds; prints what goes into the environment's file
    ///
    /// The secret is read from standard input or a file, never from the command line. It is encrypted here; the
    /// controller gets, and keeps, nothing but what it cannot open.
    #[command(
        after_help = "Examples:\n  longshore secret encrypt --env production db_password < password.txt\n  pass show shop/db | longshore secret encrypt --env production db_password\n  longshore secret encrypt --host web-1 tls_key --file web-1.key"
    )]
    Encrypt {
        /// As templates call it: secrets.NAME
        name: String,
        /// For every host of this environment
        #[arg(long, value_name = "ENV", required_unless_present = "host")]
        env: Option<String>,
        /// For this host alone
        #[arg(long, value_name = "HOST")]
        host: Option<String>,
        /// Where the secret lies; standard input when left out, or for -
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// What waited for a second person, as it was encrypted then: nothing is encrypted again
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        sealed: Option<PathBuf>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Which hosts of an environment cannot open the secrets that its file refers to
    #[command(
        after_help = "Example:\n  longshore secret check production\n\nExit code 1 when some host cannot open one that it gets."
    )]
    Check {
        /// The environment
        env: String,
        #[command(flatten)]
        waiting: Waiting,
    },
}
