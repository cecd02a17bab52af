//! What a file of an app may say, and what is said of its mistakes.

use super::*;
use crate::{code::Code, digest::IndexDigest};

const SHOP: &str = r#"
[app]
name    = "shop"
version = "1.4.2"
owner   = "payments-team"

[artifact]
path = "dist"

[service]
exec    = ["./bin/shop", "--listen", "127.0.0.1:8080"]
user    = "shop"
sockets = ["127.0.0.1:8080"]
stop    = { signal = "SIGTERM", grace = "20s" }
env     = { RUST_LOG = "info", WORKERS = 4 }

[requires]
arch = ["x86_64", "aarch64"]
disk = "500MiB"
commands = ["openssl"]

[config."etc/shop.toml"]
template = "shop.toml.j2"

[[probe]]
name = "http"
http = "http://127.0.0.1:8080/healthz"
interval = "1s"
timeout  = "2s"
healthy_for = "10s"
deadline = "2m"

[hooks]
before_switch = { run = ["./bin/warm-up"], timeout = "1m" }
"#;

fn problems(text: &str) -> Vec<String> {
    let lines = |p: Problems| p.to_string().lines().map(str::to_owned).collect();
    AppFile::parse("longshore.toml", text).map_or_else(lines, |_| vec![])
}

#[test]
fn the_file_of_the_design_becomes_a_manifest_and_survives_its_bytes() {
    let file = AppFile::parse("longshore.toml", SHOP).unwrap();
    let artifact = Artifact { index: IndexDigest::of(b""), files: 0, bytes: 0 };
    let version = file.version.clone().unwrap();
    let manifest = file.into_manifest(version, artifact);
    assert_eq!(Manifest::from_bytes(&manifest.to_bytes()).unwrap(), manifest);
    assert_eq!(manifest.service.env["WORKERS"], "4");
    assert_eq!(manifest.requires.disk, Some(500 << 20));
}

/// Whoever signed it: the name is that of a unit of ours on every host.
#[test]
fn a_manifest_of_a_reserved_name_does_not_read() {
    let file = AppFile::parse("longshore.toml", SHOP).unwrap();
    let artifact = Artifact { index: IndexDigest::of(b""), files: 0, bytes: 0 };
    let text = String::from_utf8(file.into_manifest("1.0".parse().unwrap(), artifact).to_bytes()).unwrap();
    for name in ["agent", "helper", "controller", "shop-relay"] {
        let taken = text.replace("\"app\":\"shop\"", &format!("\"app\":\"{name}\""));
        let refused = Manifest::from_bytes(taken.as_bytes()).unwrap_err();
        assert!(refused.code == Code::M01 && refused.message.contains("is reserved"), "{refused}");
    }
}

/// A probe is a unit of another kind.
#[test]
fn what_is_reserved_for_apps_is_free_for_probes() {
    assert_eq!(problems(&SHOP.replace("name = \"http\"", "name = \"agent\"")), Vec::<String>::new());
}

#[test]
fn a_manifest_may_be_as_long_as_the_limit_and_no_longer() {
    let artifact = Artifact { index: IndexDigest::of(b""), files: 0, bytes: 0 };
    let manifest = AppFile::parse("longshore.toml", SHOP).unwrap();
    let manifest = manifest.into_manifest("1.0".parse().unwrap(), artifact);
    let mut bytes = manifest.to_bytes();
    bytes.resize(super::super::MANIFEST_BYTES, b' ');
    assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest);
    bytes.push(b' ');
    let refusal = Manifest::from_bytes(&bytes).unwrap_err();
    assert!(refusal.message.contains("65537 bytes long; at most 65536 are allowed"), "{refusal}");
}

/// Each row spoils one thing of a sound file; the message names it and the place.
#[test]
fn each_mistake_is_named_where_it_is() {
    for (from, to, expected) in [
        ("exec    =", "excec   =", "unknown key \"excec\" in [service]; did you mean \"exec\"?"),
        ("user    = \"shop\"", "", "[service] needs the key \"user\""),
        ("\"./bin/shop\"", "\"shop\"", "\"shop\" must start with \"./\""),
        ("\"./bin/shop\"", "\"./../shop\"", "must start with \"./\""),
        ("\"./bin/warm-up\"", "\"bash -c x\"", "must start with \"./\""),
        ("SIGTERM", "SIGSTOP", "\"SIGSTOP\" is none of SIGTERM"),
        ("grace = \"20s\"", "grace = 20", "service.stop.grace: expected a length of time"),
        (
            "sockets = [\"127.0.0.1:8080\"]",
            "sockets = [\"localhost:8080\"]",
            "\"localhost:8080\" is no address:port",
        ),
        ("deadline = \"2m\"", "deadline = \"5s\"", "5s leaves no time to be healthy for 10s"),
        ("http = \"http:", "http = \"https:", "https is not probed"),
        ("etc/shop.toml", "../shop.toml", "must be a path inside the release"),
        ("etc/shop.toml", ".longshore/sealed", "must be a path inside the release"),
        ("name    = \"shop\"", "name    = \"Shop shop\"", "app name \"Shop shop\" is invalid"),
        ("name    = \"shop\"", "name    = \"agent\"", "app name \"agent\" is reserved"),
        ("name    = \"shop\"", "name    = \"shop-blue\"", "app name \"shop-blue\" is reserved"),
        ("[artifact]\npath = \"dist\"", "", "[artifact] needs the key \"path\""),
    ] {
        let found = problems(&SHOP.replace(from, to));
        assert!(found.iter().any(|line| line.contains(expected)), "{to}: {found:#?}");
    }
}

#[test]
fn several_mistakes_are_named_together() {
    let found = problems("[app]\nname = 1\n[service]\nuser='a'\n[[probe]]\nname='x'\n");
    assert!(found.len() >= 4, "{found:#?}");
}

const SIDED: &str = r#"
[app]
name = "shop"

[artifact]
path = "dist"

[service]
exec    = ["./bin/shop", "--listen", "{listen}", "--name={side}"]
driver  = "process"
sockets = ["127.0.0.1:8080"]
env     = { PORT = "{port}" }

[service.sides]
blue  = "127.0.0.1:8081"
green = "127.0.0.1:8082"
warm  = "5m"

[[probe]]
name = "http"
http = "http://{listen}/healthz"
"#;

#[test]
fn an_app_with_sides_is_written_out_for_each() {
    let file = AppFile::parse("longshore.toml", SIDED).unwrap();
    let artifact = Artifact { index: IndexDigest::of(b""), files: 0, bytes: 0 };
    let manifest = file.into_manifest("1".parse().unwrap(), artifact);
    assert_eq!(Manifest::from_bytes(&manifest.to_bytes()).unwrap(), manifest);
    let green = manifest.on_side(crate::traffic::Side::Green);
    assert_eq!(green.service.exec[2..], ["127.0.0.1:8082", "--name=green"]);
    assert_eq!((green.service.env["PORT"].as_str(), green.service.sockets.len()), ("8082", 0));
    assert_eq!(green.service.env["LONGSHORE_SIDE"], "green");
    assert!(
        matches!(&green.probes[0].check, Check::Http { url, .. } if url == "http://127.0.0.1:8082/healthz")
    );
    for (from, to, expected) in [
        ("green = \"127.0.0.1:8082\"", "green = \"127.0.0.1:8081\"", "must listen at different places"),
        (
            "green = \"127.0.0.1:8082\"",
            "green = \"here\"",
            "service.sides.green: \"here\" is no address:port",
        ),
        ("http://{listen}", "http://127.0.0.1:8081", "would look at both sides alike"),
        ("[\"127.0.0.1:8080\"]", "[\"127.0.0.1:8081\"]", "other than where the sides listen"),
        ("warm  = \"5m\"", "warm = \"30d\"", "service.sides.warm: at most 7d"),
        ("[service.sides]", "[service.other]", "mean something only with [service.sides]"),
    ] {
        let found = problems(&SIDED.replace(from, to));
        assert!(found.iter().any(|line| line.contains(expected)), "{to}: {found:#?}");
    }
}
