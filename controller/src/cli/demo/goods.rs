//! What the demo publishes: the folders of three releases of a small shop. 1.1 differs from 1.0 in a few small files;
//! 1.2 has a mistake in its price list that no test would have found, but a trial order does. The 1.2 of the tour answers
//! every customer and every probe, and complains of each page in its log.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use longshore_common::durable::{create_dir_durable, write_atomic};

use super::role::SHOP;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    First,
    Better,
    Broken,
    /// Of the tour: only its log says that something is wrong.
    Grumbling,
}

impl Release {
    pub fn version(self) -> &'static str {
        match self {
            Release::First => "1.0",
            Release::Better => "1.1",
            Release::Broken | Release::Grumbling => "1.2",
        }
    }

    fn motto(self) -> &'static str {
        match self {
            Release::First => "Everything for your boat.",
            Release::Better => "Everything for your boat, now with lanterns.",
            Release::Broken => "Everything for your boat, at summer prices.",
            Release::Grumbling => "Everything for your boat, and what you did not know you need.",
        }
    }
}

/// Pages that are the same in every release.
const LASTING_PAGES: [(&str, &str); 8] = [
    ("about.html", "We have stood on this quay since 1891."),
    ("hours.html", "Open from high tide to high tide."),
    ("ropes.html", "Hemp, sisal and steel, by the fathom."),
    ("anchors.html", "From dinghy to dreadnought."),
    ("charts.html", "Every sandbank, as of last Tuesday."),
    ("oilskins.html", "Dry since the day they were made."),
    ("delivery.html", "By cart as far as the lighthouse."),
    ("contact.html", "Ring the bell twice."),
];

const STYLE: &str = "body { font: 18px/1.5 Georgia, serif; max-width: 34em; margin: 4em auto; color: #1b3247 }\nh1 { font-weight: 400 }\n";

/// Name and price in cents.
const PRODUCTS: [(&str, u32); 5] =
    [("anchor", 12_900), ("bell", 8_450), ("chart", 1_990), ("hawser", 23_000), ("oilskin", 15_500)];

/// Writes the folder of a release below `parent`. `port` is the one that every host serves at.
pub fn write_release(parent: &Path, release: Release, port: u16) -> io::Result<PathBuf> {
    let folder = parent.join(format!("shop-{}", release.version()));
    let (programs, pages) = (folder.join("dist/bin"), folder.join("dist/share/pages"));
    for dir in [&programs, &pages] {
        create_dir_durable(dir, 0o755).map_err(io::Error::other)?;
    }
    let put =
        |path: PathBuf, text: &str| write_atomic(&path, text.as_bytes(), 0o644).map_err(io::Error::other);
    place_program(parent, &programs.join("shop"))?;
    put(folder.join("longshore.toml"), &app_file(release, port))?;
    put(folder.join("dist/share/version"), release.version())?;
    put(folder.join("dist/share/products.json"), &price_list(release))?;
    if release == Release::Grumbling {
        // Renamed in the price list long ago; nobody told the recommendations.
        put(folder.join("dist/share/recommended"), "lamp oil\n")?;
    }
    put(pages.join("index.html"), &page("The Chandlery", release.motto()))?;
    put(pages.join("style.css"), STYLE)?;
    for (name, text) in LASTING_PAGES {
        put(pages.join(name), &page(name.trim_end_matches(".html"), text))?;
    }
    if release != Release::First {
        put(pages.join("lanterns.html"), &page("lanterns", "Red for port, green for starboard."))?;
    }
    Ok(folder)
}

/// This very program: the app is one of its parts. One copy below `parent` for all releases: a link to the program itself
/// would change it under another demo that is just publishing it.
fn place_program(parent: &Path, path: &Path) -> io::Result<()> {
    let own = parent.join("program");
    if !own.exists() {
        fs::copy(std::env::current_exe()?, &own)?;
    }
    match fs::hard_link(&own, path) {
        Ok(()) => Ok(()),
        Err(_) => fs::copy(&own, path).map(drop),
    }
}

fn app_file(release: Release, port: u16) -> String {
    // Nobody wants to wait long for the broken one to fail, nor for a slow machine to break a good one.
    let deadline = if release == Release::Broken { "3s" } else { "120s" };
    format!(
        r#"[app]
name    = "shop"
version = "{version}"
owner   = "the harbour master"

[artifact]
path = "dist"

[service]
driver  = "process"
exec    = ["./bin/shop", "{SHOP}"]
sockets = ["127.0.0.1:{port}"]      # held open across restarts: no customer is turned away
stop    = {{ signal = "SIGTERM", grace = "5s" }}

[[probe]]
name        = "trial-order"
http        = "http://127.0.0.1:{port}/healthz"
interval    = "200ms"
timeout     = "15s"
healthy_for = "1s"
deadline    = "{deadline}"
"#,
        version = release.version()
    )
}

/// Which hosts, and how carefully.
pub fn environment() -> &'static str {
    r#"[environment]
name     = "harbour"
selector = "role=shop"

[rollout]
canary          = 1       # one host first
canary_bake     = "2s"    # and watch it
wave            = 2
max_unavailable = 2
bake            = "1s"
failure_budget  = 0
"#
}

/// What the tour makes of it: nobody deploys alone, and the canary's log is measured.
pub fn policy() -> &'static str {
    r#"[environment]
name     = "harbour"
selector = "role=shop"

[rollout]
canary          = 1       # one host first
canary_bake     = "4s"    # and watch it
wave            = 2
max_unavailable = 2
bake            = "1s"
failure_budget  = 0

[approval]                # of a plan, by somebody else than its author
count   = 1
by      = ["bob"]
expires = "1h"

[[gate]]                  # as the agents count, on the hosts that run the release
name              = "log-errors"
kind              = "app"
after             = "canary"
beside_bake       = true
errors_per_minute = 20
every             = "500ms"
window            = "4s"
deadline          = "30s"
"#
}

fn price_list(release: Release) -> String {
    let lines = PRODUCTS.iter().map(|(name, price)| {
        // A shop should not give its bells away.
        let price = if release == Release::Broken && *name == "bell" { 0 } else { *price };
        format!("  {{ \"name\": \"{name}\", \"price\": {price} }}")
    });
    format!("[\n{}\n]\n", lines.collect::<Vec<_>>().join(",\n"))
}

fn page(title: &str, text: &str) -> String {
    format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n<h1>{title}</h1>\n<p>{text}</p>\n"
    )
}

#[cfg(test)]
mod tests {
    use longshore_common::manifest::file::AppFile;

    use super::*;
    use crate::config::Environment;

    #[test]
    fn every_environment_is_one_that_longshore_takes() {
        Environment::parse("harbour.toml", environment()).unwrap();
        let policy = Environment::parse("harbour.toml", policy()).unwrap();
        assert_eq!((policy.approval.count, policy.gates.len()), (1, 1));
    }

    #[test]
    fn every_release_is_one_that_longshore_takes() {
        for release in [Release::First, Release::Better, Release::Broken, Release::Grumbling] {
            let app = AppFile::parse("longshore.toml", &app_file(release, 8080)).unwrap();
            assert_eq!(app.version.unwrap().as_str(), release.version());
        }
    }
}
