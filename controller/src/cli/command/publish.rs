//! `release publish`: packs and uploads with a bar on a terminal, then says what was new and what to do next.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use longshore_common::{chain::Chain, ids::Version, manifest::AttestationKind, text::visible, time::Span};
use longshore_proto::v1 as pb;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Desk, deadline, trust::sign_published};
use crate::cli::{
    args::PublishArgs,
    client::Client,
    exit::Exit,
    failure::{Failure, shown},
    line::{Line, bar},
    moment::{bytes, count},
    output::{Format, Page},
    publish::{Event, Options, PublishError, publish_manifest},
    screen::Screen,
    signing::{KeyRing, Signed},
    style::Ink,
    surroundings::terminal_size,
    view::release::Published,
};

const FRAME: Duration = Duration::from_millis(100);
/// For what the controller answers while a release is signed.
const SIGN: Span = Span::secs(60);

pub async fn run(desk: &Desk, args: PublishArgs) -> Result<Exit, Failure> {
    let PublishArgs { dir, release_version, file, sbom, provenance, timeout } = args;
    let version = release_version.map(|version| version.parse::<Version>()).transpose()?;
    let attested = [(AttestationKind::Sbom, sbom), (AttestationKind::Provenance, provenance)];
    let attestations = attested.into_iter().filter_map(|(kind, path)| Some((kind, path?))).collect();
    let options = Options { file: file.unwrap_or(dir), version, attestations };
    let (client, ring) = desk.signing().await?;
    let live = desk.surroundings.live && desk.output.format == Format::Table;
    let show = Show { page: desk.output.fresh(), live };
    let published =
        tokio::time::timeout_at(deadline(timeout), publish_shown(&client, options, show, Some(&ring)))
            .await
            .map_err(|_| {
                client.too_late().next("what was uploaded stays; publish again to send the rest")
            })??;
    desk.output.print(&published)?;
    let news = published.created || matches!(published.signed.as_deref(), Some("signed" | "waiting"));
    Ok(if news { Exit::Done } else { Exit::NothingToDo })
}

/// Whether and how the way there is shown.
pub struct Show {
    pub page: Page,
    pub live: bool,
}

/// Publishes with a line that shows how far it is, which is gone at the end.
/// Signed by what lies in `ring`, where the fleet is signed.
pub async fn publish_shown(
    client: &Client,
    options: Options,
    show: Show,
    ring: Option<&KeyRing>,
) -> Result<Published, Failure> {
    let began = Instant::now();
    let file = options.file.clone();
    let known = Arc::new(Mutex::new(Known::default()));
    let told = known.clone();
    let progress = Arc::new(move |event| told.lock().expect("no holder panics").note(event));
    let mut work = std::pin::pin!(publish_manifest(client.channel(), options, progress));
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut screen = Screen::default();
    let release = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = frames.tick(), if show.live => {
                let page = Page { columns: terminal_size().0, ..show.page.clone() };
                let line = known.lock().expect("no holder panics").line(&page);
                paint(&mut screen, &[line])?;
            }
        }
    };
    if show.live {
        paint(&mut screen, &[])?;
    }
    let (release, manifest) = release.map_err(|error| why(client, &file, error))?;
    let signed = match ring {
        Some(ring) => sign_published(client, ring, &manifest, SIGN).await?,
        None => None,
    };
    let known = known.lock().expect("no holder panics").clone();
    let published = known.published(release, began.elapsed().as_millis() as i64);
    Ok(match signed {
        None => published,
        Some(Signed::Enough { overtaken }) => {
            Published { signed: Some("signed".to_owned()), overtaken, ..published }
        }
        Some(Signed::Before) => Published { signed: Some("signed before".to_owned()), ..published },
        Some(Signed::Waiting(waiting)) => {
            Published { signed: Some("waiting".to_owned()), waiting: Some(waiting), ..published }
        }
    })
}

fn paint(screen: &mut Screen, lines: &[String]) -> Result<(), Failure> {
    screen.paint(lines).map_err(|error| Failure::new(Exit::Failed, format!("write to the terminal: {error}")))
}

fn why(client: &Client, file: &Path, error: PublishError) -> Failure {
    let code = error.code();
    let message = match &error {
        PublishError::Unreachable(coded) => {
            let text = format!("controller {}: {}", client.address, coded.message);
            return Failure::coded(code, visible(&text))
                .next("what was uploaded stays; publish again to send the rest");
        }
        PublishError::Refused(coded) => coded.message.clone(),
        PublishError::File(problems) => problems.to_string(),
        PublishError::Pack(pack) => {
            let text = Chain(pack).to_string();
            // Some of these words begin with the code, which is put before all of them.
            text.strip_prefix(&code.to_string()).unwrap_or(&text).trim_start().to_owned()
        }
    };
    let failure = Failure::coded(code, shown(&message));
    match error {
        PublishError::Pack(_) if !file.exists() => failure.next(
            "run it where the app's longshore.toml is, or name that folder: longshore release publish DIR",
        ),
        _ => failure,
    }
}

/// What the work has said of itself.
#[derive(Clone, Debug, Default)]
struct Known {
    last: Option<Event>,
    files: u64,
    bytes: u64,
    /// What the controller lacked when it was first asked.
    missing: Option<(u64, u64)>,
}

impl Known {
    fn note(&mut self, event: Event) {
        if let Event::Packed { files, bytes, missing_blobs, missing_bytes } = event {
            (self.files, self.bytes) = (files, bytes);
            self.missing.get_or_insert((missing_blobs, missing_bytes));
        }
        self.last = Some(event);
    }

    fn line(&self, page: &Page) -> String {
        let columns = (page.columns / 3).clamp(8, 40);
        let bar = |word: &str, done: u64, total: u64| {
            Line::indented(2)
                .then(Ink::Busy, word)
                .to_column(13)
                .then(Ink::Busy, bar(done, total, columns))
                .then(Ink::Faint, format!("  {} / {}", bytes(done), bytes(total)))
        };
        let line = match &self.last {
            None => Line::indented(2).then(Ink::Busy, "reading"),
            Some(Event::Packing { done, total }) => bar("packing", *done, *total),
            Some(Event::Uploading { done, total }) => bar("uploading", *done, *total),
            Some(Event::Packed { missing_blobs, .. }) => {
                let new = count(*missing_blobs as usize, "new file");
                Line::indented(2).then(Ink::Busy, format!("uploading  {new}"))
            }
            Some(Event::Again { attempt, cause }) => {
                let text = format!("the connection was cut ({}); try {}", visible(cause), attempt + 1);
                Line::indented(2).then(Ink::Warn, text)
            }
            Some(Event::Publishing) => Line::indented(2).then(Ink::Busy, "publishing"),
        };
        line.paint(page.style, page.columns)
    }

    fn published(self, release: pb::Release, took_ms: i64) -> Published {
        let (new_blobs, new_bytes) = self.missing.unwrap_or_default();
        Published {
            created: release.created,
            release: release.into(),
            new_blobs,
            new_bytes,
            took_ms,
            signed: None,
            waiting: None,
            overtaken: vec![],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{moment::Moment, style::width};

    #[test]
    fn what_was_missing_at_first_is_what_was_new() {
        let mut known = Known::default();
        let packed = |missing_blobs, missing_bytes| Event::Packed {
            files: 14,
            bytes: 900,
            missing_blobs,
            missing_bytes,
        };
        known.note(packed(3, 200));
        known.note(Event::Again { attempt: 1, cause: "cut\u{1b}[2J".into() });
        let page = Page { columns: 60, ..Page::plain(Moment(0)) };
        assert_eq!(known.line(&page), "  the connection was cut (cut\\x1b[2J); try 2");
        known.note(packed(1, 90));
        known.note(Event::Uploading { done: 45, total: 90 });
        assert_eq!(known.line(&page), "  uploading  ██████████░░░░░░░░░░  45 B / 90 B");
        assert!(width(&known.line(&Page { columns: 20, ..page })) <= 20);
        let published = known.published(pb::Release::default(), 5);
        assert_eq!((published.new_blobs, published.new_bytes), (3, 200));
    }
}
