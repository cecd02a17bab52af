//! What may run: keys, apps, signatures.

use clap::Subcommand;
use longshore_common::{ids::AppName, trust::PublicKey};

use super::Waiting;

#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// Make an app's first release key, and tell the fleet that it signs this app
    #[command(
        after_help = "Examples:\n  longshore app create shop\n  longshore app create shop --key 3f2a…  --threshold 2"
    )]
    Create {
        /// The app, as in its longshore.toml
        app: AppName,
        /// A further key that may sign, by its public half (longshore key list); may be repeated
        #[arg(long = "key", value_name = "PUBLIC")]
        keys: Vec<PublicKey>,
        /// How many keys have to sign a release
        #[arg(long, default_value_t = 1)]
        threshold: u64,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Apps of which something was published, and where they are live
    #[command(after_help = "Example:\n  longshore app list")]
    List(Waiting),
    /// One app: its latest release, what is live in which environment, and what every host runs of it
    #[command(after_help = "Example:\n  longshore app show shop")]
    Show {
        /// As in the list
        app: AppName,
        #[command(flatten)]
        waiting: Waiting,
    },
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a signing key on this machine; its public half goes into longshore app create --key
    #[command(after_help = "Example:\n  longshore key create alice")]
    Create {
        /// What to call it
        name: AppName,
    },
    /// Signing keys on this machine, by their public halves
    #[command(after_help = "Example:\n  longshore key list")]
    List,
}

#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// What is signed, by how many keys, and how long it holds; fails when something needs doing
    #[command(after_help = "Example:\n  longshore trust status")]
    Status {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Have the controller sign anew, now, that all lists are current
    #[command(after_help = "Example:\n  longshore trust refresh")]
    Refresh {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Sign a new root: other keys, another threshold, or the same for another two years
    #[command(
        after_help = "Examples:\n  longshore trust rotate shop --add-key 3f2a… --threshold 2\n  longshore trust rotate fleet --add-key 3f2a… --remove-key 77ab…   # the organisation's own\n  longshore trust rotate shop                                      # renew"
    )]
    Rotate {
        /// The app, or "fleet"
        app: AppName,
        /// A key that may sign from now on; may be repeated
        #[arg(long = "add-key", value_name = "PUBLIC")]
        add: Vec<PublicKey>,
        /// A key that may not any more; may be repeated
        #[arg(long = "remove-key", value_name = "PUBLIC")]
        remove: Vec<PublicKey>,
        /// How many keys have to sign
        #[arg(long)]
        threshold: Option<u64>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Tell this machine by which root it knows the fleet
    #[command(after_help = "Example:\n  longshore trust pin 77ab…")]
    Pin {
        /// SHA-256 that longshore init printed
        #[arg(value_name = "SHA256")]
        root: String,
        /// Forget the one that is pinned
        #[arg(long)]
        replace: bool,
    },
}

/// `release sign`.
#[derive(Debug, clap::Args)]
pub struct SignArgs {
    /// Such as shop@1.4.2
    #[arg(value_name = "APP@VERSION", value_parser = super::fleet::release_name)]
    pub release: super::fleet::ReleaseName,
    /// Refuse unless the release has this digest (longshore release show)
    #[arg(long, value_name = "SHA256")]
    pub digest: Option<String>,
    /// Nothing older of this app may run any more, anywhere
    #[arg(long)]
    pub security: bool,
    #[command(flatten)]
    pub waiting: Waiting,
}
