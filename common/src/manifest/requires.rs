//! `[requires]`: what a host must be and have before it is touched.

use super::{
    Port, Requires,
    file::{is_inside, is_user_name},
};
use crate::{
    strict::{Bytes, Scalar, Table},
    text::visible,
    time::Span,
};

/// Entries of each list; a host is asked for all of them at once.
const LIST_MAX: usize = 64;
/// Two clocks that are compared over a network differ by about as much.
const CLOCK_MIN: Span = Span::secs(1);

pub(super) fn read_requires(root: &Table<'_>) -> Requires {
    let table = root.table("requires");
    let requires = Requires {
        arch: table.list("arch"),
        disk: table.optional("disk").map(|Bytes(bytes)| bytes),
        memory: table.optional("memory").map(|Bytes(bytes)| bytes),
        commands: table.list("commands"),
        os: table.list("os"),
        ports: table.list("ports").into_iter().map(|Scalar(text)| text).collect(),
        mounts: table.list("mounts"),
        users: table.list("users"),
        clock: table.optional("clock"),
    };
    let plain = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
    };
    let mount = |path: &str| path == "/" || path.strip_prefix('/').is_some_and(is_inside);
    check(&table, "arch", &requires.arch, plain, "an architecture like \"x86_64\" or \"aarch64\"");
    check(
        &table,
        "commands",
        &requires.commands,
        plain,
        "the name of a program like \"openssl\", without a path",
    );
    check(&table, "os", &requires.os, is_os, "a system like \"debian\" or \"debian 12\"");
    check(
        &table,
        "ports",
        &requires.ports,
        |port| Port::parse(port).is_some(),
        "a port like \"8080\" or \"127.0.0.1:8080\"",
    );
    check(&table, "mounts", &requires.mounts, mount, "an absolute path like \"/srv/data\"");
    check(&table, "users", &requires.users, is_user_name, "the name of a user like \"shop\"");
    if requires.clock.is_some_and(|clock| clock < CLOCK_MIN) {
        table.problem_at(
            "clock",
            format!("requires.clock: at least {CLOCK_MIN}; less cannot be told over a network"),
        );
    }
    requires
}

fn check(table: &Table<'_>, key: &str, list: &[String], sound: impl Fn(&str) -> bool, expected: &str) {
    for entry in list.iter().filter(|entry| !sound(entry)) {
        table.problem_at(key, format!("requires.{key}: \"{}\" is not {expected}", visible(entry)));
    }
    if list.len() > LIST_MAX {
        table.problem_at(key, format!("requires.{key}: {} entries; at most {LIST_MAX}", list.len()));
    }
}

/// As `ID` and `VERSION_ID` of `/etc/os-release` say it: lower case, one space.
fn is_os(text: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
    };
    let mut words = text.split(' ');
    words.next().is_some_and(word) && words.next().is_none_or(word) && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strict::File;

    fn read(text: &str) -> Result<Requires, String> {
        File::new("longshore.toml", text)
            .read(|root| Some(read_requires(root)))
            .map_err(|problems| problems.to_string())
    }

    #[test]
    fn what_a_host_must_be_is_read_and_checked() {
        let text = "[requires]\nos = [\"debian 12\", \"ubuntu\"]\nports = [8080, \"127.0.0.1:9090\"]\nmounts = [\"/srv/data\"]\nusers = [\"shop\"]\nclock = \"2s\"\n";
        let requires = read(text).unwrap();
        for (os, allowed) in [
            ("debian 12", true),
            ("debian 12.5", true),
            ("debian 120", false),
            ("ubuntu 24.04", true),
            ("arch", false),
        ] {
            assert_eq!(requires.allows_os(os), allowed, "{os}");
        }
        let bad = read("[requires]\nos = [\"Debian\"]\nports = [\"0\", \"localhost:80\"]\nmounts = [\"data\"]\nusers = [\"A B\"]\nclock = \"10ms\"\n").unwrap_err();
        for part in [
            "longshore.toml:2:6: requires.os: \"Debian\" is not a system",
            "requires.ports: \"0\" is not a port",
            "requires.ports: \"localhost:80\" is not a port",
            "requires.mounts: \"data\" is not an absolute path",
            "requires.users: \"A B\" is not the name of a user",
            "requires.clock: at least 1s",
        ] {
            assert!(bad.contains(part), "{part}\nis not in\n{bad}");
        }
    }

    #[test]
    fn ports_clash_where_both_cannot_be_listened_on() {
        let port = |text: &str| Port::parse(text).unwrap();
        for (a, b, clash) in [
            ("8080", "127.0.0.1:8080", true),
            ("0.0.0.0:8080", "10.0.0.1:8080", true),
            ("10.0.0.1:8080", "127.0.0.1:8080", false),
            ("8080", "8081", false),
        ] {
            assert_eq!(port(a).clashes(&port(b)), clash, "{a} {b}");
        }
    }
}
