//! No secret leaves the file that it is rendered into. Secrets of every kind go through good rollouts, a change of
//! settings, a rollout that fails on its template, and a way back; then everything that was printed, logged, stored or put
//! on a command line is searched for them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use longshore_tests::{Output, until};
use serde_json::Value;

use crate::site::{ASK, ROLLOUT, Site, app_file, env_file};

const FILE: &str = "of-a-file-Zq7xV3mT";
const FILE_AFTER: &str = "of-a-file-then-Yh2cR8";
const CREDENTIAL: &str = "of-the-store-Wk29sPd";
const SEALED: &str = "sealed-away-Jb84mQne";
const SEALED_AFTER: &str = "sealed-anew-Gt61vLox";
const ALL: [&str; 5] = [FILE, FILE_AFTER, CREDENTIAL, SEALED, SEALED_AFTER];

/// The exit code of what the plan does not allow.
const REFUSED: i32 = 4;

/// What templates render to; the only place besides their sources where secrets may be.
const RENDERED: &str = "shop.conf";
/// Where they come from, below the site's folder.
const SOURCES: [&str; 3] = ["host/etc/longshore/secrets", "host/etc/longshore/credentials", "plain"];

#[test]
fn no_secret_is_found_where_it_does_not_belong() {
    let site = Site::raise();
    let watched = CommandLines::watch(&ALL);
    let mut told = Told { site: &site, said: vec![] };
    own(&site, "host/etc/longshore/secrets/db", FILE);
    own(&site, "host/etc/longshore/credentials/token", CREDENTIAL);

    // Rendered, each kind of it.
    let sealed = told.seal(SEALED);
    told.apply("ahoy", 1, &sealed);
    told.publish("1.1", "db = {{ secrets.db }}\ntoken = {{ secrets.token }}\nkey = {{ secret(\"key\") }}\n");
    told.roll("1.1", 0);
    assert_eq!(rendered(&site), [FILE, CREDENTIAL, SEALED].map(str::to_owned), "they are on the host");

    // Other secrets for the same release: a rollout like any other.
    own(&site, "host/etc/longshore/secrets/db", FILE_AFTER);
    let sealed = told.seal(SEALED_AFTER);
    told.apply("hello", 2, &sealed);
    told.roll("1.1", 0);
    assert_eq!(rendered(&site), [FILE_AFTER, CREDENTIAL, SEALED_AFTER].map(str::to_owned));

    // A template that fails with secrets in reach, one after the other.
    told.publish("1.2", "db = {{ secrets.db | dictsort }}\n");
    told.roll("1.2", 1);
    told.publish("1.3", "key = {{ secret(\"key\") }}{{ 1 + secrets.token }}\n");
    told.roll("1.3", 1);
    // A secret that is too long: the host says so when the plan asks it, and nothing begins.
    own(&site, "host/etc/longshore/secrets/db", &format!("{FILE_AFTER}\n{}", "x".repeat(9000)));
    told.apply("hello", 3, &sealed);
    told.roll("1.1", REFUSED);
    told.ask(&["rollout", "rollback", "shop", "--to", "prod", "--wait", "--timeout", "40s"]);

    told.everything_there_is_to_ask();
    let mut found = told.leaks();
    found.extend(watched.end());
    found.extend(on_disk(&site));
    for (name, process) in [("controller", &site.controller), ("agent", &site.agent)] {
        let log = process.as_ref().expect("it runs").so_far();
        assert!(log.contains("shop"), "the log of the {name} is looked at");
        found.extend(leaks(&log).map(|secret| format!("{secret} in the log of the {name}")));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Of the test itself: a search that finds nothing must be able to find something.
#[test]
fn what_is_hidden_badly_is_found() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    for before in ["", "a", "ab", "abc"] {
        assert_eq!(leaks(&format!("{before}{SEALED}")).count(), 1);
        assert_eq!(leaks(&STANDARD.encode(format!("{before}{SEALED} and more"))).count(), 1, "{before}");
    }
    assert_eq!(leaks("nothing").count(), 0);
}

/// A file that the host's admin owns.
fn own(site: &Site, path: &str, text: &str) {
    let path = site.write(path, &format!("{text}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let folder = Path::new(&path).parent().unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
}

/// What the live slot's file says, value by value.
fn rendered(site: &Site) -> Vec<String> {
    let text =
        fs::read_to_string(site.path("host/var/lib/longshore/apps/shop/current").join(RENDERED)).unwrap();
    text.lines().filter_map(|line| Some(line.split_once(" = ")?.1.to_owned())).collect()
}

/// Every command that was run and what it said.
struct Told<'a> {
    site: &'a Site,
    said: Vec<Output>,
}

impl Told<'_> {
    fn ask(&mut self, args: &[&str]) -> Output {
        let output = self.site.longshore(args);
        self.said.push(output.clone());
        output
    }

    /// The digest by which the environment's file refers to it.
    fn seal(&mut self, secret: &str) -> String {
        let file = self.site.write("plain", secret);
        let sealed = self.ask(&["secret", "encrypt", "--env", "prod", "key", "--file", &file, "-o", "json"]);
        let sealed: Value = serde_json::from_str(&sealed.success().unwrap()).unwrap();
        sealed["digest"].as_str().expect("it names what it stored").to_owned()
    }

    fn apply(&mut self, greeting: &str, rev: u32, sealed: &str) {
        let text = format!(
            "{}[secrets]\ndb = {{ file = \"/etc/longshore/secrets/db\", rev = {rev} }}\n\
             token = {{ credential = \"token\" }}\n[apps.shop.secrets]\nkey = {{ sealed = \"{sealed}\" }}\n",
            env_file(greeting)
        );
        let file = self.site.write("prod.toml", &text);
        self.ask(&["env", "apply", &file]).success().unwrap();
    }

    fn publish(&mut self, version: &str, template: &str) {
        self.site.write_app(version, "exec sleep 1000");
        self.site.write("app/dist/shop.conf.j2", template);
        let config = format!("[config.\"{RENDERED}\"]\ntemplate = \"shop.conf.j2\"\n");
        let folder = self.site.text("app");
        self.site.write("app/longshore.toml", &format!("{}{config}", app_file()));
        self.ask(&["release", "publish", &folder, "--version", version]).success().unwrap();
    }

    /// Looks before, rolls it out, looks after; twice each, for people and for programs.
    fn roll(&mut self, version: &str, exit: i32) {
        let release = format!("shop@{version}");
        self.ask(&["plan", &release, "--to", "prod", "--hosts"]);
        self.ask(&["plan", &release, "--to", "prod", "-o", "json"]);
        let start = ["rollout", "start", &release, "--to", "prod", "--wait", "--timeout", ROLLOUT];
        self.ask(&start).code_is(exit).unwrap();
        for noun in ["show", "explain"] {
            self.ask(&["rollout", noun, "latest"]).success().unwrap();
            self.ask(&["rollout", noun, "latest", "-o", "json"]).success().unwrap();
        }
    }

    fn everything_there_is_to_ask(&mut self) {
        let asks: [&[&str]; 14] = [
            &["plan", "list"],
            &["plan", "show", "latest"],
            &["rollout", "list"],
            &["rollout", "watch", "latest"],
            &["env", "show", "prod"],
            &["env", "show", "prod", "--app", "shop", "--host", "host"],
            &["secret", "check", "prod"],
            &["release", "show", "shop@1.1"],
            &["host", "show", "host"],
            &["host", "ping"],
            &["logs", "shop", "--host", "host"],
            &["notify", "list"],
            &["audit", "list", "-n", "1000"],
            &["status"],
        ];
        for ask in asks {
            self.ask(ask);
            self.ask(&[ask, &["-o", "json"]].concat());
        }
        for ask in [&["status"][..], &["history", "shop"], &["logs", "shop"]] {
            self.said.push(self.site.agent_at("host", ask));
            self.said.push(self.site.agent_at("host", [ask, &["-o", "json"]].concat()));
        }
    }

    fn leaks(&self) -> Vec<String> {
        let found = self.said.iter().flat_map(|output| {
            leaks(&output.everything()).map(|secret| format!("{secret} in what `{}` said", output.command))
        });
        found.collect()
    }
}

/// The secrets that a text holds, as they are or as base64.
fn leaks(text: &str) -> impl Iterator<Item = &'static str> + use<> {
    let found: Vec<&'static str> = ALL.into_iter().filter(|secret| holds(text.as_bytes(), secret)).collect();
    found.into_iter()
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    let contains = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    contains(secret.as_bytes()) || in_base64(secret).iter().any(|needle| contains(needle.as_bytes()))
}

/// What of it is the same wherever it begins in a text that was encoded: three ways.
fn in_base64(secret: &str) -> [String; 3] {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
    [0, 1, 2].map(|before| {
        let encoded = STANDARD_NO_PAD.encode(format!("{}{secret}", "\0".repeat(before)));
        let whole = (before + secret.len()) / 3 * 4;
        encoded[[0, 2, 3][before]..whole].to_owned()
    })
}

/// Files of the controller and of the host that hold a secret and should not.
fn on_disk(site: &Site) -> Vec<String> {
    let mut files = vec![];
    walk(&site.path(""), &mut files);
    let sources: Vec<PathBuf> = SOURCES.iter().map(|source| site.path(source)).collect();
    let belongs = |file: &Path| {
        let slot = file.starts_with(site.path("host/var/lib/longshore/apps")) && file.ends_with(RENDERED);
        slot || sources.iter().any(|source| file.starts_with(source))
    };
    assert!(files.iter().filter(|file| belongs(file)).count() > 3, "sources and slots are there");
    let foreign = files.iter().filter(|file| !belongs(file));
    let found = foreign.flat_map(|file| {
        let bytes = fs::read(file).unwrap_or_default(); // a file of a store may be gone by now
        let secrets = ALL.into_iter().filter(move |secret| holds(&bytes, secret));
        secrets.map(move |secret| format!("{secret} in {}", file.display()))
    });
    found.collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for item in fs::read_dir(folder).into_iter().flatten().flatten() {
        match item.file_type() {
            Ok(kind) if kind.is_dir() => walk(&item.path(), files),
            Ok(kind) if kind.is_file() => files.push(item.path()),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Looks at the arguments and the environment of every process, again and again.
struct CommandLines {
    stop: Arc<AtomicBool>,
    looking: thread::JoinHandle<BTreeMap<String, u32>>,
}

impl CommandLines {
    fn watch(secrets: &'static [&'static str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let looking = thread::spawn(move || {
            let mut found = BTreeMap::new();
            while !until.load(Ordering::Relaxed) {
                look(&mut found, secrets);
                thread::sleep(std::time::Duration::from_millis(20));
            }
            found
        });
        Self { stop, looking }
    }

    fn end(self) -> Vec<String> {
        // One whole look at least is over by then.
        self.stop.store(true, Ordering::Relaxed);
        self.looking.join().unwrap().into_keys().collect()
    }
}

fn look(found: &mut BTreeMap<String, u32>, secrets: &'static [&'static str]) {
    let own = std::process::id().to_string();
    for item in fs::read_dir("/proc").unwrap().flatten() {
        let pid = item.file_name();
        if pid.to_str().is_none_or(|pid| pid == own || pid.parse::<u32>().is_err()) {
            continue;
        }
        for part in ["cmdline", "environ"] {
            let bytes = fs::read(item.path().join(part)).unwrap_or_default(); // it has ended
            for secret in secrets.iter().filter(|secret| holds(&bytes, secret)) {
                let line = String::from_utf8_lossy(&bytes).replace('\0', " ");
                *found.entry(format!("{secret} in {part} of {}: {line}", pid.display())).or_default() += 1;
            }
        }
    }
}

/// The look at command lines sees what there is to see.
#[test]
fn a_secret_on_a_command_line_is_found() {
    const SHOWN: [&str; 1] = ["on-a-line-Xp5wB"];
    let mut sleep =
        std::process::Command::new("/bin/sh").args(["-c", "sleep 999", SHOWN[0]]).spawn().unwrap();
    let mut found = BTreeMap::new();
    let seen = until(ASK, "the command line", || {
        look(&mut found, &SHOWN);
        Ok((!found.is_empty()).then_some(()))
    });
    let (_, _) = (sleep.kill(), sleep.wait());
    seen.unwrap();
}
