//! Templates over real folders: what they may see, what their errors tell, and what becomes of a file with a secret in it.

use std::os::unix::fs::symlink;

use longshore_common::{
    digest::IndexDigest,
    manifest::{Artifact, Driver, Service, Stop},
    time::Span,
};

use super::*;
use crate::host::secrets::Plain;

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
        tests: vec![],
        attestations: vec![],
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
    render(&manifest, &values(), &Opened::new(), tree.path()).unwrap();
    render(&manifest, &values(), &Opened::new(), tree.path()).unwrap();
    let path = tree.path().join("etc/shop.html");
    assert_eq!(fs::read_to_string(&path).unwrap(), "shop 1.0 port=8080 a<b\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, MODE);
}

#[test]
fn a_file_may_be_its_own_template() {
    let tree = tree(&[("etc/shop.toml", "port={{ port }} {% raw %}{{ kept }}{% endraw %}")]);
    let manifest = manifest(&[("etc/shop.toml", "etc/shop.toml")]);
    render(&manifest, &values(), &Opened::new(), tree.path()).unwrap();
    render(&manifest, &values(), &Opened::new(), tree.path()).unwrap();
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
        ("etc/a", "t.j2", "{% for i in range(90000) %}xxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}", "larger than"),
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
        let failure =
            render(&manifest(&[(path, template)]), &values(), &Opened::new(), tree.path()).expect_err(path);
        assert!(failure.message.contains(reason), "{path} {text}: {}", failure.message);
        assert_eq!(fs::read_to_string(tree.path().join("taken")).unwrap(), "artifact");
        assert!(!tree.path().join("etc/a").exists());
    }
}

fn opened() -> Opened {
    [("db", "hunter2"), ("api-key", "s3cr3t")]
        .map(|(name, text)| (name.to_owned(), Plain::new(text.as_bytes().to_vec()).unwrap()))
        .into()
}

#[test]
fn a_file_with_secrets_is_for_the_apps_user_alone() {
    let tree = tree(&[("t.j2", "{{ secrets.db }} {{ secret(\"api-key\") }}"), ("plain.j2", "{{ port }}")]);
    let manifest = manifest(&[("etc/shop", "t.j2"), ("etc/plain", "plain.j2")]);
    for _ in 0..2 {
        render(&manifest, &values(), &opened(), tree.path()).unwrap();
        let path = tree.path().join("etc/shop");
        assert_eq!(fs::read_to_string(&path).unwrap(), "hunter2 s3cr3t");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, SECRET_MODE);
        let plain = fs::metadata(tree.path().join("etc/plain")).unwrap();
        assert_eq!(plain.permissions().mode() & 0o7777, MODE);
    }
    assert!(!tree.path().join(META).join("rendering").exists());
}

#[test]
fn a_changed_secret_is_rendered_anew_before_the_seal() {
    let tree = tree(&[("t.j2", "{{ secrets.db }}")]);
    let manifest = manifest(&[("etc/shop", "t.j2")]);
    render(&manifest, &values(), &opened(), tree.path()).unwrap();
    let mut changed = opened();
    changed.insert("db".into(), Plain::new(b"other".to_vec()).unwrap());
    render(&manifest, &values(), &changed, tree.path()).unwrap();
    assert_eq!(fs::read_to_string(tree.path().join("etc/shop")).unwrap(), "other");
}

/// Whoever reads the failure has to know which name to declare: all of them at once.
#[test]
fn a_name_that_nobody_declares_is_named() {
    let text = "{% for n in range(2) %}{{ n }}{% endfor %}{{ app }}\n{{ db_url }} {{ values.nope }} {{ secrets.token }} {{ secrets.db }}";
    let tree = tree(&[("t.j2", text)]);
    let failed = render(&manifest(&[("etc/shop", "t.j2")]), &values(), &opened(), tree.path());
    let message = failed.unwrap_err().message;
    assert!(message.contains("nothing is declared as db_url, secrets.token, values.nope; "), "{message}");
    assert!(message.contains("t.j2:2"), "{message}");
}

/// Beforehand, with something else in the place of each secret.
#[test]
fn what_a_template_lacks_is_known_without_its_secrets() {
    use longshore_common::settings::{Reference, Settings};
    let db = Reference::Credential { name: "db".into(), rev: 0 };
    let settings = Settings { values: values(), secrets: [("db".to_owned(), db)].into() };
    let lacks = |template: &str| lacks(&manifest(&[]), &settings, "t.j2", template);
    for whole in
        ["{{ port }} {{ values.name }} {{ secrets.db }} {{ secret(\"db\") }}", "{{ secrets.db | int }}", ""]
    {
        assert_eq!(lacks(whole), None, "{whole}");
    }
    // On what a secret says these depend, so nothing is said of them.
    for unknown in ["{{ secrets.db | dictsort }}", "{{ (secrets.db | split('@'))[1] }}"] {
        assert_eq!(lacks(unknown), None, "{unknown}");
    }
    for (template, words) in [
        (
            "{{ prot }}",
            "nothing is declared as prot; the environment has the values: name, port; and the secrets: db",
        ),
        ("{{ secret(\"dbb\") }}", "no secret of that name is declared"),
        ("{{ secrets.db }} {{ secret(\"dbb\") }}", "no secret of that name is declared"),
        ("{{ secrets.db }} {{ prot }}", "nothing is declared as prot; "),
        ("{% if port %}", "syntax error"),
        ("{{ nope | length }}", "cannot calculate length of value of type undefined"),
        ("{{ nope | length }}", "; nothing is declared as nope"),
        ("{{ values.name | int }}", "(in t.j2:1)"),
        ("{{ port | nofilter }}", "filter nofilter is unknown"),
        ("{{ port is notest }}", "test notest is unknown"),
        ("{{ nofunction() }}", "nofunction is unknown"),
        ("{{ secrets.db }} {{ port | nofilter }}", "unknown filter (in t.j2:1)"),
        ("{% for i in range(90000) %}xxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}", "larger than"),
    ] {
        let said = lacks(template).unwrap();
        assert!(said.contains(words), "{said}");
    }
}

/// Whatever a template does with a secret, no error tells it.
#[test]
fn no_error_tells_a_secret() {
    let rows = [
        ("a\n{{ secrets.nope }}", "t.j2:2"),
        ("a\n{{ secret(\"nope\") }}", "t.j2:2"),
        ("{{ nope }}{{ secrets.db }}", "and the secrets: api-key, db"),
        ("{% include secrets.db %}", "syntax error"),
        ("{{ secrets.db | int }}", "(in t.j2:1)"),
        ("{{ secrets.db + 1 }}", "(in t.j2:1)"),
        ("{{ values[secrets.db] }}", "undefined"),
        ("{{ secrets.db.nope }}", "undefined"),
        ("{{ secrets.db() }}", "(in t.j2:1)"),
        ("{{ range(secrets.db) }}", "(in t.j2:1)"),
        ("{{ secrets.db | batch(\"x\") }}", "(in t.j2:1)"),
        ("{{ secret(secrets.db) }}", "undefined"),
        ("{{ secrets[secrets.db] }}", "undefined"),
    ];
    for (text, words) in rows {
        let tree = tree(&[("t.j2", text)]);
        let failed = render(&manifest(&[("etc/shop", "t.j2")]), &values(), &opened(), tree.path());
        let message = failed.expect_err(text).message;
        assert!(message.contains(words), "{text}: {message}");
        assert!(!message.contains("hunter2") && !message.contains("s3cr3t"), "{text}: {message}");
        assert!(!tree.path().join("etc/shop").exists(), "{text}");
    }
}

/// Printing all of them, or telling what there is, is no way to get at one by accident.
#[test]
fn secrets_are_had_by_name_only() {
    let text = "{{ secrets }} {{ secret }} {{ debug() }} {% for x in secrets %}{{ x }}{% endfor %}";
    let tree = tree(&[("t.j2", text)]);
    let manifest = manifest(&[("etc/shop", "t.j2")]);
    match render(&manifest, &values(), &opened(), tree.path()) {
        Ok(()) => {
            let text = fs::read_to_string(tree.path().join("etc/shop")).unwrap();
            assert!(!text.contains("hunter2") && !text.contains("s3cr3t"), "{text}");
        }
        Err(failure) => assert!(!failure.message.contains("hunter2"), "{}", failure.message),
    }
}
