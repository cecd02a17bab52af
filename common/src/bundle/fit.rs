//! Whether a manifest and an index belong together. The controller asks before a release exists, every host asks again.

use super::{
    check,
    index::{Index, Kind},
};
use crate::{
    code::{Code, Coded},
    digest::IndexDigest,
    manifest::{Driver, Manifest},
    text::visible,
};

/// What the manifest says of the artifact is so, and what it names in it is there.
pub fn fit(manifest: &Manifest, index: &Index, digest: &IndexDigest) -> Result<(), Coded> {
    let artifact = &manifest.artifact;
    if artifact.index != *digest {
        let message = format!("the index is {digest}, the manifest names {}", artifact.index);
        return Err(Coded::new(Code::A01, message));
    }
    let (files, bytes) = (index.entries().len() as u64, index.bytes());
    if (artifact.files, artifact.bytes) != (files, bytes) {
        return Err(mismatch(format!(
            "it says {} files of {} bytes, the index has {files} of {bytes}",
            artifact.files, artifact.bytes
        )));
    }
    for (path, config) in &manifest.config {
        check::path(path).map_err(|(code, what)| {
            Coded::new(code, format!("config.\"{}\" of the manifest {what}", visible(path)))
        })?;
        if !matches!(index.find(&config.template), Some(Kind::File { .. })) {
            let template = visible(&config.template);
            return Err(mismatch(format!(
                "config.\"{path}\" is made from \"{template}\", which is no file of the artifact"
            )));
        }
    }
    rendered_paths(manifest, index)?;
    if manifest.service.driver == Driver::None { Ok(()) } else { program(manifest, index) }
}

/// Rendered files take the place of nothing and lie under no link.
fn rendered_paths(manifest: &Manifest, index: &Index) -> Result<(), Coded> {
    for path in manifest.config.keys() {
        let taken = |what: &str| Err(mismatch(format!("config.\"{path}\" {what}")));
        if index.find(path).is_some() {
            return taken("would overwrite a file of the artifact; give the artifact's own another name");
        }
        if index.has_folder(path) {
            return taken("would take the place of a folder of the artifact");
        }
        for (end, _) in path.match_indices('/') {
            if index.find(&path[..end]).is_some() || manifest.config.contains_key(&path[..end]) {
                return taken("would lie below what is no folder");
            }
        }
    }
    Ok(())
}

/// The program is there and may be executed, as far as can be told without following links.
fn program(manifest: &Manifest, index: &Index) -> Result<(), Coded> {
    let Some(path) = manifest.service.exec.first().and_then(|program| program.strip_prefix("./")) else {
        return Ok(());
    };
    match index.find(path) {
        Some(Kind::File { executable: true, .. } | Kind::Link { .. }) => Ok(()),
        Some(Kind::File { executable: false, .. }) => Err(mismatch(format!(
            "service.exec starts \"./{0}\", which is not executable: chmod +x {0}, then publish again",
            visible(path)
        ))),
        None if through_link(index, path) => Ok(()),
        None => Err(mismatch(format!(
            "service.exec starts \"./{}\", which is not in the artifact",
            visible(path)
        ))),
    }
}

fn through_link(index: &Index, path: &str) -> bool {
    path.match_indices('/').any(|(end, _)| matches!(index.find(&path[..end]), Some(Kind::Link { .. })))
}

fn mismatch(what: String) -> Coded {
    Coded::new(Code::M01, format!("the manifest does not fit the artifact: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bundle::index::{Blob, Entry},
        digest::BlobDigest,
        manifest::{Artifact, file::AppFile},
    };

    const FILE: &str = r#"
[app]
name = "shop"
[artifact]
path = "dist"
[service]
exec = ["./bin/shop"]
user = "shop"
[config."etc/shop.toml"]
template = "shop.j2"
"#;

    fn index() -> Index {
        let blob = Blob { digest: BlobDigest::of(b"x"), size: 1 };
        let entry =
            |path: &str, executable| Entry { path: path.into(), kind: Kind::File { executable, blob } };
        let current = Entry { path: "now".into(), kind: Kind::Link { target: "bin".into() } };
        Index::new(vec![entry("bin/shop", true), entry("shop.j2", false), entry("data/x", false), current])
            .unwrap()
    }

    fn check_file(file: &str) -> Result<(), Coded> {
        let index = index();
        let artifact =
            Artifact { index: index.digest(), files: index.entries().len() as u64, bytes: index.bytes() };
        let manifest =
            AppFile::parse("longshore.toml", file).unwrap().into_manifest("1.0".parse().unwrap(), artifact);
        fit(&manifest, &index, &index.digest())
    }

    #[test]
    fn a_manifest_that_names_what_is_not_there_is_refused() {
        check_file(FILE).unwrap();
        check_file(&FILE.replace("./bin/shop", "./now/shop")).unwrap();
        for (from, to, says) in [
            ("./bin/shop", "./bin/shoop", "not in the artifact"),
            ("./bin/shop", "./shop.j2", "not executable: chmod +x"),
            ("shop.j2", "shop.tera", "no file of the artifact"),
            ("etc/shop.toml", "data/x", "overwrite"),
            ("etc/shop.toml", "data", "place of a folder"),
            ("etc/shop.toml", "data/x/y", "no folder"),
            ("etc/shop.toml", "now/shop.toml", "no folder"),
        ] {
            let error = check_file(&FILE.replace(from, to)).expect_err(says);
            assert!(error.code == Code::M01 && error.message.contains(says), "{error}");
        }
    }

    #[test]
    fn totals_and_digest_must_agree() {
        let index = index();
        let artifact = Artifact { index: index.digest(), files: 4, bytes: 3 };
        let mut manifest =
            AppFile::parse("longshore.toml", FILE).unwrap().into_manifest("1.0".parse().unwrap(), artifact);
        fit(&manifest, &index, &index.digest()).unwrap();
        assert_eq!(fit(&manifest, &index, &IndexDigest([0; 32])).unwrap_err().code, Code::A01);
        manifest.artifact.bytes = 4;
        assert_eq!(fit(&manifest, &index, &index.digest()).unwrap_err().code, Code::M01);
        manifest.artifact.bytes = 3;
        let template = manifest.config.remove("etc/shop.toml").unwrap();
        manifest.config.insert("../../etc/cron.d/x".into(), template);
        assert_eq!(fit(&manifest, &index, &index.digest()).unwrap_err().code, Code::A02);
    }
}
