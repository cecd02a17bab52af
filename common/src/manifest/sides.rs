//! An app that runs twice on a host while traffic moves: its two sides, and the words that differ between them.
//!
//! `{side}`, `{listen}` and `{port}` in the command, in the environment and in probes are written out when the
//! release is started on a side, so one slot can run on either.

use serde::{Deserialize, Serialize};

use super::{Check, Driver, Manifest, Service, file::is_inside};
use crate::{strict::Table, text::visible, time::Span, traffic::Side};

/// How an app runs beside itself on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sides {
    /// `address:port` or an absolute path at which the app listens on this side. Never the same as the other.
    pub blue: String,
    pub green: String,
    /// How long a side that lost its traffic goes on running, for an instant way back.
    pub warm: Span,
}

const WARM: Span = Span::secs(600);
/// Longer is two apps, not one.
const WARM_MAX: Span = Span::secs(7 * 86_400);

impl Sides {
    pub fn listen(&self, side: Side) -> &str {
        match side {
            Side::Blue => &self.blue,
            Side::Green => &self.green,
        }
    }
}

impl Manifest {
    /// The release as it runs on this side; itself when it has no sides. `sides` stands for what its addresses mean
    /// on the host. Its sockets are none: traffic reaches it through whoever directs it.
    pub fn on_side(&self, side: Side) -> Manifest {
        let mut manifest = self.clone();
        let Some(sides) = &self.service.sides else { return manifest };
        let listen = sides.listen(side);
        let port = match listen.starts_with('/') {
            true => "",
            false => listen.rsplit_once(':').map_or("", |(_, port)| port),
        };
        let fill = |text: &mut String| *text = fill(text, side, listen, port);
        let service = &mut manifest.service;
        service.sockets.clear();
        service.exec.iter_mut().for_each(fill);
        service.env.values_mut().for_each(fill);
        for (name, value) in [("SIDE", side.as_str()), ("LISTEN", listen), ("PORT", port)] {
            service.env.insert(format!("LONGSHORE_{name}"), value.to_owned());
        }
        for probe in &mut manifest.probes {
            match &mut probe.check {
                Check::Http { url, .. } => fill(url),
                Check::Tcp { address } => fill(address),
                Check::Exec { run } => run.iter_mut().for_each(fill),
            }
        }
        manifest
    }
}

impl Service {
    /// Variables whose value is another on each side; they are set when the release is started there.
    pub fn is_of_side(&self, name: &str, value: &str) -> bool {
        let own = ["LONGSHORE_SIDE", "LONGSHORE_LISTEN", "LONGSHORE_PORT"].contains(&name);
        self.sides.is_some() && (own || has_placeholder(value))
    }
}

fn fill(text: &str, side: Side, listen: &str, port: &str) -> String {
    text.replace("{side}", side.as_str()).replace("{listen}", listen).replace("{port}", port)
}

/// `[service.sides]`.
pub(super) fn read(service: &Table<'_>) -> Option<Sides> {
    let table = service.table("sides");
    if !table.is_present() {
        return None;
    }
    let blue: Option<String> = table.required("blue");
    let green: Option<String> = table.required("green");
    let warm = table.or("warm", WARM);
    if warm > WARM_MAX {
        table.problem_at("warm", format!("service.sides.warm: at most {WARM_MAX}"));
    }
    let (blue, green) = (blue?, green?);
    for (key, listen) in [("blue", &blue), ("green", &green)] {
        let path = listen.starts_with('/') && is_inside(&listen[1..]) && listen.len() < 108;
        let address = listen
            .parse::<std::net::SocketAddr>()
            .is_ok_and(|at| at.port() != 0 && !at.ip().is_unspecified());
        if !path && !address {
            let why = format!(
                "service.sides.{key}: \"{}\" is no address:port (like 127.0.0.1:8081) and no absolute path",
                visible(listen)
            );
            table.problem_at(key, why);
        }
    }
    if blue == green {
        table.problem_at("green", "service.sides: blue and green must listen at different places");
    }
    Some(Sides { blue, green, warm })
}

/// What cannot be with sides: nothing that runs, a public socket that is a side's, a probe that cannot tell the sides
/// apart.
pub(super) fn check(root: &Table<'_>, service: &Service, probes: &[super::Probe]) {
    let Some(sides) = &service.sides else {
        let words = service.exec.iter().chain(service.env.values());
        if words.clone().any(|word| has_placeholder(word)) {
            root.problem_at(
                "service",
                "service: {side}, {listen} and {port} mean something only with [service.sides]",
            );
        }
        return;
    };
    if service.driver == Driver::None {
        root.problem_at("service", "service.sides: the driver \"none\" runs nothing, so there are no sides");
    }
    if service.sockets.iter().any(|socket| *socket == sides.blue || *socket == sides.green) {
        root.problem_at(
            "service",
            "service.sockets: with sides these are the public sockets, other than where the sides listen",
        );
    }
    let blind = |probe: &&super::Probe| match &probe.check {
        Check::Http { url, .. } => !has_placeholder(url),
        Check::Tcp { address } => !has_placeholder(address),
        Check::Exec { .. } => false, // it finds LONGSHORE_LISTEN in its environment
    };
    if let Some(probe) = probes.iter().find(blind) {
        let why = format!(
            "probe \"{}\" would look at both sides alike: write {{listen}} for where the app listens, as in \
             http://{{listen}}/healthz",
            probe.name
        );
        root.problem_at("probe", why);
    }
}

pub(super) fn has_placeholder(text: &str) -> bool {
    ["{side}", "{listen}", "{port}"].iter().any(|placeholder| text.contains(placeholder))
}

/// As a probe will look when the sides are written out; for checking it.
pub(super) fn sample(text: &str) -> String {
    fill(text, Side::Blue, "127.0.0.1:8081", "8081")
}
