//! Sealed slots made by hand, and a host over them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex},
};

use longshore_agent::{
    config::{Config, Runner},
    host::{
        Event, Host as _, Sink, environment,
        layout::{Layout, MANIFEST, META, SEALED, VALUES},
        real::RealHost,
        render,
    },
    plan::{Manner, Seen, Step},
    uplink::Uplink,
};
use longshore_common::{
    durable::{create_dir_durable, write_atomic},
    ids::AppName,
    manifest::{Artifact, Manifest, file::AppFile},
    report::Failure,
    settings::Settings,
    slot::Slot,
};

use super::me;

pub struct Bench {
    pub host: RealHost,
    pub layout: Layout,
    pub app: AppName,
}

impl Bench {
    pub async fn new(root: &Path, runner: Runner, app: &str) -> Self {
        let mut config = Config::new(root.to_owned(), vec!["nowhere.example:1".into()]);
        config.driver = Some(runner);
        let (_sender, uplink) = Uplink::new();
        let layout = Layout::under(root).unwrap();
        let app: AppName = app.parse().unwrap();
        layout.make_app(&app).unwrap();
        let host = RealHost::open(&config, uplink, me()).await.unwrap();
        Self { host, layout, app }
    }

    /// A slot of this release: `file` is the part of longshore.toml below `[app]` and `[artifact]`, `scripts` are
    /// programs in the slot.
    pub fn slot(&self, version: &str, file: &str, scripts: &[(&str, &str)]) -> Slot {
        let manifest = manifest(&self.app, version, file);
        let slot = Slot::new(&manifest.version, &manifest.digest(), &Settings::default());
        let folder = self.layout.slot(&self.app, &slot);
        create_dir_durable(&folder, 0o755).unwrap();
        for (name, text) in scripts {
            let path = folder.join(name);
            create_dir_durable(path.parent().unwrap(), 0o755).unwrap();
            write_atomic(&path, text.as_bytes(), 0o555).unwrap();
        }
        seal(&self.layout, &self.app, &manifest, &slot);
        slot
    }

    /// Copies a program into a slot.
    pub fn install(&self, slot: &Slot, program: &Path, name: &str) {
        let path = self.layout.slot(&self.app, slot).join(name);
        create_dir_durable(path.parent().unwrap(), 0o755).unwrap();
        fs::copy(program, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
    }

    pub async fn perform(&self, step: Step) -> Result<(), Failure> {
        self.host.perform(&self.app, &step, &Sink::nowhere()).await
    }

    pub async fn perform_heard(&self, step: Step) -> (Result<(), Failure>, Vec<String>) {
        let (sink, events) = Sink::collecting();
        let result = self.host.perform(&self.app, &step, &sink).await;
        (result, lines(&events))
    }

    /// Switches to a slot and probes it.
    pub async fn go(&self, slot: &Slot) -> Result<(), Failure> {
        self.perform(Step::Point(slot.clone())).await?;
        self.perform(Step::Start(slot.clone())).await?;
        self.perform(Step::Probe { slot: slot.clone(), manner: Manner::Settle }).await
    }

    pub async fn seen(&self) -> Seen {
        self.host.observe(&self.app).await.unwrap()
    }

    pub async fn runs(&self, slot: &Slot) -> bool {
        self.seen().await.running.is_some_and(|running| running.up && running.slot == *slot)
    }
}

/// What makes a folder of files a slot.
pub fn seal(layout: &Layout, app: &AppName, manifest: &Manifest, slot: &Slot) {
    let folder = layout.slot(app, slot);
    let meta = folder.join(META);
    create_dir_durable(&meta, 0o755).unwrap();
    write_atomic(&meta.join(MANIFEST), &manifest.to_bytes(), 0o444).unwrap();
    write_atomic(&meta.join(VALUES), b"{}", 0o400).unwrap();
    let env = environment::variables(layout, manifest, slot, None);
    render::environment(&env, &folder).unwrap();
    write_atomic(&meta.join(SEALED), b"", 0o444).unwrap();
}

pub fn lines(events: &Arc<Mutex<Vec<Event>>>) -> Vec<String> {
    let events = events.lock().unwrap();
    let line = |event: &Event| match event {
        Event::Line { line, .. } => Some(line.clone()),
        Event::Progress { .. } => None,
    };
    events.iter().filter_map(line).collect()
}

pub fn manifest(app: &AppName, version: &str, file: &str) -> Manifest {
    let text = format!("[app]\nname = \"{app}\"\n[artifact]\npath = \".\"\n{file}");
    let file =
        AppFile::parse("longshore.toml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let index = longshore_common::digest::IndexDigest::of(b"");
    file.into_manifest(version.parse().unwrap(), Artifact { index, files: 0, bytes: 0 })
}
