//! Following a rollout until it is over: a moving picture on a terminal, a line per change in a pipe, a document per
//! change as JSON. A controller that goes away is waited for.

use std::{sync::Arc, time::Duration};

use longshore_common::text::visible;
use longshore_proto::v1 as pb;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::StreamExt;

use super::Desk;
use crate::cli::{
    client::Client,
    exit::Exit,
    failure::Failure,
    output::{Format, Output, Page},
    paint::{
        live, plain,
        tracker::{News, Tracker},
    },
    screen::Screen,
    style::Ink,
    surroundings::terminal_size,
    view::{rollout::Rollout, short},
};

/// Between two pictures when nothing happens: clocks and bars move.
const FRAME: Duration = Duration::from_millis(120);
/// Before the first try to reach a lost controller; doubles up to `RETRY_MOST`.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(3);
/// For the controller to take up a watch.
const ANSWER: Duration = Duration::from_secs(10);

/// Follows `rollout` until it is over or `by`. The exit code says how it ended.
pub async fn watch(desk: &Desk, client: &Client, rollout: String, by: Instant) -> Result<Exit, Failure> {
    Ok(watch_to_the_end(desk, client, rollout, by).await?.exit())
}

/// The same of one that was told to go back: that it has is what was asked for.
pub async fn watch_back(desk: &Desk, client: &Client, rollout: String, by: Instant) -> Result<Exit, Failure> {
    Ok(watch_to_the_end(desk, client, rollout, by).await?.exit_of_return())
}

async fn watch_to_the_end(
    desk: &Desk,
    client: &Client,
    rollout: String,
    by: Instant,
) -> Result<Rollout, Failure> {
    let viewer = Viewer::new(&desk.output, desk.surroundings.live);
    match follow(viewer, client, rollout, by).await? {
        Followed::Over(tracker) => Ok(tracker.rollout),
        Followed::TimedOut { rollout } => {
            let id = short(&rollout);
            let message = format!("stopped watching: rollout {id} is not over yet, and goes on");
            Err(Failure::new(Exit::TimedOut, message)
                .next(format!("watch on: longshore rollout watch {id}"))
                .next(format!("what it waits for: longshore rollout explain {id}")))
        }
    }
}

/// What became of a rollout that was followed.
pub enum Followed {
    /// As it ended.
    Over(Box<Tracker>),
    /// It is not over in time. By its id, or by what it was asked for as if no word of it came.
    TimedOut { rollout: String },
}

/// Until it is over or `by`.
pub async fn follow(
    mut viewer: Viewer,
    client: &Client,
    mut rollout: String,
    by: Instant,
) -> Result<Followed, Failure> {
    let mut tracker: Option<Tracker> = None;
    let mut pause = RETRY_FIRST;
    loop {
        let failure = match watch_once(&mut viewer, client, &rollout, &mut tracker, by).await {
            Ok(Ended::Over) => {
                let tracker = tracker.expect("only a known rollout is over");
                viewer.end(&tracker)?;
                return Ok(Followed::Over(Box::new(tracker)));
            }
            Ok(Ended::TimedOut) => return viewer.give_up(tracker.as_ref(), rollout),
            Ok(Ended::Cut { heard }) => {
                if heard {
                    pause = RETRY_FIRST;
                }
                Failure::new(Exit::Unreachable, "the controller closed the watch")
            }
            Err(failure) if failure.exit == Exit::Unreachable && tracker.is_some() => failure,
            Err(failure) => return Err(failure),
        };
        if let Some(tracker) = &tracker {
            rollout.clone_from(&tracker.rollout.id); // `latest` may be another one by now
        }
        viewer.lost(tracker.as_ref(), &failure)?;
        if Instant::now() + pause >= by {
            tokio::time::sleep_until(by).await;
            return viewer.give_up(tracker.as_ref(), rollout);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MOST);
    }
}

enum Ended {
    Over,
    TimedOut,
    /// The stream ended before the rollout did.
    Cut {
        heard: bool,
    },
}

async fn watch_once(
    viewer: &mut Viewer,
    client: &Client,
    rollout: &str,
    tracker: &mut Option<Tracker>,
    by: Instant,
) -> Result<Ended, Failure> {
    let request = pb::ShowRolloutRequest { rollout: rollout.to_owned() };
    let answer_by = by.min(Instant::now() + ANSWER);
    let mut updates = match client.answer(answer_by, client.rollouts().watch(request)).await {
        Err(failure) if failure.exit == Exit::TimedOut && Instant::now() >= by => return Ok(Ended::TimedOut),
        Err(failure) if failure.exit == Exit::TimedOut => return Err(failure.exit(Exit::Unreachable)),
        updates => updates?,
    };
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut heard = false;
    loop {
        tokio::select! {
            update = updates.next() => match update {
                Some(Ok(update)) => {
                    heard = true;
                    viewer.take(tracker, update)?;
                }
                Some(Err(status)) => {
                    let failure = client.explain(status);
                    return if failure.exit == Exit::Unreachable { Ok(Ended::Cut { heard }) } else { Err(failure) };
                }
                None => return Ok(Ended::Cut { heard }),
            },
            _ = frames.tick() => viewer.tick(tracker.as_ref())?,
            () = tokio::time::sleep_until(by) => return Ok(Ended::TimedOut),
        }
        if tracker.as_ref().is_some_and(|tracker| tracker.rollout.is_over()) {
            return Ok(Ended::Over);
        }
    }
}

/// Lines beneath the picture: the demo's count of requests.
pub type Footer = Arc<dyn Fn(&Page) -> Vec<String> + Send + Sync>;

/// Shows a rollout while it moves.
pub struct Viewer {
    output: Output,
    how: How,
    footer: Option<Footer>,
    /// Why nothing is heard at present.
    trouble: Option<String>,
}

enum How {
    Live(Screen),
    Lines,
    Json,
    /// Somebody else says how it ended.
    Silent,
}

impl Viewer {
    pub fn new(output: &Output, live: bool) -> Self {
        let how = match (output.format, live) {
            (Format::Json, _) => How::Json,
            (Format::Table, true) => How::Live(Screen::default()),
            (Format::Table, false) => How::Lines,
        };
        Self { output: output.clone(), how, footer: None, trouble: None }
    }

    pub fn silent(output: &Output) -> Self {
        Self { how: How::Silent, ..Self::new(output, false) }
    }

    pub fn with_footer(self, footer: Footer) -> Self {
        Self { footer: Some(footer), ..self }
    }

    fn take(&mut self, tracker: &mut Option<Tracker>, update: pb::RolloutUpdate) -> Result<(), Failure> {
        let page = self.output.fresh();
        if self.trouble.take().is_some() && matches!(self.how, How::Lines) {
            self.output.say(&[plain::stamp(page.now, &page, "controller is back")])?;
        }
        let Some(known) = tracker else {
            if let Some(pb::rollout_update::Update::Rollout(rollout)) = update.update {
                let known = tracker.insert(Tracker::new(rollout.into(), page.now));
                match &mut self.how {
                    How::Live(_) | How::Silent => {}
                    How::Lines => self.output.say(&plain::opening(&known.rollout, &page))?,
                    How::Json => self.output.print_one_of_many(&known.rollout)?,
                }
            }
            return Ok(());
        };
        let Some(news) = known.absorb(update, page.now) else { return Ok(()) };
        match (&self.how, &news) {
            (How::Live(_), _) => self.tick(Some(known)),
            (How::Lines, news) => self.output.say(&plain::news(known, news, &page)),
            (How::Json, News::State(before)) if **before != known.rollout => {
                self.output.print_one_of_many(&known.rollout)
            }
            (How::Json, _) | (How::Silent, _) => Ok(()),
        }
    }

    /// Paints what is known with the time of now.
    fn tick(&mut self, tracker: Option<&Tracker>) -> Result<(), Failure> {
        let Some(lines) = self.picture(tracker) else { return Ok(()) };
        match &mut self.how {
            How::Live(screen) => screen.paint(&lines).map_err(unwritable),
            How::Lines | How::Json | How::Silent => Ok(()),
        }
    }

    fn picture(&self, tracker: Option<&Tracker>) -> Option<Vec<String>> {
        let tracker = tracker.filter(|_| matches!(self.how, How::Live(_)))?;
        let (columns, rows) = terminal_size();
        let page = Page { columns, rows, ..self.output.fresh() };
        let mut lines = live::picture(tracker, &page);
        if let Some(trouble) = &self.trouble {
            lines.push(String::new());
            lines.push(
                page.style.paint(Ink::Warn, &crate::cli::style::clip(&format!("  {trouble}"), columns)),
            );
        }
        if let Some(footer) = &self.footer {
            lines.extend(footer(&page));
        }
        Some(lines)
    }

    fn lost(&mut self, tracker: Option<&Tracker>, failure: &Failure) -> Result<(), Failure> {
        let text = format!(
            "controller away ({}); the rollout goes on without us, trying again",
            visible(&failure.message)
        );
        let first = self.trouble.replace(text.clone()).is_none();
        match self.how {
            How::Live(_) => self.tick(tracker),
            How::Lines if first => {
                let page = self.output.fresh();
                self.output.say(&[plain::stamp(page.now, &page, &text)])
            }
            How::Lines | How::Json | How::Silent => Ok(()),
        }
    }

    /// The whole picture, left where it is.
    fn end(&mut self, tracker: &Tracker) -> Result<(), Failure> {
        let Some(lines) = self.picture(Some(tracker)) else { return Ok(()) };
        match &mut self.how {
            How::Live(screen) => screen.leave(&lines).map_err(unwritable),
            How::Lines | How::Json | How::Silent => Ok(()),
        }
    }

    /// `asked` is what the rollout was asked for as.
    fn give_up(&mut self, tracker: Option<&Tracker>, asked: String) -> Result<Followed, Failure> {
        let Some(tracker) = tracker else { return Ok(Followed::TimedOut { rollout: asked }) };
        self.end(tracker)?;
        Ok(Followed::TimedOut { rollout: tracker.rollout.id.clone() })
    }
}

fn unwritable(error: std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::new(Exit::Done, "the reader of our output is gone"),
        _ => Failure::new(Exit::Failed, format!("write to the terminal: {error}")),
    }
}
