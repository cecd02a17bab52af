//! The access matrix: who may reach what, and who must not, looked at from the controller and from hosts.

use std::{net::IpAddr, time::Duration};

use longshore_common::{chain::Chain, time::Span};
use tokio::{net::TcpStream, time::Instant};

use super::{
    Conclusion, Scene,
    check::{From, Matrix, Reach, To},
    http::wrong,
};
use crate::{
    fleet::{Asked, words},
    http::{Call, Trust, call},
    rollout::Verdict,
};

const BODY_BYTES: usize = 64 * 1024;
/// Attempts of one look.
const ATTEMPTS_MAX: usize = 256;
const NOBODY: &str = "no host runs the release, so nothing can be reached";
/// For an answer beyond the attempt's own time.
const ON_THE_WAY: Duration = Duration::from_secs(2);

/// What one attempt showed.
enum Shown {
    AsItShould,
    Otherwise(String),
    /// Nobody could look.
    NotSeen(String),
}

pub async fn look(matrix: &Matrix, scene: &Scene) -> Conclusion {
    let trust = match Scene::trust(matrix.ca.as_deref()) {
        Ok(trust) => trust,
        Err(conclusion) => return conclusion,
    };
    let attempts = match attempts(matrix, scene) {
        Ok(attempts) => attempts,
        Err(conclusion) => return conclusion,
    };
    loop {
        let shown =
            futures_util::future::join_all(attempts.iter().map(|attempt| attempt.look(&trust, scene))).await;
        let lines =
            attempts.iter().zip(&shown).map(|(attempt, shown)| attempt.line(shown)).collect::<Vec<_>>();
        let unseen = shown.iter().filter(|shown| matches!(shown, Shown::NotSeen(_))).count();
        let other = shown.iter().filter(|shown| matches!(shown, Shown::Otherwise(_))).count();
        let all = attempts.len();
        if unseen + other == 0 {
            return Conclusion::new(Verdict::Pass, format!("{all} of {all} as they should be")).with(lines);
        }
        let first = lines.iter().find(|line| !line.starts_with("ok")).cloned().unwrap_or_default();
        let note = format!("{} of {all} as they should be; {first}", all - unseen - other);
        scene.tell(&note);
        if !scene.pause(matrix.every.0).await {
            let verdict = if other > 0 { Verdict::Fail } else { Verdict::NoData };
            return Conclusion::new(verdict, note).with(lines);
        }
    }
}

/// One line of the matrix with hosts put in.
struct Attempt<'a> {
    reach: &'a Reach,
    to: To,
}

fn attempts<'a>(matrix: &'a Matrix, scene: &Scene) -> Result<Vec<Attempt<'a>>, Conclusion> {
    let mut attempts = vec![];
    for reach in &matrix.lines {
        let each = each(&reach.to, scene);
        if each.is_empty() {
            // Whatever the other lines show, this one shows nothing.
            return Err(Conclusion::new(Verdict::NoData, NOBODY));
        }
        attempts.extend(each.into_iter().map(|to| Attempt { reach, to }));
    }
    match attempts.len() {
        0 => Err(Conclusion::new(Verdict::NoData, NOBODY)),
        1..=ATTEMPTS_MAX => Ok(attempts),
        many => {
            let note = format!("{many} attempts at once are too many; at most {ATTEMPTS_MAX}");
            Err(Conclusion::new(Verdict::Inconclusive, note))
        }
    }
}

/// The address once, or for each host that runs the release where it is about those.
fn each(to: &To, scene: &Scene) -> Vec<To> {
    let put = |text: &str, host: &str, address: &str| {
        let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        scene.fill(&text.replace("$address", &address).replace("$host", host))
    };
    let with = |put: &dyn Fn(&str) -> String| match to {
        To::Http { url, status, body, tls_left, headers } => To::Http {
            url: put(url),
            status: *status,
            body: body.clone(),
            tls_left: *tls_left,
            headers: headers.clone(),
        },
        To::Tcp { address } => To::Tcp { address: put(address) },
        To::Dns { name, address } => To::Dns { name: put(name), address: *address },
    };
    let text = match to {
        To::Http { url: text, .. } | To::Tcp { address: text } | To::Dns { name: text, .. } => text,
    };
    if !text.contains("$host") && !text.contains("$address") {
        return vec![with(&|text| put(text, "", ""))];
    }
    let of_host = |host: &super::scene::Named| {
        let connected = scene.fleet.presence().connected(&host.id);
        let address = connected.and_then(|connected| connected.facts.addresses.first().cloned());
        let address = address.unwrap_or_else(|| host.name.to_string());
        with(&|text| put(text, host.name.as_str(), &address))
    };
    scene.changed.iter().map(of_host).collect()
}

impl Attempt<'_> {
    async fn look(&self, trust: &std::sync::Arc<Trust>, scene: &Scene) -> Shown {
        let (wanted, limit) = (self.reach.timeout.0, self.reach.timeout.0.min(scene.left()));
        let begun = Instant::now();
        let reached = match &self.reach.from {
            From::Controller => Ok(here(&self.to, limit, trust, scene).await),
            From::Host(name) => there(name.as_str(), &self.to, limit, scene).await,
        };
        match (reached, self.reach.allowed) {
            (Err(why), _) => Shown::NotSeen(why),
            // Who was given no time to reach it has not shown that it cannot be.
            (Ok(Err(_)), false) if limit < wanted && begun.elapsed() >= limit * 9 / 10 => {
                Shown::NotSeen(format!("there was no time left to try for {}", self.reach.timeout))
            }
            (Ok(Ok(())), true) | (Ok(Err(_)), false) => Shown::AsItShould,
            (Ok(Ok(())), false) => Shown::Otherwise("was reached and must not be".to_owned()),
            (Ok(Err(why)), true) => Shown::Otherwise(why),
        }
    }

    /// `ok allow web-1 -> http://…`, and as whom a server is asked that is called by another name.
    fn line(&self, shown: &Shown) -> String {
        let from = match &self.reach.from {
            From::Controller => "controller",
            From::Host(name) => name.as_str(),
        };
        let to = match &self.to {
            To::Http { url, headers, .. } => {
                let place = url.split('?').next().unwrap_or_default();
                headers.get("host").map_or(place.to_owned(), |host| format!("{place} as {host}"))
            }
            To::Tcp { address } => address.clone(),
            To::Dns { name, .. } => format!("dns {name}"),
        };
        let expect = if self.reach.allowed { "allow" } else { "deny" };
        match shown {
            Shown::AsItShould => format!("ok {expect} {from} -> {to}"),
            Shown::Otherwise(why) => format!("WRONG {expect} {from} -> {to}: {why}"),
            Shown::NotSeen(why) => format!("? {expect} {from} -> {to}: {why}"),
        }
    }
}

/// From the controller. The error says why not.
async fn here(to: &To, limit: Duration, trust: &std::sync::Arc<Trust>, scene: &Scene) -> Result<(), String> {
    let late = || format!("no answer within {}", Span(limit));
    match to {
        To::Http { url, status, body, tls_left, headers } => {
            let url = url.parse().map_err(|error: crate::http::HttpError| error.to_string())?;
            let asked = Call { max_bytes: BODY_BYTES, ..Call::get(url, limit, trust.clone()) };
            let asked = asked.with(headers);
            let reply = call(&asked).await.map_err(|error| Chain(&error).to_string())?;
            if let Some(wrong) = wrong(&reply, *status, body.as_deref()) {
                return Err(wrong);
            }
            let left = reply.certificate_ends_ms.map(|ends| ends - scene.clock.now_ms());
            match (tls_left, left) {
                (Some(wanted), Some(left)) if left < wanted.as_ms() => {
                    let days = left / 86_400_000;
                    Err(format!("its certificate ends in {days} days; {wanted} are wanted"))
                }
                (Some(_), None) => Err("it shows no certificate".to_owned()),
                _ => Ok(()),
            }
        }
        To::Tcp { address } => {
            let connected = tokio::time::timeout(limit, TcpStream::connect(address)).await;
            connected.map_err(|_| late())?.map(drop).map_err(|e| e.to_string())
        }
        To::Dns { name, address } => {
            let found = tokio::time::timeout(limit, tokio::net::lookup_host((name.as_str(), 0))).await;
            let found = found.map_err(|_| late())?.map_err(|e| e.to_string())?;
            resolved(found.map(|socket| socket.ip()).collect(), *address)
        }
    }
}

fn resolved(found: Vec<IpAddr>, wanted: Option<IpAddr>) -> Result<(), String> {
    let shown = || found.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match wanted {
        _ if found.is_empty() => Err("the name has no address".to_owned()),
        Some(wanted) if !found.contains(&wanted) => Err(format!("the name has {} and not {wanted}", shown())),
        Some(_) | None => Ok(()),
    }
}

/// From a host, by its agent. `Err`: nobody could look.
async fn there(host: &str, to: &To, limit: Duration, scene: &Scene) -> Result<Result<(), String>, String> {
    let id = scene.fleet.by_name(host).await.ok_or_else(|| format!("there is no host {host}"))?;
    let to = match to {
        To::Http { headers, .. } if !headers.is_empty() => {
            return Err(format!("{host} is not asked: headers are the controller's"));
        }
        To::Http { url, status, .. } => words::Reach::Http { url: url.clone(), status: *status },
        To::Tcp { address } => words::Reach::Tcp(address.clone()),
        To::Dns { name, address } => words::Reach::Dns { name: name.clone(), address: *address },
    };
    let question = words::Question::Reach { to, timeout: limit };
    match scene.fleet.ask(id, question, limit + ON_THE_WAY).await {
        Asked::Silent => Err(format!("{host} does not answer")),
        Asked::Answered { answer: words::Answer::Reached(reached), .. } => Ok(reached),
        Asked::Answered { answer: words::Answer::Error(why), .. } => Err(format!("{host}: {why}")),
        Asked::Answered { .. } => Err(format!("{host} answered another question")),
    }
}
