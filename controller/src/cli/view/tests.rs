//! The JSON shapes are those of `docs/cli-json.md`, to the letter, and every view prints.

use std::path::Path;

use super::samples;

const DOC: &str = "docs/cli-json.md";
const BEGIN: &str = "<!-- shapes: held together with the code by a test -->\n";

#[test]
fn the_page_shows_what_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DOC);
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, shown) = page.split_once(BEGIN).expect("the page has a mark where the shapes begin");
    let printed: String = samples::all()
        .into_iter()
        .map(|(command, schema, document)| {
            format!("\n## `{schema}`\n\n{command}\n\n```json\n{document}\n```\n")
        })
        .collect();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{head}{BEGIN}{printed}");
        longshore_common::durable::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
        return;
    }
    assert!(
        shown == printed,
        "{DOC} is not what is printed. If the change is meant (and versions were raised where a field went or changed \
         its meaning), run this test with UPDATE_DOCS=1"
    );
}

#[test]
fn schemas_are_named_and_versioned() {
    for (_, schema, document) in samples::all() {
        let (name, version) = schema.rsplit_once('/').unwrap();
        assert!(name.starts_with("longshore.cli."), "{schema}");
        assert!(version.parse::<u32>().is_ok(), "{schema}");
        let first = document.lines().nth(1).unwrap_or_default();
        assert!(first.contains(schema), "the schema comes first: {first}");
    }
}
