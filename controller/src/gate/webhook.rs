//! Somebody else's system is told of the rollout, and says whether it may go on.
//!
//! A POST with JSON, signed where there is a key: `longshore-signature: t=<seconds>,v1=<hmac>`. The reply is JSON with
//! `verdict`: `pass`, `fail`, `inconclusive` or `pending`, and perhaps `message`; `202` without a body is `pending`.
//! Pending, and every other answer, is asked again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Conclusion, Scene,
    check::Webhook,
    http::first_line,
    scene::{Heard, secret, unheard},
};
use crate::{
    http::{Call, Reply, call, signature},
    rollout::Verdict,
};

const ATTEMPT: Duration = Duration::from_secs(15);
const BODY_BYTES: usize = 64 * 1024;

/// What is sent: the same every time but for `attempt`.
#[derive(Serialize)]
struct Told<'a> {
    version: u32,
    rollout: String,
    app: &'a str,
    env: &'a str,
    release: String,
    release_version: &'a str,
    from_version: Option<&'a str>,
    gate: &'a str,
    place: String,
    /// Of the gate; the same as long as it is the same question.
    run: u32,
    attempt: u32,
    hosts: Vec<&'a str>,
    seconds_left: u64,
}

#[derive(Deserialize)]
struct Answer {
    verdict: Word,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Pass,
    Fail,
    Inconclusive,
    Pending,
}

/// Hosts that are named; of more the first are.
const HOSTS: usize = 100;

pub async fn look(webhook: &Webhook, scene: &Scene) -> Conclusion {
    match asked(webhook, scene).await {
        Ok(conclusion) | Err(conclusion) => conclusion,
    }
}

async fn asked(webhook: &Webhook, scene: &Scene) -> Result<Conclusion, Conclusion> {
    let url = scene.url(&webhook.url)?;
    let trust = Scene::trust(webhook.ca.as_deref())?;
    let key = webhook.secret_file.as_deref().map(secret).transpose()?;
    let mut heard = Heard::default();
    let mut last: Option<Result<String, String>> = None;
    for attempt in 1u32.. {
        let body = serde_json::to_vec(&told(scene, attempt)).expect("plain fields are JSON");
        let limit = ATTEMPT.min(scene.left());
        let signed = key.as_ref().map(|key| signature(key, scene.clock.now_ms() / 1000, &body));
        let mut asked = Call::post(url.clone(), "application/json", body, limit, trust.clone());
        asked.max_bytes = BODY_BYTES;
        if let Some(signed) = signed {
            asked = asked.header("longshore-signature", signed);
        }
        let said = match call(&asked).await {
            Ok(reply) => match read(&reply) {
                Ok((verdict, message)) => {
                    let note = if message.is_empty() { format!("{} says so", url.place()) } else { message };
                    return Ok(Conclusion::new(verdict, note).with(heard.lines()));
                }
                Err(said) => Ok(said),
            },
            Err(error) => Err(longshore_common::chain::Chain(&error).to_string()),
        };
        let text = said.clone().unwrap_or_else(|error| error);
        scene.tell(&text);
        heard.add(text);
        // A last attempt that was cut short says less than the one before it.
        if said.is_ok() || limit == ATTEMPT || !matches!(last, Some(Ok(_))) {
            last = Some(said);
        }
        if !scene.pause(webhook.every.0).await {
            break;
        }
    }
    let last = last.map(|said| said.unwrap_or_else(|error| error));
    Err(unheard(last).with(heard.lines()))
}

fn told(scene: &Scene, attempt: u32) -> Told<'_> {
    Told {
        version: 1,
        rollout: scene.rollout.to_string(),
        app: scene.app.as_str(),
        env: scene.env.as_str(),
        release: scene.release.hex(),
        release_version: scene.version.as_str(),
        from_version: scene.from_version.as_ref().map(|version| version.as_str()),
        gate: &scene.gate.name,
        place: scene.place(),
        run: scene.number,
        attempt,
        hosts: scene.changed.iter().take(HOSTS).map(|host| host.name.as_str()).collect(),
        seconds_left: scene.left().as_secs(),
    }
}

/// The verdict with its message; or what was said that is none.
fn read(reply: &Reply) -> Result<(Verdict, String), String> {
    let server = reply.url.place();
    if !reply.is_success() {
        return Err(match first_line(reply) {
            line if line.is_empty() => format!("{server} answered {}", reply.status),
            line => format!("{server} answered {}: {line}", reply.status),
        });
    }
    if reply.status == 202 && reply.body.trim_ascii().is_empty() {
        return Err(format!("{server} says pending"));
    }
    if reply.cut {
        return Err(format!("{server} answered with more than {BODY_BYTES} bytes"));
    }
    let answer: Answer = serde_json::from_slice(&reply.body)
        .map_err(|error| format!("{server} answered what is no verdict: {error}: {}", first_line(reply)))?;
    match answer.verdict {
        Word::Pass => Ok((Verdict::Pass, answer.message)),
        Word::Fail => Ok((Verdict::Fail, answer.message)),
        Word::Inconclusive => Ok((Verdict::Inconclusive, answer.message)),
        Word::Pending if answer.message.is_empty() => Err(format!("{server} says pending")),
        Word::Pending => Err(format!("{server} says pending: {}", answer.message)),
    }
}
