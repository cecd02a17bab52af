//! `/etc/longshore/policy.toml`: what the admin of this host allows, whatever is signed. The controller cannot write
//! it. Read anew whenever it is asked, so a change counts at once; one that does not parse allows nothing.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use longshore_common::{
    code::{Code, Coded},
    digest::ReleaseDigest,
    ids::{AppName, EnvName},
    manifest::{AttestationKind, Manifest},
    regular::{self, Links},
    strict::{Bytes, FILE_BYTES, File, Table},
    text::visible,
};

use crate::{helper::AGENT_USER, host::account::Account};

/// Below the root folder.
const FILE: &str = "etc/longshore/policy.toml";
const ROOT: &str = "root";
/// Users of ours. An app that ran as one could speak to the helper, with the host's own key in its hands.
const OURS: [&str; 2] = [AGENT_USER, "longshore-controller"];

/// Without a file, everything that is signed is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    path: PathBuf,
    /// What the host must pin.
    pub root_sha256: Option<[u8; 32]>,
    /// None: any.
    pub apps: Option<Vec<String>>,
    pub environments: Option<Vec<String>>,
    /// Users that apps may run as. None: any, but root only by `allow_root_apps`, and none of ours.
    pub run_as: Option<Vec<String>>,
    /// Apps that may run as root. None: any, which only a host without a policy says.
    pub allow_root_apps: Option<Vec<String>>,
    /// Unpacked bytes of one release.
    pub max_artifact: Option<u64>,
    /// What has to be attested of a release.
    pub require_attestations: Vec<AttestationKind>,
    /// That this host pins nothing is known and meant.
    pub allow_unsigned: bool,
}

impl Policy {
    pub fn file_below(root: &Path) -> PathBuf {
        root.join(FILE)
    }

    /// Only where nothing at all stands at the path is there no policy.
    pub fn load(path: &Path) -> Result<Self, Coded> {
        match regular::read_text(path, FILE_BYTES, Links::Followed) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => {
                Err(Coded::new(Code::P01, format!("read `{}`: {error}; nothing new is run", path.display())))
            }
        }
    }

    pub fn parse(path: &Path, text: &str) -> Result<Self, Coded> {
        let name = path.display().to_string();
        let read = File::new(&name, text).read(|table| Some(read(table, path)));
        read.map_err(|problems| {
            Coded::new(Code::P01, format!("this host takes nothing new until its policy reads: {problems}"))
        })
    }

    pub fn allow(&self, app: &AppName, env: &EnvName) -> Result<(), Coded> {
        self.listed("app", app.as_str(), self.apps.as_ref())?;
        self.listed("environment", env.as_str(), self.environments.as_ref())
    }

    /// Who it runs as and how large it is. An app without a user runs as the agent does.
    pub fn allow_manifest(&self, manifest: &Manifest) -> Result<(), Coded> {
        self.attested(manifest)?;
        let app = manifest.app.as_str();
        let agent_is_root = rustix::process::geteuid().is_root();
        let user = match &manifest.service.user {
            Some(user) => user.as_str(),
            None if agent_is_root => ROOT,
            None => "",
        };
        if Account::is_root(user) {
            self.listed("running as root of app", app, self.allow_root_apps.as_ref())?;
        } else if !user.is_empty() {
            self.listed("user", user, self.run_as.as_ref())?;
            self.is_not_ours(user)?;
        }
        match self.max_artifact {
            Some(most) if manifest.artifact.bytes > most => Err(Coded::new(
                Code::P01,
                format!(
                    "{} allows releases of at most {most} bytes; {app}@{} has {}",
                    self.path.display(),
                    manifest.version,
                    manifest.artifact.bytes
                ),
            )),
            _ => Ok(()),
        }
    }

    fn attested(&self, manifest: &Manifest) -> Result<(), Coded> {
        let Some(lacking) = manifest.lacks(&self.require_attestations) else { return Ok(()) };
        let message = format!(
            "{} requires that releases carry their {}, which {}@{} does not. Nothing was changed. Publish it under \
             another version: {}",
            self.path.display(),
            lacking.names(),
            manifest.app,
            manifest.version,
            lacking.remedy()
        );
        Err(Coded::new(Code::P02, message))
    }

    /// Only a list of users that names it, or no policy at all, lets an app run as one of ours.
    fn is_not_ours(&self, user: &str) -> Result<(), Coded> {
        if !OURS.contains(&user) || self.run_as.is_some() || self.allow_root_apps.is_none() {
            return Ok(());
        }
        let message = format!(
            "{} does not allow user \"{user}\", as which Longshore itself runs: give the app a user of its own. Nothing \
             was changed",
            self.path.display()
        );
        Err(Coded::new(Code::P01, message))
    }

    fn listed(&self, what: &str, name: &str, list: Option<&Vec<String>>) -> Result<(), Coded> {
        match list {
            Some(list) if !list.iter().any(|known| known == name) => {
                let known = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
                let message = format!(
                    "{} does not allow {what} \"{}\" (allowed: {}). Nothing was changed",
                    self.path.display(),
                    visible(name),
                    visible(&known)
                );
                Err(Coded::new(Code::P01, message))
            }
            _ => Ok(()),
        }
    }
}

fn read(table: &Table<'_>, path: &Path) -> Policy {
    let list = |key: &str| {
        let given: Vec<String> = table.list(key);
        table.has(key).then_some(given)
    };
    let root: Option<String> = table.optional("root_sha256");
    let root_sha256 = root.and_then(|text| match text.parse::<ReleaseDigest>() {
        Ok(digest) => Some(digest.0),
        Err(_) => {
            table.problem_at("root_sha256", "root_sha256: expected 64 hexadecimal digits");
            None
        }
    });
    Policy {
        path: path.to_owned(),
        root_sha256,
        apps: list("apps"),
        environments: list("environments"),
        run_as: list("run_as"),
        allow_root_apps: Some(list("allow_root_apps").unwrap_or_default()),
        max_artifact: table.optional::<Bytes>("max_artifact").map(|bytes| bytes.0),
        require_attestations: table.list::<AttestationKind>("require_attestations"),
        allow_unsigned: table.or("allow_unsigned", false),
    }
}
