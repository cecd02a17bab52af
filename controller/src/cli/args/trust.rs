//! What may run: keys, apps, signatures.

use std::str::FromStr;

use clap::Subcommand;
use longshore_common::{digest::ReleaseDigest, ids::AppName, time::Span, trust::PublicKey};

use super::Waiting;

#[derive(Debug, Subcommand)]
pub enum AppCommand {
    /// Make an app's first release key, and tell the fleet that it signs this app
    #[command(
        after_help = "Examples:\n  longshore app create shop\n  longshore app create shop --key 3f2a… --threshold 2\n  longshore app create shop        # by whoever holds 3f2a…: signs what waits"
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
    /// Sign by a key that an ssh-agent holds: the key itself never comes here
    #[command(
        after_help = "Examples:\n  longshore key add alice --ssh-agent                  # the one Ed25519 key that it holds\n  longshore key add org --ssh-agent SHA256:2jnt…      # as ssh-add -l shows it\n  longshore key add shop --ssh-agent ~/.ssh/release.pub"
    )]
    Add {
        /// What to call it: "org" is the organisation's, an app's name is that app's
        name: AppName,
        /// Which key of the agent: its fingerprint, comment, or public half (also as a file)
        #[arg(long = "ssh-agent", value_name = "KEY", num_args = 0..=1, default_missing_value = "", required = true)]
        ssh_agent: String,
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
    /// Have the controller sign anew, now, that all lists are current; what it lost of what was seen here is handed back
    #[command(
        after_help = "Example:\n  longshore trust refresh\nAfter a controller was put back to an older copy, on each machine that signed since"
    )]
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
    /// Whose signatures count for an app: each key with the id that messages show, and its name where it lies here
    #[command(
        after_help = "Examples:\n  longshore trust keys\n  longshore trust keys shop\nA key's owner finds the same id in: longshore key list"
    )]
    Keys {
        /// The app, or "fleet"; without it, all
        app: Option<AppName>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Give up what waits for signatures: those under it are lost
    #[command(
        after_help = "Examples:\n  longshore trust drop shop 3f2a91c0d4e5 --reason \"built from the wrong branch\"\n  longshore trust drop shop --overtaken --reason \"old builds\""
    )]
    Drop {
        /// The app, or "fleet"
        app: AppName,
        /// Which, as longshore trust status shows it
        #[arg(required_unless_present = "overtaken", conflicts_with = "overtaken")]
        id: Option<String>,
        /// All that cannot be completed any more, because another was taken in its place
        #[arg(long)]
        overtaken: bool,
        /// For the record
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Ask hosts what they have verified, after they have looked for what is new; fails when something needs doing
    #[command(
        after_help = "Examples:\n  longshore trust check\n  longshore trust check env=prod\n  longshore trust check --host web-3\nWhat a host itself says, without the controller in between: longshore-agent trust status, there"
    )]
    Check {
        /// Which hosts: key=value, key!=value, key, !key; commas join them
        #[arg(default_value = "*")]
        selector: String,
        /// This one: its name or id
        #[arg(long, value_name = "HOST", conflicts_with = "selector")]
        host: Option<String>,
        /// A host that has not answered by then is silent
        #[arg(long, value_name = "TIME", default_value = "30s")]
        timeout: Span,
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

#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// What the organisation's key says to every host
    #[command(after_help = "Example:\n  longshore fleet status")]
    Status {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Nothing new begins on any host until it is lifted; what runs goes on. Signed by the organisation's key
    #[command(after_help = "Example:\n  longshore fleet freeze --reason \"release key stolen, see #812\"")]
    Freeze {
        /// Shown wherever something is refused
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Lift it
    #[command(after_help = "Example:\n  longshore fleet unfreeze")]
    Unfreeze {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// No host may begin with this release any more, whoever signed it; hosts that run it go on
    #[command(
        after_help = "Examples:\n  longshore fleet revoke shop@1.4.2 --reason \"built on a stolen machine\"\n  longshore fleet revoke 9c1e5a5f… --reason \"see #812\"    # by its digest"
    )]
    Revoke {
        /// Such as shop@1.4.2, or the release's digest
        #[arg(value_name = "APP@VERSION|SHA256")]
        release: Revoked,
        /// Shown wherever it is refused
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Take that back
    #[command(after_help = "Example:\n  longshore fleet unrevoke 9c1e5a5f…")]
    Unrevoke {
        /// Such as shop@1.4.2, or the release's digest
        #[arg(value_name = "APP@VERSION|SHA256")]
        release: Revoked,
        #[command(flatten)]
        waiting: Waiting,
    },
}

/// A release, by name or by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    Named(super::fleet::ReleaseName),
    Digest(ReleaseDigest),
}

impl FromStr for Revoked {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<ReleaseDigest>() {
            Ok(digest) => Ok(Revoked::Digest(digest)),
            Err(_) => super::fleet::release_name(text).map(Revoked::Named).map_err(|_| {
                "write APP@VERSION, or the 64 digits of a digest (longshore release show)".to_owned()
            }),
        }
    }
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
