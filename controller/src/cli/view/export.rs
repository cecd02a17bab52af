//! What `release export` wrote.

use longshore_common::text::visible;
use serde::Serialize;

use crate::cli::{
    moment::{Moment, bytes},
    output::{Page, View},
    style::Ink,
    table::Facts,
};

#[derive(Clone, Debug, Serialize)]
pub struct Exported {
    pub release: String,
    pub digest: String,
    /// The file or folder.
    pub path: String,
    pub bytes: u64,
    /// "verified" here by what this machine pins, or "not verified" because it pins nothing; none where nothing is
    /// signed.
    pub signed: Option<String>,
    /// When the first of its documents runs out.
    pub holds_until: Option<Moment>,
}

impl Exported {
    pub fn new(
        release: String,
        digest: String,
        path: String,
        bytes: u64,
        signed: Option<bool>,
        holds_until_ms: Option<i64>,
    ) -> Self {
        let signed = signed.map(|verified| if verified { "verified" } else { "not verified" }.to_owned());
        Self { release, digest, path, bytes, signed, holds_until: holds_until_ms.map(Moment) }
    }
}

impl View for Exported {
    const SCHEMA: &'static str = "longshore.cli.exported/1";

    fn lines(&self, page: &Page) -> Vec<String> {
        let signed = match self.signed.as_deref() {
            None => "no: nothing is signed in this fleet, and only hosts that pin nothing take it".to_owned(),
            Some("verified") => "yes, verified by the root that this machine pins".to_owned(),
            Some(_) => "yes, not verified here: this machine pins no root (longshore trust pin)".to_owned(),
        };
        let path = visible(&self.path);
        let mut facts = Facts::default();
        facts
            .add("file", format!("{path}, {}", bytes(self.bytes)))
            .add("digest", visible(&self.digest))
            .add("signed", signed)
            .add_some("runs out", self.holds_until.map(|at| at.relative(page.now)))
            .add("next", format!("on the host: longshore-agent deploy --bundle {path}"));
        let head = format!("{} is exported", visible(&self.release));
        let mut lines = vec![page.style.paint(Ink::Good, &head)];
        lines.extend(facts.lines(page.style).into_iter().map(|line| format!("  {line}")));
        lines
    }
}
