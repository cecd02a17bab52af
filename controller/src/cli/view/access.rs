//! Operators, and the audit log.

use std::path::Path;

use longshore_common::{digest::hex, text::visible};
use longshore_proto::v1 as pb;
use serde::Serialize;

use crate::{
    audit::{Broken, Chained, Verified, What},
    cli::{
        exit::Exit,
        failure::exit_of,
        moment::{Moment, count},
        output::{Page, View},
        style::{Ink, clip},
        table::{Cell, Table},
    },
};

#[derive(Clone, Debug, Serialize)]
pub struct User {
    pub name: String,
    pub roles: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<Lock>,
    pub created_at: Moment,
    pub created_by: String,
    /// The end of the certificate that lasts longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Moment>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Lock {
    pub by: String,
    pub reason: String,
    pub at: Moment,
}

impl From<pb::User> for User {
    fn from(user: pb::User) -> Self {
        let pb::User {
            name,
            grants,
            locked,
            locked_by,
            locked_reason,
            locked_ms,
            created_ms,
            created_by,
            keys,
        } = user;
        Self {
            name,
            roles: grants,
            locked: locked.then_some(Lock { by: locked_by, reason: locked_reason, at: Moment(locked_ms) }),
            created_at: Moment(created_ms),
            created_by,
            expires_at: keys.iter().map(|key| key.expires_ms).max().map(Moment),
        }
    }
}

impl User {
    fn roles(&self) -> String {
        if self.roles.is_empty() { "none".to_owned() } else { visible(&self.roles.join(", ")) }
    }

    fn standing(&self, now: Moment) -> (Ink, String) {
        match (&self.locked, self.expires_at) {
            (Some(lock), _) if lock.reason.is_empty() => {
                (Ink::Bad, format!("locked by {}", visible(&lock.by)))
            }
            (Some(lock), _) => {
                (Ink::Bad, format!("locked by {}: {}", visible(&lock.by), visible(&lock.reason)))
            }
            (None, Some(expires)) if expires < now => {
                (Ink::Warn, format!("expired {}", expires.relative(now)))
            }
            (None, Some(expires)) => (Ink::Plain, format!("expires {}", expires.relative(now))),
            (None, None) => (Ink::Warn, "no certificate".to_owned()),
        }
    }
}

impl View for User {
    const SCHEMA: &'static str = "longshore.cli.user/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let (ink, standing) = self.standing(page.now);
        vec![
            format!("operator     {}", visible(&self.name)),
            format!("roles        {}", self.roles()),
            format!("certificate  {}", page.style.paint(ink, &standing)),
        ]
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct UserList {
    pub users: Vec<User>,
}

impl From<pb::ListUsersReply> for UserList {
    fn from(reply: pb::ListUsersReply) -> Self {
        Self { users: reply.users.into_iter().map(User::from).collect() }
    }
}

impl View for UserList {
    const SCHEMA: &'static str = "longshore.cli.user-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let mut table = Table::new(["OPERATOR", "CERTIFICATE", "MADE BY", "ROLES"]);
        for user in &self.users {
            let (ink, standing) = user.standing(page.now);
            table.row([
                visible(&user.name).into(),
                Cell::new(ink, standing),
                visible(&user.created_by).into(),
                user.roles().into(),
            ]);
        }
        table.lines(page.style)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct UserMade {
    pub user: User,
    pub folder: String,
    pub expires_at: Moment,
}

impl UserMade {
    pub fn new(user: pb::User, folder: &Path, expires_ms: i64) -> Self {
        Self { user: user.into(), folder: folder.display().to_string(), expires_at: Moment(expires_ms) }
    }
}

impl View for UserMade {
    const SCHEMA: &'static str = "longshore.cli.user-made/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let (name, folder) = (visible(&self.user.name), visible(&self.folder));
        vec![
            format!(
                "Operator {name}: {}; the certificate expires {}.",
                self.user.roles(),
                self.expires_at.relative(page.now)
            ),
            format!("Hand {folder} over safely, it holds a private key; then, on {name}'s machine:"),
            format!("  longshore context add NAME --from {folder}"),
        ]
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct UserRemoved {
    pub name: String,
}

impl View for UserRemoved {
    const SCHEMA: &'static str = "longshore.cli.user-removed/1";

    fn lines(&self, _page: &Page) -> Vec<String> {
        vec![format!("Operator {} is forgotten; their next call is refused.", visible(&self.name))]
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct LoggedIn {
    pub context: String,
    pub expires_at: Moment,
}

impl LoggedIn {
    pub fn new(context: &str, expires_ms: i64) -> Self {
        Self { context: context.to_owned(), expires_at: Moment(expires_ms) }
    }
}

impl View for LoggedIn {
    const SCHEMA: &'static str = "longshore.cli.logged-in/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let expires = self.expires_at.relative(page.now);
        vec![format!(
            "Context {} has a new key and a certificate that expires {expires}.",
            visible(&self.context)
        )]
    }
}

/// One entry of the audit log.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub i: u64,
    pub at: Moment,
    #[serde(flatten)]
    what: What,
    /// `done`, `refused` with the code, or the code of the error; empty while nothing is known of its end.
    pub outcome: String,
    /// At the door, or by policy and state: what ends a command with 4.
    pub refused: bool,
}

impl Entry {
    pub fn new(entry: Chained) -> Self {
        let outcome = match &entry.what {
            What::Denied { code, .. } => format!("refused {code}"),
            What::Event { .. } => "done".to_owned(),
            What::Ended { code, .. } => code.clone().unwrap_or_else(|| "done".to_owned()),
            What::Allowed { .. } | What::Pruned { .. } | What::Suppressed { .. } => String::new(),
        };
        let refused = match &entry.what {
            What::Denied { .. } | What::Suppressed { .. } => true,
            What::Ended { code: Some(code), .. } => is_refusal(code),
            What::Allowed { .. } | What::Event { .. } | What::Ended { .. } | What::Pruned { .. } => false,
        };
        Self { i: entry.i, at: Moment(entry.at_ms), what: entry.what, outcome, refused }
    }

    pub fn ended(&mut self, code: Option<&str>, why: &str) {
        self.refused = code.is_some_and(is_refusal);
        self.outcome = match code {
            None => "done".to_owned(),
            Some(code) if self.refused => format!("refused {code} {why}"),
            Some(code) => format!("{code} {why}"),
        };
    }

    fn ink(&self) -> Ink {
        match self.outcome.as_str() {
            "done" => Ink::Plain,
            "" => Ink::Faint,
            _ => Ink::Warn,
        }
    }

    fn words(&self) -> (String, String) {
        match &self.what {
            What::Allowed { actor, method, target, .. } => (actor.clone(), format!("{method} {target}")),
            What::Denied { actor, method, target, why, .. } => {
                let space = if target.is_empty() { "" } else { " " };
                (actor.clone(), format!("{method}{space}{target}: {why}"))
            }
            What::Event { actor, event, target } => (actor.clone(), format!("{event}: {target}")),
            What::Ended { of, why, .. } => (String::new(), format!("end of {of} {why}")),
            What::Pruned { before } => {
                (String::new(), format!("entries before {before} were taken away: the log was full"))
            }
            What::Suppressed { refusals } => {
                (String::new(), format!("{refusals} more refusals, not written one by one"))
            }
        }
    }
}

/// Whoever typed it saw the command end with 4.
fn is_refusal(code: &str) -> bool {
    code.parse().is_ok_and(|code| exit_of(code) == Exit::Refused)
}

impl View for Entry {
    const SCHEMA: &'static str = "longshore.cli.audit-entry/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let (actor, what) = self.words();
        let outcome = page.style.paint(self.ink(), &visible(&self.outcome));
        vec![format!(
            "{:>6}  {}  {}  {}  {outcome}",
            self.i,
            self.at.clock(&page.zone),
            visible(&actor),
            visible(what.trim_end())
        )]
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Entries {
    pub entries: Vec<Entry>,
    /// Numbers of entries that are missing or not what they were: what was asked for may be among them.
    pub damaged: Vec<u64>,
}

/// One of them, for whoever follows.
#[derive(Clone, Debug, Serialize)]
pub struct Damaged {
    pub damaged: u64,
}

/// Numbers that a line of the table names.
const DAMAGED_NAMED: usize = 20;

impl View for Damaged {
    const SCHEMA: &'static str = "longshore.cli.audit-damaged/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        vec![damaged(page, &[self.damaged])]
    }
}

fn damaged(page: &Page, numbers: &[u64]) -> String {
    let named: Vec<String> = numbers.iter().take(DAMAGED_NAMED).map(u64::to_string).collect();
    let more = match numbers.len().saturating_sub(DAMAGED_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let entries = if numbers.len() == 1 { "entry" } else { "entries" };
    let text = format!(
        "DAMAGED  {entries} {}{more}: missing or not what was written, and perhaps among what was asked for. \
         See: longshore audit verify",
        named.join(", ")
    );
    page.style.paint(Ink::Bad, &text)
}

impl View for Entries {
    const SCHEMA: &'static str = "longshore.cli.audit-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let last = (!self.damaged.is_empty()).then(|| damaged(page, &self.damaged));
        if self.entries.is_empty() {
            return std::iter::once("No entries.".to_owned()).chain(last).collect();
        }
        let mut table = Table::new(["ENTRY", "WHEN", "WHO", "OUTCOME", "WHAT"]);
        for entry in &self.entries {
            let (actor, what) = entry.words();
            let first = entry.outcome.lines().next().unwrap_or_default();
            table.row([
                entry.i.to_string().into(),
                entry.at.relative(page.now).into(),
                visible(&actor).into(),
                Cell::new(entry.ink(), clip(&visible(first), OUTCOME)),
                visible(what.trim_end()).into(),
            ]);
        }
        table.lines_within(page.style, page.columns).into_iter().chain(last).collect()
    }
}

/// Columns of a table that an outcome may take: what was done has to be seen beside it.
const OUTCOME: usize = 48;

/// What `audit verify` found.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub sound: bool,
    /// Hosts were asked and none answered, so only the chain itself was checked.
    pub inconclusive: bool,
    /// The first entry that is missing or not what it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken_at: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    pub first: u64,
    pub entries: u64,
    pub head: String,
    /// Hosts and files that hold checkpoints.
    pub witnesses: Vec<String>,
    pub checkpoints: usize,
    /// Hosts and files whose checkpoints were edited or damaged there; they say nothing of the log.
    pub forged: Vec<String>,
    /// Hosts that did not show theirs, and why.
    pub silent: Vec<String>,
}

/// What the log was held against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witnesses {
    /// Hosts and files that hold checkpoints.
    pub holders: Vec<String>,
    pub checkpoints: usize,
    pub forged: Vec<String>,
    pub silent: Vec<String>,
}

impl Verdict {
    pub fn new(found: Result<Verified, Broken>, witnesses: Witnesses, inconclusive: bool) -> Self {
        let Witnesses { holders, checkpoints, forged, silent } = witnesses;
        let mut verdict = Self {
            sound: found.is_ok(),
            inconclusive,
            broken_at: None,
            why: String::new(),
            first: 0,
            entries: 0,
            head: String::new(),
            witnesses: holders,
            checkpoints,
            forged,
            silent,
        };
        match found {
            Ok(Verified { first, entries, head }) => {
                (verdict.first, verdict.entries, verdict.head) = (first, entries, hex(&head));
            }
            Err(Broken { index, why }) => (verdict.broken_at, verdict.why) = (Some(index), why),
        }
        verdict
    }
}

impl View for Verdict {
    const SCHEMA: &'static str = "longshore.cli.audit-verdict/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let last = self.entries.saturating_sub(1).max(self.first);
        let mut lines = match self.broken_at {
            Some(entry) => {
                vec![page.style.paint(Ink::Bad, &format!("BROKEN  entry {entry} {}", visible(&self.why)))]
            }
            None if self.inconclusive => vec![page.style.paint(
                Ink::Warn,
                &format!(
                    "INCONCLUSIVE  entries {} to {last} follow from each other, and no host answered that could say whether \
                     they are what they were. Try again when hosts are connected, or with --witness-file",
                    self.first
                ),
            )],
            None => vec![format!(
                "Sound: entries {} to {last} follow from each other (head {}).",
                self.first,
                visible(self.head.get(..16).unwrap_or_default())
            )],
        };
        lines.push(match self.witnesses.len() {
            0 => page.style.paint(
                Ink::Warn,
                "No witness: no host showed a checkpoint, so only the chain itself was checked.",
            ),
            1 => format!("Held against {} of 1 witness.", count(self.checkpoints, "checkpoint")),
            holders => {
                format!("Held against {} of {holders} witnesses.", count(self.checkpoints, "checkpoint"))
            }
        });
        let forged = |holder: &String| {
            let text = format!(
                "WITNESS  {}: checkpoints there are not signed by the key that they name: they were edited or damaged, \
                 and the log was not held against them",
                visible(holder)
            );
            page.style.paint(Ink::Bad, &text)
        };
        lines.extend(self.forged.iter().map(forged));
        lines.extend(
            self.silent
                .iter()
                .map(|host| page.style.paint(Ink::Warn, &format!("not asked: {}", visible(host)))),
        );
        lines
    }
}
