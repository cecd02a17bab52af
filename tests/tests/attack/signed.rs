//! A site whose fleet is signed: the operator's keys lie beside its certificate, the host pins the root.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use longshore_common::durable;
use longshore_tests::{Output, run, until};
use serde_json::Value;

use crate::site::{ASK, ROLLOUT, Site, program_called};

pub const PASSPHRASE: &str = "correct horse battery";

pub struct Signed(pub Site);

impl Signed {
    /// The organisation's key, release keys for shop, a host that pins the root and runs nothing.
    pub fn raise() -> Self {
        let signed = Self(Site::bare());
        signed.ops(["init"]).success().unwrap();
        signed.ops(["app", "create", "shop"]).success().unwrap();
        signed.with_host()
    }

    /// Enrols a host that pins the root, and applies the environment.
    pub fn with_host(mut self) -> Self {
        let made = self.ops(["token", "create", "--label", "role=web", "-o", "json"]).success().unwrap();
        let made: Value = serde_json::from_str(&made).unwrap();
        self.0.enrol("host", made["token"].as_str().unwrap()).success().unwrap();
        self.0.start_agent();
        let env = self.0.write_env("ahoy");
        self.ops(["env", "apply", &env]).success().unwrap();
        self
    }

    /// `longshore`, with the passphrase that CI would have.
    pub fn ops<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Output {
        self.ops_with(args, &[])
    }

    pub fn ops_with<I: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = I>,
        more: &[(&str, &str)],
    ) -> Output {
        let mut command = program_called("longshore");
        command.args(args).env("LONGSHORE_CONTEXT", self.0.text("ctl/operator"));
        command.env("HOME", self.0.path("")).env("LONGSHORE_KEY_PASSPHRASE", PASSPHRASE);
        command.env_remove("XDG_CONFIG_HOME").env_remove("SSH_AUTH_SOCK").envs(more.iter().copied());
        run(&mut command, ASK).unwrap()
    }

    /// Another operator's machine: the same certificate, keys of its own.
    pub fn second_operator(&self) -> PathBuf {
        let folder = self.0.path("bob");
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["cert.pem", "key.pem", "ca.pem", "address"] {
            std::fs::copy(self.0.path("ctl/operator").join(name), folder.join(name)).unwrap();
        }
        let pin = std::fs::read_to_string(self.0.path("ctl/operator/keys/fleet.pin")).unwrap();
        self.as_operator(&folder, ["trust", "pin", pin.trim()]).success().unwrap();
        folder
    }

    pub fn as_operator<I: AsRef<OsStr>>(
        &self,
        folder: &std::path::Path,
        args: impl IntoIterator<Item = I>,
    ) -> Output {
        self.ops_with(args, &[("LONGSHORE_CONTEXT", folder.to_str().unwrap())])
    }

    pub fn publish(&self, version: &str) -> Output {
        self.0.write_app(version, "exec sleep 1000");
        self.ops(["release", "publish", &self.0.text("app"), "--version", version])
    }

    pub fn json<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Value {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let output = self.ops(args.iter().map(|arg| arg.as_os_str()).chain(["-o".as_ref(), "json".as_ref()]));
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no JSON in {output}"))
    }

    /// The public half of a key on the operator's machine.
    pub fn key_called(&self, name: &str) -> String {
        let listed = self.json(["key", "list"]);
        let key = listed["keys"].as_array().unwrap().iter().find(|key| key["name"] == name);
        key.unwrap()["public_key"].as_str().unwrap().to_owned()
    }

    pub fn digest_of(&self, version: &str) -> String {
        let shown = self.json(["release", "show", &format!("shop@{version}")]);
        shown["release"]["digest"].as_str().unwrap().to_owned()
    }

    /// The host asks for news by itself some seconds after it has connected, at a moment left to chance. Before a picture
    /// is taken of it, it has heard of everything that there is.
    pub fn bring_up_to_date(&self) {
        self.ops(["trust", "check"]).success().unwrap();
    }

    /// Everything of the host that a refusal must leave as it is: releases, `current`, units, identity, trust. It is
    /// taken when nothing is being verified, for that needs a folder for a moment; one that stays is a failure.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        until(ASK, "the host to be at rest, with no folder left by a verification", || {
            let seen = self.snapshot_now();
            let busy = seen.keys().any(|path| path.to_string_lossy().contains(durable::TEMP_PREFIX));
            Ok((!busy).then_some(seen))
        })
        .unwrap()
    }

    fn snapshot_now(&self) -> BTreeMap<PathBuf, String> {
        let mut seen = self.0.snapshot();
        for part in ["var/lib/longshore/trust", "etc"] {
            crate::site::note(&self.0.path("host").join(part), &mut seen);
        }
        seen
    }

    pub fn agent<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Output {
        self.0.agent_at("host", args)
    }

    pub fn roll_out(&self, version: &str) -> Output {
        let release = format!("shop@{version}");
        self.ops(["rollout", "start", &release, "--to", "prod", "--wait", "--timeout", ROLLOUT])
    }
}
