//! Config files made on the host from templates and the environment's values.
//!
//! A rendered file is part of its slot: it is staged, sealed, switched and reverted with it. A value or secret that a
//! template needs and the environment does not have is an error, never an empty string. Secrets come as
//! `secret("name")` or `secrets.name`, are in no error, and make the file one that only the app's user reads.

mod dry;
mod lent;

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
    settings::Values,
    text::visible,
};
use minijinja::{
    AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, context, syntax::SyntaxConfig,
};

use super::{
    account::Account,
    environment::environment_file,
    fault,
    layout::{ENVIRONMENT, META},
    secrets::Opened,
};
pub use dry::lacks;
use lent::Lent;

/// Of one rendered file, and of one template.
pub const FILE_BYTES: usize = 1 << 20;
/// Steps of the template engine for one file; a sane template needs a few for each byte it makes.
const FUEL: u64 = 2_000_000;
/// What only rendered files have, so that a repeat knows them from files of the artifact.
const MODE: u32 = 0o440;
/// Of rendered files with a secret in them: for the app's user alone.
const SECRET_MODE: u32 = 0o400;

/// Renders all config files of a release into its staging tree. Done twice, it ends the same.
pub fn render(manifest: &Manifest, values: &Values, opened: &Opened, tree: &Path) -> Result<(), Failure> {
    let account = Account::to_become(manifest.service.user.as_deref())
        .map_err(|e| fault::host(e.code, StepName::Render, e.message))?;
    for (path, config) in &manifest.config {
        let target = Target::of(tree, path, config)?;
        // A file that took the place of its template cannot be made again; any other is, from the secrets of now.
        if !target.is_rendered() || *path != config.template {
            let (text, mode) = fill(manifest, values, opened, tree, path, config)?;
            target.write(text.as_bytes(), mode, account.as_ref())?;
        }
    }
    Ok(())
}

/// Writes the app's environment into its slot, where its unit finds it. Done twice, it ends the same.
pub fn environment(variables: &BTreeMap<String, String>, tree: &Path) -> Result<(), Failure> {
    let target = Target { path: tree.join(META).join(ENVIRONMENT), temp: tree.join(META).join("rendering") };
    target.write(environment_file(variables).as_bytes(), MODE, None)
}

/// The text, and the mode that its content asks for.
fn fill(
    manifest: &Manifest,
    values: &Values,
    opened: &Opened,
    tree: &Path,
    path: &str,
    config: &ConfigFile,
) -> Result<(String, u32), Failure> {
    let name = &config.template;
    let bad = |words: String| fault::version(Code::M01, StepName::Render, words);
    let template = read_template(&inside(tree, name)?)
        .map_err(|e| bad(format!("the template {} of {} {e}", visible(name), visible(path))))?;
    match filled(manifest, values, opened, name, &template) {
        Ok((text, true)) => Ok((text, SECRET_MODE)),
        Ok((text, false)) => Ok((text, MODE)),
        Err(unfilled) => Err(bad(format!("render {}: {}", visible(path), visible(&unfilled.said)))),
    }
}

/// Why a template came to no text.
struct Unfilled {
    /// It would not with other secrets either.
    is_certain: bool,
    said: String,
}

/// The text, and whether there is a secret in it.
fn filled(
    manifest: &Manifest,
    values: &Values,
    opened: &Opened,
    name: &str,
    template: &str,
) -> Result<(String, bool), Unfilled> {
    let odd = |e: &dyn std::error::Error| Unfilled { is_certain: true, said: e.to_string() };
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.set_syntax(SyntaxConfig::builder().keep_trailing_newline(true).build().map_err(|e| odd(&e))?);
    engine.set_fuel(Some(FUEL));
    let lent = Lent::new(opened);
    let values_known = || Value::from_pairs(values.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let known = context! {
        app => manifest.app.as_str(),
        version => manifest.version.as_str(),
        values => values_known(),
        secrets => lent.map(),
        secret => lent.function(),
    };
    // Names of ours go first.
    let context = context! { ..known, ..values_known() };
    let mut text = Bounded(Vec::new());
    let rendered = engine
        .template_from_named_str(name, template)
        .and_then(|template| template.render_captured_to(context, &mut text).map(drop));
    match rendered {
        Ok(()) => Ok((String::from_utf8(text.0).map_err(|e| odd(&e))?, lent.was_used())),
        Err(e) => {
            let unknown = undefined(&engine, name, template, values, opened);
            let is_certain = !lent.was_used() || is_of_the_template(e.kind(), &unknown, &lent);
            Err(Unfilled { is_certain, said: explain(&e, &unknown, values, opened, lent.was_used()) })
        }
    }
}

/// Whether an error that came after a secret was read has nothing to do with what the secret says. A part of a secret that
/// is not there (`(secrets.url | split("@"))[1]`) is undefined as well.
fn is_of_the_template(kind: ErrorKind, unknown: &[String], lent: &Lent) -> bool {
    match kind {
        ErrorKind::SyntaxError
        | ErrorKind::UnknownFilter
        | ErrorKind::UnknownTest
        | ErrorKind::UnknownFunction
        | ErrorKind::UnknownMethod => true,
        ErrorKind::UndefinedError => !unknown.is_empty() || lent.was_asked_in_vain(),
        _ => false,
    }
}

/// Names that the template uses and nobody declares, as it writes them: `db_url, secrets.token`.
fn undefined(
    engine: &Environment<'_>,
    name: &str,
    template: &str,
    values: &Values,
    opened: &Opened,
) -> Vec<String> {
    let Ok(template) = engine.template_from_named_str(name, template) else { return vec![] };
    let is_known = |used: &String| match used.split_once('.').unwrap_or((used, "")) {
        ("values" | "secrets", "") | ("app" | "version" | "secret", _) => true,
        ("values", value) => values.contains_key(value),
        ("secrets", secret) => opened.contains_key(secret),
        (value, _) => values.contains_key(value) || engine.globals().any(|(global, _)| global == value),
    };
    let mut unknown: Vec<String> =
        template.undeclared_variables(true).into_iter().filter(|used| !is_known(used)).collect();
    unknown.sort();
    unknown
}

/// With the names that there are, when one is missing. Where a secret may be part of an error, as some was read before,
/// only its kind and place are said.
fn explain(
    error: &minijinja::Error,
    unknown: &[String],
    values: &Values,
    opened: &Opened,
    was_read: bool,
) -> String {
    let named = |names: Vec<&String>| match names[..] {
        [] => "none".to_owned(),
        _ => names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", "),
    };
    match error.kind() {
        ErrorKind::UndefinedError => {
            let (values, secrets) = (named(values.keys().collect()), named(opened.keys().collect()));
            let known = format!("the environment has the values: {values}; and the secrets: {secrets}");
            match unknown.is_empty() {
                true => format!("{}; {known}", Chain(error)),
                false => format!("{}: nothing is declared as {}; {known}", Chain(error), unknown.join(", ")),
            }
        }
        ErrorKind::SyntaxError | ErrorKind::OutOfFuel | ErrorKind::WriteFailure => Chain(error).to_string(),
        _ if !was_read && unknown.is_empty() => Chain(error).to_string(),
        _ if !was_read => format!("{}; nothing is declared as {}", Chain(error), unknown.join(", ")),
        kind => {
            let place = error.name().zip(error.line()).map(|(name, line)| format!(" (in {name}:{line})"));
            format!("{kind}{}", place.unwrap_or_default())
        }
    }
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
        let ours = |mode: u32| [MODE, SECRET_MODE].contains(&(mode & 0o7777));
        let rendered = |meta: fs::Metadata| meta.is_file() && ours(meta.permissions().mode());
        fs::symlink_metadata(&self.path).is_ok_and(rendered)
    }

    /// Whole or not at all. The seal's sync makes it durable with the rest of the slot. What holds secrets belongs to
    /// the app's user, as its group may have other members.
    fn write(&self, bytes: &[u8], mode: u32, account: Option<&Account>) -> Result<(), Failure> {
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
            let owner = (mode == SECRET_MODE).then_some(account.uid);
            chown(&self.temp, owner, Some(account.gid)).map_err(&fail)?;
        }
        file.set_permissions(fs::Permissions::from_mode(mode)).map_err(&fail)?;
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
pub(crate) mod tests;
