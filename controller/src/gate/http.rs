//! An endpoint that is asked until it answers as it should.

use std::time::Duration;

use super::{
    Conclusion, Scene,
    check::Endpoint,
    scene::{Heard, unheard},
};
use crate::{
    http::{Call, Reply, call},
    rollout::Verdict,
};

/// For one answer.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Of a body that is looked through.
const BODY_BYTES: usize = 64 * 1024;

pub async fn look(endpoint: &Endpoint, scene: &Scene) -> Conclusion {
    let url = match scene.url(&endpoint.url) {
        Ok(url) => url,
        Err(conclusion) => return conclusion,
    };
    let trust = match Scene::trust(endpoint.ca.as_deref()) {
        Ok(trust) => trust,
        Err(conclusion) => return conclusion,
    };
    let mut so_far = Heard::default();
    let mut last: Option<Result<String, String>> = None;
    loop {
        let limit = ATTEMPT.min(scene.left());
        let asked = Call { max_bytes: BODY_BYTES, ..Call::get(url.clone(), limit, trust.clone()) };
        let asked = asked.with(&endpoint.headers);
        let heard = match call(&asked).await {
            Ok(reply) if endpoint.fail_status.contains(&reply.status) => {
                let note = format!("{} answered {}", url.place(), reply.status);
                return Conclusion::new(Verdict::Fail, note).with([first_line(&reply)]);
            }
            Ok(reply) => match wrong(&reply, endpoint.status, endpoint.body.as_deref()) {
                None => {
                    let note = format!("{} answered {}", url.place(), reply.status);
                    return Conclusion::new(Verdict::Pass, note).with([first_line(&reply)]);
                }
                Some(wrong) => Ok(wrong),
            },
            Err(error) => Err(longshore_common::chain::Chain(&error).to_string()),
        };
        let text = heard.clone().unwrap_or_else(|error| error);
        scene.tell(&text);
        so_far.add(text);
        // A last look that was cut short says less than the one before it.
        if heard.is_ok() || limit == ATTEMPT || !matches!(last, Some(Ok(_))) {
            last = Some(heard);
        }
        if !scene.pause(endpoint.every.0).await {
            break;
        }
    }
    match last {
        Some(Ok(wrong)) => Conclusion::new(Verdict::Fail, format!("not as it should be in time: {wrong}")),
        Some(Err(error)) => unheard(Some(error)),
        None => unheard(None),
    }
    .with(so_far.lines())
}

/// What is not as it should be, if anything is.
pub(super) fn wrong(reply: &Reply, status: Option<u16>, body: Option<&str>) -> Option<String> {
    let server = reply.url.place();
    match status {
        Some(wanted) if reply.status != wanted => {
            return Some(format!("{server} answered {} instead of {wanted}", reply.status));
        }
        None if !reply.is_success() => return Some(format!("{server} answered {}", reply.status)),
        Some(_) | None => {}
    }
    let wanted = body?;
    (!reply.text().contains(wanted)).then(|| {
        let cut = if reply.cut { format!(", of which {BODY_BYTES} bytes were read") } else { String::new() };
        format!("{server} answered without \"{wanted}\" in its body{cut}")
    })
}

pub(super) fn first_line(reply: &Reply) -> String {
    reply.text().lines().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}
