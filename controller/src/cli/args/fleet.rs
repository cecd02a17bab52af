//! Contexts, tokens, hosts, releases, environments, logs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use longshore_common::{manifest::AttestationKind, time::Span};

use super::Waiting;

#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// Import an operator folder under a name; the first becomes the one in use
    #[command(
        after_help = "Examples:\n  longshore context add prod --from ./operator\n  longshore context add prod --from ./operator --address 10.0.0.2:7440"
    )]
    Add {
        /// What to call it
        name: String,
        /// The folder that `longshore-controller init` wrote: cert.pem, key.pem, ca.pem, address
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// Where the controller is, if not where the folder says
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
    },
    /// Use this context from now on
    #[command(after_help = "Example:\n  longshore context use prod")]
    Use {
        /// As in the list
        name: String,
    },
    /// Forget a context, and its certificate and key
    #[command(after_help = "Example:\n  longshore context remove old-lab")]
    Remove {
        /// As in the list
        name: String,
    },
    /// All contexts; the one in use has a star
    #[command(after_help = "Example:\n  longshore context list")]
    List,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a join token and print the command to run on the host
    #[command(
        after_help = "Examples:\n  longshore token create\n  longshore token create --uses 20 --ttl 2h --label env=prod\n  longshore token create --name 'web-*' --cidr 10.1.0.0/16 --require-approval"
    )]
    Create {
        /// How many hosts may enrol with it
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        uses: u32,
        /// Names that hosts may enrol under; `*` stands for any run of characters
        #[arg(long, value_name = "PATTERN")]
        name: Option<String>,
        /// Where it is good from, as 10.1.0.0/16; may be repeated
        #[arg(long = "cidr", value_name = "NETWORK")]
        networks: Vec<String>,
        /// Each host waits until an operator lets it in: longshore host admit
        #[arg(long)]
        require_approval: bool,
        /// The hosts will pin no root and run whatever the controller says
        #[arg(long)]
        unsigned: bool,
        /// How long it is good for
        #[arg(long, value_name = "TIME", default_value = "30m")]
        ttl: Span,
        /// Given to every host that enrols with it; may be repeated
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Tokens that are still known; never their secrets
    #[command(after_help = "Example:\n  longshore token list")]
    List {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Make a token useless
    #[command(after_help = "Example:\n  longshore token revoke tk-7d21")]
    Revoke {
        /// As in the list
        id: String,
        #[command(flatten)]
        waiting: Waiting,
    },
}

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Hosts and how they stand
    #[command(after_help = "Examples:\n  longshore host list\n  longshore host list env=prod,zone=eu-*")]
    List {
        /// Which hosts: key=value, key!=value, key, !key; commas join them
        #[arg(default_value = "*")]
        selector: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Everything that is known of one host
    #[command(after_help = "Example:\n  longshore host show web-3")]
    Show {
        /// Its name or id
        host: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Set and remove labels
    #[command(
        after_help = "Examples:\n  longshore host label web-3 zone=eu-1 canary=yes\n  longshore host label web-3 canary-"
    )]
    Label {
        /// Its name or id
        host: String,
        /// `key=value` sets, `key-` removes
        #[arg(required = true, value_name = "KEY=VALUE|KEY-", value_parser = label_change)]
        changes: Vec<LabelChange>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Keep new work from a host, and let its apps stop
    ///
    /// Rollouts that start from now on leave it out. Without --deadline and --force what runs there runs on. Apps that
    /// were stopped come back with `undrain`, and not before, over a boot of the machine too.
    #[command(
        after_help = "Examples:\n  longshore host drain web-3 --reason \"its lease ends next week\"\n  \
                      longshore host drain web-3 --deadline 10m --reason \"disk is being replaced\"\n  \
                      longshore host drain web-3 --force --reason \"it burns\""
    )]
    Drain {
        /// Its name or id
        host: String,
        /// Stop its apps when nothing is under way there, at the latest after this time
        #[arg(long, value_name = "TIME", conflicts_with = "force")]
        deadline: Option<Span>,
        /// Stop its apps at once, whatever is under way there
        #[arg(long)]
        force: bool,
        /// Shown wherever the host is left out
        #[arg(long, default_value = "no reason given")]
        reason: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Let a drained host take new work again, and bring back what ran there
    #[command(after_help = "Example:\n  longshore host undrain web-3")]
    Undrain {
        /// Its name or id
        host: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Let a host in that waits for it, or that was paused as one identity in two places
    #[command(
        after_help = "Examples:\n  longshore host admit web-3\n  longshore host admit web-3 --key 9c1e5a5f0c7f6ae5    # refused if its key is another"
    )]
    Admit {
        /// Its name or id
        host: String,
        /// The fingerprint that the host shows, or the beginning of it: longshore-agent status
        #[arg(long, value_name = "HEX", default_value = "")]
        key: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Refuse a host's certificate from now on, cut its connections and forget the host
    #[command(visible_aliases = ["revoke", "rm"], after_help = "Example:\n  longshore host remove web-3")]
    Remove {
        /// Its name or id
        host: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Ask hosts for an answer right now
    #[command(
        after_help = "Examples:\n  longshore host ping\n  longshore host ping web-3\n  longshore host ping env=prod --timeout 2s"
    )]
    Ping {
        /// A host's name or id, or which hosts: key=value, key!=value, key, !key; commas join them
        #[arg(value_name = "HOST|SELECTOR", default_value = "*")]
        hosts: String,
        /// A host that has not answered by then is silent
        #[arg(long, value_name = "TIME", default_value = "5s")]
        timeout: Span,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelChange {
    Set(String, String),
    Remove(String),
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write key=value".to_owned()),
    }
}

fn label_change(text: &str) -> Result<LabelChange, String> {
    if let Ok((key, value)) = key_value(text) {
        return Ok(LabelChange::Set(key, value));
    }
    match text.strip_suffix('-') {
        Some(key) if !key.is_empty() => Ok(LabelChange::Remove(key.to_owned())),
        _ => Err("write key=value to set a label, key- to remove it".to_owned()),
    }
}

/// `APP@VERSION`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseName {
    pub app: String,
    pub version: String,
}

pub fn release_name(text: &str) -> Result<ReleaseName, String> {
    match text.split_once('@') {
        Some((app, version)) if !app.is_empty() && !version.is_empty() => {
            Ok(ReleaseName { app: app.to_owned(), version: version.to_owned() })
        }
        _ => Err("write APP@VERSION, such as shop@1.4.2".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    /// Pack a folder and upload what the controller lacks of it
    #[command(
        after_help = "Examples:\n  longshore release publish\n  longshore release publish ./shop --version 1.4.2\n  longshore release publish --sbom sbom.cdx.json --provenance provenance.json"
    )]
    Publish(PublishArgs),
    /// Releases, newest first
    #[command(after_help = "Examples:\n  longshore release list\n  longshore release list shop")]
    List {
        /// Only of this app
        app: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// One release: its manifest and where it is live
    #[command(after_help = "Example:\n  longshore release show shop@1.4.2")]
    Show {
        /// Such as shop@1.4.2
        #[arg(value_name = "APP@VERSION", value_parser = release_name)]
        release: ReleaseName,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Have the controller read every byte of a release again
    #[command(after_help = "Example:\n  longshore release verify shop@1.4.2 --timeout 10m")]
    Verify {
        /// Such as shop@1.4.2
        #[arg(value_name = "APP@VERSION", value_parser = release_name)]
        release: ReleaseName,
        /// Give up after this long
        #[arg(long, value_name = "TIME", default_value = "5m")]
        timeout: Span,
    },
    /// Sign a release that was published, or add the signature that it still needs
    #[command(
        after_help = "Examples:\n  longshore release sign shop@1.4.2\n  longshore release sign shop@1.4.2 --security    # and nothing older may run any more"
    )]
    Sign(super::SignArgs),
    /// Write a release into one file (or folder) for hosts without a network, with what proves that it may run
    #[command(
        after_help = "Examples:\n  longshore release export shop@1.4.2 --into shop-1.4.2.lsb\n  longshore release export shop@1.4.2 --folder ./shop-1.4.2\nThen, on the host:\n  longshore-agent deploy --bundle shop-1.4.2.lsb"
    )]
    Export(ExportArgs),
    /// Print what is attested of a release, as it was published: its SBOM or provenance
    #[command(
        after_help = "Examples:\n  longshore release attestation shop@1.4.2 sbom > sbom.json\n  longshore release attestation shop@1.4.2 provenance"
    )]
    Attestation {
        /// Such as shop@1.4.2
        #[arg(value_name = "APP@VERSION", value_parser = release_name)]
        release: ReleaseName,
        /// sbom or provenance
        kind: AttestationKind,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Never roll a release out again; hosts that run it go on
    #[command(after_help = "Example:\n  longshore release withdraw shop@1.4.2 --reason \"loses orders\"")]
    Withdraw {
        /// Such as shop@1.4.2
        #[arg(value_name = "APP@VERSION", value_parser = release_name)]
        release: ReleaseName,
        /// Shown to whoever tries to roll it out
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        waiting: Waiting,
    },
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Such as shop@1.4.2
    #[arg(value_name = "APP@VERSION", value_parser = release_name)]
    pub release: ReleaseName,
    /// The file to write [default: APP-VERSION.lsb]
    #[arg(long, value_name = "FILE", conflicts_with = "folder")]
    pub into: Option<PathBuf>,
    /// A new folder to write instead: the artifact's files as they are, and what proves that it may run
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// Give up after this long
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub timeout: Span,
}

#[derive(Debug, Args)]
pub struct PublishArgs {
    /// The folder in which longshore.toml lies
    #[arg(default_value = ".", value_name = "DIR", conflicts_with = "file")]
    pub dir: PathBuf,
    /// The version, if not the one in longshore.toml
    #[arg(long = "version", value_name = "VERSION")]
    pub release_version: Option<String>,
    /// The app's file itself, whatever its name
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What it is made of: CycloneDX or SPDX, as JSON; its digest is signed with the release
    #[arg(long, value_name = "FILE")]
    pub sbom: Option<PathBuf>,
    /// How it came to be: an in-toto statement, plain or in a DSSE envelope; its digest is signed with the release
    #[arg(long, value_name = "FILE")]
    pub provenance: Option<PathBuf>,
    /// Give up after this long; what was uploaded is not uploaded again
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub timeout: Span,
}

#[derive(Debug, Subcommand)]
pub enum EnvCommand {
    /// Make or change an environment as its file says
    #[command(after_help = "Example:\n  longshore env apply production.toml")]
    Apply {
        /// Which hosts, how carefully, and the values of config templates; `-`: standard input
        file: PathBuf,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Take an environment away that no host is of; what hosts run goes on running
    #[command(after_help = "Example:\n  longshore env remove old-staging")]
    Remove {
        /// Its name
        env: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// All environments and what is live in them
    #[command(after_help = "Example:\n  longshore env list")]
    List {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// When it may be changed: the next openings, and why a moment is closed
    #[command(
        after_help = "Examples:\n  longshore env calendar production\n  longshore env calendar production --at \"2026-11-29 01:45\""
    )]
    Calendar {
        /// Its name
        env: String,
        /// The moment to look at: "2026-11-29 01:45" on its clock, "2026-11-29T00:45Z", "+2h"; not given: now
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        /// How many openings
        #[arg(short = 'n', long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
        openings: u32,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Begin nothing there until it is lifted: rollouts under way hold
    #[command(
        after_help = "Examples:\n  longshore env freeze production --reason \"stock-taking\"\n  longshore env freeze production --reason audit --from \"2026-12-20\" --until \"2027-01-02 08:00\""
    )]
    Freeze {
        /// Its name
        env: String,
        /// Shown to everybody who waits for it
        #[arg(long)]
        reason: String,
        /// When it begins; not given: now
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// When it ends; not given: when somebody lifts it
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Hosts do not even go back meanwhile; not given: as `[calendar] rollback` says
        #[arg(long)]
        no_rollback: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Lift a freeze
    #[command(after_help = "Example:\n  longshore env unfreeze production")]
    Unfreeze {
        /// Its name
        env: String,
        /// Told to those who are told
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Let nobody start a rollout there, until it is unlocked; what is under way goes on
    #[command(
        after_help = "Examples:\n  longshore env lock production --reason \"moving the database\"\n  longshore env lock production --app shop --reason \"looking at the crash\""
    )]
    Lock {
        /// Its name
        env: String,
        /// This app only
        #[arg(long)]
        app: Option<String>,
        /// Shown to everybody who tries
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Take a lock away
    #[command(
        after_help = "Examples:\n  longshore env unlock production\n  longshore env unlock production --app shop --force"
    )]
    Unlock {
        /// Its name
        env: String,
        /// The lock of this app
        #[arg(long)]
        app: Option<String>,
        /// Even though it is somebody else's
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// One environment and its file; with --app, the values and secrets that hosts get
    #[command(
        after_help = "Examples:\n  longshore env show production\n  longshore env show production --app shop --host web-1"
    )]
    Show {
        /// Its name
        env: String,
        /// What hosts get for this app, and where each of it is declared
        #[arg(long, value_name = "APP")]
        app: Option<String>,
        /// As it is on this host; what holds for every host when left out
        #[arg(long, value_name = "HOST", requires = "app")]
        host: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Whose log
    pub app: String,
    /// One host's log only: its name or id
    #[arg(long)]
    pub host: Option<String>,
    /// How many lines of each host
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub lines: u32,
    /// Go on as the log grows
    #[arg(short, long)]
    pub follow: bool,
    /// Give up after this long; with --follow, stop
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Span>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_and_removed() {
        assert_eq!(label_change("a=b=c"), Ok(LabelChange::Set("a".into(), "b=c".into())));
        assert_eq!(label_change("a-"), Ok(LabelChange::Remove("a".into())));
        assert!(label_change("a").is_err());
        assert!(label_change("=b").is_err());
    }

    #[test]
    fn a_release_is_app_at_version() {
        assert_eq!(release_name("shop@1@2").map(|name| name.version), Ok("1@2".to_owned()));
        assert!(release_name("shop").is_err());
        assert!(release_name("@1").is_err());
    }
}
