//! `user …`, `audit …`.

use std::path::PathBuf;

use clap::Subcommand;
use longshore_common::{ids::OperatorName, time::Span};

use super::Waiting;
use crate::access::Grant;

#[derive(Debug, Subcommand)]
pub enum ProposalCommand {
    /// What waits for a second person
    #[command(after_help = "Example:\n  longshore proposal list")]
    List {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Say yes to what somebody else wants to do; they then give their command again
    #[command(after_help = "Example:\n  longshore proposal confirm 3f2a91c0d4e5")]
    Confirm {
        /// As in the list
        id: String,
        #[command(flatten)]
        waiting: Waiting,
    },
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make an operator, and the folder by which they are believed
    #[command(
        after_help = "Examples:\n  longshore user add bob --role deployer:shop@staging --role viewer --out ./bob\n  longshore user add pipeline --role ci:shop --ttl 365d --out ./pipeline\n\nRoles: viewer, deployer, approver, host-admin, policy-admin, auditor, ci; ROLE:APP, ROLE:@ENV, ROLE:APP@ENV narrow one."
    )]
    Add {
        /// As it will appear in histories and the audit log
        name: OperatorName,
        /// What they may do; may be repeated
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Grant>,
        /// The folder to make: cert.pem, key.pem, ca.pem, address. It holds a private key
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// How long the certificate is good for, and at most each that they get by `login`
        #[arg(long, value_name = "TIME", default_value = "90d")]
        ttl: Span,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Operators, their roles, and who is locked
    #[command(after_help = "Example:\n  longshore user list")]
    List {
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Give a role
    #[command(after_help = "Example:\n  longshore user grant bob approver:@production")]
    Grant {
        name: OperatorName,
        role: Grant,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Take a role back, written as the list shows it
    #[command(after_help = "Example:\n  longshore user revoke bob deployer:shop@staging")]
    Revoke {
        name: OperatorName,
        role: Grant,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Allow nothing any more, from the next call on
    #[command(after_help = "Example:\n  longshore user lock bob --reason \"laptop stolen\"")]
    Lock {
        name: OperatorName,
        /// Shown to the operator, and recorded
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Take a lock away
    #[command(after_help = "Example:\n  longshore user unlock bob")]
    Unlock {
        name: OperatorName,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Forget an operator and every key of theirs
    #[command(after_help = "Example:\n  longshore user remove bob")]
    Remove {
        name: OperatorName,
        #[command(flatten)]
        waiting: Waiting,
    },
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Who was let do what, who was not, and how it ended
    #[command(
        after_help = "Examples:\n  longshore audit list\n  longshore audit list --actor bob --method Rollouts -n 200\n  longshore audit list --denied --since 2h\n  longshore audit list --target web-3\n  longshore audit list -f -o json\n\nExits with 1 when an entry of the log is missing or cannot be read: it may be one that was asked for."
    )]
    List {
        /// Only this operator's
        #[arg(long, value_name = "NAME")]
        actor: Option<String>,
        /// Only methods and events that begin so: Rollouts, Hosts/Remove, glass
        #[arg(long, value_name = "METHOD")]
        method: Option<String>,
        /// Only what touched something of this name: a host, an operator, shop@1.4.2
        #[arg(long, value_name = "TEXT")]
        target: Option<String>,
        /// Only of the last so long
        #[arg(long, value_name = "TIME")]
        since: Option<Span>,
        /// Only refusals
        #[arg(long)]
        denied: bool,
        /// The last so many
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50)]
        lines: usize,
        /// Go on with what is added
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Read the whole log again, and hold it against what the hosts keep
    #[command(
        after_help = "Examples:\n  longshore audit verify\n  longshore audit verify --witness-file web-1.json\n\nExits with 1 when an entry is missing or not what it was, or a witness was edited; with 7 when hosts were asked and none answered."
    )]
    Verify {
        /// Checkpoints copied from a host: /var/lib/longshore/identity/audit-checkpoints.json, or with one process
        /// /var/lib/longshore/audit-checkpoints.json; may be repeated
        #[arg(long = "witness-file", value_name = "FILE")]
        witness_files: Vec<PathBuf>,
        /// Ask no hosts
        #[arg(long)]
        no_hosts: bool,
        /// Give up after this long
        #[arg(long, value_name = "TIME", default_value = "2m")]
        timeout: Span,
    },
}
