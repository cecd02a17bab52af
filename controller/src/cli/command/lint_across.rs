//! What only shows when a file is held against what lies beside it: an app's file against the folder that it packs,
//! environments that are given together against each other.

use std::{collections::BTreeMap, path::Path};

use longshore_common::{
    ids::EnvName,
    manifest::{Check, Manifest, file::AppFile},
    text::visible,
};

use crate::{
    config::Environment,
    promotion::{self, Place},
};

/// A file of the artifact that the app's file names, where the folder is there already and lacks it.
pub(super) fn of_app(file: &Path, app: &AppFile) -> Vec<(String, String)> {
    let folder = file.parent().unwrap_or(Path::new("")).join(&app.artifact_path);
    if !folder.is_dir() {
        return vec![]; // not built yet: publishing says so
    }
    let lacks = |path: &str| !folder.join(path).exists();
    let mut found = vec![];
    for config in app.config.values().filter(|config| lacks(&config.template)) {
        let template = visible(&config.template);
        found
            .push((config.template.clone(), format!("template \"{template}\" is not in {}", shown(&folder))));
    }
    for program in programs(app).filter(|program| lacks(program.trim_start_matches("./"))) {
        found.push((
            program.to_owned(),
            format!("program \"{}\" is not in {}", visible(program), shown(&folder)),
        ));
    }
    found
}

fn shown(folder: &Path) -> String {
    visible(&folder.display().to_string())
}

/// Programs that lie in the artifact.
fn programs(app: &AppFile) -> impl Iterator<Item = &str> {
    let hooks = &app.hooks;
    let hooks = [&hooks.before_switch, &hooks.after_switch, &hooks.after_healthy, &hooks.before_stop];
    let hooks = hooks.into_iter().flatten().map(|hook| &hook.run);
    let probes = app.probes.iter().filter_map(|probe| match &probe.check {
        Check::Exec { run } => Some(run),
        Check::Http { .. } | Check::Tcp { .. } => None,
    });
    let commands = std::iter::once(&app.service.exec).chain(hooks).chain(probes);
    commands
        .filter_map(|command| command.first())
        .map(String::as_str)
        .filter(|program| program.starts_with("./"))
}

/// Of each environment by its place in the list, what is wrong with it among the others.
pub(super) fn of_environments(all: &[&Environment]) -> Vec<(usize, String, String)> {
    let mut found = vec![];
    for (at, env) in all.iter().enumerate() {
        for other in &all[..at] {
            if other.name == env.name {
                found.push((
                    at,
                    env.name.to_string(),
                    format!("environment {} is in another file too", env.name),
                ));
            }
        }
    }
    let places: BTreeMap<&EnvName, Place<'_>> = all.iter().map(|env| (&env.name, env.place())).collect();
    for (at, env) in all.iter().enumerate() {
        // What is not among these files may be applied already: only the controller knows.
        let here = env.promotion.after.iter().all(|demand| places.contains_key(&demand.env));
        let problems = if here { promotion::problems(&env.name, &places) } else { vec![] };
        found.extend(
            problems.into_iter().map(|problem| (at, "promotion".to_owned(), format!("promotion: {problem}"))),
        );
    }
    found
}

/// Of each environment by its place in the list, what is well for two apps and not for one. Those that direct the traffic
/// of different backends are meant for two.
pub(super) fn with_the_same_hosts(all: &[&Environment]) -> Vec<(usize, String, String)> {
    let backend = |env: &Environment| env.spec.traffic.as_ref().map(|routing| routing.backend.clone());
    let mut found = vec![];
    for (at, env) in all.iter().enumerate() {
        for other in all[..at].iter().filter(|other| other.name != env.name && other.selector == env.selector)
        {
            let for_two_apps =
                backend(env).is_some() && backend(other).is_some() && backend(env) != backend(other);
            if !for_two_apps {
                let message = format!(
                    "environment {} has the same hosts as {}: \"{}\". An app that is rolled out in both is undone by each",
                    env.name, other.name, env.selector
                );
                found.push((at, env.selector.to_string(), message));
            }
        }
    }
    found
}

/// Of each environment by its place in the list, what keeps an app that is given with it from running there.
pub(super) fn of_apps_in(all: &[&Environment], apps: &[&AppFile]) -> Vec<(usize, String, String)> {
    let unmoved =
        |env: &Environment, app: &AppFile| env.spec.traffic.as_ref()?.unmoved(&app.app, &app.service);
    let pairs = all.iter().enumerate().flat_map(|(at, env)| apps.iter().map(move |app| (at, env, app)));
    pairs.filter_map(|(at, env, app)| Some((at, "balancers".to_owned(), unmoved(env, app)?))).collect()
}

/// Where a word stands first, as line and column from 1.
pub(super) fn place(text: &str, word: &str) -> (usize, usize) {
    let at = text.find(word).unwrap_or(0);
    let line = text[..at].matches('\n').count();
    let column = at - text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    (line + 1, column + 1)
}

/// Bytes of the manifest that the file would become, its artifact apart; `None`: it fits.
pub(super) fn too_large(app: &AppFile) -> Option<String> {
    use longshore_common::{digest::IndexDigest, manifest::Artifact};
    let version = app.version.clone().or_else(|| "0".parse().ok())?;
    let artifact = Artifact { index: IndexDigest([0; 32]), files: 0, bytes: 0 };
    let manifest: Manifest = app.clone().into_manifest(version, artifact);
    let (bytes, most) = (manifest.to_bytes().len(), longshore_common::manifest::MANIFEST_BYTES);
    (bytes > most).then(|| format!("the manifest would have {bytes} bytes; at most {most} are allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(text: &str) -> Environment {
        Environment::parse("e.toml", text).unwrap()
    }

    #[test]
    fn environments_that_are_given_together_are_held_against_each_other() {
        let one = env("[environment]\nname = \"a\"\nselector = \"env=prod\"\n");
        let same_hosts = env("[environment]\nname = \"b\"\nselector = \"env=prod\"\n");
        let found = of_environments(&[&one, &same_hosts, &one]);
        let messages: Vec<&str> = found.iter().map(|(_, _, message)| message.as_str()).collect();
        assert_eq!(messages, ["environment a is in another file too"]);
        let circle = |name: &str, after: &str| {
            env(&format!(
                "[environment]\nname = \"{name}\"\nselector = \"env={name}\"\n[[promotion.after]]\nenv = \"{after}\"\n"
            ))
        };
        let asks = env(
            "[environment]\nname = \"b\"\nselector = \"env=b\"\n[[promotion.after]]\nenv = \"a\"\ngates = [\"smoke\"]\n",
        );
        assert_eq!(
            of_environments(&[&one, &asks]),
            [(
                1,
                "promotion".to_owned(),
                "promotion: a has no gate \"smoke\" that could pass there; it has none".to_owned()
            )]
        );
        let found = of_environments(&[&circle("a", "b"), &circle("b", "a")]);
        assert!(found.iter().all(|(_, _, message)| message.starts_with("promotion: ")) && !found.is_empty());
        assert_eq!(of_environments(&[&circle("a", "elsewhere")]), []);
    }

    /// Two apps on the same hosts, each behind a backend of its own, need two environments.
    #[test]
    fn environments_with_the_same_hosts_are_named_unless_their_backends_differ() {
        let of = |name: &str, backend: &str| {
            let traffic = match backend {
                "" => String::new(),
                backend => format!(
                    "[traffic]\ndriver = \"haproxy\"\nbackend = \"{backend}\"\nbalancers = \"role=lb\"\n"
                ),
            };
            env(&format!("[environment]\nname = \"{name}\"\nselector = \"env=prod\"\n{traffic}"))
        };
        let told = |one: &str, two: &str| with_the_same_hosts(&[&of("a", one), &of("b", two)]);
        assert_eq!(told("shop", "search"), []);
        for (one, two) in [("", ""), ("shop", ""), ("shop", "shop")] {
            let told = told(one, two);
            assert_eq!((told.len(), told[0].0), (1, 1), "{told:?}");
            assert!(told[0].2.starts_with("environment b has the same hosts as a: \"env=prod\""), "{told:?}");
        }
    }

    #[test]
    fn an_app_with_sides_is_held_against_an_environment_with_balancers() {
        let balanced = env(
            "[environment]\nname = \"a\"\nselector = \"env=prod\"\n[traffic]\ndriver = \"haproxy\"\nbackend = \"shop\"\n\
             balancers = \"role=lb\"\n",
        );
        let text = "[app]\nname = \"shop\"\n[artifact]\npath = \"dist\"\n[service]\nexec = [\"./bin/shop\", \"{listen}\"]\nuser = \"shop\"\nSOCKETS\n[service.sides]\nblue = \"127.0.0.1:8081\"\ngreen = \"127.0.0.1:8082\"\n";
        let app = AppFile::parse("longshore.toml", &text.replace("SOCKETS", "")).unwrap();
        let found = of_apps_in(&[&balanced], &[&app]);
        assert!(found[0].2.starts_with("shop runs beside itself on a host"), "{found:?}");
        let held =
            AppFile::parse("l.toml", &text.replace("SOCKETS", "sockets = [\"0.0.0.0:8080\"]")).unwrap();
        assert_eq!(of_apps_in(&[&balanced], &[&held]), []);
    }

    #[test]
    fn what_the_folder_lacks_is_named_where_the_file_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[app]\nname = \"shop\"\n[artifact]\npath = \"dist\"\n[service]\nexec = [\"./bin/shop\"]\nuser = \"shop\"\n[config.\"etc/shop.toml\"]\ntemplate = \"shop.j2\"\n";
        let app = AppFile::parse("longshore.toml", text).unwrap();
        let file = dir.path().join("longshore.toml");
        assert_eq!(of_app(&file, &app), [], "not built yet");
        std::fs::create_dir_all(dir.path().join("dist/bin")).unwrap();
        let found = of_app(&file, &app);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(place(text, &found[0].0), (9, 13));
        assert_eq!(too_large(&app), None);
    }
}
