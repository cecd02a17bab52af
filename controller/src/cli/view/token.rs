//! Join tokens. The secret is in `TokenMade` only, and printed once.

use std::collections::BTreeMap;

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use serde::Serialize;

use super::{labels, some};
use crate::cli::{
    moment::{Moment, count},
    output::{Page, View},
    style::Ink,
    table::{Cell, Table},
};

#[derive(Clone, Debug, Serialize)]
pub struct TokenMade {
    pub id: String,
    pub token: String,
    pub uses: u32,
    pub expires_at: Moment,
    /// Where a host enrols.
    pub address: String,
    /// The one command to run on the host. It reads the token from its standard input, so that it is in no process list and no
    /// shell history.
    pub command: String,
}

impl TokenMade {
    pub fn new(reply: pb::CreateTokenReply, uses: u32) -> Self {
        let pb::CreateTokenReply { token, id, expires_ms, enroll_address } = reply;
        let command = format!("sudo longshore-agent enroll --server {enroll_address} --token-file -");
        Self { id, token, uses, expires_at: Moment(expires_ms), address: enroll_address, command }
    }
}

impl View for TokenMade {
    const SCHEMA: &'static str = "longshore.cli.token-made/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let expires = self.expires_at.relative(page.now);
        vec![
            format!(
                "On the host, as root, once its agent is installed ({}, expires {expires}):",
                count(self.uses as usize, "use")
            ),
            String::new(),
            format!("  {}", visible(&self.command)),
            String::new(),
            "It waits for the token: paste this line, and end with Ctrl-D.".to_owned(),
            String::new(),
            format!("  {}", visible(&self.token)),
            String::new(),
            page.style.paint(
                Ink::Faint,
                &format!(
                    "The token is not shown again. Take it back: longshore token revoke {}",
                    visible(&self.id)
                ),
            ),
        ]
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct TokenList {
    pub tokens: Vec<Token>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Token {
    pub id: String,
    pub uses_left: u32,
    pub expires_at: Moment,
    pub labels: BTreeMap<String, String>,
    pub created_by: String,
    /// Names that hosts may enrol under; none: any.
    pub name: Option<String>,
    /// Where it is good from; empty: anywhere.
    pub networks: Vec<String>,
    /// Each host waits until an operator lets it in.
    pub require_approval: bool,
}

impl Token {
    /// Whom it is for, beyond whoever has it.
    fn narrowed(&self) -> String {
        let mut parts = vec![];
        parts.extend(self.name.as_ref().map(|name| format!("names {name}")));
        if !self.networks.is_empty() {
            parts.push(format!("from {}", self.networks.join(" ")));
        }
        if self.require_approval {
            parts.push("asks".to_owned());
        }
        visible(&parts.join(", "))
    }
}

impl From<pb::ListTokensReply> for TokenList {
    fn from(reply: pb::ListTokensReply) -> Self {
        Self { tokens: reply.tokens.into_iter().map(Token::from).collect() }
    }
}

impl From<pb::TokenRow> for Token {
    fn from(row: pb::TokenRow) -> Self {
        let pb::TokenRow { id, uses_left, expires_ms, labels, created_by, name, networks, ask } = row;
        Self {
            id,
            uses_left,
            expires_at: Moment(expires_ms),
            labels,
            created_by,
            name: some(name),
            networks,
            require_approval: ask,
        }
    }
}

impl View for TokenList {
    const SCHEMA: &'static str = "longshore.cli.token-list/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        if self.tokens.is_empty() {
            return vec!["No tokens. Make one: longshore token create".to_owned()];
        }
        let mut table = Table::new(["TOKEN", "USES LEFT", "EXPIRES", "MADE BY", "FOR", "LABELS"]);
        for token in &self.tokens {
            let over = token.expires_at < page.now || token.uses_left == 0;
            let expires = match token.expires_at < page.now {
                true => format!("expired {}", token.expires_at.relative(page.now)),
                false => token.expires_at.relative(page.now),
            };
            table.row([
                visible(&token.id).into(),
                token.uses_left.to_string().into(),
                Cell::new(if over { Ink::Faint } else { Ink::Plain }, expires),
                visible(&token.created_by).into(),
                token.narrowed().into(),
                labels(&token.labels).into(),
            ]);
        }
        table.lines(page.style)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct TokenRevoked {
    pub id: String,
}

impl View for TokenRevoked {
    const SCHEMA: &'static str = "longshore.cli.token-revoked/1";

    fn lines(&self, _page: &Page) -> Vec<String> {
        vec![format!("Token {} is revoked. Hosts that enrolled with it stay enrolled.", visible(&self.id))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_in_no_command() {
        let reply = pb::CreateTokenReply {
            token: "lsj1.tk-7d21.secret".into(),
            id: "tk-7d21".into(),
            expires_ms: 1_800_000,
            enroll_address: "deploy.example:7443".into(),
        };
        let made = TokenMade::new(reply, 1);
        assert_eq!(made.command, "sudo longshore-agent enroll --server deploy.example:7443 --token-file -");
        let lines = made.lines(&Page::plain(Moment(0)));
        let with_it: Vec<&String> = lines.iter().filter(|line| line.contains("secret")).collect();
        assert_eq!(with_it, ["  lsj1.tk-7d21.secret"], "on a line of its own");
    }
}
