//! Config files made on the host from templates and the environment's values.
//!
//! A rendered file is part of its slot: it is staged, sealed, switched and reverted with it. A value that a template
//! needs and the environment does not have is an error, never an empty string.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use longshore_common::{
    chain::Chain,
    code::Code,
    manifest::{ConfigFile, Manifest},
    report::{Failure, StepName},
    slot::Values,
    text::visible,
};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context, syntax::SyntaxConfig};

use super::{
    account::Account,
    environment::environment_file,
    fault,
    layout::{ENVIRONMENT, META},
};

/// Of one rendered file, and of one template.
pub const FILE_BYTES: usize = 1 << 20;
/// Steps of the template engine for one file; a sane template needs a few for each byte it makes.
const FUEL: u64 = 2_000_000;
/// What only rendered files have, so that a repeat knows them from files of the artifact.
const MODE: u32 = 0o440;

/// Renders all config files of a release into its staging tree. Done twice, it ends the same.
pub fn render(manifest: &Manifest, values: &Values, tree: &Path) -> Result<(), Failure> {
    let account = Account::to_become(manifest.service.user.as_deref())
        .map_err(|e| fault::host(e.code, StepName::Render, e.message))?;
    for (path, config) in &manifest.config {
        let target = Target::of(tree, path, config)?;
        if !target.is_rendered() {
            let text = fill(manifest, values, tree, path, config)?;
            target.write(text.as_bytes(), account.as_ref())?;
        }
    }
    Ok(())
}

/// Writes the app's environment into its slot, where its unit finds it. Done twice, it ends the same.
pub fn environment(variables: &BTreeMap<String, String>, tree: &Path) -> Result<(), Failure> {
    let target = Target { path: tree.join(META).join(ENVIRONMENT), temp: tree.join(META).join("rendering") };
    target.write(environment_file(variables).as_bytes(), None)
}

fn fill(
    manifest: &Manifest,
    values: &Values,
    tree: &Path,
    path: &str,
    config: &ConfigFile,
) -> Result<String, Failure> {
    let name = &config.template;
    let bad = |words: String| fault::version(Code::M01, StepName::Render, words);
    let template = read_template(&inside(tree, name)?)
        .map_err(|e| bad(format!("the template {} of {} {e}", visible(name), visible(path))))?;
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.set_syntax(
        SyntaxConfig::builder().keep_trailing_newline(true).build().map_err(|e| bad(e.to_string()))?,
    );
    engine.set_fuel(Some(FUEL));
    let values_known = || Value::from_pairs(values.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let known = context! { app => manifest.app.as_str(), version => manifest.version.as_str(), values => values_known() };
    // Names of ours go first.
    let context = context! { ..known, ..values_known() };
    let mut text = Bounded(Vec::new());
    let rendered = engine
        .template_from_named_str(name, &template)
        .and_then(|template| template.render_captured_to(context, &mut text).map(drop));
    match rendered {
        Ok(()) => String::from_utf8(text.0).map_err(|_| bad(format!("{} is no text", visible(path)))),
        Err(e) => Err(bad(format!("render {}: {}", visible(path), visible(&explain(&e, values))))),
    }
}

/// With the values that there are, when one is missing.
fn explain(error: &minijinja::Error, values: &Values) -> String {
    let mut words = Chain(error).to_string();
    if error.kind() == minijinja::ErrorKind::UndefinedError {
        let known: Vec<&str> = values.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        words.push_str(&format!("; the environment has the values: {known}"));
    }
    words
}

fn read_template(path: &Path) -> io::Result<String> {
    use io::Read;
    let mut text = String::new();
    fs::File::open(path)?.take(FILE_BYTES as u64 + 1).read_to_string(&mut text)?;
    if text.len() > FILE_BYTES {
        return Err(io::Error::other(format!("is larger than {FILE_BYTES} bytes")));
    }
    Ok(text)
}

struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > FILE_BYTES {
            return Err(io::Error::other(format!("the rendered file is larger than {FILE_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Target {
    path: PathBuf,
    /// Beside it on the same file system, where no artifact has a file.
    temp: PathBuf,
}

impl Target {
    fn of(tree: &Path, path: &str, config: &ConfigFile) -> Result<Self, Failure> {
        let target = Self { path: inside(tree, path)?, temp: tree.join(META).join("rendering") };
        let taken = fs::symlink_metadata(&target.path).is_ok() && !target.is_rendered();
        if taken && *path != config.template {
            let words =
                format!("config.\"{}\" is also a file of the artifact; rename one of them", visible(path));
            return Err(fault::version(Code::M01, StepName::Render, words));
        }
        Ok(target)
    }

    fn is_rendered(&self) -> bool {
        let rendered = |meta: fs::Metadata| meta.is_file() && meta.permissions().mode() & 0o7777 == MODE;
        fs::symlink_metadata(&self.path).is_ok_and(rendered)
    }

    /// Whole or not at all. The seal's sync makes it durable with the rest of the slot.
    fn write(&self, bytes: &[u8], account: Option<&Account>) -> Result<(), Failure> {
        let doing = format!("write {}", self.path.display());
        let fail = fault::io(StepName::Render, &doing);
        for folder in [&self.path, &self.temp].into_iter().filter_map(|path| path.parent()) {
            fs::create_dir_all(folder).map_err(&fail)?;
        }
        match fs::remove_file(&self.temp) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(fail(e)),
            Ok(()) | Err(_) => (),
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.temp)
            .map_err(&fail)?;
        file.write_all(bytes).map_err(&fail)?;
        if let Some(account) = account {
            chown(&self.temp, None, Some(account.gid)).map_err(&fail)?;
        }
        file.set_permissions(fs::Permissions::from_mode(MODE)).map_err(&fail)?;
        drop(file);
        fs::rename(&self.temp, &self.path).map_err(&fail)
    }
}

/// `path` below `tree`: plain components only, none of them a link, none of ours. A template's own name may be one.
fn inside(tree: &Path, path: &str) -> Result<PathBuf, Failure> {
    let leaves = |why: &str| {
        let words = format!("config path \"{}\" {why}; nothing was rendered", visible(path));
        fault::version(Code::A02, StepName::Render, words)
    };
    let mut full = tree.to_owned();
    for (depth, part) in path.split('/').enumerate() {
        if part.is_empty() || part == "." || part == ".." || part.contains('\0') {
            return Err(leaves("leaves the release directory"));
        }
        if depth == 0 && part == META {
            return Err(leaves("lies in a folder that is not the release's"));
        }
        full.push(part);
        if fs::symlink_metadata(&full).is_ok_and(|meta| meta.file_type().is_symlink()) {
            return Err(leaves("goes through a link"));
        }
    }
    Ok(full)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::symlink;

    use longshore_common::{
        digest::IndexDigest,
        manifest::{Artifact, Driver, Service, Stop},
        time::Span,
    };

    use super::*;

    pub fn manifest(config: &[(&str, &str)]) -> Manifest {
        Manifest {
            schema: longshore_common::manifest::SCHEMA.into(),
            app: "shop".parse().unwrap(),
            version: "1.0".parse().unwrap(),
            owner: None,
            support: None,
            artifact: Artifact { index: IndexDigest([0; 32]), files: 0, bytes: 0 },
            service: Service {
                driver: Driver::None,
                exec: vec![],
                user: None,
                env: BTreeMap::new(),
                sockets: vec![],
                stop: Stop::default(),
                sides: None,
                start_timeout: Span::secs(5),
            },
            requires: Default::default(),
            config: config
                .iter()
                .map(|(path, template)| ((*path).to_owned(), ConfigFile { template: (*template).to_owned() }))
                .collect(),
            probes: vec![],
            hooks: Default::default(),
        }
    }

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        tree
    }

    fn values() -> Values {
        Values::from([("port".into(), "8080".into()), ("name".into(), "a<b".into())])
    }

    #[test]
    fn values_come_into_the_file_as_they_are() {
        let tree = tree(&[("t.j2", "{{ app }} {{ version }} port={{ port }} {{ values.name }}\n")]);
        let manifest = manifest(&[("etc/shop.html", "t.j2")]);
        render(&manifest, &values(), tree.path()).unwrap();
        render(&manifest, &values(), tree.path()).unwrap();
        let path = tree.path().join("etc/shop.html");
        assert_eq!(fs::read_to_string(&path).unwrap(), "shop 1.0 port=8080 a<b\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, MODE);
    }

    #[test]
    fn a_file_may_be_its_own_template() {
        let tree = tree(&[("etc/shop.toml", "port={{ port }} {% raw %}{{ kept }}{% endraw %}")]);
        let manifest = manifest(&[("etc/shop.toml", "etc/shop.toml")]);
        render(&manifest, &values(), tree.path()).unwrap();
        render(&manifest, &values(), tree.path()).unwrap();
        let text = fs::read_to_string(tree.path().join("etc/shop.toml")).unwrap();
        assert_eq!(text, "port=8080 {{ kept }}", "a repeat does not render what was rendered");
    }

    #[test]
    fn every_bad_template_or_path_is_refused_with_its_reason() {
        let rows = [
            ("etc/a", "missing.j2", "{{ x }}", "No such file"),
            ("etc/a", "t.j2", "{{ prot }}", "the environment has the values: name, port"),
            ("etc/a", "t.j2", "{% if", "syntax error"),
            (
                "etc/a",
                "t.j2",
                "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
                "fuel",
            ),
            (
                "etc/a",
                "t.j2",
                "{% for i in range(90000) %}xxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}",
                "larger than",
            ),
            ("taken", "t.j2", "x", "also a file of the artifact"),
            ("../out", "t.j2", "x", "leaves the release directory"),
            ("/etc/passwd", "t.j2", "x", "leaves the release directory"),
            ("etc//a", "t.j2", "x", "leaves the release directory"),
            (".longshore/sealed", "t.j2", "x", "not the release's"),
            ("link/a", "t.j2", "x", "goes through a link"),
        ];
        for (path, template, text, reason) in rows {
            let tree = tree(&[("t.j2", text), ("taken", "artifact")]);
            symlink("etc", tree.path().join("link")).unwrap();
            let failure = render(&manifest(&[(path, template)]), &values(), tree.path()).expect_err(path);
            assert!(failure.message.contains(reason), "{path} {text}: {}", failure.message);
            assert_eq!(fs::read_to_string(tree.path().join("taken")).unwrap(), "artifact");
            assert!(!tree.path().join("etc/a").exists());
        }
    }
}
