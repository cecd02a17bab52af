//! Single words that people, files and messages say.

use jiff::tz::TimeZone;
use longshore_common::{
    ids::{AppName, EnvName, HostId, HostName, RolloutId, Version},
    join::JoinToken,
    label::{Labels, Selector, check_label},
    manifest::Port,
    slot::Slot,
    text::{nearest, visible},
    time::Span,
    traffic::{BackendName, Director},
    trust::PublicKey,
    wire::cut,
};
use longshore_controller::{
    access::{Grant, Role},
    calendar::{Calendar, Day, Times, Window},
    http::{URL_BYTES, Url},
    rollout::Share,
};

use super::{files::look_at, text};
use crate::oracle::{is_shown_safely, reads_again, refused, refused_with};

pub fn token(input: &[u8]) {
    let text = text(input);
    match text.parse::<JoinToken>() {
        Ok(token) => {
            assert_eq!(token.to_string(), text.trim(), "one token, one text");
            assert!(!format!("{token:?}").contains(&text.trim()[6 + token.id.len()..]), "a secret is shown");
        }
        Err(error) => {
            refused("join token", &error);
            let of_nothing = "".parse::<JoinToken>().map(|_| ()).unwrap_err();
            assert_eq!(error, of_nothing, "it says nothing of what it was given");
        }
    }
}

pub fn selector(input: &[u8]) {
    let text = text(input);
    reads_again::<Selector>(text);
    let mut labels = Labels::new();
    for pair in text.split(',') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match check_label(key, value) {
            Ok(()) => drop(labels.insert(key.to_owned(), value.to_owned())),
            Err(error) => refused("label", &error),
        }
    }
    if let Ok(selector) = text.parse::<Selector>() {
        selector.matches("web-1-a", "6f3c5a52-7f0e-4a53-9b5c-0d8f3f6f2c11", &labels);
    }
}

pub fn names(input: &[u8]) {
    let text = text(input);
    reads_again::<AppName>(text);
    reads_again::<EnvName>(text);
    reads_again::<HostName>(text);
    reads_again::<Version>(text);
    reads_again::<HostId>(text);
    reads_again::<RolloutId>(text);
    reads_again::<Slot>(text);
    reads_again::<Span>(text);
    reads_again::<BackendName>(text);
    reads_again::<Director>(text);
    reads_again::<PublicKey>(text);
    reads_again::<Share>(text);
    reads_again::<Role>(text);
    reads_again::<Grant>(text);
    Port::parse(text);
    is_shown_safely("visible", &visible(text));
    for most in [0, 3, 16, text.len()] {
        let short = cut(text, most);
        assert!(short.len() <= most.max(3), "{short:?} is longer than {most}");
    }
    nearest(text, ["production", "staging", "a", ""]);
}

/// Lines: days with a window's minutes between them, and moments to look at.
pub fn calendar(input: &[u8]) {
    let text = text(input);
    let zones = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"];
    let zone = TimeZone::get(zones[text.len() % zones.len()]).expect("these zones are known everywhere");
    let mut calendar = Calendar { zone, ..Calendar::default() };
    let mut moments = vec![];
    for line in text.lines().take(12) {
        match line.parse::<Day>() {
            Ok(day) => {
                assert_eq!(day.to_string().parse::<Day>().ok(), Some(day));
                let (from, to) = (line.len() as u16 * 37 % 1440, line.len() as u16 * 101 % 1441);
                let times = Times::Recurring { days: vec![day], from, to };
                is_shown_safely("times", &times.to_string());
                calendar.windows.push(Window { name: format!("w{}", calendar.windows.len()), times });
            }
            Err(error) => {
                refused("day", &error);
                moments.push(line);
            }
        }
    }
    let now = 1_800_000_000_000;
    look_at(&calendar, now);
    for line in moments {
        match calendar.moment(line, now) {
            Ok(at) => look_at(&calendar, at),
            Err(error) => refused("moment", &error),
        }
    }
}

pub fn url(input: &[u8]) {
    let text = text(input);
    match text.parse::<Url>() {
        Err(error) => refused_with("url", &error.to_string()),
        Ok(url) => {
            let written = url.to_string();
            is_shown_safely("url", &written);
            assert_eq!(written.parse::<Url>().as_ref().ok(), Some(&url), "{written}");
            let asked = url.clone().with_query("query", text);
            // What is asked of a server may be longer than any address that is read.
            let written = asked.to_string();
            assert_eq!(written.parse::<Url>().ok(), (written.len() <= URL_BYTES).then_some(asked));
            assert!(url.with_path("/api/v1/query").is_ok_and(|moved| moved.same_origin(&url)));
        }
    }
}
