//! What we promise about the repository itself, rather than about the programs in it.

use std::fs;
use std::path::{Path, PathBuf};

use longshore_agent::config as agent;
use longshore_common::manifest::file::AppFile;
use longshore_controller::config::{Config, Environment};
use longshore_tests::programs::repository;

/// Modules that decide, and so may only import data: reading one must be enough to know what it does.
const PURE: [&str; 6] = [
    "controller/src/rollout",
    "controller/src/plan",
    "controller/src/calendar",
    "controller/src/approval",
    "controller/src/promotion",
    "agent/src/plan",
];

/// Beginnings of paths that a pure module may not name, each with what it would bring in.
const IMPURE: [(&str, &str); 27] = [
    ("tokio", "async"),
    ("tokio_util", "async"),
    ("tokio_stream", "async"),
    ("futures_util", "async"),
    ("std::future", "async"),
    ("std::task", "async"),
    ("std::fs", "the disk"),
    ("std::io", "io"),
    ("std::os", "the system"),
    ("rustix", "the system"),
    ("std::net::TcpStream", "the network"),
    ("std::net::TcpListener", "the network"),
    ("std::net::UdpSocket", "the network"),
    ("std::env", "the environment"),
    ("std::process", "processes"),
    ("std::thread", "threads"),
    ("std::sync::Mutex", "shared state"),
    ("std::sync::RwLock", "shared state"),
    ("std::sync::atomic", "shared state"),
    ("std::sync::mpsc", "channels"),
    ("std::time::Instant", "the clock"),
    ("std::time::SystemTime", "the clock"),
    ("rand", "randomness"),
    ("tracing", "logs"),
    ("longshore_proto", "generated types"),
    ("longshore_common::wire", "generated types"),
    ("sled", "a database"),
];

/// Words that do so without an import.
const IMPURE_WORDS: [(&str, &str); 10] = [
    ("async fn", "async"),
    (".await", "async"),
    ("println!", "io"),
    ("Timestamp::now(", "the clock"),
    ("SystemClock", "the clock"),
    ("Instant::now(", "the clock"),
    ("SystemTime::now(", "the clock"),
    ("new_v4(", "randomness"),
    ("now_v7(", "randomness and the clock"),
    ("random(", "randomness"),
];

#[test]
fn pure_modules_import_nothing_that_acts() {
    let pure = |path: &Path| PURE.iter().any(|module| path.starts_with(module)) && !is_test(path);
    let mut found = Vec::new();
    for path in ours().into_iter().filter(|path| has_extension(path, &["rs"]) && pure(path)) {
        let code = code_without_tests(&read(&path));
        for named in paths_named(&code) {
            let why =
                IMPURE.iter().find(|(start, _)| named == *start || named.starts_with(&format!("{start}::")));
            found.extend(why.map(|(_, what)| format!("{} names {named}: {what}", path.display())));
        }
        let words = IMPURE_WORDS.iter().filter(|(word, _)| says(&code, word));
        found.extend(words.map(|(word, what)| format!("{} says {word}: {what}", path.display())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// sled's own `flush` does not reach the disk, so writes go through the one commit function that knows.
#[test]
fn only_the_ledger_calls_sled() {
    let index = Path::new("common/src/ledger/index.rs");
    let mut found = Vec::new();
    let database = concat!("sl", "ed::");
    for path in ours().into_iter().filter(|path| has_extension(path, &["rs"]) && path != index) {
        let code = code_without_comments(&read(&path));
        // The ledger's errors carry sled's; everybody else does not even name it.
        let may_name = path.starts_with("common/src/ledger");
        let named = paths_named(&code)
            .into_iter()
            .filter(|named| named.trim_start_matches("::").starts_with(database) && !may_name);
        found.extend(named.map(|named| format!("{} names {named}", path.display())));
        let calls = [concat!(".apply_", "batch("), concat!(".open_", "tree("), concat!(".flush_", "async(")];
        let calls = calls.iter().filter(|call| code.contains(**call));
        found.extend(calls.map(|call| format!("{} calls {call})", path.display())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));

    let code = code_without_comments(&read(index));
    let syncs = |word: &str| code.matches(word).count();
    assert_eq!(syncs(".flush("), 1, "one place flushes");
    assert_eq!(syncs("fn apply("), 1, "one place commits");
    assert_eq!(syncs(concat!(".apply_", "batch(")), 0, "a batch of sled's starts its pool of threads");
    let flush = code.find(".flush(").expect("counted above");
    let sync = code.find(".sync_data(").expect("a flush without a sync is not durable");
    assert!(sync > flush && !code[flush..sync].contains("fn "), "the sync follows its flush");
}

/// An app's unit is `longshore-APP`: none may have the name of one that we ship.
#[test]
fn no_app_can_be_called_as_a_unit_that_is_shipped() {
    let units = ours().into_iter().filter(|path| path.starts_with("deploy/systemd"));
    let names: Vec<String> = units
        .filter_map(|path| Some(path.file_stem()?.to_str()?.strip_prefix("longshore-")?.to_owned()))
        .collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        assert!(name.parse::<longshore_common::ids::AppName>().is_err(), "an app may be called {name}");
    }
}

/// Whoever reads a frame of zstd reads what nobody has verified, in C: on a host with two processes the half of the agent
/// does, and everything else says of what form its bytes are.
#[test]
fn frames_are_expanded_by_the_agents_half_alone() {
    let expander = Path::new("agent/src/helper/expand.rs");
    let decodes =
        ["FrameReader", "Collect::new(", "Splitter::new(", "Reader::open(", "frame::expand(", "zstd::"];
    let agents = |path: &Path| path.starts_with("agent/src") && !is_test(path) && path != expander;
    let mut found = Vec::new();
    for path in ours().into_iter().filter(|path| has_extension(path, &["rs"]) && agents(path)) {
        let code = code_without_tests(&read(&path));
        let named = decodes.iter().filter(|name| code.contains(**name));
        found.extend(named.map(|name| format!("{} says {name}", path.display())));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_file_is_too_long_to_read() {
    let written = ours().into_iter().filter(|path| has_extension(path, &["rs", "proto", "sh", "toml"]));
    let long: Vec<_> =
        written.map(|path| (read(&path).lines().count(), path)).filter(|(lines, _)| *lines > 500).collect();
    assert!(long.is_empty(), "over 500 lines: {long:?}");
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<_> = ours()
        .into_iter()
        .filter(|path| has_extension(path, &["rs"]) && !path.ends_with("build.rs"))
        .filter(|path| !read(path).starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "no `//!` at the top: {silent:?}");
}

/// Paths of the machines that people happen to write on mean nothing to anybody else.
#[test]
fn nothing_names_a_workplace() {
    let words =
        [concat!("/wo", "rk/"), concat!("/fa", "rm/"), concat!("/tmp", "/w/"), concat!("bash", "_jobs")];
    let mut found = Vec::new();
    for path in ours() {
        let Ok(text) = fs::read_to_string(repository().join(&path)) else { continue }; // not text, so it says nothing
        found.extend(
            words
                .iter()
                .filter(|word| text.contains(**word))
                .map(|word| format!("{}: {word}", path.display())),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_test_and_no_code_is_switched_off_in_silence() {
    let (ignored, skipped) = (concat!("#[igno", "re]"), concat!("#[cfg(an", "y())]"));
    let mut found = ours();
    found.retain(|path| has_extension(path, &["rs"]));
    found.retain(|path| [ignored, skipped].iter().any(|mark| read(path).contains(mark)));
    assert!(found.is_empty(), "without a reason beside it: {found:?}");
}

/// Numbers of scenarios that others were bitten by and that concern what is built up to plans, gates and strategies. Left
/// out: 112 (an agent that updates itself) and 126 (migrations that only go forward), which are not built.
const SCENARIOS: [std::ops::RangeInclusive<u32>; 24] = [
    1..=12,
    14..=23,
    25..=36,
    38..=38,
    40..=42,
    45..=45,
    48..=49,
    55..=55,
    89..=96,
    98..=102,
    104..=104,
    106..=107,
    109..=109,
    111..=111,
    115..=116,
    118..=118,
    120..=122,
    125..=125,
    127..=127,
    130..=130,
    56..=60,
    62..=68,
    72..=74,
    76..=80,
];

/// A test says in its comment which scenarios it shows, as `Scenario 7`, `Scenarios 34 and 35`, `Scenario 2, 25 and 49`.
#[test]
fn every_scenario_has_its_test() {
    let mut shown = std::collections::BTreeSet::new();
    let files = ours().into_iter().filter(|path| has_extension(path, &["rs"]) && !path.ends_with(file!()));
    for text in files.map(|path| read(&path)) {
        for named in text.split("cenario").skip(1) {
            let named = named.strip_prefix('s').unwrap_or(named);
            let numbers = named.split([' ', ',', '\n', '.', ':', ')', ';']);
            let numbers =
                numbers.filter(|word| !word.is_empty() && *word != "and" && *word != "///" && *word != "//!");
            shown.extend(numbers.map_while(|word| word.parse::<u32>().ok()));
        }
    }
    let missing: Vec<u32> =
        SCENARIOS.into_iter().flatten().filter(|number| !shown.contains(number)).collect();
    assert!(missing.is_empty(), "no test says that it shows scenario {missing:?}");
}

#[test]
fn a_newcomer_finds_the_documents() {
    for path in
        ["README.md", "CHANGELOG.md", "docs/architecture.md", "docs/glossary.md", "docs/rollout-states.md"]
    {
        assert!(repository().join(path).is_file(), "{path} is missing");
    }
    let readme = read(Path::new("README.md"));
    for command in ["cargo run --release --bin longshore -- demo", "cargo test --workspace"] {
        assert!(readme.contains(command), "README.md does not name `{command}`");
    }
}

#[test]
fn the_examples_are_valid() {
    let text = |name: &str| read(&Path::new("deploy/examples").join(name));
    let problems = [
        AppFile::parse("longshore.toml", &text("longshore.toml")).err(),
        Environment::parse("production.toml", &text("production.toml")).err(),
        Config::parse("controller.toml", &text("controller.toml")).err(),
    ];
    let problems = problems.into_iter().flatten().map(|problems| problems.to_string());
    let agent = agent::Config::parse("agent.toml", &text("agent.toml"), Path::new("/"));
    let problems: Vec<_> = problems.chain(agent.err().map(|problems| problems.to_string())).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The examples in docs/environments.md are whole files.
#[test]
fn the_environments_of_the_docs_are_valid() {
    let page = read(Path::new("docs/environments.md"));
    let part = |name: &str| {
        let found = page
            .split_once(&format!("<!-- {name} -->\n```toml\n"))
            .and_then(|(_, rest)| rest.split_once("```\n"));
        found.unwrap_or_else(|| panic!("docs/environments.md has no example {name}")).0
    };
    let environment =
        Environment::parse("docs/environments.md", part("example")).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!((environment.approval.count, environment.calendar.windows.len()), (2, 3));
    let config = Config::parse("docs/environments.md", part("controller")).unwrap_or_else(|p| panic!("{p}"));
    assert!(config.tell.mail.is_some() && config.tell.keys.contains_key("chat"));
}

/// Every file of the repository, relative to it; what builds leave behind is not ours.
fn ours() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![repository().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("folders of the repository can be listed") {
            let path = entry.expect("folders of the repository can be listed").path();
            if path.is_dir() {
                let name = path.file_name().expect("an entry has a name");
                let built = path.join("CACHEDIR.TAG").exists()
                    || name == ".git"
                    || name == "target"
                    || name == ".cache";
                folders.extend((!built).then_some(path));
            } else if path.file_name().is_none_or(|name| name != "Cargo.lock" && name != ".git") {
                files.push(path.strip_prefix(repository()).expect("found below it").to_owned());
            }
        }
    }
    assert!(files.len() > 50, "the walk found only {} files", files.len());
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(repository().join(path))
        .unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension))
}

/// Tests of a pure module may act: they read transcripts and draw random cases.
fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().contains("test"))
}

/// The code up to its test module, without comments.
fn code_without_tests(text: &str) -> String {
    code_without_comments(text.split("#[cfg(test)]").next().unwrap_or_default())
}

fn code_without_comments(code: &str) -> String {
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Whether the code holds the word, and not merely a longer one that begins with it.
fn says(code: &str, word: &str) -> bool {
    let longer = |character: char| word.ends_with(char::is_alphanumeric) && character.is_alphanumeric();
    code.split(word).skip(1).any(|rest| !rest.starts_with(longer))
}

/// Every path that the code imports or names, `use` groups taken apart.
fn paths_named(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for statement in code.split("use ").skip(1) {
        let tree: String = statement.split(';').next().unwrap_or_default().split_whitespace().collect();
        flatten("", &tree, &mut named);
    }
    let path_character = |character: char| character.is_alphanumeric() || matches!(character, '_' | ':');
    named.extend(
        code.split(|character| !path_character(character))
            .filter(|word| word.contains("::"))
            .map(str::to_owned),
    );
    named
}

/// `a::{b, c::{d}}` as `a::b` and `a::c::d`.
fn flatten(prefix: &str, tree: &str, into: &mut Vec<String>) {
    let Some((start, group)) = tree.split_once('{') else {
        into.push(format!("{prefix}{tree}"));
        return;
    };
    let prefix = format!("{prefix}{start}");
    let group = group.strip_suffix('}').unwrap_or(group);
    let mut depth = 0;
    let parts = group.split(|character: char| {
        depth += i32::from(character == '{') - i32::from(character == '}');
        character == ',' && depth == 0
    });
    parts.filter(|part| !part.is_empty()).for_each(|part| flatten(&prefix, part, into));
}

#[test]
fn groups_of_imports_are_taken_apart() {
    let code = "use std::{collections::BTreeMap, time::{Duration, Instant}};\nfn now() { std::fs::read(x) }";
    let named = paths_named(code);
    for path in ["std::collections::BTreeMap", "std::time::Duration", "std::time::Instant", "std::fs::read"] {
        assert!(named.iter().any(|found| found == path), "{path} not in {named:?}");
    }
}

#[test]
fn every_error_code_is_documented_and_no_other() {
    let page = read(Path::new("docs/errors.md"));
    let documented: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| LS-")?.split_once(' ').map(|(code, _)| code))
        .collect();
    let known: Vec<String> =
        longshore_common::code::Code::ALL.iter().map(|code| format!("{code:?}")).collect();
    assert_eq!(documented, known);
}
